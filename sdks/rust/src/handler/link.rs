//! The way of a work's results to its stream.

use meshloom_proto::v1::WorkResult;
use std::sync::atomic::{AtomicU32, Ordering};
use tokio::sync::{Semaphore, mpsc};

use crate::columns::{ABSENT, Batch};
use crate::result::Routes;

/// Sends results, and keeps the rule that an input which goes on is the next to be named.
pub(crate) struct Link {
    pub(crate) sequence: u64,
    pub(crate) batch: Batch,
    pub(crate) routes: Routes,
    results: mpsc::Sender<WorkResult>,
    /// One input at a time may go on in a further result.
    turn: Semaphore,
    continued: AtomicU32,
}

impl Link {
    pub(crate) fn new(sequence: u64, batch: Batch, routes: Routes, results: mpsc::Sender<WorkResult>) -> Self {
        Self { sequence, batch, routes, results, turn: Semaphore::new(1), continued: AtomicU32::new(ABSENT) }
    }

    /// Sends results in order; a stream that has ended takes nothing, and its work comes again.
    pub(crate) async fn send(&self, results: Vec<WorkResult>) {
        for result in results {
            if self.results.send(result).await.is_err() {
                return;
            }
        }
    }

    /// The input that goes on in the next result, `ABSENT` if none does.
    pub(crate) fn continued(&self) -> u32 {
        self.continued.load(Ordering::Relaxed)
    }

    /// Waits until no other input goes on, then sends a part of this input's outputs.
    pub(crate) async fn send_part(&self, row: u32, mut results: Vec<WorkResult>) {
        if self.continued() != row {
            self.turn.acquire().await.expect("never closed").forget();
            self.continued.store(row, Ordering::Relaxed);
        }
        if let Some(outputs) = results.last_mut().and_then(|result| result.outputs.as_mut()) {
            outputs.continued = true;
        }
        self.send(results).await;
    }

    /// Lets other inputs go on, once the rest of this one has been sent.
    pub(crate) fn end_part(&self) {
        self.continued.store(ABSENT, Ordering::Relaxed);
        self.turn.add_permits(1);
    }
}
