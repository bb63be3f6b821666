//! Everything at once: far sides that come and go, replicas that die, rest and come back, batches that fail as wholes.
//! Nothing is stuck, nothing is lost, and no event becomes a letter that has not killed.

use std::{collections::BTreeSet, time::Duration};

use proptest::prelude::*;

use super::{
    outage::careful,
    stage::{MS, SECOND, Stage, consumed, limits, number, numbers, retry},
};
use crate::{
    exchange::{Work, WorkResult},
    machine::{BreakerState, End, Event, RetryPolicy, Standstill},
    origin::Outcome,
};

/// What happens next.
#[derive(Debug, Clone, Copy)]
enum Op {
    /// Events arrive.
    Arrive(u8),
    /// A work, picked by number, is answered; if it fails, as a whole or by name.
    Answer(u8, bool),
    /// A replica's process ends, and is up again.
    Die(u8),
    /// A replica is restarted, once it is seen to have nothing in hand.
    Rest(u8),
    /// Time passes.
    Wait(u16),
    /// The far side comes or goes.
    Switch,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        2 => (1u8..20).prop_map(Op::Arrive),
        20 => (any::<u8>(), any::<bool>()).prop_map(|(work, whole)| Op::Answer(work, whole)),
        1 => any::<u8>().prop_map(Op::Die),
        1 => any::<u8>().prop_map(Op::Rest),
        8 => (0u16..5_000).prop_map(Op::Wait),
        1 => Just(Op::Switch),
    ]
}

struct Play {
    stage: Stage,
    replicas: u32,
    up: bool,
    bad: BTreeSet<u32>,
    resting: BTreeSet<u32>,
    frames: u64,
    arrived: u32,
    delivered: BTreeSet<u32>,
}

impl Play {
    fn new(replicas: u32, bad: BTreeSet<u32>) -> Self {
        let mut settings = careful();
        // More than can be spent here: whatever becomes a letter does so for another reason.
        settings.retry = RetryPolicy { attempts: 1_000_000, initial: 100 * MS, max: SECOND };
        let stage = Stage::with_replicas(settings, replicas);
        let (resting, delivered) = Default::default();
        let mut play = Self { stage, replicas, up: true, bad, resting, frames: 0, arrived: 0, delivered };
        (0..replicas).for_each(|replica| play.start(replica));
        play
    }

    fn start(&mut self, replica: u32) {
        self.resting.remove(&replica);
        self.stage.up(replica, limits(2, 8, 1 << 20));
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Arrive(count) => {
                self.stage.arrive(count.into());
                self.arrived += u32::from(count);
                self.frames += 1;
            }
            Op::Answer(..) if self.stage.sent.is_empty() => {}
            Op::Answer(pick, whole) => {
                let (replica, work) = self.stage.sent.remove(usize::from(pick) % self.stage.sent.len());
                self.answer(replica, &work, whole);
            }
            Op::Die(pick) => self.end(u32::from(pick) % self.replicas, &End::Died { words: "signal 11".into() }),
            Op::Rest(pick) => {
                let replica = u32::from(pick) % self.replicas;
                self.resting.insert(replica);
                self.stage.handle(Event::Rest { replica });
            }
            Op::Wait(ms) => self.stage.wait(MS * u32::from(ms)),
            Op::Switch => self.up = !self.up,
        }
        for replica in self.resting.clone() {
            if self.stage.machine.works_in_hand(replica) == 0 {
                self.end(replica, &End::Closed);
            }
        }
        self.check();
    }

    fn end(&mut self, replica: u32, end: &End) {
        self.stage.sent.retain(|(at, _)| *at != replica);
        self.stage.handle(Event::Down { replica, end: end.clone() });
        self.start(replica);
    }

    fn answer(&mut self, replica: u32, work: &Work, whole: bool) {
        let inputs = numbers(&work.batch);
        let fails = |number: &u32| !self.up || self.bad.contains(number);
        let failed: Vec<u32> = (0..).zip(&inputs).filter(|(_, number)| fails(number)).map(|(row, _)| row).collect();
        let failures = match (whole, failed.is_empty()) {
            (_, true) => Vec::new(),
            (true, false) => vec![retry(None)],
            (false, false) => failed.iter().copied().map(retry).collect(),
        };
        let open = if whole && !failed.is_empty() { inputs.len() } else { failed.len() };
        if open < inputs.len() {
            let taken = (0..).zip(&inputs).filter(|(row, _)| !failed.contains(row)).map(|(_, number)| *number);
            taken.for_each(|number| assert!(self.delivered.insert(number), "event {number} was delivered twice"));
        }
        let consumed = (inputs.len() - open) as u32;
        let result = WorkResult { failures, consumed, ..consumed_none(work) };
        self.stage.handle(Event::Result { replica, result });
    }

    /// What always holds.
    fn check(&mut self) {
        let machine = &self.stage.machine;
        let usable = |replica: &u32| !self.resting.contains(replica);
        let open = |replica: u32| machine.breaker(replica) == BreakerState::Open;
        let all_open = (0..self.replicas).filter(usable).all(open);
        assert!(self.resting.len() as u32 == self.replicas || !all_open, "no replica is in use");
        let letters = self.stage.letters.iter();
        assert!(letters.clone().all(|letter| letter.reason == "POISON"), "{:?}", self.stage.reasons());
        for letter in letters {
            assert!(!self.delivered.contains(&number(letter.batch.uid(0))));
        }
        if machine.condition().is_some_and(|condition| condition.standstill == Standstill::Paused) {
            panic!("nothing pauses here");
        }
    }

    /// All is well from now on.
    fn finish(&mut self) {
        self.up = true;
        self.bad.clear();
        let end = self.stage.now + Duration::from_secs(600);
        while !self.stage.machine.is_idle() {
            assert!(self.stage.now < end, "it is stuck: {:?}", self.stage.machine);
            if self.stage.sent.is_empty() {
                self.stage.wait_for_deadline();
            } else {
                self.stage.now = self.stage.now + MS;
                self.step(Op::Answer(0, false));
            }
        }
        assert_eq!(self.delivered.len() + self.stage.letters.len(), self.arrived as usize);
        assert_eq!(self.stage.charged, (0, 0));
        self.stage.settle_below();
        assert!((0..self.frames).all(|frame| self.stage.book.of(frame) == Some(Outcome::Settled)));
    }
}

fn consumed_none(work: &Work) -> WorkResult {
    WorkResult { consumed: 0, ..consumed(work) }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_stuck_and_nothing_is_lost(
        replicas in 1u32..4,
        bad in prop::collection::btree_set(0u32..40, 0..5),
        ops in prop::collection::vec(op(), 1..300),
    ) {
        let mut play = Play::new(replicas, bad);
        play.step(Op::Arrive(5));
        for op in ops {
            play.step(op);
        }
        play.finish();
    }
}
