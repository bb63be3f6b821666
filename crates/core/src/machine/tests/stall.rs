//! Handlers that may be stuck are told of.

use super::stage::{MS, SECOND, Stage, consumed, limits, settings};
use crate::{
    exchange::Call,
    machine::{Action, Event, Settings},
    moment::Moment,
};

fn told(stage: &Stage) -> Vec<&str> {
    let message = |action| match action {
        &Action::Stalled { replica: 0, ref message } => Some(message.as_str()),
        _ => None,
    };
    stage.actions.iter().filter_map(message).collect()
}

#[test]
fn a_long_call_is_told_of_by_its_event_once_a_minute() {
    let mut stage = Stage::ready(settings());
    stage.arrive(2);
    let work = stage.work();
    stage.progress(work.sequence, 1, 5 * SECOND - MS);
    assert!(told(&stage).is_empty(), "not long yet");
    stage.progress(work.sequence, 1, 5 * SECOND);
    let uid = work.batch.uid(1);
    let message = format!("a handler call has been running for 5.0s (event {uid}); `timeout: 30s` ends it");
    assert_eq!(told(&stage), [message]);
    for second in 6..=20 {
        stage.progress(work.sequence, 1, second * SECOND);
        stage.wait(SECOND);
    }
    assert_eq!(told(&stage).len(), 1);
    stage.wait(60 * SECOND);
    stage.progress(work.sequence, 1, 20 * SECOND);
    assert_eq!(told(&stage).len(), 2);
}

#[test]
fn the_oldest_call_is_known_while_it_runs() {
    let mut stage = Stage::ready(settings());
    stage.arrive(2);
    let work = stage.work();
    let call = |index, age| Call { sequence: work.sequence, index: Some(index), age };
    assert_eq!(stage.machine.oldest_call(0), None);
    stage.handle(Event::Progress { replica: 0, calls: vec![call(0, 2 * SECOND), call(1, SECOND)] });
    assert_eq!(stage.machine.oldest_call(0), Some(Moment(stage.now.0 - 2_000_000_000)));
    stage.handle(Event::Progress { replica: 0, calls: vec![] });
    assert_eq!(stage.machine.oldest_call(0), None);
    stage.handle(Event::Progress { replica: 0, calls: vec![call(1, SECOND)] });
    stage.result(consumed(&work));
    assert_eq!(stage.machine.oldest_call(0), None, "it has nothing in hand");
}

#[test]
fn a_batch_call_is_told_of_by_its_size_and_without_a_timeout_nothing_ends_it() {
    let mut stage = Stage::ready(Settings { timeout: None, ..settings() });
    stage.arrive(3);
    let work = stage.work();
    stage.progress(work.sequence, None, 7 * SECOND);
    assert_eq!(told(&stage), ["a handler call has been running for 7.0s (a batch of 3 events); no `timeout` ends it"]);
}

#[test]
fn a_replica_that_has_work_and_says_nothing_is_told_of_without_being_asked() {
    let mut stage = Stage::ready(settings());
    stage.arrive(1);
    let work = stage.work();
    stage.wait(2 * SECOND);
    stage.progress(work.sequence, 0, 2 * SECOND);
    stage.wait(5 * SECOND - MS);
    assert!(told(&stage).is_empty());
    stage.wait_for_deadline();
    let [message] = told(&stage)[..] else { panic!("{:?}", stage.actions) };
    assert!(message.starts_with("it has said nothing for 5.0s with 1 works in hand"), "{message}");
    stage.wait(SECOND);
    assert_eq!(told(&stage).len(), 1, "not again so soon");
}

#[test]
fn what_reports_nothing_or_has_nothing_in_hand_is_not_told_of() {
    let mut stage = Stage::with_replicas(settings(), 2);
    stage.handle(Event::Up { replica: 0, limits: limits(1, 1000, 1 << 20), reports_progress: false });
    stage.arrive(1);
    let work = stage.work();
    stage.wait(40 * SECOND);
    stage.result(consumed(&work));
    stage.up(1, limits(1, 1000, 1 << 20));
    stage.wait(40 * SECOND);
    assert!(told(&stage).is_empty(), "{:?}", stage.actions);
}
