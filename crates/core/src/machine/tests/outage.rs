//! Nodes that are out, and nodes that only look like it.

use std::collections::{BTreeMap, BTreeSet};

use super::stage::{MS, SECOND, Stage, attempts, consumed, limits, number, numbers, reject, retry, settings};
use crate::{
    exchange::{Failure, Work},
    machine::{Action, End, Event, InOutage, OutagePolicy, RetryPolicy, Settings, Standstill},
    moment::Moment,
};

pub(super) fn careful() -> Settings {
    Settings {
        retry: RetryPolicy { attempts: 10, initial: 100 * MS, max: 30 * SECOND },
        outage: OutagePolicy::default(),
        timeout: None,
        ..settings()
    }
}

impl Stage {
    /// `(began, message)` of what was said of outages since the last look.
    pub(super) fn said_of_outages(&mut self) -> Vec<(bool, String)> {
        let said = |action| match action {
            Action::Outage { began, message } => Some((began, message)),
            _ => None,
        };
        std::mem::take(&mut self.actions).into_iter().filter_map(said).collect()
    }

    fn standstill(&self) -> Option<Standstill> {
        self.machine.condition().map(|condition| condition.standstill)
    }
}

/// How the node says that it could not reach its far side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Says {
    /// Of each event.
    Named,
    /// Of the work.
    Whole,
}

/// A far side that is there or not, and events that it never takes.
struct FarSide {
    stage: Stage,
    says: Says,
    up_since: Option<Moment>,
    bad: BTreeSet<u32>,
    /// The last attempt of every event, as it was sent.
    attempts: BTreeMap<u32, u32>,
    /// When which works were sent.
    sent: Vec<(Moment, Vec<u32>)>,
    delivered: BTreeSet<u32>,
}

impl FarSide {
    fn new(settings: Settings, says: Says) -> Self {
        let mut stage = Stage::new(settings);
        stage.up(0, limits(4, 100, 1 << 20));
        let (attempts, sent) = Default::default();
        Self { stage, says, up_since: None, bad: BTreeSet::new(), attempts, sent, delivered: BTreeSet::new() }
    }

    /// Takes all works, answers the oldest 1 ms later, or sleeps till the machine wants something, at most till `end`.
    fn step(&mut self, end: Moment) {
        if self.stage.sent.is_empty() {
            let due = self.stage.machine.next_deadline().unwrap_or(end).min(end);
            self.stage.now = due;
            return self.stage.handle(Event::Wake);
        }
        let (_, work) = self.stage.sent.remove(0);
        self.attempts.extend(numbers(&work.batch).into_iter().zip(attempts(&work)));
        self.sent.push((self.stage.now, numbers(&work.batch)));
        self.stage.now = self.stage.now + MS;
        self.answer(&work);
    }

    fn answer(&mut self, work: &Work) {
        let inputs = numbers(&work.batch);
        let up = self.up_since.is_some_and(|since| since <= self.stage.now);
        let failed: Vec<u32> =
            (0..).zip(&inputs).filter(|(_, n)| !up || self.bad.contains(n)).map(|(row, _)| row).collect();
        if failed.is_empty() || self.says == Says::Named {
            let taken = (0..).zip(&inputs).filter(|(row, _)| !failed.contains(row));
            self.delivered.extend(taken.map(|(_, number)| *number));
            return self.stage.fail(work, failed.into_iter().map(retry).collect());
        }
        self.stage.fail(work, vec![retry(None)]);
    }

    fn run_until(&mut self, end: Moment) {
        while self.stage.now < end {
            self.step(end);
        }
    }

    /// Until nothing is left, for at most `time`.
    fn finish(&mut self, time: std::time::Duration) {
        let end = self.stage.now + time;
        while !self.stage.machine.is_idle() {
            assert!(self.stage.now < end, "it does not end: {:?}", self.stage.machine.condition());
            self.step(end);
        }
    }

    fn run_until_out(&mut self) {
        let end = self.stage.now + 60 * SECOND;
        while self.stage.standstill() != Some(Standstill::Outage) {
            assert!(self.stage.now < end, "no outage after a minute");
            self.step(end);
        }
    }
}

