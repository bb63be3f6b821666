//! The system's processes: who descends from whom, and signals that never hit a stranger.

use std::{
    collections::HashSet,
    io,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal};

/// How often a group that is being ended is looked at.
pub(super) const TICK: Duration = Duration::from_millis(25);

/// One living process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Entry {
    pub(super) pid: i32,
    pub(super) parent: i32,
    pub(super) group: i32,
    /// 0 where the system does not tell.
    pub(super) session: i32,
    /// Clock ticks since boot; with the pid it names a process for good. 0 where the system does not tell.
    pub(super) started: u64,
}

/// All living processes; those that have ended and wait to be reaped are not among them.
pub(super) fn read() -> io::Result<Vec<Entry>> {
    system::read()
}

/// One living process.
pub(super) fn find(pid: i32) -> Option<Entry> {
    read_one(pid)
}

/// Everything that belongs to a guard: its session, the command's group, and all descendants wherever they moved.
pub(super) fn relatives(table: &[Entry], guard: i32, group: Option<i32>) -> Vec<Entry> {
    let mut family = HashSet::from([guard]);
    // Each round finds at least one generation.
    loop {
        let before = family.len();
        family.extend(
            table.iter().filter(|entry| family.contains(&entry.parent)).map(|entry| entry.pid).collect::<Vec<_>>(),
        );
        if family.len() == before {
            break;
        }
    }
    table
        .iter()
        .filter(|entry| entry.pid != guard)
        .filter(|entry| family.contains(&entry.pid) || entry.session == guard || Some(entry.group) == group)
        .copied()
        .collect()
}

/// Ends processes: SIGTERM once to each, SIGKILL once the grace is over.
#[derive(Debug)]
pub(super) struct Ending {
    kill_at: Instant,
    asked: HashSet<(i32, u64)>,
}

impl Ending {
    pub(super) fn new(now: Instant, grace: Duration) -> Self {
        Self { kill_at: now + grace, asked: HashSet::new() }
    }

    /// A later request may only shorten the time.
    pub(super) fn hasten(&mut self, now: Instant, grace: Duration) {
        self.kill_at = self.kill_at.min(now + grace);
    }

    /// Does what is due; to be repeated until there are no members.
    pub(super) fn step(&mut self, members: &[Entry], now: Instant) {
        for member in members {
            if now >= self.kill_at {
                signal(member, Signal::KILL);
            } else if self.asked.insert((member.pid, member.started)) {
                signal(member, Signal::TERM);
                // A stopped process would not get to see it.
                signal(member, Signal::CONT);
            }
        }
    }
}

fn signal(entry: &Entry, signal: Signal) {
    let Some(pid) = Pid::from_raw(entry.pid) else {
        return;
    };
    // Failure means that it is gone, or not ours to signal: the next look at the table tells.
    #[cfg(target_os = "linux")]
    if let Ok(handle) = rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
        // Looked at again once it is held, so that a number that was given away in between is not hit.
        if read_one(entry.pid).is_some_and(|current| current.started == entry.started) {
            let _ = rustix::process::pidfd_send_signal(handle, signal);
        }
        return;
    }
    let _ = rustix::process::kill_process(pid, signal);
}

#[cfg(target_os = "linux")]
use self::system::read_one;

#[cfg(not(target_os = "linux"))]
fn read_one(pid: i32) -> Option<Entry> {
    read().ok()?.into_iter().find(|entry| entry.pid == pid)
}

#[cfg(target_os = "linux")]
mod system {
    use std::{fs, io};

    use super::Entry;

    pub(super) fn read() -> io::Result<Vec<Entry>> {
        let pids = fs::read_dir("/proc")?
            .filter_map(Result::ok)
            .filter_map(|entry| entry.file_name().to_str().and_then(|name| name.parse().ok()));
        Ok(pids.filter_map(read_one).collect())
    }

    pub(super) fn read_one(pid: i32) -> Option<Entry> {
        // A process that ends meanwhile is as good as not there.
        let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
        parse(pid, &String::from_utf8_lossy(&stat))
    }

    /// proc_pid_stat(5); the name in parentheses may hold anything, so counting starts behind the last one.
    fn parse(pid: i32, stat: &str) -> Option<Entry> {
        let (_, rest) = stat.rsplit_once(')')?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        if matches!(*fields.first()?, "Z" | "X" | "x") {
            return None;
        }
        let number = |index: usize| fields.get(index)?.parse().ok();
        Some(Entry {
            pid,
            parent: number(1)?,
            group: number(2)?,
            session: number(3)?,
            started: fields.get(19)?.parse().ok()?,
        })
    }

    #[test]
    fn names_with_parentheses_and_zombies() {
        let stat = "7 (a) S (b) S 3 5 4 0 -1 4194560 0 0 0 0 1 2 3 4 20 0 1 0 987 1 1";
        assert_eq!(parse(7, stat), Some(Entry { pid: 7, parent: 3, group: 5, session: 4, started: 987 }));
        assert_eq!(parse(7, &stat.replace(") S 3", ") Z 3")), None);
        assert_eq!(parse(7, "7 (a"), None);
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use std::{io, process::Command};

    use super::Entry;

    pub(super) fn read() -> io::Result<Vec<Entry>> {
        let output = Command::new("ps").args(["-A", "-o", "pid=,ppid=,pgid=,stat="]).output()?;
        Ok(String::from_utf8_lossy(&output.stdout).lines().filter_map(parse).collect())
    }

    fn parse(line: &str) -> Option<Entry> {
        let mut fields = line.split_ascii_whitespace();
        let mut number = || fields.next()?.parse().ok();
        let entry = Entry { pid: number()?, parent: number()?, group: number()?, session: 0, started: 0 };
        (!fields.next()?.starts_with('Z')).then_some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(pid: i32, parent: i32, group: i32, session: i32) -> Entry {
        Entry { pid, parent, group, session, started: 1 }
    }

    #[test]
    fn relatives_are_found_by_descent_session_and_group() {
        let table = [
            entry(30, 20, 30, 30), // a daemon in a session of its own, two generations down, listed first
            entry(20, 11, 20, 10), // a job-control group of the command
            entry(10, 1, 10, 10),  // the guard
            entry(11, 10, 11, 10), // the command
            entry(40, 1, 41, 10),  // orphaned, but of the session
            entry(50, 1, 11, 99),  // of the group only
            entry(60, 1, 60, 60),  // a stranger
        ];
        let mut found: Vec<i32> = relatives(&table, 10, Some(11)).iter().map(|entry| entry.pid).collect();
        found.sort_unstable();
        assert_eq!(found, [11, 20, 30, 40, 50]);
    }

    #[test]
    fn this_process_is_in_the_table() {
        let own = find(std::process::id() as i32).unwrap();
        assert_eq!(own.parent, rustix::process::getppid().unwrap().as_raw_pid());
        assert!(read().unwrap().contains(&own));
    }
}
