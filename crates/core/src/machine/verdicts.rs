//! What a replica says becomes of its inputs, and what becomes of them when it says nothing more.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

use super::{
    Action, Letter, NodeMachine,
    accounting::InHand,
    hop::{Hop, Verdict},
    segment::{Isolation, Segment, select_parts},
    whole,
};
use crate::{
    batch::{Batch, SpanContext},
    exchange::{Action as FailureAction, Failure, WorkResult},
    moment::Moment,
    origin::Deliveries,
    outputs::{Answer, RESULT_MALFORMED},
};

/// The longest that a node may postpone a retry by `retry_after`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

impl NodeMachine {
    pub(super) fn result(&mut self, replica: u32, result: WorkResult, now: Moment) {
        let target = &mut self.replicas[replica as usize];
        target.heard = now;
        let Some(mut work) = target.works.remove(&result.sequence) else {
            self.break_off(replica, format!("it answered work {}, which it does not have", result.sequence));
            return;
        };
        let WorkResult { sequence, last, busy, .. } = result;
        if work.void {
            self.books.late_results += 1;
        } else if let Err((reason, message)) = self.take_in(replica, &mut work, result, now) {
            let message = format!("the result of work {sequence} was refused: {message}");
            self.actions.push(Action::Warn { replica, message: message.clone() });
            self.fail_whole(replica, &mut work, &whole(reason, message), now);
            work.void = true;
        }
        if last {
            self.close(replica, work, busy, now);
        } else {
            self.replicas[replica as usize].works.insert(sequence, work);
        }
    }

    pub(super) fn malformed(&mut self, replica: u32, sequence: u64, last: bool, message: String, now: Moment) {
        let Some(mut work) = self.replicas[replica as usize].works.remove(&sequence) else {
            self.break_off(replica, format!("it answered work {sequence}, which it does not have: {message}"));
            return;
        };
        self.replicas[replica as usize].heard = now;
        if !work.void {
            let message = format!("the result of work {sequence} was refused: {message}");
            self.actions.push(Action::Warn { replica, message: message.clone() });
            self.fail_whole(replica, &mut work, &whole(RESULT_MALFORMED, message), now);
            work.void = true;
        }
        if last {
            self.close(replica, work, Duration::ZERO, now);
        } else {
            self.replicas[replica as usize].works.insert(sequence, work);
        }
    }

    pub(super) fn replica_down(&mut self, replica: u32, now: Moment) {
        let target = &mut self.replicas[replica as usize];
        target.up = false;
        target.restarting = false;
        for (_, mut work) in std::mem::take(&mut target.works) {
            self.halving_in_hand &= work.isolation != Isolation::Halving;
            if work.overdue.whole {
                let message = format!("a call for the whole batch ran longer than {:?}", self.settings.timeout);
                self.fail_whole(replica, &mut work, &whole("TIMEOUT", message), now);
                continue;
            }
            let overdue = std::mem::take(&mut work.overdue.rows);
            let message = format!("the call ran longer than {:?}", self.settings.timeout);
            let failures =
                overdue.into_iter().map(|row| Failure { index: Some(row), ..whole("TIMEOUT", message.clone()) });
            let open = work.open_rows();
            let failures: Vec<Failure> =
                failures.filter(|failure| failure.index.is_some_and(|row| open.contains(&row))).collect();
            self.fail_rows(replica, &mut work, failures, now);
            self.redeliver(replica, &mut work, now);
        }
    }

    fn break_off(&mut self, replica: u32, why: String) {
        let target = &mut self.replicas[replica as usize];
        if target.up && !target.restarting {
            target.restarting = true;
            self.actions.push(Action::Restart { replica, why });
        }
    }

