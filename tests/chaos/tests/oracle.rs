//! Every kind of fault strikes every language once, and every way of dying is found out. `make chaos` has more of both.

use std::{path::Path, thread};

use meshloom_chaos::{plan::Plan, poison::WAYS, round};

/// Rounds that run side by side.
const LANES: usize = 2;

#[test]
fn nothing_is_lost_whatever_is_killed() {
    let plans = Plan::every_kind(1);
    assert!(plans.iter().map(|plan| plan.steps.len()).sum::<usize>() >= 40);
    let chaos = Path::new(env!("CARGO_BIN_EXE_chaos"));
    thread::scope(|scope| {
        for lane in 0..LANES {
            let plans = &plans;
            scope.spawn(move || {
                for plan in plans.iter().skip(lane).step_by(LANES) {
                    match round::run(plan, chaos) {
                        Ok(done) => {
                            println!("{plan}{done:?}");
                            assert_eq!(done.faults, plan.steps.len(), "each of them has struck");
                        }
                        Err(failed) => panic!("{plan}{failed}"),
                    }
                }
            });
        }
    });
}

#[test]
fn an_event_that_kills_its_process_is_one_letter() {
    const EVENTS: u64 = 5_000;
    thread::scope(|scope| {
        for lane in 0..LANES {
            scope.spawn(move || WAYS.iter().skip(lane).step_by(LANES).for_each(|way| way.find(EVENTS)));
        }
    });
}
