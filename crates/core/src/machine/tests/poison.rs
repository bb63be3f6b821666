//! Events that end their replica.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::stage::{MS, SECOND, Stage, attempts, consumed, limits, numbers, retry, settings};
use crate::{
    exchange::Work,
    machine::{End, Event},
    origin::Outcome,
};

fn died() -> End {
    End::Died { words: "was killed by signal 11 (SIGSEGV)".into() }
}

fn lost() -> End {
    End::Lost { why: "Unavailable".into() }
}

impl Stage {
    /// A replica ends, and with it what it has.
    fn down(&mut self, replica: u32, end: End) {
        self.sent.retain(|(of, _)| *of != replica);
        self.handle(Event::Down { replica, end });
    }

    /// A replica ends and comes back; the works that are sent.
    fn end_and_up(&mut self, end: End) -> Vec<Vec<u32>> {
        self.down(0, end);
        self.up(0, limits(4, 1000, 1 << 20));
        self.given()
    }

    fn given(&self) -> Vec<Vec<u32>> {
        self.sent.iter().map(|(_, work)| numbers(&work.batch)).collect()
    }

    fn answer(&mut self, replica: u32, work: &Work) {
        self.handle(Event::Result { replica, result: consumed(work) });
    }
}

#[test]
fn work_in_hand_at_a_death_comes_again_free_and_as_the_same_batch() {
    let mut stage = Stage::new(settings());
    stage.up(0, limits(4, 2, 1 << 20));
    stage.arrive(4);
    assert_eq!(stage.given(), [[0, 1], [2, 3]]);
    assert_eq!(stage.end_and_up(died()), [[0, 1], [2, 3]]);
    assert!(stage.sent.iter().all(|(_, work)| attempts(work) == [1, 1]));
    assert_eq!(stage.machine.ward(), None);
}

#[test]
fn alone_in_hand_at_three_deaths_an_event_is_a_letter_with_the_last_words() {
    let mut stage = Stage::ready(settings());
    let frame = stage.arrive(1);
    assert_eq!(stage.end_and_up(died()), [[0]]);
    assert_eq!(stage.end_and_up(died()), [[0]]);
    assert_eq!(stage.end_and_up(died()), Vec::<Vec<u32>>::new());
    assert_eq!((stage.reasons(), stage.letters[0].attempts), (vec!["POISON"], 1));
    let message = &stage.letters[0].message;
    assert!(message.contains("3 times") && message.contains("signal 11 (SIGSEGV)"), "{message}");
    assert_eq!((stage.machine.is_idle(), stage.machine.ward()), (true, None));
    stage.settle_below();
    assert_eq!(stage.book.of(frame), Some(Outcome::Settled));
}

#[test]
fn a_broken_stream_takes_five() {
    let mut stage = Stage::ready(settings());
    stage.arrive(1);
    for _ in 0..4 {
        assert_eq!(stage.end_and_up(lost()), [[0]]);
    }
    stage.end_and_up(lost());
    assert_eq!(stage.reasons(), ["STREAM_LOST"]);
    assert!(stage.letters[0].message.contains("Unavailable"), "{:?}", stage.letters);
}

#[test]
fn deaths_must_be_consecutive() {
    let mut stage = Stage::ready(settings());
    stage.arrive(1);
    for end in [died(), died(), lost(), died()] {
        assert_eq!(stage.end_and_up(end), [[0]]);
    }
    stage.end_and_up(died());
    assert_eq!(stage.reasons(), ["STREAM_LOST"], "five ends, but never three deaths in a row");
}

#[test]
fn a_failure_is_an_answer_and_clears_of_suspicion() {
    let mut stage = Stage::ready(settings());
    stage.arrive(1);
    stage.end_and_up(died());
    stage.end_and_up(died());
    let work = stage.work();
    stage.fail(&work, vec![retry(0)]);
    assert_eq!(stage.machine.ward(), None);
    stage.wait_for_deadline();
    for _ in 0..2 {
        assert_eq!(stage.end_and_up(died()), [[0]]);
    }
    assert!(stage.letters.is_empty());
}

#[test]
fn what_the_coordinator_ends_counts_nothing() {
    let mut stage = Stage::ready(settings());
    stage.arrive(1);
    for _ in 0..20 {
        assert_eq!(stage.end_and_up(End::Closed), [[0]]);
    }
    // A stream that breaks at our own restart is one of these.
    for _ in 0..20 {
        let sequence = stage.work().sequence;
        stage.progress(sequence, None, SECOND);
        stage.handle(Event::Malformed { replica: 0, sequence: 99, last: true, message: "x".into() });
        assert_eq!(stage.end_and_up(lost()), [[0]]);
    }
    assert!(stage.letters.is_empty());
}

