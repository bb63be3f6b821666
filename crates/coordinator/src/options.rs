//! What a run may be told besides its pipeline.

use std::{path::PathBuf, sync::Arc};

use meshloom_config::spec::Address;
use meshloom_journal::storage::Folders;
use meshloom_telemetry::export::ExportOptions;

/// Options of a run.
#[derive(Debug)]
pub struct Options {
    /// Where state is kept.
    pub state: StateChoice,
    /// What the journal, the positions and the dead letters in it are written through.
    pub folders: Arc<dyn Folders>,
    /// Sources of which what earlier runs have left in the journal is given up.
    pub discard_journal: Vec<String>,
    /// Nodes that were started by hand, and where they listen.
    pub attach: Vec<(String, Address)>,
    /// The collector; `None`: traces are only kept in memory.
    pub export: Option<ExportOptions>,
    /// Bytes of spans kept in memory, about.
    pub trace_bytes: usize,
    /// A program that runs as a guard when its first argument is `guard`: this binary.
    pub guard: PathBuf,
}

/// Where a run keeps its state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateChoice {
    /// Here, going on from what is there.
    Keep(PathBuf),
    /// Here, after what is there was moved aside.
    Fresh(PathBuf),
    /// In a folder that goes with the run.
    Ephemeral,
}
