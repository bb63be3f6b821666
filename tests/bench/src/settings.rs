//! What all measurements of a run have in common.

use std::{path::PathBuf, time::Duration};

/// Programs and times.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    /// The `meshloom` binary.
    pub(crate) meshloom: PathBuf,
    /// The Rust node and server.
    pub(crate) rust: PathBuf,
    /// The Go node and server.
    pub(crate) go: PathBuf,
    /// The Python of the project's virtual environment.
    pub(crate) python: PathBuf,
    /// The folder with the Python and Node programs.
    pub(crate) programs: PathBuf,
    /// Time before anything is counted: batches grow, just-in-time compilers compile.
    pub(crate) warm_up: Duration,
    /// Time that is counted.
    pub(crate) span: Duration,
}
