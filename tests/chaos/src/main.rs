//! `make chaos`: round after round of random faults until enough have struck or the time is up.
//!
//! SEED names the first round's seed, the others follow it; FAULTS how many faults are enough, ROUNDS how many rounds,
//! MINUTES the time, LANES how many rounds run side by side. `chaos record OUT GATE` is the sink of the pipeline, and
//! `chaos tmpfs SEED FAULTS` one round of this seed where it may mount.

use std::{
    env,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
    process::ExitCode,
    sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    thread,
    time::{Duration, Instant, SystemTime},
};

use meshloom_chaos::{
    namespace,
    plan::Plan,
    poison, record,
    round::{self, Failed},
};

/// Faults of a round.
const FAULTS: usize = 20;

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["record", out, gate] => match record::main(Path::new(out), Path::new(gate)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{out}: {error}");
                ExitCode::FAILURE
            }
        },
        ["tmpfs", seed, faults] => match (seed.parse(), faults.parse()) {
            (Ok(seed), Ok(faults)) => tmpfs(&Plan::tmpfs(seed, faults)),
            _ => panic!("{seed} and {faults} are to be numbers"),
        },
        [] => chaos(),
        other => {
            eprintln!("chaos: {other:?} is not understood; see its documentation");
            ExitCode::from(2)
        }
    }
}

/// A number from the environment.
fn setting(name: &str, or: u64) -> u64 {
    match env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")),
        Err(_) => or,
    }
}

/// A round in the namespaces that this process was started in.
fn tmpfs(plan: &Plan) -> ExitCode {
    match round::run_here(plan, &env::current_exe().expect("a running program has a path")) {
        Ok(outcome) => match &outcome.refused {
            None => {
                println!("{}", namespace::write(&outcome));
                ExitCode::SUCCESS
            }
            Some(why) => {
                eprintln!("{why}");
                ExitCode::from(namespace::REFUSED)
            }
        },
        Err(failed) => {
            println!("{failed}");
            ExitCode::from(namespace::WRONG)
        }
    }
}

fn chaos() -> ExitCode {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let first = setting("SEED", now.as_secs() % 1_000_000_000);
    let (enough, rounds) = (setting("FAULTS", 1_000) as usize, setting("ROUNDS", u64::MAX));
    let lanes = setting("LANES", thread::available_parallelism().map_or(2, usize::from).min(4) as u64);
    let (began, limit) = (Instant::now(), Duration::from_secs(60 * setting("MINUTES", 30)));
    let program = env::current_exe().expect("a running program has a path");
    println!("first seed {first}; until {enough} faults or {} minutes, {lanes} rounds at a time", limit.as_secs() / 60);
    let (next, struck, failed) = (AtomicU64::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    let lane = || {
        while !failed.load(Ordering::Relaxed) && struck.load(Ordering::Relaxed) < enough && began.elapsed() < limit {
            let index = next.fetch_add(1, Ordering::Relaxed);
            if index >= rounds {
                return;
            }
            let plan = Plan::random(first.wrapping_add(index), FAULTS);
            match catch_unwind(AssertUnwindSafe(|| round::run(&plan, &program))) {
                Ok(Ok(outcome)) => {
                    if let Some(refused) = namespace::told(&outcome) {
                        println!("seed {}: {refused}", plan.seed);
                        continue;
                    }
                    let faults = struck.fetch_add(outcome.faults, Ordering::Relaxed) + outcome.faults;
                    let (runs, took) = (outcome.runs, outcome.took);
                    println!("seed {}: {} faults, {runs} runs, {took:.1?}; {faults} so far", plan.seed, outcome.faults);
                }
                Ok(Err(wrong)) => {
                    failed.store(true, Ordering::Relaxed);
                    tell(&plan, &wrong);
                }
                Err(_) => {
                    failed.store(true, Ordering::Relaxed);
                    println!("{plan}it panicked; again with SEED={} ROUNDS=1 make chaos", plan.seed);
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..lanes {
            scope.spawn(lane);
        }
    });
    let faults = struck.load(Ordering::Relaxed);
    println!("{faults} faults in {:.1?}", began.elapsed());
    if failed.load(Ordering::Relaxed) {
        return ExitCode::FAILURE;
    }
    if rounds == u64::MAX {
        poison::all(setting("POISON_EVENTS", 100_000));
    }
    ExitCode::SUCCESS
}

fn tell(plan: &Plan, failed: &Failed) {
    println!("{plan}{failed}again with SEED={} ROUNDS=1 make chaos", plan.seed);
}
