//! `on_exhausted: pause`.

use super::{
    outage::careful,
    stage::{MS, SECOND, Stage, attempts, consumed, limits, numbers, reject, retry, settings, uid},
};
use crate::{
    machine::{Action, Event, OnExhausted, Settings, Standstill},
    origin::Outcome,
};

fn pausing() -> Settings {
    Settings { on_exhausted: OnExhausted::Pause, ..settings() }
}

impl Stage {
    fn pauses(&self) -> Vec<String> {
        let said = |action: &Action| match action {
            Action::Paused { uid, why } => Some(format!("{uid} {why}")),
            _ => None,
        };
        self.actions.iter().filter_map(said).collect()
    }

    /// Fails what is sent, whole or by name, until the node has paused.
    fn fail_until_paused(&mut self, whole: bool) {
        while self.machine.paused_events().is_none() {
            let Some((_, work)) = self.sent.pop() else {
                self.wait_for_deadline();
                continue;
            };
            let failures = if whole { vec![retry(None)] } else { (0..work.batch.len() as u32).map(retry).collect() };
            self.fail(&work, failures);
        }
    }
}

#[test]
fn an_event_that_has_used_up_its_attempts_stops_the_node_until_it_is_resumed() {
    for whole in [false, true] {
        let mut stage = Stage::ready(pausing());
        let frame = stage.arrive(1);
        stage.fail_until_paused(whole);
        assert_eq!(stage.pauses(), [format!("{} BUSY: why", uid(0))]);
        let condition = stage.machine.condition().unwrap();
        assert_eq!((condition.standstill, condition.uid), (Standstill::Paused, Some(uid(0))));
        assert_eq!((&*condition.reason, &*condition.message), ("BUSY", "why"));
        let later = stage.arrive(5);
        stage.wait(100_000 * SECOND);
        assert!(stage.sent.is_empty() && stage.letters.is_empty());
        assert_eq!((stage.machine.books().waiting, stage.charged.0), (6, 6), "its place in the queue is taken");
        stage.handle(Event::Resume);
        assert_eq!(stage.machine.condition(), None);
        let work = stage.work();
        assert_eq!((numbers(&work.batch), attempts(&work)), (vec![0], vec![1]));
        stage.result(consumed(&work));
        while let Some((_, work)) = stage.sent.pop() {
            stage.result(consumed(&work));
        }
        assert!(stage.machine.is_idle());
        assert_eq!((stage.book.of(frame), stage.book.of(later)), (Some(Outcome::Settled), Some(Outcome::Settled)));
        assert_eq!(stage.charged, (0, 0));
    }
}

#[test]
fn it_pauses_again_when_the_fresh_attempts_are_used_up() {
    let mut stage = Stage::ready(pausing());
    stage.arrive(1);
    for times in 1..=3 {
        stage.fail_until_paused(false);
        assert_eq!(stage.pauses().len(), times);
        stage.handle(Event::Resume);
    }
}

#[test]
fn what_is_in_hand_ends_and_joins_in_what_resume_gives_fresh_attempts() {
    let mut settings = pausing();
    settings.retry.attempts = 1;
    let mut stage = Stage::new(settings);
    stage.up(0, limits(3, 1, 1 << 20));
    stage.arrive(4);
    let works: Vec<_> = stage.sent.drain(..).map(|(_, work)| work).collect();
    stage.fail(&works[0], vec![retry(0)]);
    stage.fail(&works[1], vec![retry(0)]);
    stage.result(consumed(&works[2]));
    assert_eq!((stage.pauses().len(), stage.machine.paused_events()), (1, Some(2)));
    assert!(stage.sent.is_empty(), "event 3 waits");
    stage.handle(Event::Resume);
    let mut seen = Vec::new();
    while !stage.sent.is_empty() {
        let (_, work) = stage.sent.remove(0);
        seen.extend(numbers(&work.batch));
        stage.result(consumed(&work));
    }
    assert_eq!(seen, [0, 1, 3]);
}

#[test]
fn only_the_event_at_fault_of_a_batch_pauses_the_node() {
    let mut stage = Stage::ready(pausing());
    stage.arrive(8);
    while stage.machine.paused_events().is_none() {
        let Some((_, work)) = stage.sent.pop() else {
            stage.wait_for_deadline();
            continue;
        };
        if numbers(&work.batch).contains(&5) {
            stage.fail(&work, vec![retry(None)]);
        } else {
            stage.result(consumed(&work));
        }
    }
    assert_eq!((stage.machine.paused_events(), stage.machine.books().consumed), (Some(1), 5));
    assert_eq!(stage.pauses(), [format!("{} BUSY: why", uid(5))]);
}

#[test]
fn a_rejected_event_becomes_a_letter_all_the_same() {
    let mut stage = Stage::ready(pausing());
    stage.arrive(1);
    let work = stage.work();
    stage.fail(&work, vec![reject(0)]);
    assert_eq!((stage.reasons(), stage.machine.paused_events()), (vec!["BAD"], None));
}

#[test]
fn a_paused_node_is_no_node_that_is_out_and_ends_with_the_pipeline() {
    let mut stage = Stage::new(Settings { on_exhausted: OnExhausted::Pause, ..careful() });
    stage.machine.settings.retry.attempts = 2;
    stage.up(0, limits(1, 1, 1 << 20));
    stage.arrive(20);
    stage.fail_until_paused(false);
    stage.wait(60 * SECOND);
    assert_eq!(stage.machine.condition().unwrap().standstill, Standstill::Paused);
    stage.handle(Event::Drain);
    assert!(stage.sent.is_empty() && stage.machine.only_waits_for_retries());
    let (left, _) = stage.machine.abandon(stage.now + MS);
    assert_eq!(left.iter().map(|segment| segment.len()).sum::<u32>(), 20, "all is left to the next run");
    left.into_iter().for_each(|segment| segment.deliveries.settle());
}

#[test]
fn to_resume_a_node_that_runs_changes_nothing() {
    let mut stage = Stage::ready(pausing());
    stage.arrive(1);
    let work = stage.work();
    stage.fail(&work, vec![retry(0)]);
    stage.handle(Event::Resume);
    assert!(stage.sent.is_empty());
    stage.wait_for_deadline();
    assert_eq!(attempts(&stage.work()), [2]);
}
