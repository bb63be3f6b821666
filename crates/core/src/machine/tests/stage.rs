//! A machine on a stage: everything around it is made up, and what it does is kept for the test to look at.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::super::{Action, Event, Letter, NodeMachine, OnExhausted, OutagePolicy, RetryPolicy, Segment, Settings};
use crate::{
    batch::{self, Batch, BatchBuilder, SpanContext},
    exchange::{Action as FailureAction, Call, Failure, Limits, Work, WorkResult},
    ids::Uid,
    moment::Moment,
    origin::{Deliveries, Ledger, Origin, Outcome},
    outputs::{NodeIdentity, OutputEvent, Outputs, OutputsBuilder},
};

/// More than any test needs.
pub(super) const ROOM: u64 = 1 << 30;
pub(super) const MS: Duration = Duration::from_millis(1);
pub(super) const SECOND: Duration = Duration::from_secs(1);

/// How frames ended.
#[derive(Debug, Default)]
pub(super) struct Book(Mutex<BTreeMap<u64, Outcome>>);

impl Ledger for Book {
    fn closed(&self, frame: u64, outcome: Outcome) {
        let before = self.0.lock().unwrap().insert(frame, outcome);
        assert_eq!(before, None, "frame {frame} ended twice");
    }

    fn redelivers(&self) -> bool {
        true
    }
}

impl Book {
    pub(super) fn of(&self, frame: u64) -> Option<Outcome> {
        self.0.lock().unwrap().get(&frame).copied()
    }
}

pub(super) fn settings() -> Settings {
    Settings {
        identity: NodeIdentity::new("p", "n", false),
        batch_events: 1024,
        batch_bytes: 1 << 20,
        linger: None,
        latency: 50 * MS,
        timeout: Some(30 * SECOND),
        retry: RetryPolicy { attempts: 3, initial: 100 * MS, max: SECOND },
        on_exhausted: OnExhausted::DeadLetter,
        // What is tested here besides outages is not disturbed by one.
        outage: OutagePolicy { after: 1_000_000 * SECOND, ..OutagePolicy::default() },
        rate: None,
        seed: 7,
    }
}

pub(super) fn uid(number: u32) -> Uid {
    let mut bytes = [0xee; 16];
    bytes[..4].copy_from_slice(&number.to_be_bytes());
    Uid::from_bytes(bytes)
}

/// The number that a [`uid`] was made from.
pub(super) fn number(uid: Uid) -> u32 {
    u32::from_be_bytes(*uid.as_bytes().first_chunk().unwrap())
}

/// The trace context that event `number` arrives with when it is sampled.
pub(super) fn context(number: u32) -> SpanContext {
    let mut trace_id = [1; 16];
    trace_id[..4].copy_from_slice(&number.to_be_bytes());
    let span_id = (u64::from(number) << 8 | 0xff).to_be_bytes();
    SpanContext { trace_id, span_id, flags: 1, trace_state: None }
}

/// Events with these numbers and payload sizes.
pub(super) fn events(numbers: impl IntoIterator<Item = (u32, usize, bool)>) -> Batch {
    let mut builder = BatchBuilder::new();
    for (number, size, sampled) in numbers {
        let (payload, id, span) = (vec![b'x'; size], number.to_string(), context(number));
        let span = sampled.then_some(&span);
        let event =
            batch::Event { payload: &payload, id: Some(&id), uid: Some(uid(number)), span, ..Default::default() };
        builder.push(event).unwrap();
    }
    builder.finish()
}

pub(super) fn limits(works: u32, events: u32, bytes: u64) -> Limits {
    Limits { works, events, bytes }
}

pub(super) fn failure(index: impl Into<Option<u32>>, action: FailureAction, reason: &'static str) -> Failure {
    Failure { index: index.into(), action, reason: reason.into(), message: "why".into(), retry_after: None }
}

pub(super) fn retry(index: impl Into<Option<u32>>) -> Failure {
    failure(index, FailureAction::Retry, "BUSY")
}

pub(super) fn reject(index: impl Into<Option<u32>>) -> Failure {
    failure(index, FailureAction::Reject, "BAD")
}

/// One output for each parent named, `None` for the whole batch.
pub(super) fn outputs(work: &Work, parents: &[Option<u32>], continued: bool) -> Option<Outputs> {
    let mut builder = OutputsBuilder::new(&work.batch);
    for parent in parents {
        builder.emit(*parent, Some(b"out"), OutputEvent::default()).unwrap();
    }
    builder.finish(continued)
}

/// A last result in which everything was consumed.
pub(super) fn consumed(work: &Work) -> WorkResult {
    let consumed = work.batch.len() as u32;
    WorkResult { sequence: work.sequence, consumed, last: true, ..Default::default() }
}

