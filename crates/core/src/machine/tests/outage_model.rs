//! Far sides that come and go under random traffic, against a model of when a node is out: it knows which attempt every
//! event is at, when a probe may go and which, and what must be said.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use proptest::prelude::*;

use super::{
    outage::careful,
    stage::{MS, SECOND, Stage, attempts, limits, number, numbers, retry},
};
use crate::{
    exchange::Work,
    machine::{Action, Event},
    moment::Moment,
    origin::Outcome,
};

/// What the test does next.
#[derive(Debug, Clone, Copy)]
enum Op {
    /// Events arrive.
    Arrive(u8),
    /// A work, picked by number, is answered after some time.
    Answer(u8, u16),
    /// Nothing happens for a while.
    Wait(u16),
    /// The far side comes or goes.
    Switch,
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        1 => (1u8..8).prop_map(Op::Arrive),
        12 => (any::<u8>(), 0u16..2_000).prop_map(|(work, ms)| Op::Answer(work, ms)),
        3 => (0u16..20_000).prop_map(Op::Wait),
        1 => Just(Op::Switch),
    ]
}

/// Works held back.
#[derive(Debug)]
struct Hold {
    next_probe: Moment,
    gap: Duration,
    failed: BTreeSet<u32>,
    proven: bool,
}

struct Model {
    stage: Stage,
    up: bool,
    bad: BTreeSet<u32>,
    most: u32,
    /// Which attempt the next one is, of every event that has not ended.
    attempts: BTreeMap<u32, u32>,
    failing_since: Option<Moment>,
    hold: Option<Hold>,
    in_hand: Vec<(Work, bool)>,
    delivered: BTreeSet<u32>,
    frames: u64,
}

impl Model {
    fn new(works: u32, events: u32, most: u32, bad: BTreeSet<u32>) -> Self {
        let mut settings = careful();
        settings.retry.attempts = most;
        let mut stage = Stage::new(settings);
        stage.up(0, limits(works, events, 1 << 20));
        let (attempts, in_hand, delivered) = Default::default();
        Self { stage, up: true, bad, most, attempts, failing_since: None, hold: None, in_hand, delivered, frames: 0 }
    }

    fn arrive(&mut self, count: u8) {
        let first = self.attempts.len() + self.delivered.len() + self.stage.letters.len();
        self.attempts.extend((first as u32..).take(count.into()).map(|number| (number, 1)));
        self.stage.arrive(count.into());
        self.frames += 1;
        self.look(None);
    }

    fn wait(&mut self, time: Duration) {
        let end = self.stage.now + time;
        while let Some(due) = self.stage.machine.next_deadline().filter(|due| *due < end) {
            self.stage.now = due;
            self.stage.handle(Event::Wake);
            self.look(None);
        }
        self.stage.now = end;
        self.stage.handle(Event::Wake);
        self.look(None);
    }

    fn answer(&mut self, pick: usize) {
        let (work, probe) = self.in_hand.remove(pick % self.in_hand.len());
        let inputs = numbers(&work.batch);
        let failed: Vec<u32> = inputs.iter().copied().filter(|number| !self.up || self.bad.contains(number)).collect();
        let mut said = None;
        if failed.len() < inputs.len() {
            said = self.hold.take().filter(|hold| hold.proven).map(|_| false);
            self.failing_since = None;
        } else {
            self.failing_since.get_or_insert(self.stage.now);
            match &mut self.hold {
                Some(hold) if probe => {
                    hold.next_probe = self.stage.now + hold.gap;
                    hold.gap = (2 * hold.gap).min(30 * SECOND);
                    hold.failed.insert(inputs[0]);
                    if !hold.proven && hold.failed.len() == 3 {
                        hold.proven = true;
                        said = Some(true);
                    }
                }
                _ => self.doubt(),
            }
        }
        let letters = self.stage.letters.len();
        for number in &inputs {
            if !failed.contains(number) {
                assert!(self.attempts.remove(number).is_some() && self.delivered.insert(*number));
            } else if self.hold.is_none() {
                let attempt = self.attempts.get_mut(number).expect("it has not ended");
                *attempt += 1;
                if *attempt > self.most {
                    self.attempts.remove(number);
                }
            }
        }
        let gone =
            inputs.iter().filter(|number| failed.contains(number) && !self.attempts.contains_key(number)).count();
        let rows = (0..).zip(&inputs).filter(|(_, number)| failed.contains(number)).map(|(row, _)| retry(row));
        let failures = rows.collect();
        self.stage.fail(&work, failures);
        assert_eq!(self.stage.letters.len() - letters, gone, "letters");
        self.look(said);
    }

