//! Every kind of fault of a process strikes every language once, every trouble of the storage is met, and every way of dying
//! is found out. `make chaos` has more of each.

use std::{cmp::Reverse, path::Path, sync::Mutex, thread};

use meshloom_chaos::{
    namespace,
    plan::{Ground, Plan},
    poison::WAYS,
    round,
};

/// Rounds that run side by side.
const LANES: usize = 2;

/// Faults of the round on a file system that is full: without a start in it, with one, and two of other kinds.
const FILLED: usize = 4;

#[test]
fn nothing_is_lost_whatever_is_killed() {
    let mut plans = Plan::every_kind(1);
    plans.extend([Plan::every_trouble(6), Plan::tmpfs(7, FILLED)]);
    assert!(plans.iter().map(|plan| plan.steps.len()).sum::<usize>() >= 40);
    // The longest first.
    plans.sort_by_key(|plan| Reverse(plan.ground == Ground::Faulty));
    let (chaos, plans) = (Path::new(env!("CARGO_BIN_EXE_chaos")), Mutex::new(plans.into_iter()));
    let next = || plans.lock().expect("nobody panics with it").next();
    thread::scope(|scope| {
        for _ in 0..LANES {
            scope.spawn(|| {
                while let Some(plan) = next() {
                    let plan = &plan;
                    match round::run(plan, chaos) {
                        Ok(done) => {
                            println!("{plan}{done:?}");
                            if let Some(refused) = namespace::told(&done) {
                                println!("{refused}");
                                continue;
                            }
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
