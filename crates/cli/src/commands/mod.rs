//! One file per command.

pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod conform;
pub(crate) mod dead_letters;
pub(crate) mod drain;
pub(crate) mod graph;
pub(crate) mod restart;
pub(crate) mod resume;
pub(crate) mod run;
pub(crate) mod schema;
pub(crate) mod sidecar;
pub(crate) mod status;
pub(crate) mod trace;

use anyhow::anyhow;
use tonic::Code;

use meshloom_telemetry::logs;

use crate::{failure::Failure, terminal};

/// How data is printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Output {
    /// For a person
    #[default]
    Human,
    /// For a program
    Json,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum LogFormat {
    /// For a person
    #[default]
    Human,
    /// One JSON object per line
    Json,
}

impl LogFormat {
    /// On standard error.
    pub(crate) fn on_stderr(self) -> logs::Format {
        match self {
            Self::Human => logs::Format::Human { colour: terminal::colour_on_stderr() },
            Self::Json => logs::Format::Json,
        }
    }
}

/// What a coordinator's refusal means for a command.
fn refused(status: tonic::Status) -> Failure {
    Failure::Other(anyhow!(
        "the coordinator did not answer: {} ({:?}); it may have just ended, else try again",
        status.message(),
        status.code()
    ))
}

/// The coordinator's own words where it says why.
pub(crate) fn refused_with_reason(status: tonic::Status) -> Failure {
    match status.code() {
        Code::NotFound | Code::FailedPrecondition => Failure::Other(anyhow!("{}", status.message())),
        Code::Unavailable if !status.message().is_empty() => Failure::Unavailable(anyhow!("{}", status.message())),
        _ => refused(status),
    }
}
