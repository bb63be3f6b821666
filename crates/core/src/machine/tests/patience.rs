//! Handlers that take too long.

use super::stage::{MS, SECOND, Stage, attempts, consumed, failure, limits, numbers, settings};
use crate::{
    exchange::{Action as FailureAction, Call},
    machine::{Action, End, Event, Settings},
};

fn cancels(stage: &Stage) -> Vec<u64> {
    let cancel = |action: &Action| match action {
        Action::Cancel { sequence, reason: "TIMEOUT", .. } => Some(*sequence),
        _ => None,
    };
    stage.actions.iter().filter_map(cancel).collect()
}

fn restarts(stage: &Stage) -> usize {
    stage.actions.iter().filter(|action| matches!(action, Action::Restart { .. })).count()
}

#[test]
fn a_work_carries_the_time_limit_of_one_call() {
    let mut stage = Stage::ready(settings());
    stage.arrive(1);
    assert_eq!(stage.work().timeout, Some(30 * SECOND));
}

#[test]
fn a_call_past_the_time_limit_is_cancelled_once() {
    let mut stage = Stage::ready(settings());
    stage.arrive(2);
    let work = stage.work();
    stage.progress(work.sequence, 1, 30 * SECOND);
    assert!(cancels(&stage).is_empty(), "not past it yet");
    stage.progress(work.sequence, 1, 30 * SECOND + MS);
    stage.progress(work.sequence, 1, 31 * SECOND);
    assert_eq!(cancels(&stage), [work.sequence]);
}

#[test]
fn progress_about_works_and_rows_that_are_not_there_is_ignored() {
    let mut stage = Stage::ready(settings());
    stage.arrive(1);
    let work = stage.work();
    let call = |sequence, index| Call { sequence, index, age: 60 * SECOND };
    let calls = vec![call(99, Some(0)), call(work.sequence, Some(5))];
    stage.handle(Event::Progress { replica: 0, calls });
    assert!(cancels(&stage).is_empty());
}

#[test]
fn what_does_not_end_after_a_cancel_is_restarted_and_only_late_calls_are_charged() {
    let mut stage = Stage::ready(settings());
    stage.arrive(3);
    let work = stage.work();
    stage.progress(work.sequence, 1, 31 * SECOND);
    stage.wait(5 * SECOND - MS);
    assert_eq!(restarts(&stage), 0);
    stage.wait(MS);
    assert_eq!(restarts(&stage), 1);
    stage.handle(Event::Down { replica: 0, end: End::Closed });
    stage.up(0, limits(1, 10, 1 << 20));
    let again = stage.work();
    assert_eq!((numbers(&again.batch), attempts(&again)), (vec![0, 2], vec![1, 1]), "the rest is free");
    stage.result(consumed(&again));
    stage.wait_for_deadline();
    let late = stage.work();
    assert_eq!((numbers(&late.batch), attempts(&late)), (vec![1], vec![2]));
}

#[test]
fn a_cancelled_work_that_ends_in_time_keeps_its_process() {
    let mut stage = Stage::ready(settings());
    stage.arrive(2);
    let work = stage.work();
    stage.progress(work.sequence, 0, 31 * SECOND);
    stage.wait(4 * SECOND);
    let named = |row: u32, reason| failure(row, FailureAction::Retry, reason);
    stage.fail(&work, vec![named(0, "TIMEOUT"), named(1, "CANCELLED")]);
    let free = stage.work();
    assert_eq!((numbers(&free.batch), attempts(&free)), (vec![1], vec![1]));
    stage.result(consumed(&free));
    stage.wait(10 * SECOND);
    assert_eq!(attempts(&stage.work()), [2]);
    assert_eq!(restarts(&stage), 0);
}

#[test]
fn a_late_batch_call_is_a_failure_that_names_no_event() {
    let mut stage = Stage::ready(settings());
    stage.arrive(3);
    let work = stage.work();
    stage.progress(work.sequence, None, 31 * SECOND);
    stage.wait(5 * SECOND);
    stage.handle(Event::Down { replica: 0, end: End::Closed });
    stage.arrive(1);
    stage.wait(SECOND);
    stage.up(0, limits(1, 10, 1 << 20));
    let again = stage.work();
    assert_eq!((numbers(&again.batch), attempts(&again)), (vec![0, 1, 2], vec![2; 3]));
}

#[test]
fn silence_counts_as_one_call_since_the_last_message() {
    let mut stage = Stage::new(settings());
    stage.up(0, limits(2, 1, 1 << 20));
    stage.arrive(2);
    let oldest = stage.sent[0].1.sequence;
    stage.progress(oldest, 0, MS);
    stage.wait(30 * SECOND - MS);
    assert!(cancels(&stage).is_empty());
    stage.wait(MS);
    assert_eq!(cancels(&stage), [oldest]);
    stage.wait(5 * SECOND);
    assert_eq!(restarts(&stage), 1);
}

#[test]
fn silence_shorter_than_five_seconds_is_none_however_short_the_time_limit() {
    let mut stage = Stage::ready(Settings { timeout: Some(SECOND), ..settings() });
    stage.arrive(1);
    stage.work();
    stage.wait(5 * SECOND - MS);
    assert!(cancels(&stage).is_empty());
    stage.wait(MS);
    assert_eq!(cancels(&stage).len(), 1);
}

#[test]
fn a_node_that_reports_no_progress_is_not_silent() {
    let mut stage = Stage::new(settings());
    stage.handle(Event::Up { replica: 0, limits: limits(1, 10, 1 << 20), reports_progress: false });
    stage.arrive(1);
    stage.work();
    stage.wait(1000 * SECOND);
    assert!(stage.actions.is_empty(), "{:?}", stage.actions);
}

#[test]
fn time_in_which_nothing_was_read_is_not_counted() {
    let mut stage = Stage::new(settings());
    stage.up(0, limits(2, 1, 1 << 20));
    stage.arrive(2);
    let works: Vec<_> = stage.sent.drain(..).map(|(_, work)| work).collect();
    stage.progress(works[1].sequence, 0, 31 * SECOND);
    stage.now = stage.now + 60 * SECOND;
    stage.machine.was_held_up(stage.now);
    stage.handle(Event::Wake);
    assert_eq!((cancels(&stage).len(), restarts(&stage)), (1, 0));
    stage.wait(4 * SECOND);
    assert_eq!(restarts(&stage), 0, "the grace begins anew");
}

#[test]
fn without_a_time_limit_nothing_is_ever_cancelled() {
    let mut stage = Stage::ready(Settings { timeout: None, ..settings() });
    stage.arrive(1);
    let work = stage.work();
    assert_eq!(work.timeout, None);
    stage.progress(work.sequence, 0, 10_000 * SECOND);
    stage.wait(10_000 * SECOND);
    assert!(stage.actions.iter().all(|action| matches!(action, Action::Stalled { .. })), "{:?}", stage.actions);
}
