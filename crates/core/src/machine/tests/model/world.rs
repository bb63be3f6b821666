//! The model's state, and the check of every action against it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use super::{
    super::stage::{Book, MS, ROOM, SECOND, attempts, context, events, limits, number, numbers, settings},
    ops::{Op, Setup},
};
use crate::{
    exchange::{Call, Limits, Work, WorkResult},
    machine::{Action, Books, Event, Hop, Letter, NodeMachine, RetryPolicy, Segment, Settings, Verdict},
    moment::Moment,
    origin::{Deliveries, Origin, Outcome},
    outputs::Answer,
};

const EDGES: u32 = 2;

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
    id: [u8; 16],
    parent: [u8; 8],
}

#[derive(Debug)]
pub(super) struct Row {
    pub(super) frame: usize,
    edge: u32,
    bytes: u64,
    pub(super) place: Place,
    /// The attempt that is in hand or comes next.
    pub(super) attempt: u32,
    trace: Option<Trace>,
    /// The `receive` span of the attempt in hand.
    open_span: Option<[u8; 8]>,
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
    up: bool,
    restarting: bool,
    limits: Limits,
    heard: Moment,
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
struct Below {
    deliveries: Deliveries,
    own: Vec<usize>,
    joined: BTreeSet<usize>,
}

pub(super) struct World {
    machine: NodeMachine,
    pub(super) policy: RetryPolicy,
    timeout: Option<Duration>,
    rate: Option<f64>,
    tokens: (f64, Moment),
    pub(super) now: Moment,
    room: u64,
    book: Arc<Book>,
    origins: Vec<Origin>,
    pub(super) rows: Vec<Row>,
    pub(super) groups: BTreeMap<usize, Group>,
    next_group: usize,
    pub(super) replicas: Vec<ReplicaModel>,
    below: Vec<Below>,
    letters: Vec<(u32, Letter)>,
    charged: [(i64, i64); EDGES as usize],
    spans_seen: BTreeSet<[u8; 8]>,
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
                    self.handle(Event::Down { replica }, expected);
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
                if self.replicas[replica as usize].restarting {
                    let expected = self.lose(replica);
                    self.handle(Event::Down { replica }, expected);
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
        self.replicas[replica as usize] =
            ReplicaModel { up: true, limits, heard: self.now, ..ReplicaModel::default() };
        self.handle(Event::Up { replica, limits, reports_progress: true }, Expected::default());
    }

    fn result(&mut self, replica: u32, result: WorkResult, expected: Expected) {
        self.replicas[replica as usize].heard = self.now;
        self.handle(Event::Result { replica, result }, expected);
    }

    fn lose(&mut self, replica: u32) -> Expected {
        let target = &mut self.replicas[replica as usize];
        (target.up, target.restarting) = (false, false);
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
                    let stuck = target.works.values().filter_map(|work| work.cancelled).any(|at| now - at >= 5 * SECOND);
                    assert!(std::mem::take(&mut expected.restarts) || stuck, "a restart for no reason");
                    assert!(!std::mem::replace(&mut target.restarting, true), "restarted twice");
                }
                Action::Room { edge, events, bytes } => {
                    let charge = &mut self.charged[edge as usize];
                    *charge = (charge.0 - events, charge.1 - bytes);
                }
                Action::Warn { .. } => assert!(std::mem::take(&mut expected.warns), "a warning for no reason"),
                Action::Done { .. } => {}
            }
        }
        assert!(expected.forward.is_none() && expected.letters.is_empty(), "missing: {expected:?}");
        assert!(!expected.warns && !expected.restarts && !expected.cancels, "missing: {expected:?}");
    }

    fn sent(&mut self, replica: u32, work: Work, room: &mut u64) {
        let bytes = work.batch.bytes() as u64;
        let rows = numbers(&work.batch);
        let target = &self.replicas[replica as usize];
        assert!(target.up && !target.restarting && (target.works.len() as u32) < target.limits.works);
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
    fn draw_up(&mut self, rows: &[u32], limits: Limits, room: u64) -> Option<bool> {
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
            let over_bytes = bytes(rows) + self.rows[*next as usize].bytes + 40 * (rows.len() as u64 + 1) > limits.bytes;
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
    fn pay(&mut self, rows: usize, isolated: bool) {
        let Some(rate) = self.rate else { return };
        let (tokens, at) = self.tokens;
        let tokens = (tokens + (self.now - at).as_secs_f64() * rate).min(rate.max(1.0));
        let needed = if isolated { 1.0 } else { rows as f64 };
        assert!(tokens >= needed - 0.001, "{rows} rows with {tokens} tokens");
        self.tokens = (tokens - rows as f64, self.now);
    }

    fn forwarded(&mut self, answer: &Answer, deliveries: Deliveries, expected: &mut Expected) {
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

    fn lettered(&mut self, letter: Letter, expected: &mut Expected) {
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

    fn hop(&mut self, hop: &Hop) {
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

    fn cancelled(&mut self, replica: u32, sequence: u64, expected: &mut Expected) {
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

    pub(super) fn new_group(&mut self, rows: Vec<u32>, halving: bool) -> usize {
        self.next_group += 1;
        self.groups.insert(self.next_group, Group { rows, halving });
        self.next_group
    }

    /// What must hold after every event.
    fn check(&self) {
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

    fn check_patience(&self) {
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
    fn check_progress(&self) {
        let due = |row: &&Row| matches!(row.place, Place::Waiting { not_before, group: None } if not_before + 2 * SECOND <= self.now);
        let place = self
            .replicas
            .iter()
            .any(|replica| replica.up && !replica.restarting && (replica.works.len() as u32) < replica.limits.works);
        if place && self.rows.iter().any(|row| due(&row)) {
            let later = self.machine.next_deadline().is_some();
            assert!(later || self.machine.is_starved(), "events wait for nothing");
        }
    }
}

fn made_limits(works: u8, events: u8, bytes: u8) -> Limits {
    limits(works.into(), events.into(), 400 + 16 * u64::from(bytes))
}
