//! Every action of the machine, held against the model.

use std::collections::BTreeSet;

use super::{
    super::stage::{SECOND, attempts, number, numbers},
    world::{Below, EDGES, Expected, Place, Row, Trace, WorkModel, World},
};
use crate::{
    exchange::{Limits, Work},
    machine::{Hop, Letter, Verdict},
    origin::{Deliveries, Outcome},
    outputs::Answer,
};

impl World {
    pub(super) fn sent(&mut self, replica: u32, work: Work, room: &mut u64) {
        let bytes = work.batch.bytes() as u64;
        let rows = numbers(&work.batch);
        let target = &self.replicas[replica as usize];
        assert!(
            target.up && !target.restarting && !target.resting && (target.works.len() as u32) < target.limits.works
        );
        assert!(rows.len() as u32 <= target.limits.events && bytes <= target.limits.bytes);
        let starved = 2 * bytes > *room;
        assert!(!starved || (self.books.in_hand == 0 && rows.len() == 1), "no room for {bytes} in {room}");
        let full_room = std::mem::replace(room, room.saturating_sub(2 * bytes));
        let limits = target.limits;
        if self.replicas[replica as usize].works.is_empty() {
            self.replicas[replica as usize].heard = self.now;
        }
        let isolated = self.draw_up(&rows, limits, full_room);
        self.pay(rows.len(), isolated.is_some());
        for (at, number) in rows.iter().enumerate() {
            let row = &mut self.rows[*number as usize];
            let Place::Waiting { not_before, .. } = row.place else { panic!("row {number} sent from {row:?}") };
            assert!(not_before <= self.now, "too early");
            assert_eq!(attempts(&work)[at], row.attempt);
            assert!(row.attempt <= self.policy.attempts);
            let span = work.batch.span(at);
            assert_eq!(span.map(|span| span.trace_id), row.trace.map(|trace| trace.id), "row {number}");
            row.open_span = span.map(|span| span.span_id);
            assert!(row.open_span.is_none_or(|span| self.spans_seen.insert(span)), "a span id came twice");
            row.place = Place::InHand;
        }
        self.books.waiting -= rows.len() as u64;
        self.books.in_hand += rows.len() as u64;
        let model = WorkModel {
            closed: vec![false; rows.len()],
            continuing: None,
            void: false,
            cancelled: None,
            overdue: BTreeSet::new(),
            overdue_whole: false,
            isolated,
            rows,
            work,
        };
        let sequence = model.work.sequence;
        assert!(self.replicas[replica as usize].works.insert(sequence, model).is_none(), "a sequence came twice");
    }

    /// Takes the rows out of their group, if they are in one: whole, unless it had to be cut.
    pub(super) fn draw_up(&mut self, rows: &[u32], limits: Limits, room: u64) -> Option<bool> {
        let groups: BTreeSet<Option<usize>> = rows
            .iter()
            .map(|number| match self.rows[*number as usize].place {
                Place::Waiting { group, .. } => group,
                ref place => panic!("row {number} sent while {place:?}"),
            })
            .collect();
        assert_eq!(groups.len(), 1, "isolated events were mixed with others");
        let id = groups.into_iter().next().flatten()?;
        let group = self.groups.get_mut(&id).expect("groups live while their rows wait");
        assert_eq!(group.rows[..rows.len()], *rows);
        let bytes = |rows: &[u32]| rows.iter().map(|number| self.rows[*number as usize].bytes).sum::<u64>();
        if let Some(next) = group.rows.get(rows.len()) {
            let over_bytes =
                bytes(rows) + self.rows[*next as usize].bytes + 40 * (rows.len() as u64 + 1) > limits.bytes;
            let fits = rows.len() < limits.events as usize && !over_bytes;
            let starved = rows.len() == 1 && 2 * bytes(&group.rows) + 80 * group.rows.len() as u64 > room;
            assert!(!fits || starved, "{group:?} was cut at {rows:?}");
        }
        let halving = group.halving;
        if halving {
            let other = self.replicas.iter().flat_map(|replica| replica.works.values());
            assert!(other.into_iter().all(|work| work.isolated != Some(true)), "halves ran side by side");
        }
        group.rows.drain(..rows.len());
        if group.rows.is_empty() {
            self.groups.remove(&id);
        }
        Some(halving)
    }

    /// A batch that must stay whole may go into debt, others may not.
    pub(super) fn pay(&mut self, rows: usize, isolated: bool) {
        let Some(rate) = self.rate else { return };
        let (tokens, at) = self.tokens;
        let tokens = (tokens + (self.now - at).as_secs_f64() * rate).min(rate.max(1.0));
        let needed = if isolated { 1.0 } else { rows as f64 };
        assert!(tokens >= needed - 0.001, "{rows} rows with {tokens} tokens");
        self.tokens = (tokens - rows as f64, self.now);
    }

    pub(super) fn forwarded(&mut self, answer: &Answer, deliveries: Deliveries, expected: &mut Expected) {
        let (parents, frames) = expected.forward.take().expect("outputs for no reason");
        // The model names rows, the answer positions: both in the order of outputs.
        assert_eq!(answer.parents.len(), parents.len());
        assert_eq!((answer.batch.len(), deliveries.len() as usize), (parents.len(), parents.len()));
        let mut own = Vec::new();
        for (output, parent) in parents.iter().enumerate() {
            assert_eq!(answer.parents.get(output).is_some(), parent.is_some());
            let Some(number) = parent else { continue };
            let row = &self.rows[*number as usize];
            assert_eq!(answer.batch.span(output).map(|span| span.span_id), row.open_span, "the receive span goes on");
            own.push(row.frame);
        }
        let joined = if own.len() < parents.len() { frames } else { BTreeSet::new() };
        self.books.produced += parents.len() as u64;
        self.below.push(Below { deliveries, own, joined });
    }

