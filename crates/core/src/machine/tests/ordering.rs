//! Order: lines of keys, what waits and what does not, and what a replica says out of turn.

use std::collections::BTreeSet;

use super::stage::*;
use crate::{
    batch::{Batch, BatchBuilder, Event as BatchEvent},
    exchange::{Action, Work, WorkResult},
    machine::{Event, Ordering, Settings, deaths::End},
    origin::Outcome,
    outputs::{OutputEvent, OutputsBuilder},
};

fn ordered(ordering: Ordering) -> Settings {
    Settings { ordering, ..settings() }
}

/// Events with these keys, numbered from `first`; "" is no key.
fn keyed(first: u32, keys: &[&str]) -> Batch {
    let mut builder = BatchBuilder::new();
    for (number, key) in (first..).zip(keys) {
        let event =
            BatchEvent { key: Some(*key).filter(|key| !key.is_empty()), uid: Some(uid(number)), ..Default::default() };
        builder.push(event).unwrap();
    }
    builder.finish()
}

fn stage(replicas: u32, works: u32) -> Stage {
    let mut stage = Stage::with_replicas(ordered(Ordering::Key), replicas);
    (0..replicas).for_each(|replica| stage.up(replica, limits(works, 1000, 1 << 20)));
    stage
}

/// The works sent since the last look, with the numbers of their events.
fn taken(stage: &mut Stage) -> Vec<(u32, Work, Vec<u32>)> {
    let sent = std::mem::take(&mut stage.sent);
    sent.into_iter().map(|(replica, work)| (replica, work.clone(), numbers(&work.batch))).collect()
}

/// A last result with an output for each of these rows and these failures; the rest is consumed.
fn answered(work: &Work, rows: &[u32], failures: Vec<crate::exchange::Failure>) -> WorkResult {
    let parents: Vec<Option<u32>> = rows.iter().copied().map(Some).collect();
    let consumed = (work.batch.len() - rows.len() - failures.len()) as u32;
    let outputs = outputs(work, &parents, false);
    WorkResult { sequence: work.sequence, outputs, failures, consumed, last: true, ..Default::default() }
}

#[test]
fn no_two_unanswered_works_share_a_key_and_others_flow() {
    let mut stage = stage(1, 8);
    stage.arrive_as(keyed(0, &["a", "b"]));
    let [(_, first, rows)] = &taken(&mut stage)[..] else { panic!() };
    assert_eq!(rows, &[0, 1]);
    stage.arrive_as(keyed(2, &["a", "c", "a", ""]));
    stage.wait(10 * MS);
    let [(_, _, rows)] = &taken(&mut stage)[..] else { panic!() };
    assert_eq!(rows, &[3, 5], "the others of the key wait, an event without one does not");
    stage.result(consumed(first));
    stage.wait(10 * MS);
    let [(_, _, rows)] = &taken(&mut stage)[..] else { panic!() };
    assert_eq!(rows, &[2, 4]);
}

