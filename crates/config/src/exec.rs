//! A program without an SDK, run through the sidecar adapter.

use std::time::Duration;

use crate::spec::{Command, Upstream};

/// How a program is run and spoken to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecSpec {
    /// The program. In [`ExecMode::Files`] its arguments may hold `{input}`, `{input.UPSTREAM}`, `{output}`, `{dir}`,
    /// `{scratch}` and `{batch}`; those that are there have been checked.
    pub command: Command,
    /// How events reach it.
    pub mode: ExecMode,
    /// In [`ExecMode::Files`]: one file per upstream, in the order of `from`, names unique. Else empty.
    pub inputs: Vec<ExecInput>,
    /// In [`ExecMode::Files`]: the file that is read back, relative to `cwd`.
    pub output: Option<String>,
    /// Where it runs.
    pub cwd: ExecCwd,
    /// How events are written to it and read from it.
    pub format: ExecFormat,
    /// What of an event it sees.
    pub envelope: Envelope,
    /// At a source: run again this long after the last start.
    pub every: Option<Duration>,
    /// Whether the scratch folder of a failed batch is kept.
    pub keep_failed: bool,
}

/// How events reach a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExecMode {
    /// One long-lived process, a line out for each line in.
    Lines,
    /// A process per batch, NDJSON in and out.
    Batch,
    /// A process per batch, files in and out.
    Files,
}

/// The input file of one upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecInput {
    /// Whose events it holds.
    pub upstream: Upstream,
    /// Its name, relative to `cwd`.
    pub file: String,
}

/// Where a program runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExecCwd {
    /// In the node's folder.
    #[default]
    Dir,
    /// In a private folder per batch.
    Scratch,
}

/// How events are written to a program and read from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ExecFormat {
    /// One JSON value per line.
    #[default]
    Ndjson,
    /// One JSON array.
    Json,
}

impl ExecFormat {
    /// The extension of its files, without dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Ndjson => "ndjson",
            Self::Json => "json",
        }
    }
}

/// What of an event a program sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Envelope {
    /// The payload.
    #[default]
    Data,
    /// The whole event in CloudEvents' JSON format.
    CloudEvents,
}
