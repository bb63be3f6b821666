//! Runs a node on events in-process, without a coordinator or a network.
//!
//! ```
//! use meshloom::{Json, Output, Result, node, reject, testing};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize, Serialize)]
//! struct Reading { celsius: f64 }
//!
//! async fn hot(Json(reading): Json<Reading>) -> Result<Option<Output>> {
//!     if reading.celsius < -273.15 {
//!         return Err(reject("TOO_COLD", "below absolute zero"));
//!     }
//!     Ok((reading.celsius > 30.0).then(|| Output::json(reading)))
//! }
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let run = testing::run(node("hot").map(hot), [20.0, 35.0, -300.0].map(|celsius| Json(Reading { celsius }))).await.unwrap();
//! assert_eq!(run.outputs[0].json::<Reading>().unwrap().celsius, 35.0);
//! assert_eq!(run.dropped, [0]);
//! assert_eq!(run.rejected[0].reason, "TOO_COLD");
//! # });
//! ```

use std::{
    future::{Future, IntoFuture},
    pin::Pin,
    sync::Arc,
};

use bytes::Bytes;
use meshloom_proto::v1::{self, Ordering, WorkResult};
use serde::{Serialize, de::DeserializeOwned};
use tokio::{runtime::Handle, sync::mpsc};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    columns::{ABSENT, read, u32_at},
    config::ConfigError,
    error::Error,
    handler::{Credit, End, Framer, OpenError, Process, Ready, SourceTask},
    node::Node,
    output::{IntoOutput, Output},
    running::{CancelSignal, Running},
    serve::{opening_for_tests, spawn_work},
    trace::Sampler,
};

/// Runs a node on events; await it. Set-up and tear-down run as in service.
pub fn run<E: IntoOutput>(node: Node, events: impl IntoIterator<Item = E>) -> Runner {
    let events = events.into_iter().map(IntoOutput::into_output).collect();
    Runner { node, events, config: Ok(Bytes::new()), attempts: 1, works: 1, ordered_by_key: false }
}

/// Why a node could not be run.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// The config was refused.
    #[error(transparent)]
    Config(ConfigError),
    /// Set-up failed.
    #[error("{0}")]
    Setup(String),
    /// The node or the events do not fit this run.
    #[error("{0}")]
    Unfit(String),
}

/// A run to be awaited.
#[must_use = "a run does nothing until it is awaited"]
pub struct Runner {
    node: Node,
    events: Vec<Output>,
    config: Result<Bytes, TestError>,
    attempts: u32,
    works: usize,
    ordered_by_key: bool,
}

/// What a node made of its events. Indexes count the events of the run from 0.
#[derive(Debug, Default)]
pub struct Run {
    /// Outputs, in the order in which they were answered.
    pub outputs: Vec<TestOutput>,
    /// Events that ended without an output, on purpose.
    pub dropped: Vec<usize>,
    /// Events that became dead letters.
    pub rejected: Vec<TestFailure>,
    /// Every retry that was asked for.
    pub retried: Vec<TestFailure>,
}

/// An output event.
#[derive(Debug, Clone)]
pub struct TestOutput {
    /// The event that it came from; `None`: the whole batch.
    pub parent: Option<usize>,
    /// The payload, the parent's if it was not changed.
    pub payload: Bytes,
    /// Media type of the payload, the parent's if it was not changed.
    pub content_type: Option<String>,
    /// The ordering key, the parent's if it was not changed.
    pub key: Option<String>,
    /// The route; `None`: the main output.
    pub route: Option<String>,
    /// CloudEvents `type`, the parent's if it was not changed.
    pub kind: Option<String>,
    /// CloudEvents `id`, if the node set one.
    pub id: Option<String>,
}

impl TestOutput {
    /// The payload as JSON.
    ///
    /// # Errors
    /// A payload that does not fit.
    pub fn json<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(&self.payload)
    }
}

