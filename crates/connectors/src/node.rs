//! The two shapes that every connector has.

use std::{future::Future, pin::Pin};

use meshloom_core::exchange::{FromNode, FromSource, Limits, ToNode, ToSource};
use tokio::sync::mpsc;

use crate::NodeError;

/// A boxed future that can move between threads.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A connector that has been opened and is ready to run.
pub enum Opened {
    /// Makes events.
    Source(Box<dyn SourceNode>),
    /// Takes events: a transform or a sink.
    Node(Box<dyn ProcessNode>),
}

/// A transform or a sink.
pub trait ProcessNode: Send {
    /// How much may be in hand.
    fn limits(&self) -> Limits;

    /// Works until `input` ends, then answers what is in hand and returns. A dropped `output` ends it as well.
    ///
    /// # Errors
    /// A [`NodeError`] when the node cannot go on; works without their `last` are then unanswered.
    fn run(
        self: Box<Self>,
        input: mpsc::Receiver<ToNode>,
        output: mpsc::Sender<FromNode>,
    ) -> BoxFuture<'static, Result<(), NodeError>>;
}

/// A source.
pub trait SourceNode: Send {
    /// Whether events come again, under the same ids, after a restart from a checkpoint.
    fn replays(&self) -> bool;

    /// Produces what `ToSource::Demand` allows until it is exhausted, told to stop, or `input` ends.
    ///
    /// # Errors
    /// A [`NodeError`] when the source cannot go on; what it has sent stays sent.
    fn run(
        self: Box<Self>,
        input: mpsc::Receiver<ToSource>,
        output: mpsc::Sender<FromSource>,
    ) -> BoxFuture<'static, Result<(), NodeError>>;
}