#[test]
fn a_suspect_batch_goes_alone_and_is_halved_while_others_have_their_turns() {
    let mut stage = Stage::new(settings());
    stage.up(0, limits(4, 4, 1 << 20));
    stage.arrive(4);
    stage.end_and_up(died());
    stage.down(0, died());
    assert_eq!(stage.machine.ward(), Some(0));
    stage.arrive(4);
    stage.arrive(4);
    let mut seen = Vec::new();
    stage.up(0, limits(1, 4, 1 << 20));
    while let Some((_, work)) = stage.sent.pop() {
        assert!(stage.sent.is_empty());
        let inputs = numbers(&work.batch);
        if inputs.contains(&2) {
            stage.down(0, died());
            stage.up(0, limits(1, 4, 1 << 20));
        } else {
            stage.answer(0, &work);
        }
        seen.push(inputs);
    }
    let (one, two) = (vec![4, 5, 6, 7], vec![8, 9, 10, 11]);
    let halves = [vec![0, 1], vec![2, 3], vec![2], vec![2], vec![2], vec![3]];
    assert_eq!(seen, [&[one, vec![0, 1, 2, 3], two][..], &halves].concat());
    assert_eq!((stage.reasons(), numbers(&stage.letters[0].batch)), (vec!["POISON"], vec![2]));
}

#[test]
fn with_another_replica_the_ward_is_for_suspects_only() {
    let mut stage = Stage::with_replicas(settings(), 2);
    stage.up(0, limits(4, 4, 1 << 20));
    stage.arrive(4);
    stage.end_and_up(died());
    stage.down(0, died());
    stage.up(1, limits(2, 4, 1 << 20));
    assert!(stage.sent.is_empty(), "the ward is down");
    for _ in 0..3 {
        stage.arrive(4);
    }
    let (replicas, works): (Vec<u32>, Vec<Work>) = stage.sent.drain(..).unzip();
    assert_eq!(replicas, [1, 1]);
    stage.up(0, limits(4, 4, 1 << 20));
    let (replica, suspect) = stage.sent.pop().unwrap();
    assert_eq!((replica, numbers(&suspect.batch)), (0, vec![0, 1, 2, 3]));
    assert!(stage.sent.is_empty(), "the third batch waits for the other replica");
    stage.answer(1, &works[0]);
    assert_eq!((stage.sent[0].0, stage.given()), (1, vec![vec![12, 13, 14, 15]]));
    stage.sent.clear();
    stage.answer(0, &suspect);
    assert_eq!(stage.machine.ward(), None);
    stage.arrive(4);
    assert_eq!(stage.sent[0].0, 0, "acquitted: everybody may go there again");
}

#[test]
fn a_ward_that_stays_down_is_given_up() {
    let mut stage = Stage::with_replicas(settings(), 2);
    stage.up(0, limits(4, 4, 1 << 20));
    stage.up(1, limits(4, 4, 1 << 20));
    stage.arrive(1);
    stage.down(0, died());
    assert_eq!(stage.sent[0].0, 1);
    stage.down(1, died());
    assert_eq!(stage.machine.ward(), Some(1));
    stage.up(0, limits(4, 4, 1 << 20));
    assert!(stage.sent.is_empty());
    stage.wait_for_deadline();
    assert_eq!((stage.sent[0].0, stage.machine.ward()), (0, Some(0)));
}

/// Nodes at which some events end the process, some break the stream, and the rest is answered in any order.
struct Mill {
    stage: Stage,
    poison: BTreeSet<u32>,
    deaths: u32,
    consumed: BTreeMap<u32, u32>,
    limits: (u32, u32),
}

impl Mill {
    fn up(&mut self, replica: u32) {
        self.stage.up(replica, limits(self.limits.0, self.limits.1, 1 << 20));
    }

