//! The lock of a replica: held by the guard until none of its processes is left.
//!
//! It is a lock of the open file, not of the process: the coordinator takes it and hands the descriptor to the guard, so
//! there is no moment between the two, and the kernel lets it go when the guard is gone, however it went.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Seek, Write},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
    time::{Duration, Instant},
};

use rustix::process::getpid;
use serde::{Deserialize, Serialize};
use tokio::time::sleep;

use super::{
    DEFAULT_GRACE, ProcessName, SpawnError,
    table::{self, Ending, Entry, TICK},
};

/// What a guard writes into the lock that it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    /// NODE/REPLICA.
    pub(super) name: String,
    /// The guard's pid, which is also its session.
    pub(super) session: i32,
    /// The command's process group.
    pub(super) group: i32,
    /// When the guard started, in clock ticks since boot.
    pub(super) started: u64,
    /// The boot and the pid namespace that these numbers belong to.
    pub(super) boot: String,
}

impl Record {
    /// Processes of the recorded run; `None` of anything else, even if it goes by the same numbers.
    fn survivors(&self, table: &[Entry], boot: &str) -> Vec<Entry> {
        let leader = table.iter().find(|entry| entry.pid == self.session);
        // A number is not given away while a group or session of that number lives, so another leader means: all gone.
        if self.boot != boot || leader.is_some_and(|leader| leader.started != self.started) {
            return Vec::new();
        }
        table
            .iter()
            .filter(|entry| entry.session == self.session || (entry.session == 0 && entry.group == self.group))
            .copied()
            .collect()
    }
}

/// A replica's lock, held.
#[derive(Debug)]
pub(super) struct ReplicaLock(File);

impl ReplicaLock {
    /// Takes the lock, waiting for an earlier run to be gone and ending what a killed guard left behind.
    pub(super) async fn acquire(folder: &Path, name: &ProcessName, patience: Duration) -> Result<Self, SpawnError> {
        let path = folder.join(name.lock_file());
        let failed = |source| SpawnError::Lock { lock: path.clone(), source };
        let deadline = Instant::now() + patience;
        let still_running = |holder: String| SpawnError::StillRunning { lock: path.clone(), holder, waited: patience };

        fs::create_dir_all(folder).map_err(failed)?;
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        loop {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::Error(error)) => return Err(failed(error)),
                Err(TryLockError::WouldBlock) if Instant::now() < deadline => sleep(TICK).await,
                Err(TryLockError::WouldBlock) => {
                    return Err(still_running(match read(&file) {
                        Some(record) => {
                            format!("guard {}, process group {}", record.session, record.group)
                        }
                        None => "held by a process that has not yet said which".into(),
                    }));
                }
            }
        }

        let mut lock = Self(file);
        if let Some(record) = read(&lock.0) {
            if let Err(left) = end_survivors(&record, deadline.max(Instant::now() + DEFAULT_GRACE + TICK * 40)).await {
                return Err(still_running(format!(
                    "the guard {} was killed, {left} of its processes live",
                    record.session
                )));
            }
            lock.clear().map_err(failed)?;
        }
        Ok(lock)
    }

    /// The lock that came with a descriptor.
    pub(super) fn received(descriptor: OwnedFd) -> Self {
        Self(File::from(descriptor))
    }

    /// Says who holds it, before the command runs.
    pub(super) fn write(&mut self, record: &Record) -> io::Result<()> {
        self.clear()?;
        self.0.write_all(&serde_json::to_vec(record)?)
    }

    /// Nothing that it spoke of is left.
    pub(super) fn clear(&mut self) -> io::Result<()> {
        self.0.set_len(0)?;
        self.0.rewind()
    }
}

impl AsFd for ReplicaLock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// An empty or torn record means that no command had been started yet.
fn read(mut file: &File) -> Option<Record> {
    let mut text = Vec::new();
    file.rewind().ok()?;
    file.take(64 << 10).read_to_end(&mut text).ok()?;
    serde_json::from_slice(&text).ok()
}

/// `Err`: how many are left at the deadline.
async fn end_survivors(record: &Record, deadline: Instant) -> Result<(), usize> {
    let boot = boot();
    // Not getsid(): in a container whose first process was started from outside, that is 0, and no `Pid` is.
    let own_session = table::find(getpid().as_raw_pid()).map_or(0, |own| own.session);
    let mut ending = Ending::new(Instant::now(), DEFAULT_GRACE);
    loop {
        let mut members = table::read().map(|table| record.survivors(&table, &boot)).unwrap_or_default();
        members
            .retain(|entry| entry.pid != getpid().as_raw_pid() && (entry.session == 0 || entry.session != own_session));
        if members.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            return Err(members.len());
        }
        ending.step(&members, Instant::now());
        sleep(TICK).await;
    }
}

/// Names this boot and, where there are such, this pid namespace: outside of it, the numbers mean other processes.
pub(super) fn boot() -> String {
    #[cfg(target_os = "linux")]
    {
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
        let namespace = fs::read_link("/proc/self/ns/pid").unwrap_or_default();
        format!("{} {}", boot.trim(), namespace.display())
    }
    #[cfg(not(target_os = "linux"))]
    {
        let output = std::process::Command::new("sysctl").args(["-n", "kern.boottime"]).output();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record { name: "n/0".into(), session: 10, group: 11, started: 5, boot: "b".into() }
    }

    fn entry(pid: i32, session: i32, started: u64) -> Entry {
        Entry { pid, parent: 1, group: 11, session, started }
    }

    #[test]
    fn survivors_are_of_the_same_boot_and_run() {
        let orphan = entry(12, 10, 9);
        let stranger = entry(13, 99, 9);
        assert_eq!(record().survivors(&[orphan, stranger], "b"), [orphan]);
        assert_eq!(record().survivors(&[orphan], "after a reboot"), []);
        let another_leader = entry(10, 10, 6);
        assert_eq!(record().survivors(&[another_leader, orphan], "b"), []);
    }

    #[tokio::test]
    async fn a_torn_record_is_no_run_and_a_held_lock_says_by_whom() {
        let folder = tempfile::tempdir().unwrap();
        let name = ProcessName::new("n", 0);
        fs::write(folder.path().join(name.lock_file()), b"{\"name\":").unwrap();
        let mut held = ReplicaLock::acquire(folder.path(), &name, Duration::ZERO).await.unwrap();
        held.write(&record()).unwrap();
        let error =
            ReplicaLock::acquire(folder.path(), &name, Duration::from_millis(100)).await.unwrap_err().to_string();
        assert!(error.contains("guard 10, process group 11") && error.contains("n.0.lock"), "{error}");
        held.clear().unwrap();
        drop(held);
        ReplicaLock::acquire(folder.path(), &name, Duration::from_secs(10)).await.unwrap();
    }

    #[tokio::test]
    async fn a_folder_that_cannot_be_made_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = ReplicaLock::acquire(&file.path().join("locks"), &ProcessName::new("n", 0), Duration::ZERO).await;
        let error = error.unwrap_err().to_string();
        assert!(error.contains("cannot lock") && error.contains("--state DIR"), "{error}");
    }
}
