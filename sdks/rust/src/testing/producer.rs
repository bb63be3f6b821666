//! Running sources.

use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    sync::Arc,
};

use bytes::Bytes;
use meshloom_proto::v1::{Ordering, TraceSampling, trace_sampling::Rule};
use serde::Serialize;
use serde_json::Value;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{TestError, TestOutput, open, to_config};
use crate::{
    columns::{ABSENT, read},
    error::Error,
    handler::{Credit, End, Ready, Settlement, Source, SourceTask},
    node::Node,
    serve::opening_for_tests,
    trace::Sampler,
};

/// Runs a source until it ends or has produced as much as is wanted; await it. Set-up and tear-down run as in service.
///
/// ```
/// use meshloom::{Checkpoint, Output, Record, node, stream, testing};
///
/// fn count(Checkpoint(done): Checkpoint<u64>) -> impl stream::Stream<Item = Record> {
///     stream::iter((done.unwrap_or(0) + 1..=3).map(|n| Output::json(n).checkpoint(n)))
/// }
///
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// let produced = testing::produce(node("count").source(count)).after(1).await.unwrap();
/// assert_eq!(produced.texts(), ["2", "3"]);
/// assert!(produced.exhausted);
/// # });
/// ```
pub fn produce(node: Node) -> Producer {
    Producer { node, config: Ok(Bytes::new()), checkpoint: None, most: 1000, settles: true }
}

/// A run of a source to be awaited.
#[must_use = "a run does nothing until it is awaited"]
pub struct Producer {
    node: Node,
    config: Result<Bytes, TestError>,
    checkpoint: Option<Value>,
    most: usize,
    settles: bool,
}

/// What a source produced.
#[derive(Debug, Default)]
pub struct Produced {
    /// The events.
    pub outputs: Vec<TestOutput>,
    /// The checkpoint that each event carried, if it carried one.
    pub checkpoints: Vec<Option<Value>>,
    /// Whether the source said that there will be no more.
    pub exhausted: bool,
    /// The error that the source ended with.
    pub failed: Option<String>,
    /// What went wrong in what was run for settled events and checkpoints.
    pub settle_errors: Vec<String>,
}

impl Produced {
    /// The last checkpoint.
    #[must_use]
    pub fn checkpoint(&self) -> Option<&Value> {
        self.checkpoints.iter().flatten().next_back()
    }

    /// The payload of every event as text.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        self.outputs.iter().map(TestOutput::text).collect()
    }

    async fn settle(&mut self, source: &Arc<dyn Source>, settlement: Settlement) {
        self.settle_errors.extend(settlement.tell(source).await.iter().map(|error| error.message().to_owned()));
    }
}

impl Producer {
    /// Sets the node's config: anything that is a JSON object.
    pub fn config(mut self, config: impl Serialize) -> Self {
        self.config = to_config(config);
        self
    }

    /// Resumes after a checkpoint; without it the source begins anew.
    ///
    /// # Panics
    /// When the checkpoint cannot be written as JSON.
    pub fn after(mut self, checkpoint: impl Serialize) -> Self {
        self.checkpoint = Some(serde_json::to_value(checkpoint).expect("a checkpoint is written as JSON"));
        self
    }

    /// Stops the source after so many events (1,000 by default).
    pub fn most(mut self, events: usize) -> Self {
        self.most = events;
        self
    }

    /// Lets nothing settle: neither the hooks for checkpoints nor those of events run. Otherwise each event settles before
    /// the next is asked for.
    pub fn unsettled(mut self) -> Self {
        self.settles = false;
        self
    }

    async fn run(self) -> Result<Produced, TestError> {
        let opening = Arc::new(opening_for_tests(&self.node, self.config?, Ordering::None));
        let Ready::Source(source) = open(&self.node, opening).await? else {
            let message = format!("`{}` is no source; run it with `testing::run`", self.node.name());
            return Err(TestError::Unfit(message));
        };
        let credit = Arc::new(Credit::default());
        let stopping = CancellationToken::new();
        let (frames_in, mut frames) = mpsc::channel(2);
        let task = SourceTask {
            checkpoint: self.checkpoint.map(|value| Bytes::from(value.to_string())),
            replays: self.node.replays,
            sampling: Sampler::new(Some(TraceSampling { rule: Some(Rule::Ratio(0.0)) })),
            credit: Arc::clone(&credit),
            stopping: stopping.clone(),
            frames: frames_in,
            begun: None,
        };
        let mut known = task.checkpoint.clone();
        let running = tokio::spawn(Arc::clone(&source).run(task));
        let mut produced = Produced::default();
        while produced.outputs.len() < self.most {
            // One at a time: a frame of one event shows its own checkpoint.
            credit.add(1, u64::MAX);
            let Some((frame, receipts)) = frames.recv().await else {
                break;
            };
            let batch = frame.batch.unwrap_or_default();
            let columns = read::Outputs::of_batch(&batch).map_err(|error| TestError::Unfit(error.to_string()))?;
            produced.outputs.extend((0..batch.count as usize).map(|i| columns.output(i, ABSENT, None)));
            let carried = frame.checkpoint.clone().filter(|checkpoint| known.as_ref() != Some(checkpoint));
            produced.checkpoints.push(carried.and_then(|carried| serde_json::from_slice(&carried).ok()));
            known.clone_from(&frame.checkpoint);
            if self.settles {
                produced.settle(&source, Settlement { receipts, checkpoint: frame.checkpoint }).await;
            }
        }
        stopping.cancel();
        let ended: Result<End, Error> = running.await.map_err(|error| TestError::Unfit(error.to_string()))?;
        match ended {
            Ok(end) => produced.exhausted = end == End::Exhausted,
            Err(error) => produced.failed = Some(error.message().to_owned()),
        }
        self.node.handler.close().await;
        Ok(produced)
    }
}

impl IntoFuture for Producer {
    type Output = Result<Produced, TestError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}
