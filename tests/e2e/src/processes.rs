//! Processes, as /proc tells of them.

use std::{fs, path::PathBuf, process::Command};

/// The variable that marks every process below one test run.
pub const MARK: &str = "E2E_MARK";

/// The processes that were started with this mark in their environment.
pub fn marked(mark: &str) -> Vec<u32> {
    let wanted = format!("{MARK}={mark}");
    let processes = fs::read_dir("/proc").expect("/proc can be read").filter_map(Result::ok);
    let pids = processes.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter(|pid| is_alive(*pid) && environ(*pid).split(|byte| *byte == 0).any(|var| var == wanted.as_bytes()))
        .collect()
}

fn file(pid: u32, name: &str) -> PathBuf {
    PathBuf::from(format!("/proc/{pid}/{name}"))
}

fn environ(pid: u32) -> Vec<u8> {
    fs::read(file(pid, "environ")).unwrap_or_default()
}

/// What it was started with, for a message.
pub fn command_line(pid: u32) -> String {
    let text = fs::read(file(pid, "cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&text).replace('\0', " ").trim().to_owned()
}

/// Whether it runs; a zombie does not.
pub fn is_alive(pid: u32) -> bool {
    let state = stat(pid, 0).and_then(|state| state.chars().next());
    state.is_some_and(|state| !matches!(state, 'Z' | 'X'))
}

/// Its parent; `None`: it is gone.
pub fn parent(pid: u32) -> Option<u32> {
    stat(pid, 1)?.parse().ok()
}

/// A field of /proc/PID/stat, counted from the one behind the name, which may hold anything.
fn stat(pid: u32, field: usize) -> Option<String> {
    let stat = fs::read_to_string(file(pid, "stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(field).map(str::to_owned)
}

/// Resident memory in bytes; `None`: it is gone.
pub fn resident(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(file(pid, "status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().trim_end_matches("kB").trim().parse::<u64>().ok()? << 10)
}

/// Sends a signal to one process.
///
/// # Panics
/// The process is gone.
#[track_caller]
pub fn signal(pid: u32, name: &str) {
    assert!(pid > 1, "no process to signal");
    let sent = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().expect("kill runs");
    assert!(sent.success(), "process {pid} could not be sent {name}");
}
