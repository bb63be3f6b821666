//! What a source has done: accepted = settled + open.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::watch;

/// Shared between a source's actor, which writes, and those who ask.
#[derive(Debug, Default)]
pub(crate) struct SourceBooks {
    pub(crate) accepted: AtomicU64,
    pub(crate) settled: AtomicU64,
    /// Events settled below the position, over all runs.
    pub(crate) position: AtomicU64,
    pub(crate) exhausted: AtomicBool,
    pub(crate) replays: AtomicBool,
    /// How many sources of the pipeline are not exhausted.
    pub(crate) open_sources: watch::Sender<usize>,
}

impl SourceBooks {
    /// The source has said that no more will come, ever.
    pub(crate) fn exhaust(&self) {
        if !self.exhausted.swap(true, Ordering::Relaxed) {
            self.open_sources.send_modify(|open| *open = open.saturating_sub(1));
        }
    }

    /// Events that were accepted and have not settled.
    pub(crate) fn open(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed).saturating_sub(self.settled.load(Ordering::Relaxed))
    }
}
