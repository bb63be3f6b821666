//! Why a command could not be started.

use std::{io, path::PathBuf, time::Duration};

use thiserror::Error;

/// Why a command could not be started, and what to do about it. Whose command it is, the caller knows.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum SpawnError {
    /// No such program.
    #[error("no program `{program}`: looked for {looked}. {remedy}")]
    NotFound {
        /// As the pipeline file writes it.
        program: String,
        /// The path, or the PATH.
        looked: String,
        /// What to do.
        remedy: String,
    },
    /// A file, but not one that can be executed.
    #[error("{} cannot be executed: {reason}. {remedy}", path.display())]
    NotExecutable {
        /// The file.
        path: PathBuf,
        /// Why not.
        reason: String,
        /// What to do.
        remedy: String,
    },
    /// The folder to run in is missing or closed.
    #[error("cannot run in {}: {source}. Make the folder, or correct the node's `dir`", path.display())]
    Dir {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An earlier run of the same replica does not end.
    #[error(
        "an earlier run is not gone after {} s ({holder}; lock {}). Is another coordinator using this state \
         directory? Otherwise end those processes; a process that survives SIGKILL waits in the kernel, often for a disk \
         or a network mount", waited.as_secs(), lock.display()
    )]
    StillRunning {
        /// The lock.
        lock: PathBuf,
        /// What is known about the holder.
        holder: String,
        /// How long it was waited for.
        waited: Duration,
    },
    /// The lock cannot be opened.
    #[error(
        "cannot lock {}: {source}. The state directory must be writable and on a file system with locks; \
         `--state DIR` names another", lock.display()
    )]
    Lock {
        /// The lock.
        lock: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The guard did not come up.
    #[error("the guard process ({}) did not start it: {reason}", guard.display())]
    Guard {
        /// The guard's program.
        guard: PathBuf,
        /// Why.
        reason: String,
    },
    /// Too many processes or open files.
    #[error(
        "the system has no room for another process: {source}. See `ulimit -u` and `ulimit -n`, or run fewer replicas"
    )]
    Resources {
        /// Why.
        source: io::Error,
    },
}
