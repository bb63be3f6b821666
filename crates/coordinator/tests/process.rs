//! Processes under a guard, against the real system: nothing outlives its replica.

#![allow(clippy::unwrap_used)]
// They look at processes through /proc.
#![cfg(target_os = "linux")]

use std::{
    ffi::OsString,
    io::{BufRead, BufReader, Read},
    os::{fd::OwnedFd, unix::process::CommandExt},
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use meshloom_coordinator::process::{
    Environment, LogReceiver, Process, ProcessName, ProcessSpec, Processes, Status, Stderr, Stdin, Stdout, Stream,
    log_channel,
};
use rustix::process::{Pid, Signal, getpgid, kill_process, kill_process_group};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

const GUARD: &str = env!("CARGO_BIN_EXE_guard-test");
const SOON: Duration = Duration::from_secs(20);

struct Bench {
    state: tempfile::TempDir,
    processes: Processes,
    logs: LogReceiver,
}

impl Bench {
    fn new() -> Self {
        let state = tempfile::tempdir().unwrap();
        let (sender, logs) = log_channel(1024);
        let processes = Processes::new(GUARD, state.path(), sender);
        Self { state, processes, logs }
    }

    fn spec(&self, program: &str, args: &[&str]) -> ProcessSpec {
        ProcessSpec {
            name: ProcessName::new("node", 0),
            program: program.into(),
            args: args.iter().map(OsString::from).collect(),
            dir: self.state.path().to_owned(),
            env: Environment::inherit(std::env::vars_os(), false),
            stdin: Stdin::Null,
            stdout: Stdout::Log,
            stderr: Stderr::Log,
        }
    }

    async fn shell(&self, script: &str) -> Process {
        self.processes.spawn(self.spec("sh", &["-c", script])).await.unwrap()
    }

    /// The next line that a process prints.
    async fn line(&mut self) -> String {
        timeout(SOON, self.logs.recv()).await.expect("a line in time").expect("a line").text
    }

    async fn pid_line(&mut self) -> i32 {
        self.line().await.trim().parse().expect("a pid")
    }
}

fn lives(pid: i32) -> bool {
    // A zombie does not count: whoever adopted it has yet to look.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    !stat.is_empty() && !stat.contains(") Z ")
}

/// Field 6 of proc_pid_stat(5): 0, which no `Pid` is, where the session was made outside of this container.
fn session(pid: i32) -> i32 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    stat.rsplit_once(')').unwrap().1.split_whitespace().nth(3).unwrap().parse().unwrap()
}

async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not in {} s", SOON.as_secs());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn gone(process: &Process) {
    timeout(SOON, process.gone()).await.expect("gone in time");
}

fn raw(pid: i32) -> Pid {
    Pid::from_raw(pid).expect("a pid")
}

#[tokio::test]
async fn exit_status_signal_and_last_words_are_reported() {
    let mut bench = Bench::new();
    let exit = bench.shell("echo out; echo one >&2; printf 'last \\377 words' >&2; exit 3").await.exited().await;
    assert_eq!((exit.status, exit.requested), (Status::Code(3), false));
    assert_eq!(exit.last_words, ["one", "last \u{FFFD} words"]);
    assert_eq!(exit.to_string(), "exited with status 3");
    let mut lines = Vec::new();
    for _ in 0..3 {
        let line = timeout(SOON, bench.logs.recv()).await.unwrap().unwrap();
        assert_eq!((&*line.node, line.replica, line.dropped), ("node", 0, 0));
        lines.push((line.stream, line.text));
    }
    assert!(lines.contains(&(Stream::Stdout, "out".into())), "{lines:?}");
    assert!(lines.contains(&(Stream::Stderr, "one".into())), "{lines:?}");

    let exit = bench.shell("kill -SEGV $$").await.exited().await;
    assert_eq!(exit.to_string(), "was killed by signal 11 (SIGSEGV)");
    let exit = bench.shell("exit 0").await.exited().await;
    assert_eq!(exit.status, Status::Code(0));
}

