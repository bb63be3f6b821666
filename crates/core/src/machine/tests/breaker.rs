//! Replicas that fail, beside others that do not.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::stage::{MS, SECOND, Stage, consumed, limits, numbers, retry, settings};
use crate::{
    exchange::{Work, WorkResult},
    machine::{Action, End, Event, RetryPolicy, Settings},
};

fn patient() -> Settings {
    Settings {
        batch_events: 1,
        retry: RetryPolicy { attempts: 1000, initial: MS, max: MS },
        timeout: None,
        ..settings()
    }
}

impl Stage {
    fn fail_at(&mut self, replica: u32, work: &Work) {
        let result =
            WorkResult { sequence: work.sequence, failures: vec![retry(None)], last: true, ..WorkResult::default() };
        self.handle(Event::Result { replica, result });
    }

    fn said_of_breakers(&mut self) -> Vec<(u32, String)> {
        let said = |action| match action {
            Action::Breaker { replica, message } => Some((replica, message.split([':', ',']).next()?.to_owned())),
            _ => None,
        };
        std::mem::take(&mut self.actions).into_iter().filter_map(said).collect()
    }

    /// Fails works at replica 0 and lets others answer theirs, until the former has had `failures`.
    fn fail_first(&mut self, failures: u32) {
        let mut failed = 0;
        while failed < failures {
            if self.sent.is_empty() {
                self.arrive(1);
                continue;
            }
            match self.sent.remove(0) {
                (0, work) => {
                    failed += 1;
                    self.fail_at(0, &work);
                }
                (replica, work) => self.handle(Event::Result { replica, result: consumed(&work) }),
            }
        }
    }
}

fn two() -> Stage {
    let mut stage = Stage::with_replicas(patient(), 2);
    stage.up(0, limits(1, 10, 1 << 20));
    stage.up(1, limits(1, 10, 1 << 20));
    stage
}

#[test]
fn a_replica_that_fails_gets_no_more_until_a_probe_has_been_answered() {
    let mut stage = two();
    stage.fail_first(7);
    assert_eq!(stage.said_of_breakers(), [(0, "open".to_owned())]);
    assert_eq!([0, 1].map(|replica| stage.machine.breaker(replica).as_str()), ["open", "closed"]);
    for _ in 0..20 {
        stage.arrive(1);
    }
    while let Some((replica, work)) = stage.sent.pop() {
        assert_eq!(replica, 1);
        stage.handle(Event::Result { replica, result: consumed(&work) });
    }
    stage.now = stage.now + SECOND;
    for _ in 0..8 {
        stage.arrive(1);
    }
    let (replica, probe) = stage.sent.remove(0);
    assert_eq!(replica, 0, "the time is over: it comes first");
    assert_eq!(stage.said_of_breakers(), [(0, "half-open".to_owned())]);
    assert_eq!(stage.machine.breaker(0).as_str(), "half-open");
    stage.handle(Event::Limits { replica: 0, limits: limits(5, 10, 1 << 20) });
    assert!(stage.sent.iter().all(|(replica, _)| *replica == 1), "one probe");
    stage.handle(Event::Result { replica: 0, result: consumed(&probe) });
    assert_eq!(stage.said_of_breakers(), [(0, "closed".to_owned())]);
    assert!(stage.sent.iter().filter(|(replica, _)| *replica == 0).count() > 1);
}

#[test]
fn a_probe_that_fails_opens_it_for_longer() {
    let mut stage = two();
    stage.fail_first(7);
    stage.now = stage.now + SECOND;
    stage.fail_first(1);
    let said: Vec<String> = stage.said_of_breakers().into_iter().map(|(_, message)| message).collect();
    assert_eq!(said, ["open", "half-open", "open"]);
    let opened = stage.now;
    while stage.said_of_breakers().is_empty() {
        stage.sent.clear();
        stage.wait_for_deadline();
    }
    assert!(stage.now - opened >= SECOND && stage.now - opened <= 2 * SECOND, "{:?}", stage.now - opened);
}