#[test]
fn a_key_stays_where_it_is_while_another_replica_is_down() {
    let keys: Vec<String> = (0..60).map(|key| format!("k{key}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let places = |stage: &mut Stage, first: u32| -> Vec<u32> {
        stage.arrive_as(keyed(first, &keys));
        stage.wait(10 * MS);
        let mut places = vec![u32::MAX; keys.len()];
        for (replica, work, rows) in taken(stage) {
            rows.iter().for_each(|row| places[(row - first) as usize] = replica);
            stage.handle(Event::Result { replica, result: consumed(&work) });
        }
        places
    };
    let mut stage = stage(3, 8);
    let before = places(&mut stage, 0);
    stage.handle(Event::Down { replica: 1, end: End::Closed });
    let after = places(&mut stage, 60);
    let (lost, kept): (Vec<_>, Vec<_>) = before.into_iter().zip(after).partition(|(before, _)| *before == 1);
    assert!(kept.iter().all(|(before, after)| after == before), "their replica is up");
    let heirs: BTreeSet<u32> = lost.into_iter().map(|(_, after)| after).collect();
    assert_eq!(heirs, BTreeSet::from([0, 2]), "the keys of the other are spread");
}

#[test]
fn a_retried_event_holds_its_key_and_nothing_else() {
    let mut stage = stage(1, 8);
    stage.arrive_as(keyed(0, &["a", "b", "a", "b"]));
    let [(_, work, _)] = &taken(&mut stage)[..] else { panic!() };
    // It goes on with the key, as a program without an SDK would.
    stage.result(answered(work, &[1, 2, 3], vec![retry(0)]));
    let passed: Vec<u32> = stage.forwarded.iter().flat_map(|(batch, _)| numbers(batch)).collect();
    assert_eq!(passed, [1, 3], "what it made behind the failed one is discarded");
    assert_eq!(stage.machine.books().waiting, 2);
    assert_eq!(stage.charged.0, 2, "they wait within the bounds of the queue");
    stage.arrive_as(keyed(4, &["a", "b"]));
    let [(_, _, rows)] = &taken(&mut stage)[..] else { panic!() };
    assert_eq!(rows, &[5]);
    stage.wait(SECOND);
    let [(_, again, rows)] = &taken(&mut stage)[..] else { panic!() };
    assert_eq!(rows.iter().copied().collect::<BTreeSet<_>>(), BTreeSet::from([0, 2, 4]));
    assert!(rows.is_sorted());
    assert_eq!(attempts(again), [2, 1, 1], "to wait costs no attempt");
}

#[test]
fn a_letter_lets_go_of_its_key() {
    let mut stage = stage(1, 8);
    stage.arrive_as(keyed(0, &["a", "a"]));
    let [(_, work, _)] = &taken(&mut stage)[..] else { panic!() };
    stage.result(answered(work, &[1], vec![reject(0)]));
    assert_eq!(stage.reasons(), ["BAD"]);
    assert!(stage.machine.is_idle());
    assert_eq!(stage.forwarded.len(), 1, "what is behind a rejected event goes on");
}

#[test]
fn what_the_sdk_holds_comes_again_behind_the_event_that_it_waits_for() {
    let mut stage = stage(1, 8);
    stage.arrive_as(keyed(0, &["a", "a", "a"]));
    let held = |row| failure(row, Action::Retry, "KEY_HELD");
    for round in 1..=2 {
        let [(_, work, rows)] = &taken(&mut stage)[..] else { panic!() };
        assert_eq!((&rows[..], attempts(work)), (&[0, 1, 2][..], vec![round, 1, 1]));
        stage.result(answered(work, &[], vec![retry(0), held(1), held(2)]));
        stage.wait(2 * SECOND);
    }
    let [(_, work, _)] = &taken(&mut stage)[..] else { panic!() };
    stage.result(answered(work, &[], vec![retry(0), held(1), held(2)]));
    assert_eq!(stage.letters.len(), 1, "its attempts have run out");
    stage.wait(MS);
    let [(_, work, rows)] = &taken(&mut stage)[..] else { panic!() };
    assert_eq!((&rows[..], attempts(work)), (&[1, 2][..], vec![1, 1]));
}

#[test]
fn later_parts_of_an_answer_are_not_heard_of_events_that_wait() {
    let mut stage = stage(1, 8);
    let frame = stage.arrive_as(keyed(0, &["a", "a", "b"]));
    let [(_, work, _)] = &taken(&mut stage)[..] else { panic!() };
    let part = |failures, rows: &[Option<u32>], consumed, last| WorkResult {
        sequence: work.sequence,
        outputs: outputs(work, rows, false),
        failures,
        consumed,
        last,
        ..Default::default()
    };
    stage.result(part(vec![retry(0)], &[], 0, false));
    assert_eq!(stage.machine.books().waiting, 2);
    assert!(stage.sent.is_empty(), "the work has not been answered in full");
    stage.result(part(vec![], &[Some(1), Some(2)], 0, true));
    let passed: Vec<u32> = stage.forwarded.iter().flat_map(|(batch, _)| numbers(batch)).collect();
    assert_eq!(passed, [2]);
    stage.wait(SECOND);
    let [(_, again, rows)] = &taken(&mut stage)[..] else { panic!() };
    assert_eq!(rows, &[0, 1]);
    // A held event that the node drops without a word is counted by it, and comes again all the same.
    stage.result(WorkResult {
        sequence: again.sequence,
        failures: vec![retry(0)],
        consumed: 1,
        last: true,
        ..Default::default()
    });
    assert_eq!(stage.machine.books().waiting, 2);
    stage.wait(2 * SECOND);
    let [(_, again, rows)] = &taken(&mut stage)[..] else { panic!() };
    assert_eq!((&rows[..], attempts(again)), (&[0, 1][..], vec![3, 1]));
    stage.result(consumed(again));
    stage.settle_below();
    assert_eq!(stage.book.of(frame), Some(Outcome::Settled));
}

#[test]
fn what_waits_for_a_replica_does_not_only_wait_for_retries() {
    for ordering in [Ordering::None, Ordering::Key] {
        let mut stage = Stage::new(ordered(ordering));
        stage.arrive_as(keyed(0, &["a", "a"]));
        assert!(!stage.machine.only_waits_for_retries(), "with a replica it would go");
        stage.up(0, limits(1, 1000, 1 << 20));
        let work = stage.work();
        assert!(!stage.machine.only_waits_for_retries(), "it is in hand");
        stage.result(answered(&work, &[1], vec![retry(0)]));
        assert!(stage.machine.only_waits_for_retries(), "and where an order holds, the second behind the first");
        stage.arrive_as(keyed(2, &["b"]));
        assert!(!stage.machine.only_waits_for_retries());
    }
}

#[test]
fn what_is_held_is_counted_until_it_is_heard_of() {
    // Behind the retry of event 0: event 1 is dropped without a word, or answered and not heard.
    for answered in [false, true] {
        let mut stage = stage(1, 8);
        stage.arrive_as(keyed(0, &["a", "a", "b"]));
        let [(_, work, _)] = &taken(&mut stage)[..] else { panic!() };
        let part = WorkResult { sequence: work.sequence, ..Default::default() };
        stage.result(WorkResult { failures: vec![retry(0)], ..part.clone() });
        if answered {
            stage.result(WorkResult { outputs: outputs(work, &[Some(1)], false), ..part.clone() });
        }
        let consumed = if answered { 1 } else { 2 };
        stage.result(WorkResult { consumed, last: true, ..part });
        stage.wait(SECOND);
        let [(_, _, rows)] = &taken(&mut stage)[..] else { panic!() };
        assert_eq!(rows, &[0, 1], "the event of the other key is done");
    }
}

#[test]
fn a_result_that_leaves_an_event_out_holds_what_is_behind_it() {
    let mut stage = stage(1, 8);
    stage.arrive_as(keyed(0, &["a", "a"]));
    let [(_, work, _)] = &taken(&mut stage)[..] else { panic!() };
    stage.result(WorkResult { consumed: 0, ..answered(work, &[1], vec![]) });
    assert!(stage.forwarded.is_empty());
    stage.wait(SECOND);
    let [(_, again, rows)] = &taken(&mut stage)[..] else { panic!() };
    assert_eq!((&rows[..], attempts(again)), (&[0, 1][..], vec![2, 1]));
}

#[test]
fn all_is_one_work_at_a_time_in_order_of_arrival() {
    let mut stage = Stage::new(ordered(Ordering::All));
    stage.up(0, limits(8, 2, 1 << 20));
    stage.arrive(5);
    let mut seen: Vec<u32> = Vec::new();
    while !stage.machine.is_idle() {
        stage.wait(10 * MS);
        let [(_, work, rows)] = &taken(&mut stage)[..] else { panic!("one at a time") };
        seen.extend(rows);
        stage.result(consumed(work));
    }
    assert_eq!(seen, [0, 1, 2, 3, 4]);
}

#[test]
fn a_key_has_one_replica_and_another_once_that_one_is_gone() {
    let mut stage = stage(3, 8);
    let keys: Vec<String> = (0..30).map(|key| format!("k{key}")).collect();
    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    stage.arrive_as(keyed(0, &keys));
    let first = taken(&mut stage);
    assert_eq!(first.len(), 3);
    assert!(first.iter().all(|(_, _, rows)| rows.len() > 3), "the keys are spread");
    for (replica, work, _) in &first {
        stage.handle(Event::Result { replica: *replica, result: consumed(work) });
    }
    stage.arrive_as(keyed(30, &keys));
    let second = taken(&mut stage);
    for ((replica, _, rows), (same, _, again)) in first.iter().zip(&second) {
        assert_eq!((replica, rows.iter().map(|row| row + 30).collect::<Vec<_>>()), (same, again.clone()));
    }
    stage.handle(Event::Down { replica: 0, end: End::Closed });
    stage.wait(10 * MS);
    let moved: BTreeSet<u32> = taken(&mut stage)
        .iter()
        .flat_map(|(replica, _, rows)| {
            assert_ne!(*replica, 0);
            rows.clone()
        })
        .collect();
    let lost: BTreeSet<u32> =
        second.iter().filter(|(replica, ..)| *replica == 0).flat_map(|(_, _, rows)| rows.clone()).collect();
    assert_eq!(moved, lost);
}

#[test]
fn a_batch_that_fails_as_a_whole_is_narrowed_down_in_order() {
    let mut stage = stage(1, 8);
    stage.arrive_as(keyed(0, &["a", "b", "a", "b"]));
    let mut answered = Vec::new();
    for _ in 0..100 {
        if stage.machine.is_idle() {
            break;
        }
        for (_, work, rows) in taken(&mut stage) {
            if rows.contains(&1) {
                stage.fail(&work, vec![retry(None)]);
            } else {
                answered.extend(rows);
                stage.result(consumed(&work));
            }
        }
        if stage.sent.is_empty() && !stage.machine.is_idle() {
            stage.wait_for_deadline();
        }
    }
    assert_eq!(stage.letters.iter().flat_map(|letter| numbers(&letter.batch)).collect::<Vec<_>>(), [1]);
    assert!(answered.iter().position(|row| *row == 0) < answered.iter().position(|row| *row == 2));
    assert_eq!(answered.len(), 3);
}

#[test]
fn a_suspect_that_waits_for_another_event_keeps_no_replica() {
    let mut stage = stage(1, 1);
    stage.arrive_as(keyed(0, &["a", "a", "a", "a"]));
    let died = || End::Died { words: "exited with status 1".into() };
    for _ in 0..3 {
        assert_eq!(taken(&mut stage).len(), 1);
        stage.handle(Event::Down { replica: 0, end: died() });
        stage.up(0, limits(1, 1000, 1 << 20));
    }
    let [(_, half, rows)] = &taken(&mut stage)[..] else { panic!() };
    assert_eq!(rows, &[0, 1]);
    stage.fail(half, vec![retry(0), failure(1, Action::Retry, "KEY_HELD")]);
    stage.arrive_as(keyed(4, &["b"]));
    let mut seen = BTreeSet::new();
    for _ in 0..50 {
        for (_, work, rows) in taken(&mut stage) {
            assert!(seen.iter().next_back().is_none_or(|last| rows[0] > *last || rows[0] == 4 || *last == 4));
            seen.extend(rows);
            stage.result(consumed(&work));
        }
        if stage.machine.is_idle() {
            break;
        }
        if stage.sent.is_empty() {
            stage.wait_for_deadline();
        }
    }
    assert_eq!(seen, (0..5).collect());
}

#[test]
fn while_a_node_drains_events_behind_a_retry_do_not_keep_it() {
    let mut stage = stage(1, 8);
    stage.arrive_as(keyed(0, &["a", "a"]));
    stage.handle(Event::Drain);
    let [(_, work, _)] = &taken(&mut stage)[..] else { panic!() };
    stage.result(answered(work, &[], vec![retry(0), failure(1, Action::Retry, "KEY_HELD")]));
    assert!(stage.machine.only_waits_for_retries());
    stage.arrive_as(keyed(2, &["b"]));
    assert!(!stage.machine.only_waits_for_retries());
}

#[test]
fn an_output_with_another_key_is_refused_where_a_node_below_is_ordered_by_it() {
    for (goes_on, key, refused) in [(true, "b", true), (true, "a", false), (false, "b", false)] {
        let mut stage = Stage::ready(Settings { keys_go_on: goes_on, ..ordered(Ordering::Key) });
        stage.arrive_as(keyed(0, &["a"]));
        let work = stage.work();
        let mut builder = OutputsBuilder::new(&work.batch);
        builder.emit(Some(0), None, OutputEvent { key: Some(key), ..OutputEvent::default() }).unwrap();
        let outputs = builder.finish(false);
        stage.result(WorkResult { sequence: work.sequence, outputs, last: true, ..Default::default() });
        assert_eq!(stage.forwarded.is_empty(), refused, "{key}");
        let warned = stage.actions.iter().any(|action| matches!(action, crate::machine::Action::Warn { message, .. } if message.contains("has another key")));
        assert_eq!(warned, refused);
    }
}
