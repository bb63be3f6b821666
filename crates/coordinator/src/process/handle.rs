//! A running process, as the coordinator sees it.

use std::{fmt, io, sync::Arc, time::Duration};

use tokio::{
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf, pipe},
    },
    sync::watch,
    task::JoinHandle,
    time::timeout,
};

use super::{
    ProcessName,
    channel::{self, End, Report},
    words::LastWords,
};

/// How long the end of standard error is waited for after the end of the command, for its last words.
const TAIL: Duration = Duration::from_secs(1);

/// What the kernel does to a command whose guard is gone.
const KILLED: Status = Status::Signal(9);

/// How a command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// With an exit code.
    Code(i32),
    /// By a signal.
    Signal(i32),
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Code(code) => write!(f, "exited with status {code}"),
            Status::Signal(number) => {
                write!(f, "was killed by signal {number}{}", signal_name(*number))
            }
        }
    }
}

fn signal_name(number: i32) -> &'static str {
    match number {
        1 => " (SIGHUP)",
        2 => " (SIGINT)",
        3 => " (SIGQUIT)",
        4 => " (SIGILL)",
        6 => " (SIGABRT)",
        8 => " (SIGFPE)",
        9 => " (SIGKILL; out of memory?)",
        11 => " (SIGSEGV)",
        13 => " (SIGPIPE)",
        15 => " (SIGTERM)",
        _ => "",
    }
}

/// The end of a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// How it ended.
    pub status: Status,
    /// Whether it had been asked to before; only an exit that was not is a death.
    pub requested: bool,
    /// Whether it went down with its guard, which somebody killed (or the memory ran out).
    pub guard_lost: bool,
    /// The last lines of its standard error, oldest first: 20 at most, of 512 bytes.
    pub last_words: Vec<String>,
}

/// Without the last words.
impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.guard_lost { f.write_str("was killed with its guard") } else { self.status.fmt(f) }
    }
}

/// A running command. Dropping it ends the command and all that it started, as [`terminate`](Self::terminate) does.
#[derive(Debug)]
pub struct Process {
    name: ProcessName,
    pid: u32,
    stdin: Option<pipe::Sender>,
    stdout: Option<pipe::Receiver>,
    stderr: Option<pipe::Receiver>,
    /// The shortest grace asked for; its drop is a request too.
    end: watch::Sender<Option<Duration>>,
    exit: watch::Receiver<Option<Exit>>,
    gone: watch::Receiver<bool>,
}

/// What a process is made of when it has started.
pub(super) struct Parts {
    pub(super) name: ProcessName,
    pub(super) pid: u32,
    pub(super) stdin: Option<pipe::Sender>,
    pub(super) stdout: Option<pipe::Receiver>,
    pub(super) stderr: Option<pipe::Receiver>,
    pub(super) control: UnixStream,
    pub(super) guard: tokio::process::Child,
    /// Reads its standard error into the log.
    pub(super) complaints: Option<JoinHandle<()>>,
    pub(super) words: Arc<LastWords>,
}

impl Process {
    pub(super) fn new(parts: Parts) -> Self {
        let (end, requests) = watch::channel(None);
        let (exit_sender, exit) = watch::channel(None);
        let (gone_sender, gone) = watch::channel(false);
        let (reports, control) = parts.control.into_split();
        tokio::spawn(pass_requests(requests.clone(), control));
        tokio::spawn(follow(Follow {
            reports,
            requests,
            complaints: parts.complaints,
            words: parts.words,
            guard: parts.guard,
            exit: exit_sender,
            gone: gone_sender,
        }));
        Self {
            name: parts.name,
            pid: parts.pid,
            stdin: parts.stdin,
            stdout: parts.stdout,
            stderr: parts.stderr,
            end,
            exit,
            gone,
        }
    }

    /// Whose process it is.
    pub fn name(&self) -> &ProcessName {
        &self.name
    }

    /// The pid of the command itself, which is also its process group.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Its standard input, once, if it is piped.
    pub fn take_stdin(&mut self) -> Option<pipe::Sender> {
        self.stdin.take()
    }

    /// Its standard output, once, if it is piped.
    pub fn take_stdout(&mut self) -> Option<pipe::Receiver> {
        self.stdout.take()
    }

    /// Its standard error, once, if it is piped.
    pub fn take_stderr(&mut self) -> Option<pipe::Receiver> {
        self.stderr.take()
    }

    /// Asks the command and all that it started to end: SIGTERM now, SIGKILL after `grace`. Asking again can only
    /// shorten the time; a zero grace kills at once.
    pub fn terminate(&self, grace: Duration) {
        self.end.send_modify(|asked| *asked = Some(asked.map_or(grace, |asked| asked.min(grace))));
    }

    /// Waits for the end of the command itself.
    pub async fn exited(&self) -> Exit {
        let mut exit = self.exit.clone();
        let ended = exit.wait_for(Option::is_some).await;
        // The follower cannot end without saying so, but the runtime may end it.
        ended.ok().and_then(|exit| exit.clone()).unwrap_or(Exit {
            status: KILLED,
            requested: true,
            guard_lost: true,
            last_words: Vec::new(),
        })
    }

    /// The end of the command, if it has ended.
    pub fn try_exited(&self) -> Option<Exit> {
        self.exit.borrow().clone()
    }

    /// Waits until nothing that the command started is left and its lock is free.
    pub async fn gone(&self) {
        let _ = self.gone.clone().wait_for(|gone| *gone).await;
    }
}

/// When the handle is dropped, so is the socket's writing side: the guard sees the end of the stream.
async fn pass_requests(mut requests: watch::Receiver<Option<Duration>>, mut control: OwnedWriteHalf) {
    while requests.changed().await.is_ok() {
        let asked = *requests.borrow_and_update();
        if let Some(grace) = asked
            && channel::send(&mut control, &End { grace }).await.is_err()
        {
            return;
        }
    }
}

struct Follow {
    reports: OwnedReadHalf,
    requests: watch::Receiver<Option<Duration>>,
    complaints: Option<JoinHandle<()>>,
    words: Arc<LastWords>,
    guard: tokio::process::Child,
    exit: watch::Sender<Option<Exit>>,
    gone: watch::Sender<bool>,
}

/// Turns the guard's reports into an [`Exit`], then waits for the guard itself.
async fn follow(mut process: Follow) {
    let status = loop {
        match channel::receive(&mut process.reports).await {
            Ok(Some(Report::Exited { code, signal })) => {
                break code.map(Status::Code).or(signal.map(Status::Signal));
            }
            Ok(Some(_)) => {}
            Ok(None) | Err(_) => break None,
        }
    };
    let requested = process.requests.borrow().is_some() || process.requests.has_changed().is_err();
    drop(process.requests);
    // What it left behind may hold standard error open; it is being ended, but the exit need not wait for that.
    if let Some(complaints) = process.complaints {
        let _ = timeout(TAIL, complaints).await;
    }
    let exit = Exit {
        status: status.unwrap_or(KILLED),
        guard_lost: status.is_none(),
        requested,
        last_words: process.words.lines(),
    };
    process.exit.send_replace(Some(exit));
    if let Err(error) = reap(&mut process.guard).await {
        tracing::warn!(%error, "the guard of an ended process could not be waited for");
    }
    process.gone.send_replace(true);
}

async fn reap(guard: &mut tokio::process::Child) -> io::Result<()> {
    guard.wait().await.map(|_| ())
}
