//! A row-by-row model of a node, against which the machine is run under random events.

mod answers;
mod observed;
mod ops;
mod world;

use std::collections::BTreeSet;

use proptest::prelude::*;

use self::{
    ops::{Op, Setup},
    world::World,
};
use super::stage::{Stage, consumed, limits, numbers, retry, settings};
use crate::{exchange::WorkResult, origin::Outcome};

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_row_ends_as_the_model_says(setup in Setup::any(), ops in prop::collection::vec(Op::any(), 1..100)) {
        let mut world = World::new(&setup);
        for op in &ops {
            world.step(op);
        }
        world.drain(setup.last_room);
    }

    /// A node that fails any batch in which a poisoned row is, and says no more than that.
    #[test]
    fn a_batch_that_fails_as_a_whole_loses_only_the_rows_at_fault(
        rows in 1u32..40,
        poisoned in prop::collection::btree_set(0u32..40, 0..4),
        events in 1u32..40,
        attempts in 1u32..4,
    ) {
        let mut settings = settings();
        settings.retry.attempts = attempts;
        let mut stage = Stage::new(settings);
        stage.up(0, limits(3, events, 1 << 20));
        let frame = stage.arrive(rows);
        let mut delivered = Vec::new();
        while !stage.machine.is_idle() {
            let Some((_, work)) = stage.sent.pop() else {
                stage.wait_for_deadline();
                continue;
            };
            let inputs = numbers(&work.batch);
            if inputs.iter().any(|number| poisoned.contains(number)) {
                stage.fail(&work, vec![retry(None)]);
            } else {
                delivered.extend(inputs);
                stage.result(consumed(&work));
            }
        }
        let lettered: BTreeSet<u32> = stage.letters.iter().flat_map(|letter| numbers(&letter.batch)).collect();
        let expected: BTreeSet<u32> = poisoned.iter().copied().filter(|number| *number < rows).collect();
        prop_assert_eq!(stage.letters.len(), expected.len());
        prop_assert!(stage.letters.iter().all(|letter| letter.attempts == attempts));
        prop_assert_eq!(&lettered, &expected);
        delivered.sort_unstable();
        prop_assert_eq!(delivered, (0..rows).filter(|number| !expected.contains(number)).collect::<Vec<_>>());
        prop_assert_eq!(stage.charged, (0, 0));
        stage.settle_below();
        prop_assert_eq!(stage.book.of(frame), Some(Outcome::Settled));
    }

    /// Over any stretch of time no more goes than the rate allows, and all goes in the end.
    #[test]
    fn the_rate_is_kept(rate in 1u32..50, rows in 1u32..120, step in 1u64..2_000) {
        let mut settings = settings();
        settings.rate = Some(rate.into());
        let mut stage = Stage::ready(settings);
        stage.arrive(rows);
        let start = stage.now;
        let mut gone = 0;
        while !stage.machine.is_idle() {
            for (_, work) in std::mem::take(&mut stage.sent) {
                gone += work.batch.len() as u32;
                let elapsed = (stage.now - start).as_secs_f64();
                prop_assert!(f64::from(gone) <= f64::from(rate) * (1.0 + elapsed) + 0.001, "{} after {} s", gone, elapsed);
                stage.result(WorkResult { busy: std::time::Duration::from_micros(step), ..consumed(&work) });
            }
            if !stage.machine.is_idle() && stage.sent.is_empty() {
                stage.wait_for_deadline();
            }
        }
        prop_assert_eq!(gone, rows);
        let ideal = f64::from(rows.saturating_sub(rate)) / f64::from(rate);
        prop_assert!((stage.now - start).as_secs_f64() <= ideal + 0.01, "slower than the rate");
    }
}
