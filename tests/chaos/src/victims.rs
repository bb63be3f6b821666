//! Finding processes of a run, and signalling them.

use meshloom_e2e::processes;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};

/// The guards of a node: one, or one for each process of a batch.
fn guards(mark: &str, node: &str) -> Vec<u32> {
    let name = format!("{node}/");
    let is_guard = |pid: &u32| {
        let line = processes::command_line(*pid);
        let mut words = line.split(' ').skip(1);
        words.next() == Some("guard") && words.next().is_some_and(|word| word.starts_with(&name))
    };
    processes::marked(mark).into_iter().filter(is_guard).collect()
}

/// The guard of a node, if it is there now.
pub fn guard(mark: &str, node: &str) -> Option<u32> {
    guards(mark, node).first().copied()
}

/// The process of a node, if it runs now: the guard's child once it has become the command.
pub fn node(mark: &str, node: &str) -> Option<u32> {
    let guards = guards(mark, node);
    let is_ours = |pid: &u32| {
        processes::parent(*pid).is_some_and(|parent| guards.contains(&parent))
            && !processes::command_line(*pid).contains(" guard ")
    };
    processes::marked(mark).into_iter().find(is_ours)
}

/// Sets how long the files may be that a process writes, in bytes, and gives what it was. What it starts meanwhile
/// inherits it; the hard limit stays, so that it may be set again.
pub fn limit_files(pid: u32, bytes: Option<u64>) -> Option<u64> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    let maximum = rustix::process::getrlimit(Resource::Fsize).maximum;
    let limit = Rlimit { current: bytes, maximum };
    prlimit(Some(pid), Resource::Fsize, limit).expect("a process of ours may be limited").current
}

/// Sends a signal; whether the process was there.
pub fn signal(pid: u32, signal: Signal) -> bool {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).is_ok()
}