    /// Applies a result: outputs first, so that they are counted before any input is settled.
    fn take_in(
        &mut self,
        replica: u32,
        work: &mut InHand,
        mut result: WorkResult,
        now: Moment,
    ) -> Result<(), (&'static str, String)> {
        let whole_failure = result.failures.iter().position(|failure| failure.index.is_none());
        let said = work.hear(&result).map_err(|message| ("RESULT_INDEX_REPEATED", message))?;
        if let Some(outputs) = &result.outputs {
            let answer = outputs
                .apply(&work.batch, &self.settings.identity, work.ordinals)
                .map_err(|error| (RESULT_MALFORMED, error.to_string()))?;
            work.ordinals = answer.ordinals;
            let mut deliveries = work.deliveries.fork(said.own.iter().copied());
            if said.whole > 0 {
                deliveries.append(work.deliveries.join(said.whole));
            }
            self.books.produced += u64::from(deliveries.len());
            self.forward(answer, deliveries);
        }
        self.books.answered += said.answered.len() as u64;
        self.settle_rows(replica, work, &said.answered, &Verdict::Answered, now);
        if let Some(place) = whole_failure {
            let failure = result.failures.swap_remove(place);
            self.fail_rows(replica, work, result.failures, now);
            self.fail_whole(replica, work, &failure, now);
            return Ok(());
        }
        self.fail_rows(replica, work, result.failures, now);
        if !result.last || work.open() == 0 {
            return Ok(());
        }
        if result.consumed == work.open() {
            let rows = work.open_rows();
            self.books.consumed += rows.len() as u64;
            self.settle_rows(replica, work, &rows, &Verdict::Consumed, now);
            return Ok(());
        }
        let message = format!(
            "the node named {} of {} inputs and said that {} were consumed; every input needs a verdict",
            work.rows() - work.open(),
            work.rows(),
            result.consumed
        );
        let unnamed = work.open_rows().into_iter();
        let failures =
            unnamed.map(|row| Failure { index: Some(row), ..whole("UNACCOUNTED", message.clone()) }).collect();
        self.fail_rows(replica, work, failures, now);
        Ok(())
    }

    fn forward(&mut self, answer: Answer, deliveries: Deliveries) {
        self.actions.push(Action::Forward { answer, deliveries });
    }

    fn close(&mut self, replica: u32, mut work: InHand, busy: Duration, now: Moment) {
        self.halving_in_hand &= work.isolation != Isolation::Halving;
        if work.open() > 0 {
            // Only a void work can have open inputs here: they were retried when it became void.
            self.redeliver(replica, &mut work, now);
        }
        let elapsed = now - work.dispatched;
        if work.isolation == Isolation::None && !work.void {
            let spent = if busy.is_zero() { elapsed } else { busy.min(elapsed) };
            self.size.learn(work.rows(), spent, self.settings.latency);
        }
        self.actions.push(Action::Done { replica, events: work.rows(), busy, elapsed });
    }

    fn settle_rows(&mut self, replica: u32, work: &mut InHand, rows: &[u32], verdict: &Verdict, now: Moment) {
        if rows.is_empty() {
            return;
        }
        self.books.in_hand -= rows.len() as u64;
        self.end_hops(replica, work, rows, verdict, None, now);
        work.close(rows).settle();
    }

    /// Retries or letters for inputs that failed by name.
    fn fail_rows(&mut self, replica: u32, work: &mut InHand, failures: Vec<Failure>, now: Moment) {
        let mut again: BTreeMap<(bool, u32, Option<Duration>), Vec<(u32, Failure)>> = BTreeMap::new();
        for failure in failures {
            let Some(row) = failure.index else { continue };
            let attempt = work.attempts.of(row);
            let free = failure.reason == "CANCELLED" && work.cancelled.is_some();
            let exhausted = attempt >= self.settings.retry.attempts || work.isolation == Isolation::Halving;
            if failure.action == FailureAction::Reject || (exhausted && !free) {
                self.letter(replica, work, row, failure, now);
            } else {
                again.entry((free, attempt, failure.retry_after)).or_default().push((row, failure));
            }
        }
        for ((free, attempt, retry_after), mut group) in again {
            group.sort_by_key(|(row, _)| *row);
            let rows: Vec<u32> = group.iter().map(|(row, _)| *row).collect();
            let contexts = self.failed_contexts(replica, work, &group, free, now);
            let segment = self.take_back(work, &rows, contexts, u32::from(!free), Isolation::None);
            if free {
                self.ready.push_front(segment);
                continue;
            }
            self.books.retried += rows.len() as u64;
            self.postpone(segment, attempt, retry_after, now);
        }
    }

