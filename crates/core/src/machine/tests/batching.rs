//! Which events make a work, and when it goes.

use std::time::Duration;

use proptest::prelude::*;

use super::stage::{MS, SECOND, Stage, consumed, events, limits, numbers, settings, uid};
use crate::{
    batch::{self, BatchBuilder, ExtensionValue},
    exchange::WorkResult,
    machine::{Event, Ordering, Settings},
};

/// Works are gathered in two ways: event by event where an order holds, and else by whole segments.
const ORDERINGS: [Ordering; 2] = [Ordering::None, Ordering::Key];

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// However the events came: each work goes on where the last one ended, and holds all that the limits allow.
    #[test]
    fn works_are_as_full_as_the_limits_allow(
        frames in prop::collection::vec(prop::collection::vec(0usize..4, 1..6), 1..12),
        most in 1u32..7,
        fitting in 1usize..7,
        ordering in prop::sample::select(ORDERINGS.to_vec()),
    ) {
        let mut stage = Stage::new(Settings { ordering, ..settings() });
        let sizes: Vec<(u32, usize, bool)> =
            (0..).zip(frames.iter().flatten()).map(|(number, size)| (number, size * 30, false)).collect();
        // What some of the events have together, to the byte.
        let bytes = events(sizes.iter().take(fitting).copied()).bytes().max(200);
        let mut rest = &sizes[..];
        for frame in &frames {
            let (first, later) = rest.split_at(frame.len());
            stage.arrive_as(events(first.iter().copied()));
            rest = later;
        }
        stage.up(0, limits(1000, most, bytes as u64));
        let all = sizes.len() as u32;
        stage.wait(10 * MS);
        let works: Vec<_> = stage.sent.iter().map(|(_, work)| &work.batch).collect();
        prop_assert_eq!(works.iter().flat_map(|batch| numbers(batch)).collect::<Vec<_>>(), (0..all).collect::<Vec<_>>());
        for batch in &works {
            prop_assert!(batch.len() <= most as usize && (batch.len() == 1 || batch.bytes() <= bytes));
        }
        for pair in works.windows(2) {
            let full = pair[0].len() == most as usize || pair[0].bytes() + pair[1].bytes_of(0) > bytes;
            prop_assert!(full, "{} events and {} bytes before one of {}", pair[0].len(), pair[0].bytes(), pair[1].bytes_of(0));
        }
    }
}

#[test]
fn a_partial_batch_goes_at_once_to_a_replica_with_nothing_in_hand() {
    let mut stage = Stage::ready(settings());
    stage.arrive(3);
    assert_eq!(numbers(&stage.work().batch), [0, 1, 2]);
}

#[test]
fn a_partial_batch_waits_five_milliseconds_when_the_replica_has_work() {
    for ordering in ORDERINGS {
        let mut stage = Stage::new(Settings { ordering, ..settings() });
        stage.up(0, limits(2, 1000, 1 << 20));
        stage.arrive(1);
        stage.work();
        stage.arrive(1);
        stage.wait(4 * MS);
        assert!(stage.sent.is_empty());
        stage.arrive(1);
        stage.wait(MS);
        assert_eq!(numbers(&stage.work().batch), [1, 2]);
    }
}

#[test]
fn a_full_batch_waits_for_nothing() {
    let mut stage = Stage::new(settings());
    stage.up(0, limits(3, 10, 1 << 20));
    stage.arrive(25);
    let sizes: Vec<usize> = stage.sent.iter().map(|(_, work)| work.batch.len()).collect();
    assert_eq!(sizes, [10, 10], "the rest lingers");
}

fn lingering() -> Settings {
    Settings { linger: Some(10 * SECOND), ..settings() }
}

#[test]
fn an_explicit_linger_holds_even_for_an_idle_replica() {
    for ordering in ORDERINGS {
        let mut stage = Stage::ready(Settings { ordering, ..lingering() });
        stage.arrive(1);
        stage.wait(9 * SECOND);
        stage.arrive(1);
        assert!(stage.sent.is_empty());
        stage.wait(SECOND);
        assert_eq!(numbers(&stage.work().batch), [0, 1]);
    }
}

#[test]
fn an_explicit_linger_ends_when_the_batch_is_full() {
    for ordering in ORDERINGS {
        let mut stage = Stage::ready(Settings { batch_events: 4, ordering, ..lingering() });
        stage.arrive(3);
        assert!(stage.sent.is_empty());
        stage.arrive(2);
        assert_eq!(numbers(&stage.work().batch), [0, 1, 2, 3]);
        let mut stage = Stage::ready(Settings { batch_bytes: 1000, ordering, ..lingering() });
        stage.arrive_as(events([(0, 400, false)]));
        assert!(stage.sent.is_empty());
        stage.arrive_as(events([(1, 400, false), (2, 400, false)]));
        assert_eq!(numbers(&stage.work().batch), [0, 1]);
    }
}

