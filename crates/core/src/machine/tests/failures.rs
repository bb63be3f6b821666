//! Retries, letters, and the narrowing down of batches that fail as a whole.

use std::collections::BTreeSet;

use super::stage::{MS, SECOND, Stage, attempts, consumed, failure, limits, numbers, reject, retry, settings};
use crate::{
    exchange::{Action, Failure},
    machine::{End, Event, RetryPolicy},
    origin::Outcome,
};

#[test]
fn only_the_events_that_failed_are_retried() {
    let mut stage = Stage::ready(settings());
    let frame = stage.arrive(4);
    let work = stage.work();
    stage.fail(&work, vec![retry(2), retry(0)]);
    assert_eq!(stage.machine.books().consumed, 2);
    assert_eq!(stage.book.of(frame), None);
    stage.wait_for_deadline();
    let again = stage.work();
    assert_eq!((numbers(&again.batch), attempts(&again)), (vec![0, 2], vec![2, 2]));
    assert_ne!(again.sequence, work.sequence, "a retry is a new sequence");
    stage.result(consumed(&again));
    assert_eq!(stage.book.of(frame), Some(Outcome::Settled));
}

#[test]
fn a_rejected_event_becomes_a_letter_at_once() {
    let mut stage = Stage::ready(settings());
    let frame = stage.arrive(2);
    let work = stage.work();
    stage.fail(&work, vec![reject(1)]);
    assert_eq!(stage.reasons(), ["BAD"]);
    assert_eq!((numbers(&stage.letters[0].batch), stage.letters[0].attempts), (vec![1], 1));
    assert_eq!(stage.book.of(frame), None, "final only once the letter is durable");
    stage.settle_below();
    assert_eq!(stage.book.of(frame), Some(Outcome::Settled));
}

#[test]
fn a_rejected_work_becomes_a_letter_per_event() {
    let mut stage = Stage::ready(settings());
    stage.arrive(3);
    let work = stage.work();
    stage.fail(&work, vec![reject(None)]);
    assert_eq!(stage.reasons(), ["BAD"; 3]);
    assert!(stage.machine.is_idle());
}

#[test]
fn attempts_run_out() {
    let mut stage = Stage::ready(settings());
    stage.arrive(1);
    for attempt in 1..=3 {
        let work = stage.work();
        assert_eq!(attempts(&work), [attempt]);
        stage.fail(&work, vec![retry(0)]);
        if attempt < 3 {
            stage.wait_for_deadline();
        }
    }
    assert_eq!((stage.reasons(), stage.letters[0].attempts), (vec!["BUSY"], 3));
}

#[test]
fn delays_double_to_the_maximum_with_equal_jitter() {
    let policy = RetryPolicy { attempts: 10, initial: 100 * MS, max: 30 * SECOND };
    for attempt in 1..40 {
        let full = (100 * MS).saturating_mul(1 << (attempt - 1).min(20)).min(30 * SECOND);
        let half = (full / 2).as_nanos() as u64;
        assert_eq!([0, half, half + 1].map(|random| policy.delay(attempt, random)), [full / 2, full, full / 2]);
        for random in [1, 77, u64::MAX / 3, u64::MAX] {
            let delay = policy.delay(attempt, random);
            assert!(delay >= full / 2 && delay <= full, "attempt {attempt}: {delay:?}");
        }
    }
}

#[test]
fn a_retry_is_not_sent_before_its_time() {
    let mut stage = Stage::ready(settings());
    stage.arrive(1);
    let work = stage.work();
    stage.fail(&work, vec![retry(0)]);
    stage.wait(49 * MS);
    assert!(stage.sent.is_empty());
    stage.wait(51 * MS);
    assert_eq!(attempts(&stage.work()), [2]);
}

