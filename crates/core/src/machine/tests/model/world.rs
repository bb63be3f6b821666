//! The model's state, and how events change it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    super::stage::{Book, MS, ROOM, SECOND, context, events, limits, settings},
    ops::{Op, Setup},
};
use crate::{
    exchange::{Call, Limits, Work, WorkResult},
    machine::{Action, Books, End, Event, Letter, NodeMachine, RetryPolicy, Segment, Settings},
    moment::Moment,
    origin::{Deliveries, Origin, Outcome},
};

pub(super) const EDGES: u32 = 2;

/// Where a row is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Waiting { not_before: Moment, group: Option<usize> },
    InHand,
    Ended,
}

/// A trace as the next attempt must show it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trace {
    pub(super) id: [u8; 16],
    pub(super) parent: [u8; 8],
}

#[derive(Debug)]
pub(super) struct Row {
    pub(super) frame: usize,
    pub(super) edge: u32,
    pub(super) bytes: u64,
    pub(super) place: Place,
    /// The attempt that is in hand or comes next.
    pub(super) attempt: u32,
    pub(super) trace: Option<Trace>,
    /// The `receive` span of the attempt in hand.
    pub(super) open_span: Option<[u8; 8]>,
}

/// Rows that must go alone, in this order.
#[derive(Debug, Clone)]
pub(super) struct Group {
    pub(super) rows: Vec<u32>,
    pub(super) halving: bool,
}

#[derive(Debug)]
pub(super) struct WorkModel {
    pub(super) work: Work,
    pub(super) rows: Vec<u32>,
    pub(super) closed: Vec<bool>,
    pub(super) continuing: Option<u32>,
    pub(super) void: bool,
    pub(super) cancelled: Option<Moment>,
    pub(super) overdue: BTreeSet<u32>,
    pub(super) overdue_whole: bool,
    /// `Some(halving)`: it is a group.
    pub(super) isolated: Option<bool>,
}

impl WorkModel {
    pub(super) fn open(&self) -> Vec<u32> {
        (0..self.rows.len() as u32).filter(|row| !self.closed[*row as usize]).collect()
    }
}

#[derive(Debug, Default)]
pub(super) struct ReplicaModel {
    pub(super) up: bool,
    pub(super) restarting: bool,
    pub(super) resting: bool,
    pub(super) limits: Limits,
    pub(super) heard: Moment,
    pub(super) works: BTreeMap<u64, WorkModel>,
}

/// What an event must bring forth besides new works.
#[derive(Debug, Default)]
pub(super) struct Expected {
    /// The input of each output, `None` for the whole batch, and the frames that the latter hold.
    pub(super) forward: Option<(Vec<Option<u32>>, BTreeSet<usize>)>,
    /// Rows and reasons.
    pub(super) letters: BTreeMap<u32, String>,
    pub(super) warns: bool,
    pub(super) restarts: bool,
    pub(super) cancels: bool,
}

/// Outputs on their way below: frames of own outputs, and frames that a join holds.
pub(super) struct Below {
    pub(super) deliveries: Deliveries,
    pub(super) own: Vec<usize>,
    pub(super) joined: BTreeSet<usize>,
}

pub(super) struct World {
    pub(super) machine: NodeMachine,
    pub(super) policy: RetryPolicy,
    pub(super) timeout: Option<Duration>,
    pub(super) rate: Option<f64>,
    pub(super) tokens: (f64, Moment),
    pub(super) now: Moment,
    pub(super) room: u64,
    pub(super) book: Arc<Book>,
    pub(super) origins: Vec<Origin>,
    pub(super) rows: Vec<Row>,
    pub(super) groups: BTreeMap<usize, Group>,
    pub(super) next_group: usize,
    pub(super) replicas: Vec<ReplicaModel>,
    pub(super) below: Vec<Below>,
    pub(super) letters: Vec<(u32, Letter)>,
    pub(super) charged: [(i64, i64); EDGES as usize],
    pub(super) spans_seen: BTreeSet<[u8; 8]>,
    pub(super) books: Books,
}