#[tokio::test]
async fn pipes_carry_data_and_their_ends() {
    let bench = Bench::new();
    let spec =
        ProcessSpec { stdin: Stdin::Piped, stdout: Stdout::Piped, stderr: Stderr::Piped, ..bench.spec("cat", &[]) };
    let mut process = bench.processes.spawn(spec).await.unwrap();
    let (mut stdin, mut stdout) = (process.take_stdin().unwrap(), process.take_stdout().unwrap());
    let data = vec![7; 1 << 20];
    let writer = tokio::spawn({
        let data = data.clone();
        async move { stdin.write_all(&data).await.unwrap() }
    });
    let mut stderr = process.take_stderr().unwrap();
    let mut read = Vec::new();
    timeout(SOON, stdout.read_to_end(&mut read)).await.expect("the end in time").unwrap();
    writer.await.unwrap();
    assert_eq!(read, data);
    assert_eq!(stderr.read_to_end(&mut read).await.unwrap(), 0);
    assert_eq!(process.exited().await.status, Status::Code(0));
    assert!(process.take_stdin().is_none() && process.take_stdout().is_none());
}

#[tokio::test]
async fn the_command_gets_its_folder_arguments_and_environment_and_no_more() {
    let mut bench = Bench::new();
    let mut spec = bench.spec(
        "sh",
        &[
            "-c",
            "pwd; echo \"$0 $1\"; env | grep -c .; echo $MINE; ls -l /proc/$$/fd | grep -c -e socket: -e lock",
            "a b",
            "ü",
        ],
    );
    spec.env = Environment::default().with([("PATH", std::env::var("PATH").unwrap()), ("MINE", "yes".into())]);
    bench.processes.spawn(spec).await.unwrap().exited().await;
    assert_eq!(bench.line().await, bench.state.path().canonicalize().unwrap().to_str().unwrap());
    assert_eq!(bench.line().await, "a b ü");
    // PATH, MINE, and PWD, which the shell sets itself (`_` in some).
    assert!(bench.line().await.parse::<u32>().unwrap() <= 4);
    assert_eq!(bench.line().await, "yes");
    // Neither the guard's socket nor the lock was inherited.
    assert_eq!(bench.line().await, "0");
}

#[tokio::test]
async fn the_command_has_a_group_and_session_of_its_own() {
    let bench = Bench::new();
    let process = bench.shell("sleep 600").await;
    let pid = raw(process.pid() as i32);
    assert_eq!(getpgid(Some(pid)).unwrap(), pid);
    assert_ne!(session(process.pid() as i32), session(std::process::id() as i32));
    // A terminal's Ctrl-C goes to the foreground group of the terminal's session: ours, not the command's.
    process.terminate(Duration::from_secs(5));
    let exit = process.exited().await;
    assert_eq!((exit.status, exit.requested), (Status::Signal(15), true));
}

#[tokio::test]
async fn background_jobs_and_daemons_end_with_their_wrapper() {
    let mut bench = Bench::new();
    let process = bench.shell("sleep 600 & echo $!; (setsid sh -c 'sleep 601 & echo $!; sleep 602' &); wait").await;
    let (job, daemon) = (bench.pid_line().await, bench.pid_line().await);
    assert!(lives(job) && lives(daemon));
    process.terminate(Duration::from_secs(5));
    gone(&process).await;
    assert!(!lives(job) && !lives(daemon));
}

#[tokio::test]
async fn what_a_command_leaves_behind_ends_when_it_exits_by_itself() {
    let mut bench = Bench::new();
    let process = bench
        .shell("(setsid sh -c 'echo $$; : > up; exec sleep 600' &) ; sleep 600 & echo $!; until [ -e up ]; do sleep 0.01; done; exit 7")
        .await;
    let left = [bench.pid_line().await, bench.pid_line().await];
    assert_eq!(process.exited().await.status, Status::Code(7));
    gone(&process).await;
    assert!(!left.into_iter().any(lives));
}

#[tokio::test]
async fn a_program_that_ignores_sigterm_is_killed_after_the_grace() {
    let mut bench = Bench::new();
    let process = bench.shell("trap '' TERM; echo ready; while :; do sleep 1; done").await;
    assert_eq!(bench.line().await, "ready");
    let asked = Instant::now();
    process.terminate(Duration::from_millis(600));
    let exit = process.exited().await;
    assert_eq!((exit.status, exit.requested), (Status::Signal(9), true));
    assert!(asked.elapsed() >= Duration::from_millis(550), "{:?}", asked.elapsed());
    gone(&process).await;
}

