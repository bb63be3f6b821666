//! Where frames report how they ended.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicBool, Ordering},
};

use meshloom_core::origin::{Ledger, Outcome};
use tokio::sync::Notify;

/// Collects the ends of frames until the source's actor looks. Bounded by the number of open frames.
#[derive(Debug, Default)]
pub(crate) struct FrameLedger {
    ended: Mutex<Vec<(u64, Outcome)>>,
    notify: Notify,
    redelivers: AtomicBool,
}

impl FrameLedger {
    /// Whether the source sends lost frames again; known once it has opened.
    pub(crate) fn set_redelivers(&self, redelivers: bool) {
        self.redelivers.store(redelivers, Ordering::Release);
    }

    /// Resolves when frames have ended.
    pub(crate) async fn changed(&self) {
        self.notify.notified().await;
    }

    /// Takes what has come.
    pub(crate) fn take(&self) -> Vec<(u64, Outcome)> {
        std::mem::take(&mut *self.ended.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Ledger for FrameLedger {
    fn closed(&self, frame: u64, outcome: Outcome) {
        self.ended.lock().unwrap_or_else(PoisonError::into_inner).push((frame, outcome));
        self.notify.notify_one();
    }

    fn redelivers(&self) -> bool {
        self.redelivers.load(Ordering::Acquire)
    }
}

/// The ledger for frames of which it is known whether they come again, whatever the source's others do.
#[derive(Debug)]
pub(super) struct KnownFrames {
    pub(super) ledger: Arc<FrameLedger>,
    pub(super) redelivers: bool,
}

impl Ledger for KnownFrames {
    fn closed(&self, frame: u64, outcome: Outcome) {
        self.ledger.closed(frame, outcome);
    }

    fn redelivers(&self) -> bool {
        self.redelivers
    }
}
