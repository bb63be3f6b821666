//! Order under random events: a world that keeps, for each key, what is unfinished, and judges all that the machine does.
//! Its nodes may break the rule that nothing of a key is answered behind an event that is retried.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use proptest::prelude::*;

use super::stage::*;
use crate::{
    batch::{BatchBuilder, Event as BatchEvent},
    exchange::{Action as FailureAction, Call, Failure, Work, WorkResult},
    machine::{
        Action, Event, NodeMachine, OnExhausted, Ordering, OutagePolicy, RetryPolicy, Segment, Settings, deaths::End,
    },
    moment::Moment,
    origin::{Deliveries, Origin, Outcome},
};

/// What a node says of an input.
#[derive(Debug, Clone, Copy)]
enum Says {
    Output,
    /// Nothing, in the last result; else as an output.
    Drop,
    Retry,
    Reject,
    Held,
    Cancelled,
}

#[derive(Debug, Clone)]
enum Op {
    Arrive {
        keys: Vec<u8>,
        edge: u8,
    },
    Up {
        replica: u8,
        works: u8,
        events: u8,
    },
    Down {
        replica: u8,
        how: u8,
    },
    Rest {
        replica: u8,
    },
    /// Names the next rows of a work, in order. `miscounts`: the last result is one off.
    Answer {
        work: u8,
        rows: u8,
        says: Vec<Says>,
        last: bool,
        obeys: bool,
        miscounts: bool,
    },
    FailWhole {
        work: u8,
        last: bool,
    },
    Malformed {
        work: u8,
        last: bool,
    },
    Overdue {
        work: u8,
        row: Option<u8>,
    },
    Wait {
        ms: u16,
    },
    Room {
        bytes: u16,
    },
    Resume,
}

fn op() -> impl Strategy<Value = Op> {
    let says = prop_oneof![
        6 => Just(Says::Output),
        2 => Just(Says::Drop),
        3 => Just(Says::Retry),
        1 => Just(Says::Reject),
        1 => Just(Says::Held),
        1 => Just(Says::Cancelled),
    ];
    prop_oneof![
        6 => (prop::collection::vec(0u8..5, 1..8), any::<u8>()).prop_map(|(keys, edge)| Op::Arrive { keys, edge }),
        4 => (any::<u8>(), 1u8..4, 1u8..7).prop_map(|(replica, works, events)| Op::Up { replica, works, events }),
        2 => (any::<u8>(), 0u8..3).prop_map(|(replica, how)| Op::Down { replica, how }),
        1 => any::<u8>().prop_map(|replica| Op::Rest { replica }),
        10 => (any::<u8>(), 0u8..6, prop::collection::vec(says, 1..5), any::<bool>(), any::<bool>(), prop::bool::weighted(0.1))
            .prop_map(|(work, rows, says, last, obeys, miscounts)| Op::Answer { work, rows, says, last, obeys, miscounts }),
        2 => (any::<u8>(), any::<bool>()).prop_map(|(work, last)| Op::FailWhole { work, last }),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(work, last)| Op::Malformed { work, last }),
        1 => (any::<u8>(), any::<Option<u8>>()).prop_map(|(work, row)| Op::Overdue { work, row }),
        5 => (0u16..3000).prop_map(|ms| Op::Wait { ms }),
        1 => (0u16..2000).prop_map(|bytes| Op::Room { bytes }),
        1 => Just(Op::Resume),
    ]
}

#[derive(Debug, Default)]
struct Row {
    key: u8,
    sent: bool,
    /// Outputs of it have gone on, or it became a letter.
    ended: bool,
}

/// A work as its node sees it.
#[derive(Debug)]
struct InHand {
    work: Work,
    rows: Vec<u32>,
    named: usize,
    dropped: u32,
    /// Keys of which it has retried an event.
    retried: BTreeSet<u8>,
}

#[derive(Debug, Default)]
struct ReplicaModel {
    up: bool,
    resting: bool,
    restarting: bool,
}

struct World {
    machine: NodeMachine,
    ordering: Ordering,
    now: Moment,
    room: u64,
    book: Arc<Book>,
    frames: u64,
    rows: Vec<Row>,
    works: BTreeMap<(u32, u64), InHand>,
    replicas: Vec<ReplicaModel>,
    /// The latest of each key of which outputs have gone on.
    last: BTreeMap<u8, u32>,
    letters: BTreeSet<u32>,
    below: Vec<Deliveries>,
    charged: [i64; 2],
}