    /// Works are held back when all have failed for 10 s, while there are three events.
    fn doubt(&mut self) {
        let is_unproven = self.hold.as_ref().is_none_or(|hold| !hold.proven);
        if is_unproven && self.attempts.len() < 3 {
            self.hold = None;
        } else if self.hold.is_none() && self.failing_since.is_some_and(|since| self.stage.now - since >= 10 * SECOND) {
            let (next_probe, failed) = (self.stage.now, BTreeSet::new());
            self.hold = Some(Hold { next_probe, gap: SECOND, failed, proven: false });
        }
    }

    /// Looks at what was sent and said.
    fn look(&mut self, said: Option<bool>) {
        self.doubt();
        for (_, work) in std::mem::take(&mut self.stage.sent) {
            let now = self.stage.now;
            let expected: Vec<u32> = numbers(&work.batch).iter().map(|number| self.attempts[number]).collect();
            assert_eq!(attempts(&work), expected);
            if let Some(hold) = &self.hold {
                assert_eq!(work.batch.len(), 1, "probes are single events");
                assert!(now >= hold.next_probe, "too soon");
                assert!(self.in_hand.iter().all(|(_, probe)| !probe), "one probe at a time");
            }
            self.in_hand.push((work, self.hold.is_some()));
        }
        let outages: Vec<bool> = std::mem::take(&mut self.stage.actions)
            .into_iter()
            .filter_map(|action| if let Action::Outage { began, .. } = action { Some(began) } else { None })
            .collect();
        assert_eq!(outages, Vec::from_iter(said));
        let idle = self.in_hand.iter().all(|(_, probe)| !probe);
        if self.hold.as_ref().is_some_and(|hold| hold.next_probe <= self.stage.now) && idle {
            let free = self.stage.machine.replicas[0].has_place();
            assert!(!free || self.attempts.len() == self.in_hand_events(), "a probe is due, and none goes");
        }
    }

    fn in_hand_events(&self) -> usize {
        self.in_hand.iter().map(|(work, _)| work.batch.len()).sum()
    }

    fn step(&mut self, op: Op) {
        match op {
            Op::Arrive(count) => self.arrive(count),
            Op::Wait(ms) => self.wait(MS * u32::from(ms)),
            Op::Switch => self.up = !self.up,
            Op::Answer(..) if self.in_hand.is_empty() => {}
            Op::Answer(pick, ms) => {
                self.wait(MS * u32::from(ms));
                self.answer(pick.into());
            }
        }
    }

    /// The far side is there for good: everything ends, and only what it never takes becomes a letter from now on.
    fn finish(&mut self) {
        self.up = true;
        let letters = self.stage.letters.len();
        for round in 0.. {
            assert!(round < 20_000, "it does not end: {:?}", self.stage.machine.condition());
            if !self.in_hand.is_empty() {
                self.answer(0);
            } else if self.attempts.is_empty() {
                break;
            } else if self.hold.is_some() && self.attempts.keys().all(|number| self.bad.contains(number)) {
                // Nothing but bad events is left, at least three: no different from a node that is out.
                self.stage.handle(Event::SourcesExhausted);
                self.stage.now = self.stage.now + 2000 * SECOND;
                self.attempts.clear();
                self.give_up();
                break;
            } else {
                let due = self.stage.machine.next_deadline().expect("what waits is due some time");
                self.wait(due - self.stage.now);
            }
        }
        let late = self.stage.letters[letters..].iter().map(|letter| number(letter.batch.uid(0)));
        late.for_each(|number| assert!(self.bad.contains(&number), "event {number}"));
        assert!(self.stage.machine.is_idle());
        assert_eq!(self.stage.charged, (0, 0));
        self.stage.settle_below();
        for frame in 0..self.frames {
            assert_eq!(self.stage.book.of(frame), Some(Outcome::Settled));
        }
    }

    /// Fails probes until the machine makes letters of the rest.
    fn give_up(&mut self) {
        for _ in 0..200 {
            self.stage.handle(Event::Wake);
            while let Some((_, work)) = self.stage.sent.pop() {
                self.stage.fail(&work, vec![retry(0)]);
            }
            if self.stage.machine.is_idle() {
                return;
            }
            self.stage.wait_for_deadline();
        }
        panic!("it does not give up: {:?}", self.stage.machine);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn attempts_probes_and_words_are_as_the_model_says(
        works in 1u32..4,
        events in 1u32..6,
        most in 1u32..12,
        bad in prop::collection::btree_set(0u32..60, 0..6),
        ops in prop::collection::vec(op(), 1..250),
    ) {
        let mut model = Model::new(works, events, most, bad);
        model.arrive(4);
        for op in ops {
            model.step(op);
        }
        model.finish();
    }
}