impl World {
    pub(super) fn new(setup: &Setup) -> Self {
        let policy = RetryPolicy { attempts: setup.attempts, initial: 100 * MS, max: 2 * SECOND };
        let settings = Settings {
            batch_events: setup.batch_events,
            linger: setup.linger_ms.map(Duration::from_millis),
            timeout: setup.timeout.then_some(10 * SECOND),
            retry: policy,
            rate: setup.rate.map(f64::from),
            ..settings()
        };
        let now = Moment(1_000_000_000_000);
        Self {
            policy,
            timeout: settings.timeout,
            rate: settings.rate,
            tokens: (settings.rate.unwrap_or(0.0), now),
            machine: NodeMachine::new(settings, setup.replicas),
            now,
            room: ROOM,
            book: Arc::default(),
            origins: Vec::new(),
            rows: Vec::new(),
            groups: BTreeMap::new(),
            next_group: 0,
            replicas: (0..setup.replicas).map(|_| ReplicaModel::default()).collect(),
            below: Vec::new(),
            letters: Vec::new(),
            charged: Default::default(),
            spans_seen: BTreeSet::new(),
            books: Books::default(),
        }
    }

    pub(super) fn step(&mut self, op: &Op) {
        match op {
            Op::Arrive { sizes, sampled, split, edge } => self.arrive(sizes, *sampled, *split, *edge),
            Op::Up { replica, works, events, bytes } => {
                let (replica, limits) = (self.replica(*replica), made_limits(*works, *events, *bytes));
                if !self.replicas[replica as usize].up {
                    self.up(replica, limits);
                }
            }
            Op::Down { replica } => {
                let replica = self.replica(*replica);
                if self.replicas[replica as usize].up {
                    let expected = self.lose(replica);
                    self.handle(Event::Down { replica, end: End::Closed }, expected);
                }
            }
            Op::Rest { replica } => {
                let replica = self.replica(*replica);
                if self.replicas[replica as usize].up {
                    self.replicas[replica as usize].resting = true;
                    self.handle(Event::Rest { replica }, Expected::default());
                }
            }
            Op::Limits { replica, works, events, bytes } => {
                let (replica, limits) = (self.replica(*replica), made_limits(*works, *events, *bytes));
                let target = &mut self.replicas[replica as usize];
                if target.up {
                    (target.limits, target.heard) = (limits, self.now);
                    self.handle(Event::Limits { replica, limits }, Expected::default());
                }
            }
            Op::Answer { work, says, of_whole, continued, last, wrong } => {
                if let Some((replica, sequence)) = self.pick(*work) {
                    let (result, expected) = self.answer(replica, sequence, says, *of_whole, *continued, *last, *wrong);
                    self.result(replica, result, expected);
                }
            }
            Op::FailWhole { work, reject, last } => {
                if let Some((replica, sequence)) = self.pick(*work) {
                    let (result, expected) = self.fail_work(replica, sequence, *reject, *last);
                    self.result(replica, result, expected);
                }
            }
            Op::Malformed { work, last } => {
                if let Some((replica, sequence)) = self.pick(*work) {
                    let expected = self.refuse(replica, sequence, *last);
                    self.replicas[replica as usize].heard = self.now;
                    let message = "broken".into();
                    self.handle(Event::Malformed { replica, sequence, last: *last, message }, expected);
                }
            }
            Op::Unknown { replica } => {
                let replica = self.replica(*replica);
                let target = &self.replicas[replica as usize];
                let expected = Expected { restarts: !target.restarting, ..Expected::default() };
                if target.up {
                    let result = WorkResult { sequence: u64::MAX, last: true, ..WorkResult::default() };
                    self.handle(Event::Result { replica, result }, expected);
                }
            }
            Op::Overdue { work, row } => self.overdue(*work, *row),
            Op::Wait { ms } => self.wait(u32::from(*ms) * MS),
            Op::Room { bytes } => {
                self.room = u64::from(*bytes);
                self.handle(Event::Wake, Expected::default());
            }
            Op::Pressed => self.handle(Event::Pressed, Expected::default()),
            Op::Below => self.settle_below(),
        }
    }