    fn step(&mut self, pick: usize) {
        if self.stage.sent.is_empty() {
            return self.stage.wait_for_deadline();
        }
        let (replica, work) = self.stage.sent.remove(pick % self.stage.sent.len());
        let inputs = numbers(&work.batch);
        if inputs.iter().any(|number| self.poison.contains(number)) {
            self.deaths += 1;
            self.stage.down(replica, died());
            self.stage.now = self.stage.now + 100 * MS;
            self.up(replica);
        } else {
            inputs.into_iter().for_each(|number| *self.consumed.entry(number).or_default() += 1);
            self.stage.answer(replica, &work);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Exactly the events that kill become letters, everything else is answered once, and it costs few deaths.
    #[test]
    fn poison_is_found_in_few_deaths_and_nothing_else_suffers(
        frames in prop::collection::vec(1u32..60, 1..12),
        poison in prop::collection::btree_set(0u32..100, 1..4),
        replicas in 1u32..4,
        works in 1u32..6,
        events in 1u32..50,
        picks in prop::collection::vec(any::<usize>(), 64),
    ) {
        let stage = Stage::with_replicas(settings(), replicas);
        let total: u32 = frames.iter().sum();
        let poison: BTreeSet<u32> = poison.into_iter().filter(|number| *number < total).collect();
        let mut mill =
            Mill { stage, poison: poison.clone(), deaths: 0, consumed: BTreeMap::new(), limits: (works, events) };
        (0..replicas).for_each(|replica| mill.up(replica));
        let mut picks = picks.into_iter().cycle();
        let numbers_of_frames: Vec<u64> = frames
            .iter()
            .map(|count| {
                let frame = mill.stage.arrive(*count);
                mill.step(picks.next().unwrap());
                frame
            })
            .collect();
        let mut steps = 0;
        while !mill.stage.machine.is_idle() {
            mill.step(picks.next().unwrap());
            steps += 1;
            prop_assert!(steps < 10_000, "it never ends");
        }
        let lettered: BTreeSet<u32> = mill.stage.letters.iter().flat_map(|letter| numbers(&letter.batch)).collect();
        prop_assert_eq!(&lettered, &poison);
        prop_assert_eq!(mill.stage.letters.len(), poison.len());
        prop_assert!(mill.stage.reasons().iter().all(|reason| *reason == "POISON"));
        prop_assert!(mill.stage.letters.iter().all(|letter| letter.attempts == 1), "deaths cost no attempt");
        prop_assert_eq!(mill.consumed.len() as u32, total - poison.len() as u32);
        prop_assert!(mill.consumed.values().all(|times| *times == 1));
        let most = 2 * events.next_power_of_two().ilog2() + 5;
        prop_assert!(mill.deaths <= most * poison.len() as u32, "{} deaths for {:?} of {}", mill.deaths, poison, events);
        prop_assert_eq!(mill.stage.machine.ward(), None);
        prop_assert_eq!(mill.stage.charged, (0, 0));
        mill.stage.settle_below();
        for frame in numbers_of_frames {
            prop_assert_eq!(mill.stage.book.of(frame), Some(Outcome::Settled));
        }
    }

    /// Processes that others kill at any moment, though never three times for the same event alone.
    #[test]
    fn an_event_that_does_not_kill_is_no_poison(
        frames in prop::collection::vec(1u32..30, 1..12),
        replicas in 1u32..4,
        kills in prop::collection::vec(prop::option::weighted(0.4, 0u32..4), 300),
    ) {
        let mut stage = Stage::with_replicas(settings(), replicas);
        (0..replicas).for_each(|replica| stage.up(replica, limits(3, 10, 1 << 20)));
        let total: u32 = frames.iter().sum();
        for count in frames {
            stage.arrive(count);
        }
        let mut alone: BTreeMap<u32, u32> = BTreeMap::new();
        for kill in kills.into_iter().chain(std::iter::repeat(None)) {
            if stage.machine.is_idle() {
                break;
            }
            if let Some(replica) = kill.map(|replica| replica % replicas) {
                let works: Vec<&Work> =
                    stage.sent.iter().filter(|(of, _)| *of == replica).map(|(_, work)| work).collect();
                if let [work] = works[..] && work.batch.len() == 1 {
                    let kills = alone.entry(numbers(&work.batch)[0]).or_default();
                    if *kills == 2 {
                        continue;
                    }
                    *kills += 1;
                }
                stage.down(replica, died());
                stage.up(replica, limits(3, 10, 1 << 20));
            } else if stage.sent.is_empty() {
                stage.wait_for_deadline();
            } else {
                let (replica, work) = stage.sent.remove(0);
                stage.answer(replica, &work);
            }
        }
        prop_assert!(stage.letters.is_empty());
        prop_assert_eq!(stage.machine.books().consumed, u64::from(total));
    }
}
