//! Handlers behind one face, whatever they do with their inputs.

mod batch;
mod credit;
mod events;
pub(crate) mod frame;
mod kinds;
pub(crate) mod lanes;
mod layered;
mod link;
mod pending;
mod settle;
mod source;
mod stateful;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures::future::BoxFuture;
use meshloom_proto::v1::{Produced, WorkResult};
use tokio::sync::{mpsc, oneshot};

pub(crate) use batch::Batches;
pub(crate) use credit::Credit;
pub(crate) use events::{EventHandler, Events};
pub(crate) use frame::Framer;
pub(crate) use kinds::{Filtered, FlatMapped, Mapped, Sunk};
pub use kinds::{IntoDelivered, IntoKeep, IntoPart};
pub(crate) use layered::Layered;
pub(crate) use settle::{SettledFn, Settlement};
pub(crate) use source::Streamed;
pub(crate) use stateful::{SetupFn, Stateful, TeardownFn};

use crate::{
    columns::Batch,
    config::ConfigError,
    context::Opening,
    error::Error,
    record::Receipt,
    running::{CancelSignal, Running},
};

/// A node's handler, its types erased.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Reads the config, runs set-up unless that was done for this config, and makes ready for works.
    fn open(&self, opening: Arc<Opening>) -> BoxFuture<'static, Result<Ready, OpenError>>;

    /// Tears every state down, once.
    fn close(&self) -> BoxFuture<'static, ()>;
}

/// Why a handler cannot be opened.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("set-up failed: {0}")]
    Setup(String),
}

/// An opened handler.
#[derive(Clone)]
pub(crate) enum Ready {
    Process(Arc<dyn Process>),
    Source(Arc<dyn Source>),
}

/// An opened transform or sink.
pub(crate) trait Process: Send + Sync {
    /// Answers one work. Every result goes to `results`, the last one marked so.
    fn run(self: Arc<Self>, task: Task) -> BoxFuture<'static, ()>;
}

/// A work to answer.
pub(crate) struct Task {
    pub(crate) sequence: u64,
    pub(crate) batch: Batch,
    pub(crate) attempts: Bytes,
    pub(crate) timeout: Option<Duration>,
    pub(crate) signal: Arc<CancelSignal>,
    pub(crate) running: Arc<Running>,
    pub(crate) results: mpsc::Sender<WorkResult>,
}

/// An opened source.
pub(crate) trait Source: Send + Sync {
    /// Produces until it is exhausted, stopped or fails.
    fn run(self: Arc<Self>, task: SourceTask) -> BoxFuture<'static, Result<End, Error>>;

    /// Runs the user's hook for a checkpoint that has settled.
    fn settled(&self, checkpoint: Bytes) -> BoxFuture<'static, Result<(), Error>>;
}

/// A source to run.
pub(crate) struct SourceTask {
    pub(crate) checkpoint: Option<Bytes>,
    pub(crate) replays: bool,
    pub(crate) sampling: crate::trace::Sampler,
    pub(crate) credit: Arc<Credit>,
    pub(crate) stopping: tokio_util::sync::CancellationToken,
    pub(crate) frames: mpsc::Sender<(Produced, Vec<Receipt>)>,
    /// Told once the user's function has been called.
    pub(crate) begun: Option<oneshot::Sender<()>>,
}

/// How a source ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Exhausted,
    Stopped,
}