#[test]
fn ten_minutes_cost_no_attempt_and_no_letter_and_the_far_side_is_not_knocked_over_when_it_is_back() {
    for says in [Says::Named, Says::Whole] {
        let mut far = FarSide::new(careful(), says);
        let start = far.stage.now;
        far.stage.arrive(2000);
        far.run_until_out();
        let proven = far.stage.now;
        assert!(proven - start >= 10 * SECOND && proven - start <= 45 * SECOND, "{:?}", proven - start);
        let [(true, message)] = &far.stage.said_of_outages()[..] else { panic!("one line") };
        assert!(message.contains("3 different events") && message.contains("BUSY: why"), "{message}");
        let (spent, works) = (far.attempts.clone(), far.sent.len());
        far.stage.arrive(500);
        let back = start + 600 * SECOND;
        far.up_since = Some(back);
        far.run_until(back);
        let probes = &far.sent[works..];
        assert!(probes.iter().all(|(_, events)| events.len() == 1), "single events");
        assert!((18..=25).contains(&probes.len()), "{} in ten minutes", probes.len());
        assert!(probes.windows(2).all(|two| two[1].0 - two[0].0 >= SECOND && two[1].0 - two[0].0 <= 31 * SECOND));
        let probed: BTreeSet<&Vec<u32>> = probes.iter().map(|(_, events)| events).collect();
        assert!(probed.len() > 3, "in turn: {probed:?}");
        assert!(probed.iter().any(|events| events[0] >= 2000), "also what came later: {probed:?}");
        // Back: what is in hand grows from one.
        let mut before = far.delivered.len();
        while !far.stage.machine.is_idle() {
            let in_hand = far.stage.machine.books().in_hand;
            let done = (far.delivered.len() - before) as u64;
            let alone = far.stage.sent.len() == 1;
            assert!(in_hand <= done + 1 || (says == Says::Whole && alone), "{in_hand} in hand after {done}");
            far.step(back + 60 * SECOND);
            assert!(far.stage.now < back + 60 * SECOND);
            before = before.min(far.delivered.len());
        }
        assert!(far.stage.letters.is_empty());
        assert_eq!(far.stage.machine.books().consumed, 2500);
        let [(false, message)] = &far.stage.said_of_outages()[..] else { panic!("one line at its end") };
        assert!(message.contains("is over after") && message.contains("BUSY: why"), "{message}");
        for (event, attempt) in &far.attempts {
            let before = spent.get(event).copied().unwrap_or(0);
            assert!(*attempt <= before + 1, "event {event}: attempt {before} before the outage, {attempt} after it");
        }
        assert_eq!(far.stage.charged, (0, 0));
    }
}

#[test]
fn bad_events_among_good_ones_are_no_outage() {
    for says in [Says::Named, Says::Whole] {
        let mut far = FarSide::new(careful(), says);
        far.up_since = Some(far.stage.now);
        far.bad = BTreeSet::from([3, 4, 5, 40, 77]);
        far.stage.arrive(100);
        // Now and then there is a good one: nobody could tell five bad events alone from a node that is out.
        while far.stage.letters.len() < 5 {
            far.run_until(far.stage.now + 9 * SECOND);
            far.stage.arrive(1);
            assert!(far.stage.machine.books().received < 200);
        }
        far.finish(SECOND);
        let lettered: BTreeSet<u32> = far.stage.letters.iter().map(|letter| number(letter.batch.uid(0))).collect();
        assert_eq!(lettered, far.bad);
        assert!(far.stage.letters.iter().all(|letter| letter.attempts == 10));
        assert!(far.stage.said_of_outages().is_empty());
    }
}

#[test]
fn a_batch_with_a_bad_event_is_halved_as_soon_as_another_event_shows_that_the_node_works() {
    let mut far = FarSide::new(careful(), Says::Whole);
    far.up_since = Some(far.stage.now);
    far.bad = BTreeSet::from([5]);
    far.stage.arrive(16);
    let start = far.stage.now;
    far.finish(400 * SECOND);
    assert!(far.stage.said_of_outages().is_empty());
    assert_eq!((far.stage.letters.len(), numbers(&far.stage.letters[0].batch)), (1, vec![5]));
    let first_single = far.sent.iter().position(|(_, events)| events.len() == 1).unwrap();
    let (when, probe) = &far.sent[first_single];
    assert!(*when - start >= 10 * SECOND && *when - start <= 15 * SECOND, "{:?}", *when - start);
    assert_eq!(*probe, [0]);
    // What was with it is delivered in the same moment, though its attempts have not run out.
    let last_good = far.sent.iter().rposition(|(_, events)| *events != [5]).unwrap();
    assert!(far.sent[last_good].0 - *when < SECOND);
    assert_eq!(far.stage.machine.books().consumed, 15);
}