#[test]
fn retry_after_is_honoured_up_to_an_hour() {
    for (asked, due) in [(5 * SECOND, 5 * SECOND), (100_000 * SECOND, 3600 * SECOND)] {
        let mut stage = Stage::ready(settings());
        stage.arrive(1);
        let work = stage.work();
        stage.fail(&work, vec![Failure { retry_after: Some(asked), ..retry(0) }]);
        assert_eq!(stage.machine.next_deadline(), Some(stage.now + due));
    }
}

#[test]
fn a_failure_that_names_no_event_retries_exactly_the_same_batch() {
    let mut stage = Stage::new(settings());
    stage.arrive(3);
    stage.up(0, limits(1, 1000, 1 << 20));
    let work = stage.work();
    stage.arrive(3);
    stage.fail(&work, vec![retry(None)]);
    let fresh = stage.work();
    assert_eq!(numbers(&fresh.batch), [3, 4, 5]);
    stage.wait(SECOND);
    stage.arrive(1);
    stage.result(consumed(&fresh));
    let again = stage.work();
    assert_eq!((numbers(&again.batch), attempts(&again)), (vec![0, 1, 2], vec![2, 2, 2]), "merged with nothing");
}

#[test]
fn named_events_are_left_out_of_the_same_batch() {
    let mut stage = Stage::ready(settings());
    stage.arrive(4);
    let work = stage.work();
    stage.fail(&work, vec![reject(1), retry(None), retry(3)]);
    stage.wait(SECOND);
    let again = stage.work();
    assert_eq!(numbers(&again.batch), [0, 2]);
}

/// Plays a node that fails every batch in which event 5 is, until nothing is left.
fn isolate_five(stage: &mut Stage) -> Vec<Vec<u32>> {
    let mut seen = Vec::new();
    while !stage.machine.is_idle() {
        let Some((_, work)) = stage.sent.pop() else {
            stage.wait_for_deadline();
            continue;
        };
        assert!(stage.sent.is_empty(), "halves run one after the other");
        let inputs = numbers(&work.batch);
        if inputs.contains(&5) {
            stage.fail(&work, vec![retry(None)]);
        } else {
            stage.result(consumed(&work));
        }
        seen.push(inputs);
    }
    seen
}

#[test]
fn when_attempts_run_out_the_batch_is_halved_down_to_the_event_at_fault() {
    let mut stage = Stage::new(settings());
    stage.up(0, limits(8, 1000, 1 << 20));
    stage.arrive(8);
    let all: Vec<u32> = (0..8).collect();
    let expected = [&all[..], &all, &all, &[0, 1, 2, 3], &[4, 5, 6, 7], &[4, 5], &[4], &[5], &[6, 7]];
    assert_eq!(isolate_five(&mut stage), expected);
    assert_eq!((stage.letters.len(), numbers(&stage.letters[0].batch)), (1, vec![5]));
    assert_eq!(stage.letters[0].attempts, 3);
    assert_eq!(stage.machine.books().consumed, 7);
}

#[test]
fn a_named_failure_in_a_half_is_final_since_its_attempts_have_run_out() {
    let mut settings = settings();
    settings.retry.attempts = 1;
    let mut stage = Stage::ready(settings);
    stage.arrive(4);
    let work = stage.work();
    stage.fail(&work, vec![retry(None)]);
    let half = stage.work();
    assert_eq!(numbers(&half.batch), [0, 1]);
    stage.fail(&half, vec![retry(1)]);
    assert_eq!(numbers(&stage.letters[0].batch), [1]);
}

