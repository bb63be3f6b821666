//! What a replica says becomes of its inputs.

use std::time::Duration;

use super::{
    Action, NodeMachine,
    accounting::{InHand, Refused},
    hop::Verdict,
    outage::shows_success,
    segment::Isolation,
    whole,
};
use crate::{
    exchange::{Failure, WorkResult},
    moment::Moment,
    outputs::RESULT_MALFORMED,
};

impl NodeMachine {
    pub(super) fn result(&mut self, replica: u32, result: WorkResult, now: Moment) {
        let WorkResult { sequence, last, busy, .. } = result;
        let Some(mut work) = self.answered_work(replica, sequence, "") else { return };
        self.replicas[replica as usize].heard = now;
        if work.void {
            self.books.late_results += 1;
        } else if let Err(refused) = self.take_in(replica, &mut work, result, now) {
            self.refuse(replica, sequence, &mut work, refused, now);
        }
        self.put_back(replica, sequence, work, last.then_some(busy), now);
    }

    pub(super) fn malformed(&mut self, replica: u32, sequence: u64, last: bool, message: String, now: Moment) {
        let Some(mut work) = self.answered_work(replica, sequence, &message) else { return };
        self.replicas[replica as usize].heard = now;
        if work.void {
            self.books.late_results += 1;
        } else {
            self.refuse(replica, sequence, &mut work, (RESULT_MALFORMED, message), now);
        }
        self.put_back(replica, sequence, work, last.then_some(Duration::ZERO), now);
    }

    /// Takes out the work that an answer is about. A replica that answers what it does not have cannot be trusted.
    fn answered_work(&mut self, replica: u32, sequence: u64, message: &str) -> Option<InHand> {
        let target = &mut self.replicas[replica as usize];
        let work = target.works.remove(&sequence);
        if work.is_none() && target.up && !target.restarting {
            target.restarting = true;
            let colon = if message.is_empty() { "" } else { ": " };
            let why = format!("it answered work {sequence}, which it does not have{colon}{message}");
            self.actions.push(Action::Restart { replica, why });
        }
        work
    }

    fn put_back(&mut self, replica: u32, sequence: u64, work: InHand, last: Option<Duration>, now: Moment) {
        match last {
            Some(busy) => {
                self.close(replica, &work, busy, now);
                self.work_ended(replica, sequence, work.void, now);
            }
            None => drop(self.replicas[replica as usize].works.insert(sequence, work)),
        }
    }

    fn refuse(&mut self, replica: u32, sequence: u64, work: &mut InHand, (reason, message): Refused, now: Moment) {
        let message = format!("the result of work {sequence} was refused: {message}");
        self.actions.push(Action::Warn { replica, message: message.clone() });
        self.fail_whole(replica, work, &whole(reason, message), now);
    }

    /// Applies a result: outputs first, so that they are counted before any input is settled.
    fn take_in(&mut self, replica: u32, work: &mut InHand, mut result: WorkResult, now: Moment) -> Result<(), Refused> {
        let said = work.hear(&result)?;
        let succeeds = shows_success(&result, said.answered.len(), work.open());
        if let Some(outputs) = &result.outputs {
            let mut answer = outputs
                .apply(&work.batch, &self.settings.identity, work.ordinals)
                .map_err(|error| (RESULT_MALFORMED, error.to_string()))?;
            work.ordinals = answer.ordinals;
            let mut deliveries = work.fork(&said.own);
            if said.whole > 0 {
                deliveries.append(work.deliveries.join(said.whole));
                answer.batch = work.join_traces(answer.batch, answer.parents.whole_from());
            }
            self.books.produced += u64::from(deliveries.len());
            self.actions.push(Action::Forward { answer, deliveries });
        }
        if succeeds {
            self.note_success(work, now);
        }
        self.books.answered += said.answered.len() as u64;
        self.settle_rows(replica, work, &said.answered, &Verdict::Answered, now);
        let whole_failure = result.failures.iter().position(|failure| failure.index.is_none());
        let whole_failure = whole_failure.map(|place| result.failures.swap_remove(place));
        self.fail_rows(replica, work, result.failures, now);
        if let Some(failure) = whole_failure {
            self.fail_whole(replica, work, &failure, now);
        } else if result.last && work.open() > 0 {
            self.end_unnamed(replica, work, result.consumed, now);
        }
        Ok(())
    }

    /// What nothing has named when the last result is in: consumed if the numbers agree, else a retry.
    fn end_unnamed(&mut self, replica: u32, work: &mut InHand, consumed: u32, now: Moment) {
        let rows = work.open_rows();
        if consumed == work.open() {
            self.books.consumed += rows.len() as u64;
            self.settle_rows(replica, work, &rows, &Verdict::Consumed, now);
            return;
        }
        let message = format!(
            "the node named {} of {} inputs and said that {consumed} were consumed; every input needs a verdict",
            work.rows() - work.open(),
            work.rows(),
        );
        let unnamed = rows.into_iter().map(|row| Failure { index: Some(row), ..whole("UNACCOUNTED", message.clone()) });
        self.fail_rows(replica, work, unnamed.collect(), now);
    }

    fn settle_rows(&mut self, replica: u32, work: &mut InHand, rows: &[u32], verdict: &Verdict, now: Moment) {
        if rows.is_empty() {
            return;
        }
        self.books.in_hand -= rows.len() as u64;
        self.ramp.succeed(rows.len());
        self.end_hops(replica, work, rows, verdict, now);
        work.close(rows).settle();
    }

    fn close(&mut self, replica: u32, work: &InHand, busy: Duration, now: Moment) {
        debug_assert_eq!(work.open(), 0, "the last result closes every input");
        self.halving_in_hand &= work.isolation != Isolation::Halving;
        let elapsed = now - work.dispatched;
        if work.isolation == Isolation::None && !work.void && !work.probe {
            let spent = if busy.is_zero() { elapsed } else { busy.min(elapsed) };
            self.size.learn(work.rows(), spent, self.settings.latency);
        }
        if !work.void {
            self.replicas[replica as usize].speed.learn(work.rows(), work.dispatched, now);
        }
        self.actions.push(Action::Done { replica, events: work.rows(), busy, elapsed });
    }
}