    /// A failure that names no event: the same events again as the same batch, then narrowed down by halves.
    fn fail_whole(&mut self, replica: u32, work: &mut InHand, failure: &Failure, now: Moment) {
        let rows = work.open_rows();
        if rows.is_empty() {
            return;
        }
        if failure.action == FailureAction::Reject {
            let each = rows.into_iter().map(|row| Failure { index: Some(row), ..failure.clone() }).collect();
            self.fail_rows(replica, work, each, now);
            return;
        }
        let group: Vec<(u32, Failure)> = rows.iter().map(|row| (*row, failure.clone())).collect();
        let highest = rows.iter().map(|row| work.attempts.of(*row)).max().unwrap_or(1);
        let exhausted = highest >= self.settings.retry.attempts || work.isolation == Isolation::Halving;
        if !exhausted {
            let contexts = self.failed_contexts(replica, work, &group, false, now);
            let segment = self.take_back(work, &rows, contexts, 1, Isolation::Exact);
            self.books.retried += rows.len() as u64;
            self.postpone(segment, highest, failure.retry_after, now);
        } else if let [row] = rows[..] {
            self.letter(replica, work, row, Failure { index: Some(row), ..failure.clone() }, now);
        } else {
            let contexts = self.failed_contexts(replica, work, &group, false, now);
            let mut second = self.take_back(work, &rows, contexts, 0, Isolation::Halving);
            let first = second.split_front(second.len() / 2);
            self.books.retried += rows.len() as u64;
            self.ready.push_front(second);
            self.ready.push_front(first);
        }
    }

    fn redeliver(&mut self, replica: u32, work: &mut InHand, now: Moment) {
        let rows = work.open_rows();
        if rows.is_empty() {
            return;
        }
        self.end_hops(replica, work, &rows, &Verdict::Redelivered, None, now);
        let contexts = contexts_above(work, &rows);
        let isolation = work.isolation;
        let segment = self.take_back(work, &rows, contexts, 0, isolation);
        self.ready.push_front(segment);
    }

    fn postpone(&mut self, segment: Segment, attempt: u32, retry_after: Option<Duration>, now: Moment) {
        let delay = self.settings.retry.delay(attempt, self.ids.random());
        let delay = delay.max(retry_after.unwrap_or_default().min(MAX_RETRY_AFTER));
        self.retries.push(now + delay, segment);
    }

    /// Closes inputs of a work and makes a segment in memory of its own of them, charged to its edges again.
    fn take_back(
        &mut self,
        work: &mut InHand,
        rows: &[u32],
        contexts: Vec<(u32, SpanContext)>,
        more: u32,
        isolation: Isolation,
    ) -> Segment {
        self.books.in_hand -= rows.len() as u64;
        self.books.waiting += rows.len() as u64;
        let selected = work.batch.select(rows);
        let mut batch = selected.detach();
        if batch.has_spans() || !contexts.is_empty() {
            batch = batch.with_spans(contexts);
        }
        let parts = select_parts(&work.parts, &work.batch, rows);
        for part in &parts {
            let (events, bytes) = (-i64::from(part.rows), -(part.bytes as i64));
            self.actions.push(Action::Room { edge: part.edge, events, bytes });
        }
        Segment { batch, deliveries: work.close(rows), attempts: work.attempts.select(rows, more), parts, isolation }
    }

