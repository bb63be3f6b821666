//! Where spans go: into the store and, if there is one, to a collector.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    time::timeout,
};

use crate::{
    Span, Trace, TraceId, TraceStore,
    export::{self, Counters, Export, ExportOptions},
    proto, queue,
};

/// Spans of the coordinator that may wait for the store: as many as the largest batch gives when it settles at once.
const WAITING_SPANS: usize = 65_536;
/// Requests of nodes that may wait for the store.
const WAITING_REQUESTS: usize = 8;
/// Spans that are stored in one go.
const STEP: usize = 256;
/// Bytes of spans that may wait for the collector.
const EXPORT_BYTES: usize = 16 << 20;

/// What to keep and where to send it.
#[derive(Debug)]
pub struct Options {
    /// Bytes of spans kept in memory, about.
    pub store_bytes: usize,
    /// The collector; `None`: spans are only kept.
    pub export: Option<ExportOptions>,
}

impl Default for Options {
    fn default() -> Self {
        Self { store_bytes: 32 << 20, export: None }
    }
}

/// What became of spans.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Made by the coordinator and taken.
    pub recorded: u64,
    /// Sent by nodes.
    pub received: u64,
    /// Made by the coordinator and dropped, because they came faster than they could be stored.
    pub dropped: u64,
    /// Taken by the collector.
    pub exported: u64,
    /// Not sent to the collector, because it is down or slow.
    pub export_dropped: u64,
    /// Refused by the collector.
    pub export_rejected: u64,
    /// Traces in memory.
    pub traces: usize,
    /// Bytes that they take, about.
    pub bytes: usize,
}

/// A handle on all of it; cheap to clone.
#[derive(Debug, Clone)]
pub struct Traces(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    input: mpsc::Sender<Input>,
    requests: Arc<Semaphore>,
    store: Arc<Mutex<TraceStore>>,
    export: Option<Arc<queue::Sender<Export>>>,
    recorded: AtomicU64,
    received: AtomicU64,
    dropped: AtomicU64,
    exports: Arc<Counters>,
}

#[derive(Debug)]
enum Input {
    Span(Box<Span>),
    Request(Box<ExportTraceServiceRequest>, OwnedSemaphorePermit),
    Flush(oneshot::Sender<()>),
}

impl Traces {
    /// Starts the tasks behind it, which end with the last handle. Within a tokio runtime.
    pub fn start(options: Options) -> Self {
        let (input, inputs) = mpsc::channel(WAITING_SPANS);
        let store = Arc::new(Mutex::new(TraceStore::new(options.store_bytes)));
        let exports = Arc::new(Counters::default());
        let export = options.export.map(|options| {
            let (sender, receiver) = queue::queue(EXPORT_BYTES);
            tokio::spawn(export::run(options, receiver, exports.clone()));
            Arc::new(sender)
        });
        tokio::spawn(store_spans(inputs, store.clone(), export.clone(), exports.clone()));
        Self(Arc::new(Shared {
            input,
            requests: Arc::new(Semaphore::new(WAITING_REQUESTS)),
            store,
            export,
            recorded: AtomicU64::new(0),
            received: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            exports,
        }))
    }

    /// Takes a span of the coordinator. Never waits: a span for which there is no room is dropped and counted.
    pub fn record(&self, span: Span) {
        let count = match self.0.input.try_send(Input::Span(Box::new(span))) {
            Ok(()) => &self.0.recorded,
            Err(_) => &self.0.dropped,
        };
        count.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes spans of a node, which waits for a moment if many come at once. They reach the collector as they are.
    pub async fn receive(&self, request: ExportTraceServiceRequest) {
        let spans = proto::count(&request);
        // Neither is ever closed while a handle lives.
        if let Ok(permit) = self.0.requests.clone().acquire_owned().await
            && self.0.input.send(Input::Request(Box::new(request), permit)).await.is_ok()
        {
            self.0.received.fetch_add(spans, Ordering::Relaxed);
        }
    }

    fn store<T>(&self, read: impl FnOnce(&TraceStore) -> T) -> T {
        read(&self.0.store.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A trace by its identity.
    pub fn trace(&self, id: TraceId) -> Option<Trace> {
        self.store(|store| store.get(id))
    }

    /// The traces that an event is part of, newest first.
    pub fn by_uid(&self, uid: [u8; 16]) -> Vec<Trace> {
        self.store(|store| store.by_uid(uid))
    }

    /// The newest traces first, at most `limit`.
    pub fn newest(&self, limit: usize) -> Vec<Trace> {
        self.store(|store| store.newest(limit))
    }

    /// What became of spans so far.
    pub fn stats(&self) -> Stats {
        let shared = &self.0;
        let load = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let (traces, bytes) = self.store(|store| (store.len(), store.bytes()));
        Stats {
            recorded: load(&shared.recorded),
            received: load(&shared.received),
            dropped: load(&shared.dropped),
            exported: load(&shared.exports.exported),
            export_dropped: load(&shared.exports.dropped),
            export_rejected: load(&shared.exports.rejected),
            traces,
            bytes,
        }
    }

    /// Waits until all that was taken before is stored and sent, or until `limit` is over, which is no failure of the
    /// pipeline. Returns whether all of it went through in time.
    pub async fn flush(&self, limit: Duration) -> bool {
        let before = self.stats().export_dropped;
        let flushed = timeout(limit, async {
            let (done, stored) = oneshot::channel();
            if self.0.input.send(Input::Flush(done)).await.is_err() || stored.await.is_err() {
                return false;
            }
            let Some(export) = &self.0.export else {
                return true;
            };
            let (done, sent) = oneshot::channel();
            export.send_marker(Export::Flush(done)).await && sent.await.is_ok()
        });
        flushed.await.unwrap_or(false) && self.stats().export_dropped == before
    }
}

/// Moves spans from the queue into the store, and on to the exporter's queue, which never makes it wait.
async fn store_spans(
    mut inputs: mpsc::Receiver<Input>,
    store: Arc<Mutex<TraceStore>>,
    export: Option<Arc<queue::Sender<Export>>>,
    exports: Arc<Counters>,
) {
    let mut step = Vec::with_capacity(STEP);
    while inputs.recv_many(&mut step, STEP).await > 0 {
        let mut own = Vec::new();
        let mut requests = Vec::new();
        let mut flushes = Vec::new();
        {
            let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
            for input in step.drain(..) {
                match input {
                    Input::Span(span) => {
                        let span = Arc::new(*span);
                        store.insert(span.clone());
                        own.push(span);
                    }
                    Input::Request(request, _permit) => {
                        proto::spans(&request).for_each(|span| store.insert(Arc::new(span)));
                        requests.push(request);
                    }
                    Input::Flush(done) => flushes.push(done),
                }
            }
        }
        if let Some(export) = &export {
            if !own.is_empty() {
                let (spans, bytes) = (own.len() as u64, own.iter().map(|span| span.size()).sum());
                if export.try_send(Export::Spans(own), bytes).is_err() {
                    exports.dropped.fetch_add(spans, Ordering::Relaxed);
                }
            }
            for request in requests {
                let (spans, bytes) = (proto::count(&request), request.encoded_len());
                if export.try_send(Export::Forward(*request), bytes).is_err() {
                    exports.dropped.fetch_add(spans, Ordering::Relaxed);
                }
            }
        }
        for flush in flushes {
            // Whoever asked may have given up.
            let _ = flush.send(());
        }
    }
}