const NO_KEY: u8 = 4;

impl World {
    fn new(ordering: Ordering, replicas: u32, attempts: u32, on_exhausted: OnExhausted, outage: Duration) -> Self {
        let retry = RetryPolicy { attempts, initial: 100 * MS, max: SECOND };
        let outage = OutagePolicy { after: outage, probe_initial: 300 * MS, probe_max: SECOND, ..Default::default() };
        let settings = Settings { ordering, retry, on_exhausted, outage, ..settings() };
        Self {
            machine: NodeMachine::new(settings, replicas),
            ordering,
            now: Moment(1_000_000_000_000),
            room: ROOM,
            book: Arc::default(),
            frames: 0,
            rows: Vec::new(),
            works: BTreeMap::new(),
            replicas: (0..replicas).map(|_| ReplicaModel::default()).collect(),
            last: BTreeMap::new(),
            letters: BTreeSet::new(),
            below: Vec::new(),
            charged: [0; 2],
        }
    }

    /// The line that an event is in.
    fn line(&self, row: u32) -> Option<u8> {
        match (self.ordering, self.rows[row as usize].key) {
            (Ordering::All, _) => Some(0),
            (_, NO_KEY) => None,
            (_, key) => Some(key),
        }
    }

    fn step(&mut self, op: &Op) {
        let count = self.replicas.len() as u32;
        match op {
            Op::Arrive { keys, edge } => self.arrive(keys, u32::from(edge % 2)),
            Op::Up { replica, works, events } => {
                let replica = u32::from(*replica) % count;
                if !self.replicas[replica as usize].up {
                    self.up(replica, (*works).into(), (*events).into());
                }
            }
            Op::Down { replica, how } => {
                let replica = u32::from(*replica) % count;
                let words = String::from("was lost");
                self.down(
                    replica,
                    match how {
                        0 => End::Closed,
                        1 => End::Died { words },
                        _ => End::Lost { why: words },
                    },
                );
            }
            Op::Rest { replica } => {
                let replica = u32::from(*replica) % count;
                if self.replicas[replica as usize].up {
                    self.replicas[replica as usize].resting = true;
                    self.handle(Event::Rest { replica });
                }
            }
            Op::Answer { work, rows, says, last, obeys, miscounts } => {
                if let Some(at) = self.pick(*work) {
                    self.answer(at, *rows, says, *last, *obeys, *miscounts);
                }
            }
            Op::FailWhole { work, last } => {
                if let Some(at @ (replica, sequence)) = self.pick(*work) {
                    self.end(at, *last);
                    let failures = vec![retry(None)];
                    let result = WorkResult { sequence, failures, last: *last, ..Default::default() };
                    self.handle(Event::Result { replica, result });
                }
            }
            Op::Malformed { work, last } => {
                if let Some(at @ (replica, sequence)) = self.pick(*work) {
                    self.end(at, *last);
                    self.handle(Event::Malformed { replica, sequence, last: *last, message: "broken".into() });
                }
            }
            Op::Overdue { work, row } => {
                if let Some(at @ (replica, sequence)) = self.pick(*work) {
                    let rows = self.works[&at].rows.len() as u32;
                    let index = row.map(|row| u32::from(row) % rows);
                    let calls = vec![Call { sequence, index, age: 31 * SECOND }];
                    self.handle(Event::Progress { replica, calls });
                }
            }
            Op::Resume => self.handle(Event::Resume),
            Op::Wait { ms } => {
                self.now = self.now + u32::from(*ms) * MS;
                self.handle(Event::Wake);
            }
            Op::Room { bytes } => {
                self.room = u64::from(*bytes);
                self.handle(Event::Wake);
                self.room = ROOM;
                self.handle(Event::Wake);
            }
        }
        self.nothing_waits_for_nothing();
    }