/// A retry or a reject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestFailure {
    /// The event; `None`: the whole batch.
    pub index: Option<usize>,
    /// The stable code.
    pub reason: String,
    /// What is told to a person.
    pub message: String,
}

impl Runner {
    /// Sets the node's config: anything that is a JSON object.
    pub fn config(mut self, config: impl Serialize) -> Self {
        self.config = to_config(config);
        self
    }

    /// Delivers retried events again, until each had this many attempts (1 by default).
    pub fn attempts(mut self, attempts: u32) -> Self {
        self.attempts = attempts;
        self
    }

    /// Cuts the events into this many works (1 by default).
    pub fn works(mut self, works: usize) -> Self {
        self.works = works.max(1);
        self
    }

    /// Asks for events of one key to be handled in sequence.
    pub fn ordered_by_key(mut self) -> Self {
        self.ordered_by_key = true;
        self
    }

    async fn run(mut self) -> Result<Run, TestError> {
        let ordering = if self.ordered_by_key { Ordering::Key } else { Ordering::None };
        let config = std::mem::replace(&mut self.config, Ok(Bytes::new()))?;
        let opening = Arc::new(opening_for_tests(&self.node, config, ordering));
        let Ready::Process(process) = open(&self.node, opening).await? else {
            return Err(TestError::Unfit(format!(
                "`{}` is a source; run it with `testing::produce`",
                self.node.name()
            )));
        };
        let mut run = Run::default();
        let mut waiting: Vec<usize> = (0..self.events.len()).collect();
        for attempt in 1..=self.attempts {
            let again = run.retried.len();
            for events in waiting.chunks(waiting.len().div_ceil(self.works).max(1)) {
                self.work(&process, events, attempt, &mut run).await?;
            }
            waiting = run.retried[again..]
                .iter()
                .flat_map(|failure| failure.index.map_or_else(|| waiting.clone(), |index| vec![index]))
                .collect();
            waiting.sort_unstable();
            waiting.dedup();
        }
        drop(process);
        self.node.handler.close().await;
        Ok(run)
    }

    async fn work(
        &self,
        process: &Arc<dyn Process>,
        events: &[usize],
        attempt: u32,
        run: &mut Run,
    ) -> Result<(), TestError> {
        let mut framer = Framer::new(None);
        for &event in events {
            framer
                .push(self.events[event].clone().into(), |_| None)
                .map_err(|error| TestError::Unfit(format!("event {event}: {}", error.message())))?;
        }
        let mut batch = framer.finish().0.batch.unwrap_or_default();
        batch.uid = events
            .iter()
            .flat_map(|event| Uuid::new_v5(&Uuid::NAMESPACE_OID, &event.to_le_bytes()).into_bytes())
            .collect();
        let attempts = events.iter().flat_map(|_| attempt.to_le_bytes()).collect();
        let work = v1::Work { sequence: 1, attempts, timeout: None, batch: Some(batch.clone()) };
        let (results_in, mut results) = mpsc::channel(16);
        spawn_work(
            &Handle::current(),
            Arc::clone(process),
            work,
            Arc::new(CancelSignal::default()),
            Arc::new(Running::new()),
            results_in,
        );
        let mut open = vec![true; events.len()];
        while let Some(result) = results.recv().await {
            run.take(&result, events, &batch, &mut open)?;
            if result.last {
                let dropped = open.iter().zip(events).filter(|(open, _)| **open).map(|(_, event)| *event);
                run.dropped.extend(dropped);
            }
        }
        Ok(())
    }
}

impl IntoFuture for Runner {
    type Output = Result<Run, TestError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send>>;

    fn into_future(self) -> Self::IntoFuture {
        Box::pin(self.run())
    }
}

