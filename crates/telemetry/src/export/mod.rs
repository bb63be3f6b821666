//! Spans to a collector, over OTLP/gRPC.

mod client;
mod error;
mod options;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use rand::Rng;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep, timeout_at},
};
use tonic::Code;

use self::client::Client;
pub(crate) use self::options::{disabled, resource_attributes};
pub use self::{error::ExportError, options::ExportOptions};
use crate::{Span, ids::random, proto, queue::Queued};

/// Spans per request.
const BATCH_SPANS: usize = 512;
/// How long a partial batch waits for more.
const LINGER: Duration = Duration::from_millis(500);
/// Attempts per request before it is dropped.
const ATTEMPTS: u32 = 5;
/// Pause before the second attempt; it doubles.
const PAUSE: Duration = Duration::from_millis(500);
/// Longest pause, also of those that a collector asks for.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Something to send.
#[derive(Debug)]
pub(crate) enum Export {
    /// Spans of the coordinator.
    Spans(Vec<Arc<Span>>),
    /// A node's request, to be sent as it is.
    Forward(ExportTraceServiceRequest),
    /// To be told when all before it has been dealt with.
    Flush(oneshot::Sender<()>),
}

/// What became of spans at the collector.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) exported: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) rejected: AtomicU64,
}

/// Sends until there is nothing more to send, ever.
pub(crate) async fn run(options: ExportOptions, mut queue: mpsc::Receiver<Queued<Export>>, counters: Arc<Counters>) {
    let mut exporter = Exporter { client: Client::new(&options), options, counters, failing: false };
    let mut batch = Vec::new();
    // The room that the batch took in the queue is given back when it has been sent.
    let mut held = Vec::new();
    while let Some(next) = receive(&mut queue, &mut batch, &mut held).await {
        if !batch.is_empty() {
            let request = proto::request(&batch, &exporter.options.resource_attributes);
            batch.clear();
            exporter.send(request).await;
            held.clear();
        }
        match next {
            Next::Forward(request) => exporter.send(request.0).await,
            // Whoever asked may have given up.
            Next::Flush(done) => drop(done.send(())),
            Next::Batch => {}
        }
    }
}

enum Next {
    /// The batch is due.
    Batch,
    Forward(Box<(ExportTraceServiceRequest, Queued<()>)>),
    Flush(oneshot::Sender<()>),
}

/// Fills the batch until it is due or something else has to be done after it; `None` at the end.
async fn receive(
    queue: &mut mpsc::Receiver<Queued<Export>>,
    batch: &mut Vec<Arc<Span>>,
    held: &mut Vec<Queued<()>>,
) -> Option<Next> {
    let mut due = None;
    while batch.len() < BATCH_SPANS {
        let next = match due {
            None => queue.recv().await,
            Some(due) => match timeout_at(due, queue.recv()).await {
                Ok(next) => next,
                Err(_) => return Some(Next::Batch),
            },
        };
        let Some(next) = next else {
            return (!batch.is_empty()).then_some(Next::Batch);
        };
        let (item, room) = next.split();
        match item {
            Export::Spans(spans) => {
                batch.extend(spans);
                held.push(room);
                due = due.or_else(|| Some(Instant::now() + LINGER));
            }
            Export::Forward(request) => return Some(Next::Forward(Box::new((request, room)))),
            Export::Flush(done) => return Some(Next::Flush(done)),
        }
    }
    Some(Next::Batch)
}

struct Exporter {
    client: Client,
    options: ExportOptions,
    counters: Arc<Counters>,
    /// Whether the last request failed: changes are logged, not repetitions.
    failing: bool,
}

impl Exporter {
    async fn send(&mut self, request: ExportTraceServiceRequest) {
        let spans = proto::count(&request);
        match self.attempt(&request).await {
            Ok(rejected) => {
                let rejected = rejected.min(spans);
                self.counters.rejected.fetch_add(rejected, Ordering::Relaxed);
                self.counters.exported.fetch_add(spans - rejected, Ordering::Relaxed);
                if std::mem::take(&mut self.failing) {
                    tracing::info!(collector = self.options.endpoint(), "traces are exported again");
                }
            }
            Err(_) => {
                self.counters.dropped.fetch_add(spans, Ordering::Relaxed);
            }
        }
    }

    /// How many spans the collector refused, or why it took none.
    async fn attempt(&mut self, request: &ExportTraceServiceRequest) -> Result<u64, tonic::Status> {
        let mut pause = PAUSE;
        for attempt in 1.. {
            let status = match self.client.export(request.clone()).await {
                Ok(rejected) => return Ok(rejected),
                Err(status) => status,
            };
            self.warn_once(&status);
            let asked = client::retry_delay(&status);
            if attempt == ATTEMPTS || !(is_transient(status.code()) || asked.is_some()) {
                return Err(status);
            }
            let wait = asked.unwrap_or_else(|| pause.mul_f64(random(|random| random.random_range(0.5..=1.0))));
            sleep(wait.min(LONGEST_PAUSE)).await;
            pause *= 2;
        }
        unreachable!("the last attempt returns")
    }

    fn warn_once(&mut self, status: &tonic::Status) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::warn!(
                collector = self.options.endpoint(),
                "traces cannot be exported: {}: {}; the pipeline is not affected, and `meshloom trace` still shows the newest",
                status.code(),
                status.message(),
            );
        }
    }
}

/// As the OTLP specification lists them; RESOURCE_EXHAUSTED only if the collector says when to come back.
fn is_transient(code: Code) -> bool {
    matches!(
        code,
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
    )
}
