//! How a command fails: what is printed, and which exit code it has.

use std::process::ExitCode;

use meshloom_config::Diagnostics;
use meshloom_coordinator::{FailureKind, RunError};

use crate::terminal;

/// Exit codes, as `--help` lists them.
pub(crate) mod exit {
    pub(crate) const FAILED: u8 = 1;
    pub(crate) const USAGE: u8 = 2;
    pub(crate) const DEAD_LETTERS: u8 = 3;
    pub(crate) const UNAVAILABLE: u8 = 69;
    pub(crate) const INTERNAL: u8 = 70;
    pub(crate) const CONFIG: u8 = 78;
    pub(crate) const INTERRUPTED: u8 = 130;
}

/// Why a command ends before its time.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The pipeline file is wrong.
    File(Diagnostics),
    /// A run could not start, or had to end.
    Run(Vec<RunError>),
    /// The command line is wrong in a way that only shows when it is used.
    Usage(anyhow::Error),
    /// A signal ended the command at once; says when.
    Interrupted(&'static str),
    /// A node cannot be served.
    Unavailable(anyhow::Error),
    /// Anything else; its text ends with what to do.
    Other(anyhow::Error),
}

impl Failure {
    /// Says what is wrong on standard error.
    pub(crate) fn report(&self) -> ExitCode {
        let colour = terminal::colour_on_stderr();
        match self {
            Self::File(diagnostics) => eprint!("{}", diagnostics.render(colour)),
            Self::Run(errors) => errors.iter().for_each(|error| eprint!("{}", render(error, colour))),
            Self::Interrupted(when) => eprintln!("stopped at once {when}"),
            Self::Usage(error) | Self::Unavailable(error) | Self::Other(error) => {
                eprint!("{} {}", mark(colour), with_causes(error));
            }
        }
        ExitCode::from(self.code())
    }

    /// Its exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::File(_) => exit::CONFIG,
            Self::Run(errors) => errors.iter().map(code_of).max().unwrap_or(exit::INTERNAL),
            Self::Usage(_) => exit::USAGE,
            Self::Interrupted(_) => exit::INTERRUPTED,
            Self::Unavailable(_) => exit::UNAVAILABLE,
            Self::Other(_) => exit::FAILED,
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::Other(error.into())
    }
}

fn code_of(error: &RunError) -> u8 {
    match error.kind {
        FailureKind::Config => exit::CONFIG,
        FailureKind::Unavailable => exit::UNAVAILABLE,
        FailureKind::Protocol => exit::INTERNAL,
        FailureKind::System if error.code == "INTERNAL" => exit::INTERNAL,
        FailureKind::System => exit::FAILED,
    }
}

/// `error[CODE] node NODE: MESSAGE`, and the remedy below it.
fn render(error: &RunError, colour: bool) -> String {
    let node = error.node.as_ref().map(|node| format!("node {node}: ")).unwrap_or_default();
    let code =
        if colour { format!("\x1b[1;31merror[{}]\x1b[0m", error.code) } else { format!("error[{}]", error.code) };
    let mut text = format!("{code} {node}{}\n", error.message);
    if !error.remedy.is_empty() {
        let help = if colour { "\x1b[1;36mhelp:\x1b[0m" } else { "help:" };
        text.push_str(&format!("  {help} {}\n", error.remedy));
    }
    text
}

/// The error, and below it what it came from, as far as it does not say so itself.
fn with_causes(error: &anyhow::Error) -> String {
    let mut text = format!("{error}\n");
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(&format!("  cause: {cause}\n"));
        }
    }
    text
}

fn mark(colour: bool) -> &'static str {
    if colour { "\x1b[1;31merror:\x1b[0m" } else { "error:" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(kind: FailureKind, code: &'static str) -> RunError {
        let (node, message, remedy) = (Some("filter".to_owned()), "it broke".to_owned(), "mend it".to_owned());
        RunError { code, node, message, remedy, kind }
    }

    #[test]
    fn an_error_names_code_node_and_remedy() {
        let shown = render(&error(FailureKind::Unavailable, "SPAWN_FAILED"), false);
        assert_eq!(shown, "error[SPAWN_FAILED] node filter: it broke\n  help: mend it\n");
        let bare = RunError { node: None, remedy: String::new(), ..error(FailureKind::System, "SOCKET") };
        assert_eq!(render(&bare, false), "error[SOCKET] it broke\n");
    }

    #[test]
    fn a_cause_is_told_once() {
        let error = anyhow::anyhow!("disk full").context("x cannot be written: disk full; make room");
        assert_eq!(with_causes(&error), "x cannot be written: disk full; make room\n");
        let error = anyhow::anyhow!("disk full").context("x cannot be written; make room");
        assert_eq!(with_causes(&error), "x cannot be written; make room\n  cause: disk full\n");
    }

    #[test]
    fn exit_codes_follow_the_kind() {
        let code = |kind, code| Failure::Run(vec![error(kind, code)]).code();
        assert_eq!(code(FailureKind::Config, "CONFIG_REFUSED"), 78);
        assert_eq!(code(FailureKind::Unavailable, "SPAWN_FAILED"), 69);
        assert_eq!(code(FailureKind::Protocol, "FRAME_REFUSED"), 70);
        assert_eq!(code(FailureKind::System, "INTERNAL"), 70);
        assert_eq!(code(FailureKind::System, "STATE_HELD"), 1);
        assert_eq!(Failure::Interrupted("now").code(), 130);
    }
}
