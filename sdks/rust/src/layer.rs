//! Layers of [`tower`] around the calls of a handler.

use std::{
    fmt,
    sync::Arc,
    task::{Context, Poll},
};

use futures::{FutureExt as _, future::BoxFuture};
use tower::{BoxError, Layer, Service, ServiceExt as _, util::BoxCloneSyncService};
use uuid::Uuid;

use crate::{
    columns::Batch,
    context::{Opening, Session},
    error::Error,
    event::Event,
    result::Rows,
};

/// One call of a handler on its way through the layers around it.
pub struct Call {
    opening: Arc<Opening>,
    batch: Batch,
    row: Option<u32>,
    attempt: u32,
    run: Run,
}

type Run = Box<dyn FnOnce() -> BoxFuture<'static, Result<Handled, Error>> + Send>;

impl Call {
    pub(crate) fn new<S>(
        session: &Session<S>,
        batch: &Batch,
        row: Option<u32>,
        attempt: u32,
        run: impl FnOnce() -> BoxFuture<'static, Result<Handled, Error>> + Send + 'static,
    ) -> Self {
        Self { opening: Arc::clone(&session.opening), batch: batch.clone(), row, attempt, run: Box::new(run) }
    }

    /// How the coordinator opened the node: pipeline, node, replica.
    #[must_use]
    pub fn opening(&self) -> &Opening {
        &self.opening
    }

    /// The event; `None` in the call of a batch handler.
    #[must_use]
    pub fn event(&self) -> Option<Event> {
        self.row.map(|row| self.batch.event(row as usize))
    }

    /// The identity of the event; `None` in the call of a batch handler.
    #[must_use]
    pub fn uid(&self) -> Option<Uuid> {
        self.row.map(|row| self.batch.uid(row as usize))
    }

    /// Number of events of the call: 1, or those of the batch.
    #[must_use]
    pub fn events(&self) -> usize {
        if self.row.is_some() { 1 } else { self.batch.len() }
    }

    /// Which attempt this is, from 1; in a batch handler the highest of its events.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Call");
        shown.field("node", &self.opening.node).field("uid", &self.uid()).field("attempt", &self.attempt);
        shown.finish_non_exhaustive()
    }
}

/// What a call came to, if not to an [`Error`]. A layer passes it on.
#[derive(Debug)]
pub struct Handled {
    pub(crate) rows: Rows,
    pub(crate) goes_on: bool,
}

impl Handled {
    /// Whether the call ended its event on purpose, without an output: a drop, or the delivery of a sink. Of a batch
    /// handler, which says that of each row: false.
    #[must_use]
    pub fn is_consumed(&self) -> bool {
        !self.goes_on
    }
}

/// A handler as a layer wraps it: [`Call`] in, [`Handled`] or [`Error`] out. Each clone waits for its own place.
pub type CallService = BoxCloneSyncService<Call, Handled, Error>;

/// The handler itself, below all layers.
#[derive(Clone)]
struct Innermost;

impl Service<Call> for Innermost {
    type Response = Handled;
    type Error = Error;
    type Future = BoxFuture<'static, Result<Handled, Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, call: Call) -> Self::Future {
        (call.run)()
    }
}

/// What stands around a handler's calls.
#[derive(Clone)]
pub(crate) struct Layers(CallService);

impl Layers {
    /// Puts one more layer around what is there.
    pub(crate) fn around<L>(inner: Option<Self>, layer: &L) -> Self
    where
        L: Layer<CallService>,
        L::Service:
            Service<Call, Response = Handled, Error: Into<BoxError>, Future: Send> + Clone + Send + Sync + 'static,
    {
        let inner = inner.map_or_else(|| BoxCloneSyncService::new(Innermost), |layers| layers.0);
        let service = layer.layer(inner).map_err(|error| Error::from_boxed(error.into()));
        Self(BoxCloneSyncService::new(service))
    }

    /// Sends a call through, once there is room for it.
    pub(crate) fn call(&self, call: Call) -> BoxFuture<'static, Result<Handled, Error>> {
        self.0.clone().oneshot(call).boxed()
    }
}
