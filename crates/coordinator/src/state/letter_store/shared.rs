//! The store as its writer, the admin service and replays share it.

use std::{
    borrow::Borrow,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use tokio::sync::watch;

use super::{Bound, Holding, LetterRecord, LetterStore, Page};
use crate::state::LetterFilter;

/// A store for several tasks. Every call blocks on the disk, so it is for threads that may.
#[derive(Debug, Clone)]
pub(crate) struct SharedLetters {
    store: Arc<Mutex<LetterStore>>,
    holding: watch::Sender<Holding>,
}

impl SharedLetters {
    pub(crate) fn new(store: LetterStore) -> Self {
        let holding = watch::Sender::new(store.holding());
        Self { store: Arc::new(Mutex::new(store)), holding }
    }

    /// How much it holds, and when that changes. Never blocks.
    pub(crate) fn holding(&self) -> watch::Receiver<Holding> {
        self.holding.subscribe()
    }

    /// See [`LetterStore::append`].
    pub(crate) fn append<L: Borrow<LetterRecord>>(&self, letters: &[L], bound: Bound) -> io::Result<Vec<bool>> {
        self.change(|store| store.append(letters, bound))
    }

    /// See [`LetterStore::remove`].
    pub(crate) fn remove(&self, generations: &[u64]) -> io::Result<u64> {
        self.change(|store| store.remove(generations))
    }

    /// See [`LetterStore::discard`]. Letters that come meanwhile wait.
    pub(crate) fn discard(&self, filter: &LetterFilter) -> io::Result<u64> {
        self.change(|store| store.discard(filter))
    }

    /// See [`LetterStore::page`].
    pub(crate) fn page(&self, after: u64, count: usize, bytes: u64, filter: &LetterFilter) -> io::Result<Page> {
        self.store().page(after, count, bytes, filter)
    }

    /// See [`LetterStore::next_generation`].
    pub(crate) fn next_generation(&self) -> u64 {
        self.store().next_generation()
    }

    fn change<T>(&self, change: impl FnOnce(&mut LetterStore) -> io::Result<T>) -> io::Result<T> {
        let mut store = self.store();
        let result = change(&mut store);
        self.holding.send_if_modified(|holding| {
            let before = std::mem::replace(holding, store.holding());
            *holding != before
        });
        result
    }

    fn store(&self) -> MutexGuard<'_, LetterStore> {
        // Each step leaves the store whole, so a panic in another thread does not spoil it.
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Now, for a letter that no clock of the pipeline's has stamped.
pub(crate) fn now_nanos() -> u64 {
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX)
}
