//! Runs a pipeline: starts its nodes, moves its events, settles its sources.
//!
//! [`Options`] and a compiled pipeline make a [`Service`], whose [`Handle`] tells and does what an operator wants. Inside,
//! one actor per node owns all that is decided about its events ([`meshloom_core::machine`]); replicas, sources, the
//! state on disk and the admin service are around them. ARCHITECTURE.md has the picture.

mod admin;
mod builds;
mod clock;
mod error;
mod flow;
mod metrics;
mod node;
mod options;
mod phase;
pub mod process;
mod replay;
mod replica;
mod restart;
mod resume;
mod service;
mod source;
mod spans;
mod state;
mod status;
mod wiring;

pub use self::{
    admin::{AdminError, connect as connect_admin},
    error::{FailureKind, RunError},
    options::{AdminPort, Options, StateChoice, Token},
    process::{LogLine, LogReceiver},
    service::{Ended, Handle, LetterCount, Resumed, Service},
    state::{EarlierFailure, LetterFilter, LetterRecord, LetterStore, Opened, StateDir, StateError},
};

/// How a process ended, with its last words.
pub(crate) fn process_words(exit: &process::Exit) -> String {
    let mut text = exit.to_string();
    if !exit.last_words.is_empty() {
        text.push_str("; it said last:");
        for line in &exit.last_words {
            text.push_str("\n    ");
            text.push_str(line);
        }
    }
    text
}