impl Run {
    fn take(
        &mut self,
        result: &WorkResult,
        events: &[usize],
        batch: &v1::Batch,
        open: &mut [bool],
    ) -> Result<(), TestError> {
        for failure in &result.failures {
            let index = (failure.index != ABSENT).then(|| events[failure.index as usize]);
            match index {
                Some(_) => open[failure.index as usize] = false,
                None => open.fill(false),
            }
            let seen = TestFailure { index, reason: failure.reason.clone(), message: failure.message.clone() };
            let list =
                if failure.action == v1::FailureAction::Reject as i32 { &mut self.rejected } else { &mut self.retried };
            list.push(seen);
        }
        let Some(outputs) = &result.outputs else {
            return Ok(());
        };
        let unfit =
            |error: &dyn std::fmt::Display| TestError::Unfit(format!("the node's answer is malformed: {error}"));
        let columns = read::Outputs::new(outputs, batch).map_err(|error| unfit(&error))?;
        for i in 0..outputs.count as usize {
            let parent = if outputs.parent.is_empty() { i as u32 } else { u32_at(&outputs.parent, i) };
            if parent != ABSENT {
                open[parent as usize] = false;
            }
            self.outputs.push(columns.output(i, parent, (parent != ABSENT).then(|| events[parent as usize])));
        }
        Ok(())
    }
}

/// What a source produced.
#[derive(Debug, Default)]
pub struct Produced {
    /// The events.
    pub outputs: Vec<TestOutput>,
    /// The last checkpoint, as JSON.
    pub checkpoint: Option<serde_json::Value>,
    /// Whether the source said that there will be no more.
    pub exhausted: bool,
}

/// Runs a source from a checkpoint until it ends or has produced `most` events.
///
/// # Errors
/// A refused config, a failed set-up, or the source's own error.
pub async fn produce(
    node: Node,
    config: impl Serialize,
    checkpoint: Option<serde_json::Value>,
    most: u64,
) -> Result<Produced, TestError> {
    let config = to_config(config)?;
    let opening = Arc::new(opening_for_tests(&node, config, Ordering::None));
    let Ready::Source(source) = open(&node, opening).await? else {
        return Err(TestError::Unfit(format!("`{}` is no source; run it with `testing::run`", node.name())));
    };
    let credit = Arc::new(Credit::default());
    credit.add(most, u64::MAX);
    let stopping = CancellationToken::new();
    let (frames_in, mut frames) = mpsc::channel(2);
    let checkpoint = checkpoint.map(|value| Bytes::from(value.to_string()));
    let task =
        SourceTask { checkpoint, sampling: Sampler::new(None), credit, stopping: stopping.clone(), frames: frames_in };
    let running = tokio::spawn(source.run(task));
    let mut produced = Produced::default();
    while (produced.outputs.len() as u64) < most {
        let Some((frame, _receipts)) = frames.recv().await else {
            break;
        };
        let batch = frame.batch.unwrap_or_default();
        let columns = read::Outputs::of_batch(&batch).map_err(|error| TestError::Unfit(error.to_string()))?;
        produced.outputs.extend((0..batch.count as usize).map(|i| columns.output(i, ABSENT, None)));
        produced.checkpoint = frame.checkpoint.and_then(|checkpoint| serde_json::from_slice(&checkpoint).ok());
    }
    if produced.outputs.len() as u64 >= most {
        stopping.cancel();
    }
    let ended: Result<End, Error> = running.await.map_err(|error| TestError::Unfit(error.to_string()))?;
    produced.exhausted = ended.map_err(|error| TestError::Unfit(error.to_string()))? == End::Exhausted;
    node.handler.close().await;
    Ok(produced)
}

/// `()` and `None` stand for no config.
fn to_config(config: impl Serialize) -> Result<Bytes, TestError> {
    let json =
        serde_json::to_vec(&config).map_err(|error| TestError::Unfit(format!("the config is no JSON: {error}")))?;
    Ok(if json == b"null" { Bytes::new() } else { json.into() })
}

async fn open(node: &Node, opening: Arc<crate::Opening>) -> Result<Ready, TestError> {
    node.handler.open(opening).await.map_err(|error| match error {
        OpenError::Config(error) => TestError::Config(error),
        OpenError::Setup(message) => TestError::Setup(message),
    })
}