    fn arrive(&mut self, keys: &[u8], edge: u32) {
        let mut builder = BatchBuilder::new();
        for key in keys {
            let (number, text) = (self.rows.len() as u32, key.to_string());
            let key_of = Some(text.as_str()).filter(|_| *key != NO_KEY);
            let event =
                BatchEvent { payload: b"0123456789", key: key_of, uid: Some(uid(number)), ..Default::default() };
            builder.push(event).unwrap();
            self.rows.push(Row { key: *key, ..Row::default() });
        }
        let batch = builder.finish();
        let deliveries = Origin::frame(self.book.clone(), self.frames, keys.len() as u32);
        self.frames += 1;
        self.charged[edge as usize] += batch.bytes() as i64;
        self.handle(Event::Arrived(Segment::arriving(batch, deliveries, edge, self.now)));
    }

    fn up(&mut self, replica: u32, works: u32, events: u32) {
        self.replicas[replica as usize] = ReplicaModel { up: true, ..ReplicaModel::default() };
        self.handle(Event::Up { replica, limits: limits(works, events, 1 << 20), reports_progress: true });
    }

    fn down(&mut self, replica: u32, end: End) {
        if std::mem::take(&mut self.replicas[replica as usize]).up {
            self.works.retain(|(at, _), _| *at != replica);
            self.handle(Event::Down { replica, end });
        }
    }

    fn pick(&self, pick: u8) -> Option<(u32, u64)> {
        let places: Vec<_> = self.works.keys().copied().collect();
        (!places.is_empty()).then(|| places[usize::from(pick) % places.len()])
    }

    /// A node that has failed as a whole says nothing more than that it is over.
    fn end(&mut self, at: (u32, u64), last: bool) {
        if last {
            self.works.remove(&at);
        } else {
            let work = self.works.get_mut(&at).unwrap();
            work.named = work.rows.len();
        }
    }

    fn answer(&mut self, at: (u32, u64), rows: u8, says: &[Says], last: bool, obeys: bool, miscounts: bool) {
        let lines: Vec<Option<u8>> = self.works[&at].rows.iter().map(|row| self.line(*row)).collect();
        let work = self.works.get_mut(&at).unwrap();
        let until = if last { work.rows.len() } else { work.rows.len().min(work.named + usize::from(rows)) };
        let (mut parents, mut failures): (Vec<Option<u32>>, Vec<Failure>) = Default::default();
        for row in work.named..until {
            let index = row as u32;
            let held = lines[row].is_some_and(|line| work.retried.contains(&line));
            let comes_again = match says[row % says.len()] {
                _ if held && obeys => Some("KEY_HELD"),
                Says::Drop if last => {
                    work.dropped += 1;
                    None
                }
                Says::Output | Says::Drop => {
                    parents.push(Some(index));
                    None
                }
                Says::Reject => {
                    failures.push(reject(index));
                    None
                }
                Says::Retry => Some("BUSY"),
                Says::Held => Some("KEY_HELD"),
                Says::Cancelled => Some("CANCELLED"),
            };
            if let Some(reason) = comes_again {
                failures.push(failure(index, FailureAction::Retry, reason));
                work.retried.extend(lines[row]);
            }
        }
        work.named = until;
        let consumed = work.dropped + u32::from(miscounts);
        let outputs = outputs(&work.work, &parents, false);
        let result = WorkResult { sequence: at.1, outputs, failures, consumed, last, ..Default::default() };
        if last {
            self.works.remove(&at);
        }
        self.handle(Event::Result { replica: at.0, result });
    }

    fn handle(&mut self, event: Event) {
        for action in self.machine.handle(event, self.now, self.room) {
            match action {
                Action::Send { replica, work } => self.sent(replica, work),
                Action::Forward { answer, deliveries } => {
                    numbers(&answer.batch).into_iter().for_each(|row| self.passed_on(row));
                    self.below.push(deliveries);
                }
                Action::Letter(letter) => {
                    for row in numbers(&letter.batch) {
                        assert!(!self.rows[row as usize].ended && self.letters.insert(row));
                        self.rows[row as usize].ended = true;
                    }
                    self.below.push(letter.deliveries);
                }
                Action::Restart { replica, .. } => self.replicas[replica as usize].restarting = true,
                Action::Room { edge, bytes, .. } => self.charged[edge as usize] -= bytes,
                _ => {}
            }
        }
        assert!(self.machine.next_deadline().is_none_or(|at| at > self.now), "the machine would spin");
    }