#[test]
fn a_linger_ends_at_once_on_pressure_exhaustion_and_drain() {
    for ordering in ORDERINGS {
        for event in [Event::Pressed, Event::InputsEnded, Event::Drain] {
            let mut stage = Stage::ready(Settings { ordering, ..lingering() });
            stage.arrive(1);
            assert!(stage.sent.is_empty());
            stage.handle(event);
            assert_eq!(stage.work().batch.len(), 1);
        }
    }
}

#[test]
fn pressure_that_comes_while_no_replica_is_free_is_remembered() {
    let mut stage = Stage::new(lingering());
    stage.arrive(1);
    stage.handle(Event::Pressed);
    stage.up(0, limits(1, 1000, 1 << 20));
    assert_eq!(stage.work().batch.len(), 1);
    stage.arrive(1);
    assert!(stage.sent.is_empty(), "it is over once the queue has been drawn up");
}

#[test]
fn a_linger_ends_when_the_budget_is_used_up() {
    for ordering in ORDERINGS {
        let mut stage = Stage::ready(Settings { ordering, ..lingering() });
        stage.arrive(2);
        // For the events and as much for what becomes of them.
        stage.room = 2 * stage.charged.1 as u64;
        stage.handle(Event::Wake);
        assert!(stage.sent.is_empty(), "there is room for what will come");
        stage.room -= 1;
        stage.handle(Event::Wake);
        assert_eq!(stage.work().batch.len(), 1);
    }
}

#[test]
fn works_are_cut_at_the_bytes_of_the_limits_and_of_the_settings() {
    for (most, batch_bytes) in [(400, 1 << 20), (1 << 20, 400)] {
        let mut stage = Stage::new(Settings { batch_bytes, ..settings() });
        stage.arrive_as(events((0..10).map(|number| (number, 60, false))));
        stage.up(0, limits(10, 1000, most));
        for (_, work) in &stage.sent {
            assert!(work.batch.bytes() <= 400, "{}", work.batch.bytes());
        }
        assert!(stage.sent[0].1.batch.len() > 1);
        assert_eq!(stage.sent[1].1.batch.len(), stage.sent[0].1.batch.len());
    }
}

#[test]
fn an_event_larger_than_a_work_goes_alone_if_the_node_takes_it() {
    for ordering in ORDERINGS {
        let mut stage = Stage::new(Settings { batch_bytes: 300, ordering, ..settings() });
        stage.arrive_as(events([(0, 10, false), (1, 900, false), (2, 10, false)]));
        stage.up(0, limits(10, 1000, 2000));
        stage.wait(10 * MS);
        let works: Vec<_> = stage.sent.iter().map(|(_, work)| numbers(&work.batch)).collect();
        assert_eq!(works, [vec![0], vec![1], vec![2]]);
    }
}

#[test]
fn an_event_larger_than_the_node_takes_becomes_a_letter() {
    let mut stage = Stage::new(settings());
    stage.arrive_as(events([(0, 10, false), (1, 900, false), (2, 10, false)]));
    stage.up(0, limits(10, 1000, 500));
    stage.wait(10 * MS);
    assert_eq!(stage.reasons(), ["EVENT_TOO_LARGE"]);
    assert_eq!((numbers(&stage.letters[0].batch), stage.letters[0].attempts), (vec![1], 0));
    assert!(stage.letters[0].message.contains("takes at most 500"), "{}", stage.letters[0].message);
    assert_eq!(stage.sent.iter().map(|(_, work)| work.batch.len()).sum::<usize>(), 2);
    assert_eq!(stage.charged, (0, 0));
}

#[test]
fn the_batch_grows_while_it_is_fast_and_shrinks_when_it_is_slow() {
    let mut stage = Stage::ready(settings());
    let answer = |stage: &mut Stage, busy: Duration| {
        let work = stage.work();
        stage.now = stage.now + busy;
        stage.result(WorkResult { busy, ..consumed(&work) });
        work.batch.len()
    };
    stage.arrive(20_000);
    let sizes: Vec<usize> = (0..4).map(|_| answer(&mut stage, MS)).collect();
    assert_eq!(sizes, [256, 512, 1000, 1000], "up to the replica's limit");
    let slow = [1000, 500, 250, 125].map(|events| answer(&mut stage, MS * events));
    assert_eq!(slow, [1000, 500, 250, 125]);
}

#[test]
fn a_replica_has_no_more_works_in_hand_than_it_said() {
    for ordering in ORDERINGS {
        let mut stage = Stage::new(Settings { ordering, ..settings() });
        stage.up(0, limits(2, 1, 1 << 20));
        stage.arrive(5);
        assert_eq!(stage.sent.len(), 2);
        stage.handle(Event::Limits { replica: 0, limits: limits(3, 1, 1 << 20) });
        assert_eq!(stage.sent.len(), 3);
        stage.handle(Event::Limits { replica: 0, limits: limits(1, 1, 1 << 20) });
        let (_, first) = stage.sent.remove(0);
        stage.result(consumed(&first));
        assert_eq!(stage.sent.len(), 2, "it already has more than it takes now");
    }
}

