//! What becomes of inputs that failed or were given back: another attempt, a letter, or a free redelivery.

use std::{collections::BTreeMap, time::Duration};

use super::{
    Action, Letter, NodeMachine,
    accounting::InHand,
    deaths::{End, Suspicion},
    hop::Verdict,
    pause::OnExhausted,
    segment::{Isolation, Segment, wait_again},
    whole,
};
use crate::{
    batch::{Batch, SpanContext},
    exchange::{Action as FailureAction, Failure},
    moment::Moment,
};

/// The longest that a node may postpone a retry by `retry_after`.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3600);

/// What the next try of a failed input costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Price {
    /// Nothing: the handler was stopped at our request.
    Free,
    /// Only time: the input waits behind an earlier one of its key.
    Wait,
    /// Nothing, as far as is known: the node may be out.
    Held,
    /// An attempt.
    Attempt,
}

impl Price {
    fn of(failure: &Failure, work: &InHand) -> Self {
        match &*failure.reason {
            "CANCELLED" if work.cancelled.is_some() => Self::Free,
            "KEY_HELD" => Self::Wait,
            _ => Self::Attempt,
        }
    }
}

/// Failures whose inputs go on together: price, attempt and `retry_after`.
type Fate = (Price, u32, Option<Duration>);

impl NodeMachine {
    /// A work whose replica is gone: calls known to be past the time limit have failed, the rest is redelivered.
    pub(super) fn give_up(&mut self, replica: u32, work: &mut InHand, end: &End, alone: bool, now: Moment) {
        self.halving_in_hand &= work.isolation != Isolation::Halving;
        let limit = self.settings.timeout.unwrap_or_default();
        if work.overdue.whole {
            let message = format!("a call for the whole batch ran longer than {limit:?}");
            self.fail_whole(replica, work, &whole("TIMEOUT", message), now);
            return;
        }
        let open = work.open_rows();
        let overdue = work.overdue.rows.iter().filter(|row| open.binary_search(row).is_ok());
        let failure = whole("TIMEOUT", format!("the call ran longer than {limit:?}"));
        let failures = overdue.map(|row| Failure { index: Some(*row), ..failure.clone() }).collect();
        self.fail_rows(replica, work, failures, now);
        if *end == End::Closed {
            let open = work.open_rows();
            self.redeliver(replica, work, &open, now);
        } else {
            self.suspect(replica, work, end, alone, now);
        }
    }

    /// Retries or letters for inputs that failed by name; failures that name none are passed over.
    pub(super) fn fail_rows(&mut self, replica: u32, work: &mut InHand, failures: Vec<Failure>, now: Moment) {
        let charged = |failure: &&Failure| {
            failure.action == FailureAction::Retry
                && failure.index.is_some()
                && Price::of(failure, work) == Price::Attempt
        };
        if let Some(failure) = failures.iter().find(charged) {
            self.note_failure(work, failure, now);
        }
        let mut again: BTreeMap<Fate, Vec<(u32, Failure)>> = BTreeMap::new();
        for failure in failures {
            let Some(row) = failure.index else { continue };
            let price = match Price::of(&failure, work) {
                Price::Attempt if self.outage.holds() => Price::Held,
                price => price,
            };
            if failure.action == FailureAction::Reject {
                self.letter(replica, work, row, failure, now);
            } else if price == Price::Attempt && self.is_exhausted(work, row) {
                self.exhaust(replica, work, row, failure, Isolation::None, now);
            } else {
                let fate = match price {
                    Price::Free => (price, 0, None),
                    _ => (price, work.attempts.of(row), failure.retry_after),
                };
                again.entry(fate).or_default().push((row, failure));
            }
        }
        for ((price, attempt, retry_after), mut group) in again {
            group.sort_by_key(|(row, _)| *row);
            if price == Price::Free {
                let rows: Vec<u32> = group.iter().map(|(row, _)| *row).collect();
                self.redeliver(replica, work, &rows, now);
                continue;
            }
            let cost = u32::from(price == Price::Attempt);
            let segment = self.retry(replica, work, &group, cost, Isolation::None, now);
            match price {
                Price::Held => self.hold_back(segment, retry_after, now),
                _ => self.postpone(segment, attempt, retry_after, now),
            }
        }
    }

    /// A failure that names no event: the same events again as the same batch; those whose attempts have run out are
    /// narrowed down by halves, until one fails alone. What the work's replica still says of them is ignored.
    pub(super) fn fail_whole(&mut self, replica: u32, work: &mut InHand, failure: &Failure, now: Moment) {
        work.void = true;
        let open = work.open_rows();
        let named = |row: &u32| (*row, Failure { index: Some(*row), ..failure.clone() });
        if failure.action == FailureAction::Reject {
            return open.iter().map(named).for_each(|(row, failure)| self.letter(replica, work, row, failure, now));
        }
        self.note_failure(work, failure, now);
        let narrows = work.isolation == Isolation::Halving;
        if self.outage.holds() && !open.is_empty() {
            let group: Vec<_> = open.iter().map(named).collect();
            let isolation = if narrows { Isolation::Halving } else { Isolation::Exact };
            let segment = self.retry(replica, work, &group, 0, isolation, now);
            return self.hold_back(segment, failure.retry_after, now);
        }
        let ends_here = |row: &&u32| self.is_exhausted(work, **row) || (narrows && open.len() > 1);
        let (exhausted, left): (Vec<u32>, Vec<u32>) = open.iter().partition(ends_here);
        if let ([row], []) = (&exhausted[..], &left[..]) {
            return self.exhaust(replica, work, *row, named(row).1, Isolation::Exact, now);
        }
        if !left.is_empty() {
            let group: Vec<_> = left.iter().map(named).collect();
            let attempt = left.iter().map(|row| work.attempts.of(*row)).max().unwrap_or(1);
            let segment = self.retry(replica, work, &group, 1, Isolation::Exact, now);
            self.postpone(segment, attempt, failure.retry_after, now);
        }
        if !exhausted.is_empty() {
            let group: Vec<_> = exhausted.iter().map(named).collect();
            let segment = self.retry(replica, work, &group, 0, Isolation::Halving, now);
            self.put_halves(segment);
        }
    }