    fn letter(&mut self, replica: u32, work: &mut InHand, row: u32, failure: Failure, now: Moment) {
        self.books.in_hand -= 1;
        self.books.dead_lettered += 1;
        let context = self.failed_context(replica, work, row, &failure, &Verdict::Rejected, now);
        let attempts = work.attempts.of(row);
        let mut batch: Batch = work.batch.select(&[row]).detach();
        if let Some(context) = context {
            batch = batch.with_spans(vec![(0, context)]);
        }
        let deliveries = work.close(&[row]);
        let Failure { reason, message, .. } = failure;
        self.actions.push(Action::Letter(Letter { batch, deliveries, reason, message, attempts }));
    }

    /// Ends the hops of failed inputs; the contexts that their next attempts start from, by position in the group.
    fn failed_contexts(
        &mut self,
        replica: u32,
        work: &InHand,
        group: &[(u32, Failure)],
        free: bool,
        now: Moment,
    ) -> Vec<(u32, SpanContext)> {
        let verdict = if free { Verdict::Redelivered } else { Verdict::Retry };
        let mut contexts = Vec::new();
        for (position, (row, failure)) in group.iter().enumerate() {
            let known = work.hops.binary_search_by_key(row, |hop| hop.row).ok().map(|place| work.hops[place].clone());
            let context = self.failed_context(replica, work, *row, failure, &verdict, now);
            // Attempts are siblings: the next one hangs below the hop above, as this one did.
            let above = match known {
                Some(hop) => hop.parent.map(|parent| SpanContext { span_id: parent, ..hop.context }),
                None => context,
            };
            contexts.extend(above.map(|context| (position as u32, context)));
        }
        contexts
    }

    /// Ends the hop of a failed input. One that was not sampled becomes so here, that errors can always be traced.
    fn failed_context(
        &mut self,
        replica: u32,
        work: &InHand,
        row: u32,
        failure: &Failure,
        verdict: &Verdict,
        now: Moment,
    ) -> Option<SpanContext> {
        let (context, parent) = match work.hops.binary_search_by_key(&row, |hop| hop.row) {
            Ok(place) => (work.hops[place].context.clone(), work.hops[place].parent),
            Err(_) => (self.ids.new_trace(now)?, None),
        };
        let hop = hop_of(replica, work, row, &context, parent, verdict.clone(), now);
        self.actions.push(Action::Span(Hop {
            reason: Some(failure.reason.clone()),
            message: Some(failure.message.clone()),
            ..hop
        }));
        Some(context)
    }

    fn end_hops(
        &mut self,
        replica: u32,
        work: &InHand,
        rows: &[u32],
        verdict: &Verdict,
        reason: Option<Cow<'static, str>>,
        now: Moment,
    ) {
        for hop in &work.hops {
            if rows.binary_search(&hop.row).is_ok() {
                let ended = hop_of(replica, work, hop.row, &hop.context, hop.parent, verdict.clone(), now);
                self.actions.push(Action::Span(Hop { reason: reason.clone(), ..ended }));
            }
        }
    }
}

/// The contexts from above of the sampled ones among these rows, by position.
fn contexts_above(work: &InHand, rows: &[u32]) -> Vec<(u32, SpanContext)> {
    let place =
        |hop: &super::hop::OpenHop| Some((rows.binary_search(&hop.row).ok()? as u32, hop.parent?, hop.context.clone()));
    let above = work.hops.iter().filter_map(place);
    above.map(|(row, span_id, context)| (row, SpanContext { span_id, ..context })).collect()
}

fn hop_of(
    replica: u32,
    work: &InHand,
    row: u32,
    context: &SpanContext,
    parent: Option<[u8; 8]>,
    verdict: Verdict,
    now: Moment,
) -> Hop {
    let at = row as usize;
    Hop {
        trace_id: context.trace_id,
        span_id: context.span_id,
        parent,
        uid: work.batch.uid(at),
        id: work.batch.id(at).map(str::to_owned),
        source: work.batch.source(at).map(str::to_owned),
        event_type: work.batch.type_(at).map(str::to_owned),
        since: NodeMachine::since_of(work, row),
        dispatched: work.dispatched,
        ended: now,
        replica,
        batch_events: work.rows(),
        attempt: work.attempts.of(row),
        verdict,
        reason: None,
        message: None,
    }
}
