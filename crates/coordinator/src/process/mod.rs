//! Processes under a guard.
//!
//! Every command of a pipeline runs below a guard: this binary again, leading a session of its own. What holds:
//!
//! - Nothing outlives its replica. Wrappers, background jobs, daemons that forked twice and programs that ignore SIGTERM
//!   are all ended when the command ends, when the coordinator asks, and when the coordinator dies in whatever way.
//! - Two runs of one replica never overlap: the guard holds the replica's lock until none of its processes is left,
//!   and whoever finds the lock free but processes of a killed guard alive ends those first.
//! - A terminal's Ctrl-C reaches the coordinator only.
//!
//! ```text
//! coordinator --socket--> guard (session, subreaper, lock) --fork--> second stage (group, PDEATHSIG) --exec--> command
//! ```
//!
//! The second stage exists because a death signal has to be set in the child itself, and code between fork and exec
//! would be unsafe. Descriptors travel over the sockets, so that nothing is ever inherited by accident.

mod channel;
mod environment;
mod error;
pub mod guard;
mod handle;
mod lock;
mod logs;
mod program;
mod spawn;
mod table;
mod words;

use std::{
    ffi::OsString,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

pub use self::{
    environment::Environment,
    error::SpawnError,
    handle::{Exit, Process, Status},
    logs::{LogLine, LogReceiver, LogSender, Stream, log_channel},
};

/// Time between SIGTERM and SIGKILL when nobody names another.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(5);

/// Which process of a pipeline.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ProcessName {
    /// The node.
    pub node: Arc<str>,
    /// The replica, from 0.
    pub replica: u32,
    /// Which of several that one replica runs at a time (an adapter's process per batch), if any.
    pub slot: Option<u32>,
}

impl ProcessName {
    /// The one process of a replica.
    pub fn new(node: impl Into<Arc<str>>, replica: u32) -> Self {
        Self { node: node.into(), replica, slot: None }
    }

    /// One of several processes of a replica.
    pub fn with_slot(self, slot: u32) -> Self {
        Self { slot: Some(slot), ..self }
    }

    /// Names the lock; a dot cannot be part of a node's name, so no two processes share one.
    fn lock_file(&self) -> String {
        match self.slot {
            None => format!("{}.{}.lock", self.node, self.replica),
            Some(slot) => format!("{}.{}.{slot}.lock", self.node, self.replica),
        }
    }
}

impl fmt::Display for ProcessName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.node, self.replica)?;
        self.slot.map_or(Ok(()), |slot| write!(f, "/{slot}"))
    }
}

/// What the command reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdin {
    /// Nothing.
    Null,
    /// What is written to [`Process::take_stdin`].
    Piped,
}

/// Where the command's standard output goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stdout {
    /// Into the log, line by line.
    Log,
    /// To the reader of [`Process::take_stdout`].
    Piped,
}

/// Where the command's standard error goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stderr {
    /// Into the log, line by line; its end is kept as the command's last words.
    Log,
    /// To the reader of [`Process::take_stderr`]; there will be no last words.
    Piped,
}

/// A command to run.
#[derive(Debug, Clone)]
pub struct ProcessSpec {
    /// Whose process it is.
    pub name: ProcessName,
    /// With a slash: a path, relative to `dir`. Without: looked up in the PATH of `env`.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Where it runs.
    pub dir: PathBuf,
    /// Its whole environment.
    pub env: Environment,
    /// What it reads.
    pub stdin: Stdin,
    /// Where its output goes.
    pub stdout: Stdout,
    /// Where its complaints go.
    pub stderr: Stderr,
}

/// Starts processes.
#[derive(Debug, Clone)]
pub struct Processes {
    guard_exe: Arc<Path>,
    locks: Arc<Path>,
    logs: LogSender,
    patience: Duration,
}

impl Processes {
    /// `guard_exe` is a program that calls [`guard::main`] when its first argument is `guard`; locks are kept in a folder
    /// of `state_dir`, which is made when it is first needed; what the processes print goes to `logs`.
    pub fn new(guard_exe: impl Into<PathBuf>, state_dir: &Path, logs: LogSender) -> Self {
        Self {
            guard_exe: guard_exe.into().into(),
            locks: state_dir.join("locks").into(),
            logs,
            patience: DEFAULT_GRACE + Duration::from_secs(10),
        }
    }

    /// How long [`spawn`](Self::spawn) waits for an earlier run of the same replica to be gone; 15 s unless set.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// Starts a command and returns once it runs: its program has been found and executed.
    ///
    /// An earlier run of the same name is waited for and, if its guard was killed, ended.
    pub async fn spawn(&self, spec: ProcessSpec) -> Result<Process, SpawnError> {
        spawn::spawn(self, spec).await
    }
}