#[test]
fn events_that_need_more_extensions_than_a_batch_has_go_apart() {
    for ordering in ORDERINGS {
        let mut stage = Stage::new(Settings { ordering, ..settings() });
        for frame in 0..3u32 {
            let names: Vec<String> = (0..40).map(|n| format!("e{}", frame % 2 * 40 + n)).collect();
            let extensions: Vec<_> = names.iter().map(|name| (name.as_str(), ExtensionValue::Boolean(true))).collect();
            let mut builder = BatchBuilder::new();
            builder
                .push(batch::Event { uid: Some(uid(frame)), extensions: &extensions, ..Default::default() })
                .unwrap();
            stage.arrive_as(builder.finish());
        }
        stage.up(0, limits(10, 1000, 1 << 20));
        stage.wait(10 * MS);
        let works: Vec<_> = stage.sent.iter().map(|(_, work)| numbers(&work.batch)).collect();
        assert_eq!(works, [vec![0], vec![1], vec![2]], "eighty names are more than a batch has room for");
    }
}

#[test]
fn an_unfinished_work_counts_until_its_last_result() {
    let mut stage = Stage::new(settings());
    stage.up(0, limits(1, 1, 1 << 20));
    stage.arrive(2);
    let work = stage.work();
    stage.result(WorkResult { last: false, failures: vec![super::stage::reject(0)], ..consumed(&work) });
    assert!(stage.sent.is_empty());
    stage.result(WorkResult { consumed: 0, ..consumed(&work) });
    assert_eq!(numbers(&stage.work().batch), [1]);
}

#[test]
fn the_replica_with_the_fewest_events_in_hand_gets_the_next_work() {
    let mut stage = Stage::with_replicas(settings(), 2);
    stage.up(0, limits(4, 10, 1 << 20));
    stage.arrive(10);
    stage.up(1, limits(4, 10, 1 << 20));
    stage.arrive(10);
    assert_eq!(stage.sent.iter().map(|(replica, _)| *replica).collect::<Vec<_>>(), [0, 1]);
}

#[test]
fn without_room_in_the_budget_one_event_at_a_time_still_goes() {
    for ordering in ORDERINGS {
        let mut stage = Stage::new(Settings { ordering, ..settings() });
        stage.room = 0;
        stage.arrive(2);
        stage.arrive(2);
        stage.up(0, limits(8, 100, 1 << 20));
        for number in 0..4 {
            assert!(stage.machine.is_starved() || number == 3);
            let work = stage.work();
            assert_eq!(numbers(&work.batch), [number]);
            stage.result(consumed(&work));
        }
        assert!(stage.machine.is_idle());
    }
}

#[test]
fn further_works_need_room_for_the_batch_and_an_equal_result() {
    for ordering in ORDERINGS {
        let mut stage = Stage::new(Settings { ordering, ..settings() });
        stage.arrive(4);
        let bytes = stage.charged.1 as u64;
        stage.room = 2 * bytes - 1;
        stage.up(0, limits(8, 2, 1 << 20));
        assert_eq!(stage.sent.len(), 1);
        assert!(stage.machine.is_starved());
        stage.room = 2 * bytes;
        stage.handle(Event::Wake);
        assert_eq!(stage.sent.len(), 2);
        assert!(!stage.machine.is_starved());
    }
}

#[test]
fn room_of_the_edge_is_free_once_events_have_gone_and_used_again_by_a_retry() {
    let mut stage = Stage::ready(settings());
    stage.arrive(4);
    assert_eq!(stage.charged, (0, 0));
    let work = stage.work();
    stage.fail(&work, vec![super::stage::retry(1), super::stage::retry(2)]);
    assert_eq!(stage.charged.0, 2);
    assert!(stage.charged.1 > 0);
    stage.wait_for_deadline();
    assert_eq!(stage.charged, (0, 0));
}

#[test]
fn a_drain_fires_waiting_retries_once() {
    let mut stage = Stage::ready(settings());
    stage.arrive(1);
    let work = stage.work();
    stage.fail(&work, vec![super::stage::retry(0)]);
    stage.handle(Event::Drain);
    let again = stage.work();
    assert_eq!(super::stage::attempts(&again), [2]);
    stage.fail(&again, vec![super::stage::retry(0)]);
    assert!(stage.sent.is_empty());
    assert!(stage.machine.only_waits_for_retries());
}

#[test]
fn what_is_abandoned_is_handed_over_whole() {
    let mut stage = Stage::new(settings());
    stage.up(0, limits(1, 2, 1 << 20));
    let frame = stage.arrive(6);
    let work = stage.work();
    stage.fail(&work, vec![super::stage::retry(0), super::stage::retry(1)]);
    let second = stage.work();
    assert_eq!(numbers(&second.batch), [2, 3]);
    let (left, _) = stage.machine.abandon(stage.now);
    let mut rows: Vec<u32> = left.iter().flat_map(|segment| numbers(&segment.batch)).collect();
    rows.sort_unstable();
    assert_eq!(rows, [0, 1, 2, 3, 4, 5], "in retry, in hand and in the queue");
    stage.machine.drained(2);
    let books = stage.machine.books();
    assert_eq!((books.waiting, books.in_hand, books.dead_lettered), (4, 0, 2));
    drop(left);
    assert_eq!(stage.book.of(frame), Some(crate::origin::Outcome::Lost));
}
