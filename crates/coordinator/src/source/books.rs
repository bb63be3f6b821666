//! What a source has done: accepted = settled + open.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Shared between a source's actor, which writes, and those who ask.
#[derive(Debug, Default)]
pub(crate) struct SourceBooks {
    pub(crate) accepted: AtomicU64,
    pub(crate) settled: AtomicU64,
    /// Events settled below the position, over all runs.
    pub(crate) position: AtomicU64,
    pub(crate) exhausted: AtomicBool,
    pub(crate) replays: AtomicBool,
}

impl SourceBooks {
    /// Events that were accepted and have not settled.
    pub(crate) fn open(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed).saturating_sub(self.settled.load(Ordering::Relaxed))
    }
}
