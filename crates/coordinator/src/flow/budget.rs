//! The memory budget: what payloads may take in the coordinator.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use meshloom_wire::Meter;
use tokio::sync::watch;

/// Counts payload bytes in memory against a limit. Every clone has its own view of what was freed.
///
/// Charging never waits and never fails: sources ask for [`room`](Self::room) before they admit more, actors before
/// they send further works. That is what keeps the sum near the limit without a deadlock (see ARCHITECTURE.md).
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    account: Arc<Account>,
    freed: watch::Receiver<()>,
}

#[derive(Debug)]
struct Account {
    limit: u64,
    used: AtomicU64,
    freed: watch::Sender<()>,
    /// Shares of it have no room.
    closed: AtomicBool,
    /// The whole that this is a share of.
    whole: Option<Arc<Account>>,
}

impl Account {
    fn room(&self) -> u64 {
        let own = self.limit.saturating_sub(self.used.load(Ordering::Relaxed));
        match &self.whole {
            Some(whole) if whole.closed.load(Ordering::Relaxed) => 0,
            Some(whole) => own.min(whole.room()),
            None => own,
        }
    }

    fn add(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.add(bytes);
        }
    }

    fn sub(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
        self.freed.send_replace(());
        if let Some(whole) = &self.whole {
            whole.sub(bytes);
        }
    }
}

/// Bytes that are charged until this is dropped.
#[derive(Debug)]
pub(crate) struct Charge {
    account: Arc<Account>,
    bytes: u64,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub(crate) fn new(limit: u64) -> Self {
        Self::with(limit, None)
    }

    /// A share of this budget for one source: what it is charged counts in both.
    pub(crate) fn share(&self, limit: u64) -> Self {
        Self::with(limit, Some(self.account.clone()))
    }

    fn with(limit: u64, whole: Option<Arc<Account>>) -> Self {
        // What comes free in the whole must wake those who wait for room in a share.
        let sender = watch::Sender::new(());
        let freed = whole.as_ref().map_or_else(|| sender.subscribe(), |whole| whole.freed.subscribe());
        Self {
            account: Arc::new(Account {
                limit,
                used: AtomicU64::new(0),
                freed: sender,
                closed: AtomicBool::new(false),
                whole,
            }),
            freed,
        }
    }

    /// Bytes charged now.
    pub(crate) fn used(&self) -> u64 {
        self.account.used.load(Ordering::Relaxed)
    }

    /// Lets shares of it have no room, whatever is left, or lets them have it again: whether sources may go on.
    pub(crate) fn close_shares(&self, closed: bool) {
        if self.account.closed.swap(closed, Ordering::Relaxed) && !closed {
            self.account.freed.send_replace(());
        }
    }

    /// Bytes left, here and in the whole.
    pub(crate) fn room(&self) -> u64 {
        self.account.room()
    }

    /// From here on [`freed`](Self::freed) looks for new releases only. Look at the room after this.
    pub(crate) fn mark_seen(&mut self) {
        self.freed.mark_unchanged();
    }

    /// Resolves when a charge has ended since [`mark_seen`](Self::mark_seen).
    pub(crate) async fn freed(&mut self) {
        if self.freed.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// Charges bytes.
    pub(crate) fn take(&self, bytes: u64) -> Charge {
        self.account.add(bytes);
        Charge { account: self.account.clone(), bytes }
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.account.sub(self.bytes);
    }
}

impl Meter for Budget {
    fn charge(&self, bytes: usize) -> Box<dyn Send + Sync> {
        Box::new(self.take(bytes as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_counts_in_the_whole() {
        let whole = Budget::new(100);
        let share = whole.share(40);
        let charge = share.take(30);
        assert_eq!((share.room(), whole.room()), (10, 70));
        let other = whole.take(65);
        assert_eq!((share.room(), whole.room()), (5, 5));
        drop((charge, other));
        assert_eq!((share.room(), whole.room(), whole.used()), (40, 100, 0));
    }

    #[tokio::test]
    async fn sources_wait_while_shares_are_closed_and_go_on_when_they_are_not() {
        let whole = Budget::new(100);
        let mut share = whole.share(40);
        whole.close_shares(true);
        share.mark_seen();
        assert_eq!((share.room(), whole.room()), (0, 100));
        whole.close_shares(false);
        share.freed().await;
        assert_eq!(share.room(), 40);
    }

    #[tokio::test]
    async fn a_release_between_look_and_wait_is_not_missed() {
        let mut budget = Budget::new(10);
        let charge = budget.take(10);
        budget.mark_seen();
        assert_eq!(budget.room(), 0);
        drop(charge);
        budget.freed().await;
        assert_eq!(budget.room(), 10);
    }
}
