//! What a publisher and its worker share: places in the queue, and what is open.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};

use super::PublishError;
use crate::output::{Output, Payload};

/// An event on its way, and who waits for it. Dropped, it is no longer open.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) output: Output,
    pub(super) id: Arc<str>,
    pub(super) bytes: u64,
    acknowledge: Option<oneshot::Sender<Result<(), PublishError>>>,
    number: u64,
    shared: Arc<Shared>,
    _places: [OwnedSemaphorePermit; 2],
}

impl Entry {
    pub(super) fn close(mut self, how: Result<(), PublishError>) {
        if let Some(acknowledge) = self.acknowledge.take() {
            // Nobody has to wait for it.
            let _ = acknowledge.send(how);
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.shared.open.send_modify(|open| {
            open.remove(&self.number);
        });
    }
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) address: String,
    events: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    most_bytes: u32,
    numbers: AtomicU64,
    /// Events that are neither acknowledged nor refused, in the order of publishing.
    open: watch::Sender<BTreeMap<u64, Arc<str>>>,
    cause: Mutex<Option<String>>,
    rejection: OnceLock<PublishError>,
}

impl Shared {
    pub(super) fn new(address: String, events: usize, bytes: usize) -> Self {
        let most_bytes = u32::try_from(bytes.min(Semaphore::MAX_PERMITS)).unwrap_or(u32::MAX);
        Self {
            address,
            events: Arc::new(Semaphore::new(events.min(Semaphore::MAX_PERMITS))),
            bytes: Arc::new(Semaphore::new(most_bytes as usize)),
            most_bytes,
            numbers: AtomicU64::new(0),
            open: watch::Sender::new(BTreeMap::new()),
            cause: Mutex::default(),
            rejection: OnceLock::new(),
        }
    }

    /// Waits for room in the queue.
    pub(super) async fn enter(
        self: &Arc<Self>,
        output: Output,
        id: String,
        acknowledge: oneshot::Sender<Result<(), PublishError>>,
    ) -> Result<Entry, PublishError> {
        let bytes = match &output.payload {
            Payload::Owned(data) => data.len(),
            Payload::Shared(data) => data.len(),
            Payload::Parent | Payload::Invalid(_) => 0,
        };
        let wanted = u32::try_from(bytes).unwrap_or(u32::MAX).min(self.most_bytes);
        let places = [
            self.events.clone().acquire_owned().await.map_err(|_| self.end())?,
            self.bytes.clone().acquire_many_owned(wanted).await.map_err(|_| self.end())?,
        ];
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        let id: Arc<str> = id.into();
        self.open.send_modify(|open| {
            open.insert(number, id.clone());
        });
        let shared = self.clone();
        let bytes = bytes as u64;
        Ok(Entry { output, id, bytes, acknowledge: Some(acknowledge), number, shared, _places: places })
    }

    pub(super) fn refuse_more(&self) {
        self.events.close();
    }

    /// Why nothing more is published.
    pub(super) fn end(&self) -> PublishError {
        self.rejection().unwrap_or(PublishError::Closed)
    }

    pub(super) fn rejection(&self) -> Option<PublishError> {
        self.rejection.get().cloned()
    }

    pub(super) fn reject(&self, why: PublishError) {
        self.rejection.get_or_init(|| why);
        self.refuse_more();
    }

    /// Resolves when nothing is open.
    pub(super) async fn all_closed(&self) {
        // It cannot end: this holds its sender.
        let _ = self.open.subscribe().wait_for(BTreeMap::is_empty).await;
    }

    pub(super) fn open_ids(&self) -> Vec<String> {
        self.open.borrow().values().map(|id| id.to_string()).collect()
    }

    pub(super) fn cause(&self) -> Option<String> {
        self.cause.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_cause(&self, cause: Option<String>) {
        *self.cause.lock().unwrap_or_else(PoisonError::into_inner) = cause;
    }
}
