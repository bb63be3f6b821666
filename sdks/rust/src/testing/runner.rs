//! Running transforms and sinks.

use std::{
    env,
    future::{Future, IntoFuture},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use meshloom_proto::v1::{self, Ordering};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use serde::Serialize;
use tokio::{runtime::Handle, sync::mpsc};
use uuid::Uuid;

use super::{Run, TestError, open, spans, to_config};
use crate::{
    handler::{Framer, Process, Ready},
    node::Node,
    output::{IntoOutput, Output},
    running::{CancelSignal, Running},
    serve::{opening_for_tests, spawn_work},
};

const SEED: &str = "MESHLOOM_TEST_SEED";

/// Runs a node on events; await it. Set-up and tear-down run as in service.
///
/// Events are what can be an output: [`Json`](crate::Json), text, bytes, or an [`Output`] with attributes.
pub fn run<E: IntoOutput>(node: Node, events: impl IntoIterator<Item = E>) -> Runner {
    let events = events.into_iter().map(IntoOutput::into_output).collect();
    Runner {
        node,
        events,
        config: Ok(Bytes::new()),
        attempts: 1,
        splits: Splits::Works(1),
        ordered_by_key: false,
        redeliver: false,
        traced: false,
        timeout: None,
        cancel: std::future::pending().boxed(),
    }
}

/// A run to be awaited.
#[must_use = "a run does nothing until it is awaited"]
pub struct Runner {
    node: Node,
    events: Vec<Output>,
    config: Result<Bytes, TestError>,
    attempts: u32,
    splits: Splits,
    ordered_by_key: bool,
    redeliver: bool,
    traced: bool,
    timeout: Option<Duration>,
    cancel: BoxFuture<'static, ()>,
}

/// How events are cut into works.
enum Splits {
    Works(usize),
    Random(SmallRng),
}

impl Splits {
    fn cut<'a>(&mut self, mut events: &'a [usize]) -> Vec<&'a [usize]> {
        match self {
            Self::Works(works) => events.chunks(events.len().div_ceil(*works).max(1)).collect(),
            Self::Random(random) => {
                let mut cut = Vec::new();
                while !events.is_empty() {
                    let (work, rest) = events.split_at(random.random_range(1..=events.len()));
                    cut.push(work);
                    events = rest;
                }
                cut
            }
        }
    }
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
        self.splits = Splits::Works(works.max(1));
        self
    }

    /// Cuts the events into works of random lengths. The seed is printed, which `cargo test` shows when the test fails;
    /// `MESHLOOM_TEST_SEED` sets it.
    #[allow(clippy::print_stderr)]
    pub fn random_splits(mut self) -> Self {
        let seed = env::var(SEED).ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random::<u64>);
        eprintln!("meshloom::testing: events are cut with {SEED}={seed}");
        self.splits = Splits::Random(SmallRng::seed_from_u64(seed));
        self
    }

    /// Asks for events of one key to be handled in sequence.
    pub fn ordered_by_key(mut self) -> Self {
        self.ordered_by_key = true;
        self
    }

    /// Delivers every event a second time, as after a death of the process: [`Run::redelivered`] has what became of it,
    /// and [`Run::assert_idempotent`] compares.
    pub fn redeliver(mut self) -> Self {
        self.redeliver = true;
        self
    }

    /// Samples every event, and collects the node's spans and those that its handler opens, by `tracing` or by the
    /// OpenTelemetry API, in [`Run::spans`]. Sets the process's tracer provider and, if there is none, its `tracing`
    /// subscriber.
    pub fn traced(mut self) -> Self {
        self.traced = true;
        self
    }

    /// Sets how long a call may take, as `timeout` in the pipeline file does.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Takes the work in hand back, and any later one, when `when` completes: for instance
    /// `Notify::notified` of a handler that says that it has begun to wait.
    pub fn cancel_on(mut self, when: impl Future<Output = ()> + Send + 'static) -> Self {
        self.cancel = when.boxed();
        self
    }

    async fn run(mut self) -> Result<Run, TestError> {
        let ordering = if self.ordered_by_key { Ordering::Key } else { Ordering::None };
        let config = std::mem::replace(&mut self.config, Ok(Bytes::new()))?;
        let spans = self.traced.then(|| spans::Collected::begin(self.events.len()));
        let opening = Arc::new(opening_for_tests(&self.node, config, ordering));
        let Ready::Process(process) = open(&self.node, opening).await? else {
            let message = format!("`{}` is a source; run it with `testing::produce`", self.node.name());
            return Err(TestError::Unfit(message));
        };
        let signal = Arc::new(CancelSignal::default());
        let cancel = std::mem::replace(&mut self.cancel, std::future::pending().boxed());
        let cancelling = tokio::spawn({
            let signal = Arc::clone(&signal);
            async move {
                cancel.await;
                signal.raise();
            }
        });
        let mut run = Run::default();
        let ended = self.deliver(&process, &signal, spans.as_ref(), &mut run).await;
        cancelling.abort();
        drop(process);
        self.node.handler.close().await;
        run.spans = spans.map(spans::Collected::end).unwrap_or_default();
        ended.map(|()| run)
    }

    async fn deliver(
        &mut self,
        process: &Arc<dyn Process>,
        signal: &Arc<CancelSignal>,
        spans: Option<&spans::Collected>,
        run: &mut Run,
    ) -> Result<(), TestError> {
        let all: Vec<usize> = (0..self.events.len()).collect();
        let mut waiting = all.clone();
        for attempt in 1..=self.attempts {
            let again = run.retried.len();
            for events in self.splits.cut(&waiting) {
                self.work(process, signal, spans, events, attempt, run).await?;
            }
            waiting = run.retried[again..]
                .iter()
                .flat_map(|failure| failure.index.map_or_else(|| waiting.clone(), |index| vec![index]))
                .collect();
            waiting.sort_unstable();
            waiting.dedup();
        }
        if self.redeliver {
            let mut second = Run::default();
            for events in self.splits.cut(&all) {
                self.work(process, signal, spans, events, self.attempts + 1, &mut second).await?;
            }
            run.redelivered = Some(Box::new(second));
        }
        Ok(())
    }

    async fn work(
        &mut self,
        process: &Arc<dyn Process>,
        signal: &Arc<CancelSignal>,
        spans: Option<&spans::Collected>,
        events: &[usize],
        attempt: u32,
        run: &mut Run,
    ) -> Result<(), TestError> {
        let mut framer = Framer::new(None, true);
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
        batch.spans = spans.map(|spans| spans.contexts(events)).unwrap_or_default();
        let attempts = events.iter().flat_map(|_| attempt.to_le_bytes()).collect();
        let timeout = self.timeout.and_then(|timeout| timeout.try_into().ok());
        let work = v1::Work { sequence: 1, attempts, timeout, batch: Some(batch.clone()) };
        let (results_in, mut results) = mpsc::channel(16);
        let running = Arc::new(Running::new());
        spawn_work(&Handle::current(), Arc::clone(process), work, Arc::clone(signal), running, results_in);
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
