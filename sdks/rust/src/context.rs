//! What a handler may know about its call besides the event.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use bytes::Bytes;
use meshloom_proto::v1::Ordering;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::{
    columns::{ABSENT, Batch, u32_at},
    config::ConfigError,
    emitter::Emitter,
    error::Error,
    event::Event,
    layer::Layers,
    result::Routes,
    running::{CancelSignal, Running},
};

/// How the coordinator opened the node.
#[derive(Debug, Clone)]
pub struct Opening {
    /// Name of the pipeline.
    pub pipeline: String,
    /// Name of the node in the pipeline file.
    pub node: String,
    /// Index of this replica, from 0.
    pub replica: u32,
    /// Number of replicas.
    pub replicas: u32,
    /// The node's config as a JSON object; empty: none.
    pub config_json: Bytes,
    pub(crate) ordering: Ordering,
    pub(crate) concurrency: usize,
}

impl Opening {
    /// The replica's name: NODE/INDEX.
    #[must_use]
    pub fn replica_name(&self) -> String {
        format!("{}/{}", self.node, self.replica)
    }
}

/// What all works of an opened node share.
pub(crate) struct Session<S> {
    pub(crate) opening: Arc<Opening>,
    pub(crate) state: Arc<S>,
    pub(crate) routes: Routes,
    pub(crate) layers: Option<Layers>,
    pub(crate) slots: Arc<Semaphore>,
    pub(crate) spans: crate::trace::Spans,
}

/// One work in hand.
pub(crate) struct Work<S> {
    pub(crate) session: Arc<Session<S>>,
    pub(crate) batch: Batch,
    pub(crate) attempts: Bytes,
    pub(crate) timeout: Option<Duration>,
    pub(crate) signal: Arc<CancelSignal>,
    pub(crate) running: Arc<Running>,
}

impl<S> Work<S> {
    pub(crate) fn attempt(&self, row: u32) -> u32 {
        if self.attempts.is_empty() { 1 } else { u32_at(&self.attempts, row as usize) }
    }

    pub(crate) fn highest_attempt(&self) -> u32 {
        (0..self.batch.len() as u32).map(|row| self.attempt(row)).max().unwrap_or(1)
    }
}

/// A call for one event; arguments of handlers come out of it.
pub struct EventCall<S> {
    pub(crate) work: Arc<Work<S>>,
    pub(crate) row: u32,
}

impl<S> EventCall<S> {
    /// The payload of the event.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        self.work.batch.payload(self.row as usize)
    }

    /// The event.
    #[must_use]
    pub fn event(&self) -> Event {
        Event::new(self.work.batch.clone(), self.row as usize)
    }

    /// The context of the call.
    #[must_use]
    pub fn context(&self) -> Context<S> {
        Context { work: Arc::clone(&self.work), row: self.row, started: Instant::now() }
    }
}

/// A call for a whole batch; arguments of batch handlers come out of it.
pub struct BatchCall<S> {
    pub(crate) work: Arc<Work<S>>,
    pub(crate) started: Instant,
    pub(crate) emitter: Mutex<Option<Emitter>>,
}

impl<S> BatchCall<S> {
    /// The context of the call.
    #[must_use]
    pub fn context(&self) -> Context<S> {
        Context { work: Arc::clone(&self.work), row: ABSENT, started: self.started }
    }
}

/// The surroundings of a handler's call. `S` is what `.setup(..)` returned, `()` without one.
pub struct Context<S = ()> {
    work: Arc<Work<S>>,
    row: u32,
    started: Instant,
}

impl<S> Context<S> {
    /// What set-up returned.
    #[must_use]
    pub fn state(&self) -> &S {
        &self.work.session.state
    }

    /// Which attempt this is, from 1; in a batch handler the highest of its events.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        if self.row == ABSENT { self.work.highest_attempt() } else { self.work.attempt(self.row) }
    }

    /// Which attempt this is for one row of the batch, from 1. Panics when the batch has no such row.
    #[must_use]
    pub fn attempt_of(&self, row: usize) -> u32 {
        assert!(row < self.work.batch.len(), "row {row} of a batch of {}", self.work.batch.len());
        self.work.attempt(row as u32)
    }

    /// When the call will be cut off; `None`: never.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.work.timeout.and_then(|timeout| self.started.checked_add(timeout))
    }

    /// Cancelled when the coordinator takes the work back. An asynchronous handler is dropped then anyway; hand this
    /// to what would go on without it, such as a blocking thread.
    #[must_use]
    pub fn cancelled(&self) -> &CancellationToken {
        self.work.signal.token()
    }

    /// Name of the pipeline.
    #[must_use]
    pub fn pipeline(&self) -> &str {
        &self.work.session.opening.pipeline
    }

    /// Name of the node in the pipeline file.
    #[must_use]
    pub fn node(&self) -> &str {
        &self.work.session.opening.node
    }

    /// This replica's name: NODE/INDEX.
    #[must_use]
    pub fn replica(&self) -> String {
        self.work.session.opening.replica_name()
    }
}

/// A source being started; arguments of source functions come out of it.
pub struct SourceCall<S> {
    pub(crate) context: SourceContext<S>,
}

/// The surroundings of a source. `S` is what `.setup(..)` returned, `()` without one.
pub struct SourceContext<S = ()> {
    pub(crate) session: Arc<Session<S>>,
    pub(crate) checkpoint: Option<Bytes>,
    pub(crate) stopping: CancellationToken,
}

impl<S> Clone for SourceContext<S> {
    fn clone(&self) -> Self {
        Self {
            session: Arc::clone(&self.session),
            checkpoint: self.checkpoint.clone(),
            stopping: self.stopping.clone(),
        }
    }
}

impl<S> SourceContext<S> {
    /// What set-up returned.
    #[must_use]
    pub fn state(&self) -> &S {
        &self.session.state
    }

    /// The checkpoint to resume after; `None` on the first run.
    ///
    /// # Errors
    /// A kept checkpoint that is no JSON value of type `T`.
    pub fn checkpoint<T: DeserializeOwned>(&self) -> Result<Option<T>, Error> {
        let Some(kept) = &self.checkpoint else {
            return Ok(None);
        };
        serde_json::from_slice(kept).map(Some).map_err(|error| {
            let message = format!("the kept checkpoint does not fit this source ({error}); discard the pipeline's state or go back to the version that wrote it");
            ConfigError::field("checkpoint", message).into()
        })
    }

    /// Cancelled when the source should stop. What it has yielded is still sent.
    #[must_use]
    pub fn stopping(&self) -> &CancellationToken {
        &self.stopping
    }

    /// How the coordinator opened the node.
    #[must_use]
    pub fn opening(&self) -> &Opening {
        &self.session.opening
    }
}

/// A set-up being run.
#[derive(Debug)]
pub struct SetupCall(pub(crate) ());