#[tokio::test]
async fn a_second_request_shortens_the_grace() {
    let mut bench = Bench::new();
    let process = bench.shell("trap '' TERM; echo ready; while :; do sleep 1; done").await;
    bench.line().await;
    process.terminate(Duration::from_secs(3600));
    process.terminate(Duration::ZERO);
    assert_eq!(process.exited().await.status, Status::Signal(9));
}

#[tokio::test]
async fn a_stopped_program_still_ends_in_time() {
    let mut bench = Bench::new();
    let process = bench.shell("trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done").await;
    bench.line().await;
    kill_process_group(raw(process.pid() as i32), Signal::STOP).unwrap();
    process.terminate(Duration::from_secs(10));
    assert_eq!(process.exited().await.status, Status::Code(5));
}

#[tokio::test]
async fn dropping_the_handle_ends_the_process() {
    let mut bench = Bench::new();
    let process = bench.shell("echo $$; sleep 600").await;
    let pid = bench.pid_line().await;
    drop(process);
    until("the process is gone", || !lives(pid)).await;
}

#[tokio::test]
async fn kill_9_of_the_coordinator_leaves_nothing_within_ten_seconds() {
    let state = tempfile::tempdir().unwrap();
    let script = "trap '' TERM; sleep 600 & echo $!; (setsid sh -c 'trap \"\" TERM; echo $$; while :; do sleep 1; done' &); \
                  while :; do sleep 1; done";
    let mut coordinator = Command::new(GUARD)
        .arg("coordinator")
        .args([state.path().as_os_str(), script.as_ref()])
        .stdout(std::process::Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let output = coordinator.stdout.take().unwrap();
    let pids: Vec<i32> = tokio::task::spawn_blocking(move || {
        BufReader::new(output).lines().take(3).map(|line| line.unwrap().trim().parse().unwrap()).collect()
    })
    .await
    .unwrap();
    assert!(pids.iter().all(|pid| lives(*pid)), "{pids:?}");
    coordinator.kill().unwrap();
    coordinator.wait().unwrap();
    let killed = Instant::now();
    until("nothing is left", || !pids.iter().any(|pid| lives(*pid))).await;
    assert!(killed.elapsed() < Duration::from_secs(10), "{:?}", killed.elapsed());
    // Once nothing is left the lock is free, and it no longer speaks of anything.
    let lock = state.path().join("locks/node.0.lock");
    until("the lock is cleared", || std::fs::read(&lock).unwrap().is_empty()).await;
}

#[tokio::test]
async fn a_signal_to_the_coordinators_group_does_not_reach_the_command() {
    let state = tempfile::tempdir().unwrap();
    let mut coordinator = Command::new(GUARD)
        .arg("coordinator")
        .args([
            state.path().as_os_str(),
            "trap 'echo interrupted > interrupted' INT; while :; do sleep 0.05; done".as_ref(),
        ])
        .stdout(std::process::Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let output = coordinator.stdout.take().unwrap();
    let mut first = String::new();
    BufReader::new(output).read_line(&mut first).unwrap();
    let pid: i32 = first.trim().parse().unwrap();
    // What a terminal does on Ctrl-C.
    kill_process_group(raw(coordinator.id() as i32), Signal::INT).unwrap();
    coordinator.wait().unwrap();
    until("the command ended", || !lives(pid)).await;
    assert!(!state.path().join("interrupted").exists());
}

#[tokio::test]
async fn the_same_replica_starts_only_when_its_last_run_is_gone() {
    let mut bench = Bench::new();
    let first = bench.shell("trap '' TERM; echo $$; while :; do sleep 0.1; done").await;
    let pid = bench.pid_line().await;
    first.terminate(Duration::from_millis(500));
    let second = bench.shell("echo $$").await;
    assert!(!lives(pid), "two runs overlapped");
    second.exited().await;
    // Another replica does not wait.
    let other = ProcessSpec { name: ProcessName::new("node", 1), ..bench.spec("true", &[]) };
    let _third = bench.shell("sleep 600").await;
    assert_eq!(bench.processes.spawn(other).await.unwrap().exited().await.status, Status::Code(0));
}

#[tokio::test]
async fn a_run_that_does_not_end_is_named() {
    let bench = Bench::new();
    let first = bench.shell("sleep 600").await;
    let hasty = bench.processes.clone().with_patience(Duration::from_millis(200));
    let error = hasty.spawn(bench.spec("true", &[])).await.unwrap_err().to_string();
    assert!(
        error.contains(&format!("process group {}", first.pid())) && error.contains("another coordinator"),
        "{error}"
    );
}

#[tokio::test]
async fn what_a_killed_guard_left_behind_is_ended_before_the_next_run() {
    let mut bench = Bench::new();
    let first =
        bench.shell("trap '' TERM; (trap '' TERM; while :; do sleep 0.1; done) & echo $!; echo $PPID; wait").await;
    let (left, guard) = (bench.pid_line().await, bench.pid_line().await);
    kill_process(raw(guard), Signal::KILL).unwrap();
    let exit = first.exited().await;
    assert_eq!((exit.status, exit.requested), (Status::Signal(9), false));
    // The command went with its guard; what the command had started did not.
    until("the command is gone", || !lives(first.pid() as i32)).await;
    assert!(lives(left));
    let second = bench.shell("echo next").await;
    assert!(!lives(left), "the next run started beside the last one");
    second.exited().await;
}

#[tokio::test]
async fn a_program_that_cannot_be_executed_is_explained() {
    let bench = Bench::new();
    let dir = bench.state.path();
    script(&dir.join("no-interpreter"), "#!/no/such/interpreter -x\n");
    script(&dir.join("windows"), "#!/bin/sh\r\necho\r\n");
    let cases = [
        ("./no-interpreter", "asks for `/no/such/interpreter -x`, which does not exist"),
        ("./windows", "mind Windows line ends"),
        ("./missing", "looked for "),
        ("no-such-program-anywhere", "in PATH"),
        ("/", "it is a folder"),
    ];
    for (program, expected) in cases {
        let error = bench.processes.spawn(bench.spec(program, &[])).await.unwrap_err().to_string();
        assert!(error.contains(expected), "{program}: {error}");
    }
    let spec = ProcessSpec { args: vec!["x".repeat(3 << 20).into()], ..bench.spec("true", &[]) };
    let error = bench.processes.spawn(spec).await.unwrap_err().to_string();
    assert!(error.contains("together are too long"), "{error}");
    // A failed start leaves the replica free.
    bench.shell("true").await.exited().await;
}

#[tokio::test]
async fn a_guard_that_is_not_there_or_not_one_is_named() {
    let bench = Bench::new();
    let (logs, _lines) = log_channel(16);
    let missing = Processes::new("/no/such/meshloom", bench.state.path(), logs.clone());
    let error = missing.spawn(bench.spec("true", &[])).await.unwrap_err().to_string();
    assert!(error.contains("/no/such/meshloom"), "{error}");
    let wrong = Processes::new("/bin/false", bench.state.path(), logs);
    let error = wrong.spawn(bench.spec("true", &[])).await.unwrap_err().to_string();
    assert!(error.contains("the guard process (/bin/false) did not start it"), "{error}");
}

#[test]
fn by_hand_the_guard_says_what_it_is() {
    let output = Command::new(GUARD).args(["guard", "x"]).stdin(std::process::Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(70));
    assert!(String::from_utf8_lossy(&output.stderr).contains("started by the coordinator"));
}

fn script(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

/// Killed right behind its fork, a guard has left a second stage that has not begun. It must not run without one.
#[tokio::test]
async fn a_second_stage_whose_guard_is_gone_runs_nothing() {
    let (mut control, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    // Adopted, as after the guard's death: another process than the guard is its parent.
    let stdin = OwnedFd::from(theirs);
    let mut orphan =
        Command::new(GUARD).args(["guard", "--execute", "2147483647", "node/0"]).stdin(stdin).spawn().unwrap();
    until("the second stage to give up", || orphan.try_wait().unwrap().is_some()).await;
    assert!(!orphan.wait().unwrap().success());
    let mut said = Vec::new();
    control.read_to_end(&mut said).unwrap();
    assert!(String::from_utf8_lossy(&said).contains("the guard is gone"), "{:?}", String::from_utf8_lossy(&said));
}