    pub(super) fn lettered(&mut self, letter: Letter, expected: &mut Expected) {
        let row = number(letter.batch.uid(0));
        if letter.reason == "EVENT_TOO_LARGE" {
            let Place::Waiting { group, .. } = self.rows[row as usize].place else { panic!("it was not waiting") };
            let bytes = self.rows[row as usize].bytes;
            assert!(self.replicas.iter().any(|replica| replica.up && replica.limits.bytes < bytes + 40));
            assert_eq!(letter.attempts + 1, self.rows[row as usize].attempt);
            if let Some(id) = group {
                let group = self.groups.get_mut(&id).unwrap();
                assert_eq!(group.rows.remove(0), row);
                if group.rows.is_empty() {
                    self.groups.remove(&id);
                }
            }
            self.books.waiting -= 1;
            self.books.dead_lettered += 1;
            self.rows[row as usize].place = Place::Ended;
        } else {
            let reason = expected.letters.remove(&row).expect("a letter for no reason");
            assert_eq!(letter.reason, reason);
            assert_eq!(letter.attempts, self.rows[row as usize].attempt);
        }
        self.letters.push((row, letter));
    }

    pub(super) fn hop(&mut self, hop: &Hop) {
        let row = &mut self.rows[number(hop.uid) as usize];
        assert!(hop.since <= hop.dispatched && hop.dispatched <= hop.ended && hop.ended == self.now);
        match (row.open_span.take(), row.trace) {
            (Some(span), Some(trace)) => {
                assert_eq!((hop.span_id, hop.trace_id, hop.parent), (span, trace.id, Some(trace.parent)));
            }
            (None, Some(trace)) => {
                assert_eq!((hop.trace_id, hop.parent), (trace.id, Some(trace.parent)));
                assert_eq!(hop.reason.as_deref(), Some("EVENT_TOO_LARGE"), "a second hop for one attempt");
            }
            (_, None) => {
                assert!(hop.parent.is_none() && matches!(hop.verdict, Verdict::Retry | Verdict::Rejected));
                assert!(self.spans_seen.insert(hop.span_id));
                row.trace = Some(Trace { id: hop.trace_id, parent: hop.span_id });
            }
        }
    }

    pub(super) fn cancelled(&mut self, replica: u32, sequence: u64, expected: &mut Expected) {
        let now = self.now;
        let timeout = self.timeout.expect("nothing is cancelled without a time limit");
        let target = &mut self.replicas[replica as usize];
        let oldest = target.works.first_key_value().map(|(sequence, _)| *sequence);
        let work = target.works.get_mut(&sequence).unwrap();
        assert!(work.cancelled.replace(now).is_none(), "cancelled twice");
        if !std::mem::take(&mut expected.cancels) {
            assert!(oldest == Some(sequence) && now - target.heard >= timeout, "cancelled for no reason");
            work.overdue_whole = true;
        }
    }
}

/// What must hold after every event.
impl World {
    pub(super) fn check(&self) {
        assert_eq!(self.machine.books(), self.books);
        assert!(self.machine.next_deadline().is_none_or(|at| at > self.now), "the machine would spin");
        let mut open = vec![0u64; self.origins.len()];
        let mut waiting = [0i64; EDGES as usize];
        for (number, row) in self.rows.iter().enumerate() {
            open[row.frame] += u64::from(row.place != Place::Ended);
            waiting[row.edge as usize] += i64::from(matches!(row.place, Place::Waiting { .. }));
            assert!(row.open_span.is_none() || row.place == Place::InHand, "the hop of row {number} never ended");
        }
        for below in &self.below {
            below.own.iter().chain(&below.joined).for_each(|frame| open[*frame] += 1);
        }
        self.letters.iter().for_each(|(row, _)| open[self.rows[*row as usize].frame] += 1);
        for (frame, origin) in self.origins.iter().enumerate() {
            assert_eq!(origin.open(), open[frame], "frame {frame}");
            let settled = (open[frame] == 0).then_some(Outcome::Settled);
            assert_eq!(self.book.of(frame as u64), settled, "frame {frame}");
        }
        for (charge, waiting) in self.charged.iter().zip(waiting) {
            assert_eq!(charge.0, waiting, "events charged to an edge are those that wait");
            assert!(waiting > 0 || charge.1 == 0, "bytes charged to an empty edge: {}", charge.1);
        }
        self.check_patience();
        self.check_progress();
    }

    pub(super) fn check_patience(&self) {
        let Some(timeout) = self.timeout else { return };
        for replica in self.replicas.iter().filter(|replica| replica.up && !replica.restarting) {
            if let Some(work) = replica.works.values().next() {
                assert!(work.cancelled.is_some() || self.now - replica.heard < timeout, "silence without end");
            }
            let mut cancelled = replica.works.values().filter_map(|work| work.cancelled);
            assert!(cancelled.all(|at| self.now - at < 5 * SECOND), "a cancel without end");
        }
    }

    /// What is due must go, or be about to.
    pub(super) fn check_progress(&self) {
        let due = |row: &&Row| matches!(row.place, Place::Waiting { not_before, group: None } if not_before + 2 * SECOND <= self.now);
        // One of which the breaker is not closed may wait for a probe.
        let in_use = self.replicas.iter().zip(&self.machine.replicas).filter(|(_, state)| state.breaker.is_closed());
        let place = in_use.map(|(replica, _)| replica).any(|replica| {
            replica.up && !replica.restarting && !replica.resting && (replica.works.len() as u32) < replica.limits.works
        });
        if place && self.rows.iter().any(|row| due(&row)) {
            let later = self.machine.next_deadline().is_some();
            assert!(later || self.machine.is_starved(), "events wait for nothing");
        }
    }
}