#[test]
fn with_fewer_than_three_events_attempts_simply_count() {
    for says in [Says::Named, Says::Whole] {
        let mut far = FarSide::new(careful(), says);
        far.stage.arrive(1);
        far.stage.arrive(1);
        far.finish(120 * SECOND);
        assert_eq!(far.stage.reasons(), ["BUSY"; 2]);
        assert!(far.stage.letters.iter().all(|letter| letter.attempts == 10));
        assert!(far.stage.said_of_outages().is_empty());
    }
}

#[test]
fn a_hold_without_a_proof_is_dropped_when_too_few_events_are_left() {
    let mut far = FarSide::new(careful(), Says::Named);
    far.stage.arrive(3);
    while far.stage.standstill() != Some(Standstill::Probing) {
        far.step(far.stage.now + 60 * SECOND);
    }
    // A verdict on an event shows that the node works.
    while far.stage.sent.is_empty() {
        far.stage.wait_for_deadline();
    }
    let probe = far.stage.work();
    assert_eq!(probe.batch.len(), 1);
    far.stage.fail(&probe, vec![reject(0)]);
    assert_eq!(far.stage.standstill(), None);
    assert_eq!(far.stage.machine.books().waiting + far.stage.machine.books().in_hand, 2);
    far.finish(120 * SECOND);
    assert_eq!(far.stage.reasons(), ["BAD", "BUSY", "BUSY"]);
}

#[test]
fn deaths_are_no_failures_of_the_node() {
    let mut stage = Stage::ready(careful());
    stage.arrive(10);
    for _ in 0..2 {
        stage.work();
        stage.now = stage.now + 20 * SECOND;
        stage.handle(Event::Down { replica: 0, end: End::Died { words: "signal 9".into() } });
        stage.up(0, limits(1, 1000, 1 << 20));
    }
    assert_eq!(stage.standstill(), None);
    assert!(stage.said_of_outages().is_empty());
}

#[test]
fn rejected_events_are_verdicts_of_a_node_that_works() {
    let mut stage = Stage::new(careful());
    stage.up(0, limits(1, 1, 1 << 20));
    for _ in 0..30 {
        stage.arrive(1);
        stage.now = stage.now + SECOND;
        while let Some((_, work)) = stage.sent.pop() {
            stage.fail(&work, vec![reject(0)]);
        }
    }
    assert_eq!((stage.standstill(), stage.letters.len()), (None, 30));
}

#[test]
fn an_hour_that_the_node_asked_for_is_honoured_in_an_outage_too() {
    let mut far = FarSide::new(careful(), Says::Named);
    far.stage.arrive(100);
    far.run_until_out();
    while far.stage.sent.is_empty() {
        far.stage.wait_for_deadline();
    }
    let probe = far.stage.work();
    let asked = Failure { retry_after: Some(3600 * SECOND), ..retry(0) };
    far.stage.fail(&probe, vec![asked]);
    let (event, until) = (numbers(&probe.batch), far.stage.now + 3599 * SECOND);
    let from = far.sent.len();
    far.run_until(until);
    assert!(far.sent.len() > from + 100, "others are probed");
    assert!(far.sent[from..].iter().all(|(_, events)| *events != event));
    far.up_since = Some(far.stage.now);
    far.finish(120 * SECOND);
    assert!(far.stage.letters.is_empty());
}