    /// Lets everything end: replicas come up, consume all, and time passes.
    pub(super) fn drain(&mut self, room: u64) {
        self.room = room;
        self.handle(Event::InputsEnded, Expected::default());
        for round in 0.. {
            assert!(round < 20_000, "it does not drain: {:?}", self.machine);
            for replica in 0..self.replicas.len() as u32 {
                let target = &self.replicas[replica as usize];
                // One that rests is half-closed once it has nothing in hand.
                if target.restarting || (target.resting && target.works.is_empty()) {
                    let expected = self.lose(replica);
                    self.handle(Event::Down { replica, end: End::Closed }, expected);
                }
                if !self.replicas[replica as usize].up {
                    self.up(replica, limits(2, 100, 4_500));
                }
            }
            if let Some((replica, sequence)) = self.pick(0) {
                let (result, expected) =
                    self.answer(replica, sequence, &[super::ops::Says::Nothing], 0, false, true, super::ops::Wrong::No);
                self.result(replica, result, expected);
            } else if self.machine.is_idle() {
                break;
            } else {
                let at = self.machine.next_deadline().expect("what waits must be due some time");
                self.wait(at - self.now);
            }
        }
        self.settle_below();
        assert_eq!(self.charged, [(0, 0); 2], "room taken must be given back");
        for frame in 0..self.origins.len() {
            assert_eq!(self.book.of(frame as u64), Some(Outcome::Settled), "frame {frame}");
        }
    }

    fn replica(&self, pick: u8) -> u32 {
        u32::from(pick) % self.replicas.len() as u32
    }

    fn pick(&self, pick: u8) -> Option<(u32, u64)> {
        let works: Vec<(u32, u64)> = (0..)
            .zip(&self.replicas)
            .flat_map(|(index, replica)| replica.works.keys().map(move |sequence| (index, *sequence)))
            .collect();
        (!works.is_empty()).then(|| works[usize::from(pick) % works.len()])
    }

    fn arrive(&mut self, sizes: &[u16], sampled: u16, split: u8, edge: u8) {
        let frame = self.origins.len();
        let first = self.rows.len() as u32;
        let sampled = |row: u32| (sampled >> row) & 1 == 1;
        let batch = events((0..).zip(sizes).map(|(row, size)| (first + row, usize::from(*size), sampled(row))));
        let mut rest = Origin::frame(self.book.clone(), frame as u64, batch.len() as u32);
        self.origins.push(rest.origins().remove(0));
        let cut = u32::from(split) % (batch.len() as u32 + 1);
        let front = rest.split_front(cut);
        let edge = u32::from(edge) % EDGES;
        let parts = [(edge, 0..cut, front), ((edge + 1) % EDGES, cut..batch.len() as u32, rest)];
        for (edge, range, _) in &parts {
            for row in range.clone() {
                let trace = context(first + row);
                let trace = Trace { id: trace.trace_id, parent: trace.span_id };
                self.rows.push(Row {
                    frame,
                    edge: *edge,
                    bytes: batch.bytes_of(row as usize) as u64,
                    place: Place::Waiting { not_before: self.now, group: None },
                    attempt: 1,
                    trace: sampled(row).then_some(trace),
                    open_span: None,
                });
            }
        }
        for (edge, range, deliveries) in parts {
            if range.is_empty() {
                continue;
            }
            let part = batch.slice(range.start as usize..range.end as usize);
            self.books.received += part.len() as u64;
            self.books.waiting += part.len() as u64;
            let charge = &mut self.charged[edge as usize];
            *charge = (charge.0 + part.len() as i64, charge.1 + part.bytes() as i64);
            let segment = Segment::arriving(part, deliveries, edge, self.now);
            self.handle_part(Event::Arrived(segment), Expected::default());
        }
        self.check();
    }

    fn up(&mut self, replica: u32, limits: Limits) {
        self.replicas[replica as usize] = ReplicaModel { up: true, limits, heard: self.now, ..ReplicaModel::default() };
        self.handle(Event::Up { replica, limits, reports_progress: true }, Expected::default());
    }