    fn sent(&mut self, replica: u32, work: Work) {
        let rows = numbers(&work.batch);
        let lines: BTreeSet<u8> = rows.iter().filter_map(|row| self.line(*row)).collect();
        for (at, other) in &self.works {
            let shared = other.rows.iter().filter_map(|row| self.line(*row)).find(|line| lines.contains(line));
            assert_eq!(shared, None, "a key of work {at:?} went to replica {replica} as well");
        }
        for (place, row) in rows.iter().enumerate() {
            let Some(line) = self.line(*row) else { continue };
            assert!(self.last.get(&line).is_none_or(|last| last < row), "event {row} goes behind a later one");
            let before = rows[..place].iter().filter(|other| self.line(**other) == Some(line));
            assert!(before.clone().all(|other| other < row), "the work has its events out of order");
            let unsent = (0..*row).find(|other| self.line(*other) == Some(line) && !self.rows[*other as usize].sent);
            assert!(unsent.is_none_or(|other| rows[..place].contains(&other)), "event {unsent:?} was passed by {row}");
        }
        rows.iter().for_each(|row| self.rows[*row as usize].sent = true);
        let state = InHand { work: work.clone(), rows, named: 0, dropped: 0, retried: BTreeSet::new() };
        assert!(self.works.insert((replica, work.sequence), state).is_none());
    }

    fn passed_on(&mut self, row: u32) {
        assert!(!std::mem::replace(&mut self.rows[row as usize].ended, true), "event {row} went on twice");
        if let Some(line) = self.line(row) {
            let before = self.last.insert(line, row);
            assert!(before.is_none_or(|before| before < row), "{row} went on behind {before:?}");
        }
    }

    /// An event of which nothing is known but that it is the first of its key does not wait while all replicas are idle.
    fn nothing_waits_for_nothing(&self) {
        let in_use = |replica: &ReplicaModel| replica.up && !replica.resting && !replica.restarting;
        let idle = self.works.is_empty() && self.machine.condition().is_none();
        if !idle || !self.replicas.iter().any(in_use) {
            return;
        }
        let mut seen = BTreeSet::new();
        for row in 0..self.rows.len() as u32 {
            let is_first = self.line(row).is_none_or(|line| seen.insert(line));
            assert!(!is_first || self.rows[row as usize].sent, "event {row} waits: {:?}", self.machine);
        }
    }

    /// Lets everything end: replicas come up and answer all.
    fn drain(&mut self) {
        for round in 0.. {
            assert!(round < 20_000, "it does not drain: {:?}", self.machine);
            for replica in 0..self.replicas.len() as u32 {
                if self.replicas[replica as usize].restarting || self.replicas[replica as usize].resting {
                    self.down(replica, End::Closed);
                }
                if !self.replicas[replica as usize].up {
                    self.up(replica, 2, 10);
                }
            }
            if let Some(at) = self.pick(0) {
                self.answer(at, 0, &[Says::Output], true, true, false);
            } else if self.machine.is_idle() {
                break;
            } else if self.machine.paused_events().is_some() {
                self.handle(Event::Resume);
            } else {
                self.now = self.machine.next_deadline().expect("what waits must be due some time");
                self.handle(Event::Wake);
            }
        }
        self.below.drain(..).for_each(Deliveries::settle);
        assert_eq!(self.charged, [0; 2], "room taken must be given back");
        for frame in 0..self.frames {
            assert_eq!(self.book.of(frame), Some(Outcome::Settled), "frame {frame}");
        }
        let books = self.machine.books();
        assert_eq!(books.received, self.rows.len() as u64);
        assert_eq!(books.dead_lettered, self.letters.len() as u64);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: ProptestConfig::default().cases.max(512), ..ProptestConfig::default() })]

    #[test]
    fn every_key_keeps_its_order_and_waits_for_no_other(
        replicas in 1u32..4,
        attempts in 1u32..4,
        all in prop::bool::weighted(0.25),
        pauses in prop::bool::weighted(0.2),
        outage in prop_oneof![Just(1000 * SECOND), Just(SECOND)],
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let on_exhausted = if pauses { OnExhausted::Pause } else { OnExhausted::DeadLetter };
        let (ordering, replicas) = if all { (Ordering::All, 1) } else { (Ordering::Key, replicas) };
        let mut world = World::new(ordering, replicas, attempts, on_exhausted, outage);
        for op in &ops {
            world.step(op);
        }
        world.drain();
    }
}