#[test]
fn fresh_events_that_shared_a_batch_with_an_old_one_keep_their_attempts() {
    let mut stage = Stage::ready(settings());
    stage.arrive(1);
    let work = stage.work();
    stage.fail(&work, vec![retry(0)]);
    stage.wait_for_deadline();
    let work = stage.work();
    stage.fail(&work, vec![retry(0)]);
    // While no replica is up the old event and two fresh ones meet.
    stage.handle(Event::Down { replica: 0, end: End::Closed });
    stage.arrive(2);
    stage.wait(SECOND);
    stage.up(0, limits(1, 1000, 1 << 20));
    let mixed = stage.work();
    assert_eq!((numbers(&mixed.batch), attempts(&mixed)), (vec![0, 1, 2], vec![3, 1, 1]));
    stage.fail(&mixed, vec![retry(None)]);
    let alone = stage.work();
    assert_eq!(numbers(&alone.batch), [0], "its attempts have run out, but it has not failed alone");
    stage.fail(&alone, vec![retry(None)]);
    assert_eq!(numbers(&stage.letters[0].batch), [0]);
    stage.wait(SECOND);
    let rest = stage.work();
    assert_eq!((numbers(&rest.batch), attempts(&rest)), (vec![1, 2], vec![2, 2]));
}

#[test]
fn what_a_lost_replica_had_in_hand_is_redelivered_free_and_in_order() {
    let mut stage = Stage::new(settings());
    stage.up(0, limits(3, 2, 1 << 20));
    let frame = stage.arrive(6);
    let first = stage.sent.remove(0).1;
    stage.fail(&first, vec![reject(0)]);
    stage.sent.clear();
    stage.handle(Event::Down { replica: 0, end: End::Closed });
    assert_eq!(stage.machine.books().waiting, 4);
    stage.up(0, limits(1, 10, 1 << 20));
    let again = stage.work();
    assert_eq!((numbers(&again.batch), attempts(&again)), (vec![2, 3, 4, 5], vec![1; 4]));
    stage.result(consumed(&again));
    stage.settle_below();
    assert_eq!(stage.book.of(frame), Some(Outcome::Settled));
}

#[test]
fn a_batch_that_must_stay_whole_stays_so_when_its_replica_is_lost() {
    let mut stage = Stage::ready(settings());
    stage.arrive(3);
    let work = stage.work();
    stage.fail(&work, vec![retry(None)]);
    stage.wait(SECOND);
    stage.work();
    stage.arrive(2);
    stage.handle(Event::Down { replica: 0, end: End::Closed });
    stage.up(0, limits(1, 10, 1 << 20));
    let again = stage.work();
    assert_eq!((numbers(&again.batch), attempts(&again)), (vec![0, 1, 2], vec![2; 3]));
}

#[test]
fn a_cancelled_input_costs_no_attempt_only_if_we_cancelled() {
    let cancelled = |row: u32| failure(row, Action::Retry, "CANCELLED");
    let mut stage = Stage::ready(settings());
    stage.arrive(2);
    let work = stage.work();
    stage.fail(&work, vec![cancelled(0)]);
    stage.wait_for_deadline();
    let charged = stage.work();
    assert_eq!(attempts(&charged), [2], "nobody had asked for it");
    stage.progress(charged.sequence, 0, 31 * SECOND);
    stage.fail(&charged, vec![cancelled(0)]);
    assert_eq!(attempts(&stage.work()), [2], "at once, at no cost");
}

#[test]
fn an_input_behind_its_key_waits_but_costs_no_attempt() {
    let mut stage = Stage::ready(settings());
    stage.arrive(1);
    for _ in 0..20 {
        let work = stage.work();
        assert_eq!(attempts(&work), [1]);
        stage.fail(&work, vec![failure(0, Action::Retry, "KEY_HELD")]);
        assert!(stage.sent.is_empty());
        stage.wait_for_deadline();
    }
}

#[test]
fn an_isolated_batch_is_cut_only_for_a_replica_that_takes_less() {
    let mut stage = Stage::ready(settings());
    stage.arrive(5);
    let work = stage.work();
    stage.fail(&work, vec![retry(None)]);
    stage.handle(Event::Limits { replica: 0, limits: limits(1, 2, 1 << 20) });
    stage.wait(SECOND);
    let mut seen = BTreeSet::new();
    while let Some((_, work)) = stage.sent.pop() {
        assert!(work.batch.len() <= 2);
        seen.extend(numbers(&work.batch));
        stage.result(consumed(&work));
    }
    assert_eq!(seen.len(), 5);
}