    fn result(&mut self, replica: u32, result: WorkResult, expected: Expected) {
        self.replicas[replica as usize].heard = self.now;
        self.handle(Event::Result { replica, result }, expected);
    }

    fn lose(&mut self, replica: u32) -> Expected {
        let target = &mut self.replicas[replica as usize];
        (target.up, target.restarting, target.resting) = (false, false, false);
        let mut expected = Expected::default();
        for work in std::mem::take(&mut target.works).into_values() {
            self.give_back(work, &mut expected);
        }
        expected
    }

    fn overdue(&mut self, work: u8, row: Option<u8>) {
        let Some((replica, sequence)) = self.pick(work) else { return };
        let now = self.now;
        let target = &mut self.replicas[replica as usize];
        let work = target.works.get_mut(&sequence).unwrap();
        let index = row.map(|row| u32::from(row) % work.rows.len() as u32);
        let mut expected = Expected::default();
        if self.timeout.is_some() {
            target.heard = now;
            match index {
                Some(row) => drop(work.overdue.insert(row)),
                None => work.overdue_whole = true,
            }
            expected.cancels = work.cancelled.is_none();
        }
        let calls = vec![Call { sequence, index, age: 11 * SECOND }];
        self.handle(Event::Progress { replica, calls }, expected);
    }

    fn wait(&mut self, time: Duration) {
        self.now = self.now + time;
        self.handle(Event::Wake, Expected::default());
    }

    fn settle_below(&mut self) {
        self.below.drain(..).for_each(|below| below.deliveries.settle());
        self.letters.drain(..).for_each(|(_, letter)| letter.deliveries.settle());
        self.check();
    }

    fn handle(&mut self, event: Event, expected: Expected) {
        self.handle_part(event, expected);
        self.check();
    }

    fn handle_part(&mut self, event: Event, mut expected: Expected) {
        let mut room = self.room;
        for action in self.machine.handle(event, self.now, room) {
            match action {
                Action::Send { replica, work } => self.sent(replica, work, &mut room),
                Action::Forward { answer, deliveries } => self.forwarded(&answer, deliveries, &mut expected),
                Action::Letter(letter) => self.lettered(letter, &mut expected),
                Action::Span(hop) => self.hop(&hop),
                Action::Cancel { replica, sequence, reason } => {
                    assert_eq!(reason, "TIMEOUT");
                    self.cancelled(replica, sequence, &mut expected);
                }
                Action::Restart { replica, .. } => {
                    let now = self.now;
                    let target = &mut self.replicas[replica as usize];
                    let stuck =
                        target.works.values().filter_map(|work| work.cancelled).any(|at| now - at >= 5 * SECOND);
                    assert!(std::mem::take(&mut expected.restarts) || stuck, "a restart for no reason");
                    assert!(!std::mem::replace(&mut target.restarting, true), "restarted twice");
                }
                Action::Room { edge, events, bytes } => {
                    let charge = &mut self.charged[edge as usize];
                    *charge = (charge.0 - events, charge.1 - bytes);
                }
                // Tested on its own; here it only has to keep everything else right.
                Action::Breaker { .. } | Action::Stalled { .. } => {}
                Action::Outage { .. } | Action::Paused { .. } => panic!("neither is on"),
                Action::Warn { .. } => assert!(std::mem::take(&mut expected.warns), "a warning for no reason"),
                Action::Done { .. } => {}
            }
        }
        assert!(expected.forward.is_none() && expected.letters.is_empty(), "missing: {expected:?}");
        assert!(!expected.warns && !expected.restarts && !expected.cancels, "missing: {expected:?}");
    }

    pub(super) fn new_group(&mut self, rows: Vec<u32>, halving: bool) -> usize {
        self.next_group += 1;
        self.groups.insert(self.next_group, Group { rows, halving });
        self.next_group
    }
}

fn made_limits(works: u8, events: u8, bytes: u8) -> Limits {
    limits(works.into(), events.into(), 400 + 16 * u64::from(bytes))
}
