//! What a source has done: accepted = settled + open.

use std::sync::{
    Mutex, PoisonError,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::sync::watch;

/// Shared between a source's actor, which writes, and those who ask.
#[derive(Debug, Default)]
pub(crate) struct SourceBooks {
    /// Events that were accepted, each as often as it was.
    pub(crate) accepted: AtomicU64,
    /// Those of them that have settled.
    pub(crate) settled: AtomicU64,
    /// Accepted events that were given up, to be read again.
    pub(crate) given_up: AtomicU64,
    /// Settled events that come again.
    pub(crate) unsettled: AtomicU64,
    /// When the oldest frame above the position was accepted, nanoseconds of Unix time; 0: there is none.
    pub(crate) oldest_open: AtomicU64,
    /// When the position, or the mark in the journal, was last made durable, as above; 0: never.
    pub(crate) checkpointed: AtomicU64,
    /// Events settled below the position, over all runs.
    pub(crate) position: AtomicU64,
    pub(crate) exhausted: AtomicBool,
    pub(crate) replays: AtomicBool,
    /// Events in the journal above the mark: a run that ended now would leave them to the next.
    pub(crate) journalled: AtomicU64,
    /// Why the journal takes nothing, for a person; empty: it does.
    trouble: Mutex<String>,
    /// How many sources of the pipeline are not exhausted.
    open_sources: watch::Sender<usize>,
}

impl SourceBooks {
    /// Those of one of the pipeline's sources, which together are counted in `open_sources`.
    pub(crate) fn new(open_sources: watch::Sender<usize>) -> Self {
        Self { open_sources, ..Self::default() }
    }

    /// Events that were accepted, each once.
    pub(crate) fn accepted(&self) -> u64 {
        self.accepted.load(Ordering::Relaxed).saturating_sub(self.given_up.load(Ordering::Relaxed))
    }

    /// Events that have settled, each once.
    pub(crate) fn settled(&self) -> u64 {
        self.settled.load(Ordering::Relaxed).saturating_sub(self.unsettled.load(Ordering::Relaxed))
    }

    /// Accepted events are given up, and with them those of them that had settled: all come again.
    pub(crate) fn give_up(&self, events: u64, settled: u64) {
        self.given_up.fetch_add(events, Ordering::Relaxed);
        self.unsettled.fetch_add(settled, Ordering::Relaxed);
    }

    /// Durable events that come again if the run ends now.
    pub(crate) fn redelivered(&self) -> u64 {
        if self.replays.load(Ordering::Relaxed) { self.open() } else { self.journalled.load(Ordering::Relaxed) }
    }

    /// What is wrong with the journal, for this source.
    pub(crate) fn trouble(&self) -> String {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn set_trouble(&self, trouble: &str) {
        let mut known = self.trouble.lock().unwrap_or_else(PoisonError::into_inner);
        known.clear();
        known.push_str(trouble);
    }

    /// The source has said that no more will come, ever.
    pub(crate) fn exhaust(&self) {
        if !self.exhausted.swap(true, Ordering::Relaxed) {
            self.open_sources.send_modify(|open| *open = open.saturating_sub(1));
        }
    }

    /// Events that were accepted and have not settled.
    pub(crate) fn open(&self) -> u64 {
        self.accepted().saturating_sub(self.settled())
    }
}