#[test]
fn the_last_one_in_use_does_not_open() {
    let mut stage = Stage::with_replicas(patient(), 2);
    stage.up(0, limits(1, 10, 1 << 20));
    stage.fail_first(50);
    assert!(stage.said_of_breakers().is_empty(), "the other one is down");
}

#[test]
fn one_that_rests_is_not_in_use() {
    let mut stage = two();
    stage.handle(Event::Rest { replica: 1 });
    stage.fail_first(50);
    assert!(stage.said_of_breakers().is_empty(), "the other one gets no works");
}

#[test]
fn when_the_last_one_goes_down_the_others_are_probed_at_once() {
    let mut stage = two();
    stage.fail_first(7);
    stage.arrive(1);
    assert_eq!(stage.sent.iter().map(|(replica, _)| *replica).collect::<Vec<_>>(), [1]);
    stage.sent.clear();
    stage.handle(Event::Down { replica: 1, end: End::Closed });
    assert_eq!(stage.sent[0].0, 0);
    let (_, probe) = stage.sent.pop().unwrap();
    stage.fail_at(0, &probe);
    let said: Vec<String> = stage.said_of_breakers().into_iter().map(|(_, message)| message).collect();
    assert_eq!(said, ["open", "half-open", "closed"]);
    stage.wait_for_deadline();
    assert_eq!(stage.sent[0].0, 0, "there is no other");
}

#[test]
fn failures_that_name_events_and_full_replicas_open_nothing() {
    let mut stage = two();
    let mut failed = 0;
    while failed < 100 {
        if stage.sent.is_empty() {
            stage.arrive(5);
        }
        let (replica, work) = stage.sent.remove(0);
        failed += 1;
        let result =
            WorkResult { sequence: work.sequence, failures: vec![retry(0)], last: true, ..WorkResult::default() };
        stage.handle(Event::Result { replica, result });
    }
    assert!(stage.said_of_breakers().is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever replicas fail, one is always in use, all is answered in the end, and one that recovers is used again.
    #[test]
    fn one_replica_is_always_in_use(
        replicas in 1u32..5,
        works in 1u32..4,
        outcomes in prop::collection::vec((any::<usize>(), 0u32..10, 0u64..500), 300),
        share in prop::collection::vec(0u32..10, 5),
    ) {
        let mut stage = Stage::with_replicas(patient(), replicas);
        (0..replicas).for_each(|replica| stage.up(replica, limits(works, 10, 1 << 20)));
        let mut answered = BTreeSet::new();
        for (pick, luck, ms) in outcomes {
            stage.arrive(1);
            if stage.sent.is_empty() {
                stage.wait_for_deadline();
                continue;
            }
            let (replica, work) = stage.sent.remove(pick % stage.sent.len());
            stage.now = stage.now + MS * ms as u32;
            if luck < share[replica as usize] {
                stage.fail_at(replica, &work);
            } else {
                answered.extend(numbers(&work.batch));
                stage.handle(Event::Result { replica, result: consumed(&work) });
            }
            prop_assert!(stage.machine.replicas.iter().any(|replica| replica.breaker.is_closed()));
        }
        while !stage.machine.is_idle() {
            if stage.sent.is_empty() {
                stage.wait_for_deadline();
                continue;
            }
            let (replica, work) = stage.sent.remove(0);
            answered.extend(numbers(&work.batch));
            stage.handle(Event::Result { replica, result: consumed(&work) });
        }
        prop_assert_eq!(answered.len(), 300);
        stage.now = stage.now + 60 * SECOND;
        let mut used = BTreeSet::new();
        for _ in 0..400 {
            stage.arrive(1);
            stage.now = stage.now + MS;
            if stage.sent.len() >= replicas as usize {
                let (replica, work) = stage.sent.remove(0);
                used.insert(replica);
                stage.handle(Event::Result { replica, result: consumed(&work) });
            }
        }
        prop_assert_eq!(used.len() as u32, replicas);
        prop_assert!(stage.machine.replicas.iter().all(|replica| replica.breaker.is_closed()));
    }
}