#[test]
fn where_events_cannot_wait_they_become_letters_and_one_of_them_goes_on_being_tried() {
    let settings =
        Settings { outage: OutagePolicy { events: InOutage::DeadLetter, ..OutagePolicy::default() }, ..careful() };
    let mut far = FarSide::new(settings, Says::Named);
    far.stage.arrive(100);
    far.run_until_out();
    assert!(far.stage.machine.is_idle());
    assert_eq!(far.stage.reasons(), ["OUTAGE"; 100]);
    assert!(far.stage.letters[0].message.contains("BUSY: why"), "{}", far.stage.letters[0].message);
    assert!(far.stage.letters.iter().all(|letter| (1..10).contains(&letter.attempts)));
    // What comes meanwhile goes the same way, but for the one that is to show whether the node is back.
    far.stage.now = far.stage.now + 60 * SECOND;
    far.stage.arrive(10);
    assert_eq!((far.stage.sent.len(), far.stage.letters.len()), (1, 109));
    far.up_since = Some(far.stage.now);
    far.finish(SECOND);
    assert_eq!((far.stage.letters.len(), far.stage.standstill()), (109, None));
    far.stage.arrive(10);
    far.finish(SECOND);
    assert_eq!(far.stage.letters.len(), 109);
}

#[test]
fn once_every_source_is_exhausted_events_wait_a_quarter_of_an_hour() {
    let mut far = FarSide::new(careful(), Says::Named);
    far.stage.arrive(100);
    far.run_until_out();
    far.run_until(far.stage.now + 3600 * SECOND);
    assert!(far.stage.letters.is_empty(), "more may come");
    far.stage.handle(Event::SourcesExhausted);
    let exhausted = far.stage.now;
    far.run_until(exhausted + 899 * SECOND);
    assert!(far.stage.letters.is_empty());
    far.finish(60 * SECOND);
    assert_eq!(far.stage.reasons(), ["OUTAGE"; 100]);
}

#[test]
fn a_drain_tries_once_more_and_leaves_the_rest_to_the_next_run() {
    for back in [false, true] {
        let mut far = FarSide::new(careful(), Says::Named);
        far.stage.arrive(100);
        far.run_until_out();
        far.run_until(far.stage.now + 100 * SECOND);
        assert!(far.stage.sent.is_empty());
        far.up_since = back.then_some(far.stage.now);
        far.stage.handle(Event::Drain);
        assert!(!far.stage.machine.only_waits_for_retries());
        let probe = far.stage.work();
        far.stage.now = far.stage.now + MS;
        far.answer(&probe);
        assert_eq!(far.stage.machine.only_waits_for_retries(), !back);
        if back {
            far.finish(SECOND);
            continue;
        }
        let (left, _) = far.stage.machine.abandon(far.stage.now);
        assert_eq!(left.iter().map(|segment| segment.len()).sum::<u32>(), 100);
        left.into_iter().for_each(|segment| segment.deliveries.settle());
    }
}

#[test]
fn what_is_in_hand_when_a_node_is_found_out_loses_no_attempt_either() {
    let mut stage = Stage::new(careful());
    stage.up(0, limits(4, 1, 1 << 20));
    stage.arrive(4);
    let works: Vec<Work> = stage.sent.drain(..).map(|(_, work)| work).collect();
    stage.fail(&works[0], vec![retry(0)]);
    stage.now = stage.now + 10 * SECOND;
    works[1..].iter().for_each(|work| stage.fail(work, vec![retry(0)]));
    assert_eq!(stage.standstill(), Some(Standstill::Probing));
    let mut seen = BTreeMap::new();
    while seen.len() < 4 {
        let Some((_, work)) = stage.sent.pop() else {
            stage.wait_for_deadline();
            continue;
        };
        seen.insert(numbers(&work.batch)[0], attempts(&work)[0]);
        stage.fail(&work, vec![retry(0)]);
    }
    // The first had failed before there was a doubt; where it stood it stands.
    assert_eq!(seen, BTreeMap::from([(0, 2), (1, 1), (2, 1), (3, 1)]));
}

#[test]
fn a_success_of_what_was_in_hand_ends_it_as_a_probe_would() {
    let mut stage = Stage::new(careful());
    stage.up(0, limits(5, 1, 1 << 20));
    stage.arrive(5);
    let slow = stage.sent.pop().unwrap().1;
    while stage.standstill() != Some(Standstill::Outage) {
        let Some((_, work)) = stage.sent.pop() else {
            stage.wait_for_deadline();
            continue;
        };
        stage.fail(&work, vec![retry(0)]);
    }
    stage.result(consumed(&slow));
    assert_eq!(stage.standstill(), None);
    let said: Vec<bool> = stage.said_of_outages().into_iter().map(|(began, _)| began).collect();
    assert_eq!(said, [true, false]);
    assert!(!stage.sent.is_empty());
}