pub(super) struct Stage {
    pub(super) machine: NodeMachine,
    pub(super) now: Moment,
    pub(super) room: u64,
    pub(super) book: Arc<Book>,
    frames: u64,
    next_number: u32,
    /// Works sent and not yet taken by the test.
    pub(super) sent: Vec<(u32, Work)>,
    pub(super) letters: Vec<Letter>,
    pub(super) forwarded: Vec<(Batch, Deliveries)>,
    /// Everything else.
    pub(super) actions: Vec<Action>,
    /// Events and bytes charged to edge 0.
    pub(super) charged: (i64, i64),
}

impl Stage {
    pub(super) fn new(settings: Settings) -> Self {
        Self::with_replicas(settings, 1)
    }

    pub(super) fn with_replicas(settings: Settings, replicas: u32) -> Self {
        Self {
            machine: NodeMachine::new(settings, replicas),
            now: Moment(1_000_000_000_000),
            room: ROOM,
            book: Arc::default(),
            frames: 0,
            next_number: 0,
            sent: Vec::new(),
            letters: Vec::new(),
            forwarded: Vec::new(),
            actions: Vec::new(),
            charged: (0, 0),
        }
    }

    /// With replica 0 up and taking one work at a time.
    pub(super) fn ready(settings: Settings) -> Self {
        let mut stage = Self::new(settings);
        stage.up(0, limits(1, 1000, 1 << 20));
        stage
    }

    pub(super) fn handle(&mut self, event: Event) {
        for action in self.machine.handle(event, self.now, self.room) {
            match action {
                Action::Send { replica, work } => self.sent.push((replica, work)),
                Action::Letter(letter) => self.letters.push(letter),
                Action::Forward { answer, deliveries } => self.forwarded.push((answer.batch, deliveries)),
                Action::Room { events, bytes, .. } => {
                    self.charged.0 -= events;
                    self.charged.1 -= bytes;
                }
                other => self.actions.push(other),
            }
        }
        assert!(self.machine.next_deadline().is_none_or(|at| at > self.now), "the machine would spin");
    }

    pub(super) fn up(&mut self, replica: u32, limits: Limits) {
        self.handle(Event::Up { replica, limits, reports_progress: true });
    }

    /// A frame of `count` events arrives; its number is returned.
    pub(super) fn arrive(&mut self, count: u32) -> u64 {
        let first = self.next_number;
        self.arrive_as(events((first..first + count).map(|number| (number, 10, false))))
    }

    pub(super) fn arrive_as(&mut self, batch: Batch) -> u64 {
        let frame = self.frames;
        self.frames += 1;
        self.next_number += batch.len() as u32;
        self.charged.0 += batch.len() as i64;
        self.charged.1 += batch.bytes() as i64;
        let deliveries = Origin::frame(self.book.clone(), frame, batch.len() as u32);
        self.handle(Event::Arrived(Segment::arriving(batch, deliveries, 0, self.now)));
        frame
    }

    /// The only work that was sent since the last look.
    pub(super) fn work(&mut self) -> Work {
        assert_eq!(self.sent.len(), 1, "{:?}", self.sent);
        self.sent.pop().unwrap().1
    }

    pub(super) fn result(&mut self, result: WorkResult) {
        self.handle(Event::Result { replica: 0, result });
    }

    /// The last result, with these failures and all else consumed.
    pub(super) fn fail(&mut self, work: &Work, failures: Vec<Failure>) {
        let consumed = work.batch.len() as u32 - failures.len() as u32;
        self.result(WorkResult { sequence: work.sequence, failures, consumed, last: true, ..Default::default() });
    }

    pub(super) fn progress(&mut self, sequence: u64, index: impl Into<Option<u32>>, age: Duration) {
        self.handle(Event::Progress { replica: 0, calls: vec![Call { sequence, index: index.into(), age }] });
    }

    pub(super) fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        self.handle(Event::Wake);
    }

    /// Sleeps until the machine wants to be woken.
    pub(super) fn wait_for_deadline(&mut self) {
        self.now = self.machine.next_deadline().expect("something is due later");
        self.handle(Event::Wake);
    }

    pub(super) fn settle_below(&mut self) {
        self.forwarded.drain(..).for_each(|(_, deliveries)| deliveries.settle());
        self.letters.drain(..).for_each(|letter| letter.deliveries.settle());
    }

    pub(super) fn reasons(&self) -> Vec<&str> {
        self.letters.iter().map(|letter| &*letter.reason).collect()
    }
}

/// The numbers of the events of a batch.
pub(super) fn numbers(batch: &Batch) -> Vec<u32> {
    (0..batch.len()).map(|row| number(batch.uid(row))).collect()
}

/// The attempt of every event of a work.
pub(super) fn attempts(work: &Work) -> Vec<u32> {
    work.attempts.as_ref().map_or_else(|| vec![1; work.batch.len()], |attempts| attempts.to_vec())
}