    /// An event has failed alone, or by name, with its last attempt.
    fn exhaust(
        &mut self,
        replica: u32,
        work: &mut InHand,
        row: u32,
        failure: Failure,
        isolation: Isolation,
        now: Moment,
    ) {
        if self.settings.on_exhausted == OnExhausted::DeadLetter {
            return self.letter(replica, work, row, failure, now);
        }
        let group = [(row, failure)];
        let segment = self.retry(replica, work, &group, 0, isolation, now);
        self.pause(segment, &group[0].1, now);
    }

    fn is_exhausted(&self, work: &InHand, row: u32) -> bool {
        work.attempts.of(row) >= self.settings.retry.attempts
    }

    /// Gives inputs back to the front of what waits, at no cost.
    fn redeliver(&mut self, replica: u32, work: &mut InHand, rows: &[u32], now: Moment) {
        if let Some(segment) = self.given_back(replica, work, rows, now) {
            self.ready.push_front(segment);
        }
    }

    /// Makes a segment of inputs that are given back at no cost, as free to be batched and as suspect as the work.
    pub(super) fn given_back(&mut self, replica: u32, work: &mut InHand, rows: &[u32], now: Moment) -> Option<Segment> {
        if rows.is_empty() {
            return None;
        }
        self.end_hops(replica, work, rows, &Verdict::Redelivered, now);
        let above = rows.iter().zip(0..).filter_map(|(row, place)| Some((place, work.hop(*row)?.above())));
        let contexts = above.collect();
        let (isolation, suspicion) = (work.isolation, work.suspicion);
        Some(Segment { suspicion, ..self.take_back(work, rows, contexts, 0, isolation, now) })
    }

    /// Makes a segment of inputs that failed (by ascending row) and will be tried again.
    fn retry(
        &mut self,
        replica: u32,
        work: &mut InHand,
        group: &[(u32, Failure)],
        cost: u32,
        isolation: Isolation,
        now: Moment,
    ) -> Segment {
        self.books.retried += group.len() as u64;
        let mut contexts = Vec::new();
        for ((row, failure), place) in group.iter().zip(0..) {
            let made = self.fail_hop(replica, work, *row, failure, &Verdict::Retry, now);
            // Attempts are siblings: the next one hangs below the hop above, as this one did.
            let above = work.hop(*row).map(super::hop::OpenHop::above).or(made);
            contexts.extend(above.map(|context| (place, context)));
        }
        let rows: Vec<u32> = group.iter().map(|(row, _)| *row).collect();
        self.take_back(work, &rows, contexts, cost, isolation, now)
    }

    fn postpone(&mut self, segment: Segment, attempt: u32, retry_after: Option<Duration>, now: Moment) {
        let delay = self.settings.retry.delay(attempt, self.ids.random());
        let asked = retry_after.unwrap_or_default().min(MAX_RETRY_AFTER);
        self.retries.push(now + delay.max(asked), segment, asked > delay);
    }

    /// Keeps what failed while the node may be out; a time that the node asked for is honoured all the same.
    fn hold_back(&mut self, segment: Segment, retry_after: Option<Duration>, now: Moment) {
        match retry_after.filter(|wait| !wait.is_zero()) {
            Some(wait) => self.retries.push(now + wait.min(MAX_RETRY_AFTER), segment, true),
            None => self.ready.push_back(segment),
        }
    }

    /// Closes inputs of a work and makes a segment in memory of its own of them, charged to its edges again.
    fn take_back(
        &mut self,
        work: &mut InHand,
        rows: &[u32],
        contexts: Vec<(u32, SpanContext)>,
        cost: u32,
        isolation: Isolation,
        now: Moment,
    ) -> Segment {
        self.books.in_hand -= rows.len() as u64;
        self.books.waiting += rows.len() as u64;
        let mut batch = work.batch.select(rows).detach();
        if batch.has_spans() || !contexts.is_empty() {
            batch = batch.with_spans(contexts);
        }
        let parts = wait_again(&work.parts, &work.batch, rows, now);
        for part in &parts {
            let (events, bytes) = (-i64::from(part.rows), -(part.bytes as i64));
            self.actions.push(Action::Room { edge: part.edge, events, bytes });
        }
        Segment {
            batch,
            deliveries: work.close(rows),
            attempts: work.attempts.select(rows, cost),
            parts,
            isolation,
            // An answer, even a failure, is no death; and what is given back says what it was.
            suspicion: Suspicion::default(),
        }
    }

    pub(super) fn letter(&mut self, replica: u32, work: &mut InHand, row: u32, failure: Failure, now: Moment) {
        self.books.in_hand -= 1;
        self.books.dead_lettered += 1;
        let made = self.fail_hop(replica, work, row, &failure, &Verdict::Rejected, now);
        let context = work.hop(row).map(|hop| hop.context.clone()).or(made);
        let mut batch: Batch = work.batch.select(&[row]).detach();
        if let Some(context) = context {
            batch = batch.with_spans(vec![(0, context)]);
        }
        let deliveries = work.close(&[row]);
        let Failure { reason, message, .. } = failure;
        let attempts = work.attempts.of(row);
        self.actions.push(Action::Letter(Letter { batch, deliveries, reason, message, attempts }));
    }
}
