//! Spans of a run.

use std::{
    collections::{BTreeMap, HashSet},
    sync::{Mutex, MutexGuard, Once, PoisonError},
};

use meshloom_proto::v1;
use opentelemetry::{
    global,
    trace::{SpanId, Status, TraceId, TracerProvider as _},
};
use opentelemetry_sdk::{
    error::OTelSdkResult,
    trace::{IdGenerator as _, RandomIdGenerator, SdkTracerProvider, SpanData, SpanExporter},
};
use tracing_subscriber::{layer::SubscriberExt as _, util::SubscriberInitExt as _};

/// A span that ended in a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestSpan {
    /// Its name: `process NODE` of the node's own.
    pub name: String,
    /// The event that it belongs to; `None`: the call of a batch handler, and what is inside.
    pub event: Option<usize>,
    /// The name of the span that it stands in; `None` for the node's own.
    pub parent: Option<String>,
    /// Its attributes, each value as text.
    pub attributes: BTreeMap<String, String>,
    /// What it says of an error.
    pub error: Option<String>,
}

/// Everything that ended in this process, of whichever run.
static ENDED: Mutex<Vec<SpanData>> = Mutex::new(Vec::new());

fn ended() -> MutexGuard<'static, Vec<SpanData>> {
    ENDED.lock().unwrap_or_else(PoisonError::into_inner)
}

#[derive(Debug)]
struct Keep;

impl SpanExporter for Keep {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        ended().extend(batch);
        Ok(())
    }
}

fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let provider = SdkTracerProvider::builder().with_simple_exporter(Keep).build();
        global::set_tracer_provider(provider.clone());
        let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("meshloom"));
        // Fails when the test has a subscriber of its own: then that one is kept.
        let _ = tracing_subscriber::registry().with(spans).try_init();
    });
}

/// The spans of one run: each event has a trace of its own, which tells them from those of other runs.
pub(super) struct Collected {
    traces: Vec<TraceId>,
    source: SpanId,
}

impl Collected {
    pub(super) fn begin(events: usize) -> Self {
        install();
        let ids = RandomIdGenerator::default();
        Self { traces: (0..events).map(|_| ids.new_trace_id()).collect(), source: ids.new_span_id() }
    }

    /// What a work says of its events.
    pub(super) fn contexts(&self, events: &[usize]) -> Vec<v1::SpanContext> {
        let context = |(index, event): (u32, &usize)| v1::SpanContext {
            index,
            trace_id: self.traces[*event].to_bytes().to_vec().into(),
            span_id: self.source.to_bytes().to_vec().into(),
            flags: 1,
            trace_state: String::new(),
        };
        (0..).zip(events).map(context).collect()
    }

    pub(super) fn end(self) -> Vec<TestSpan> {
        let mut all = ended();
        let ours: HashSet<TraceId> = self.traces.iter().copied().collect();
        // The call of a batch begins a trace of its own, and is linked to those of its events.
        let is_linked = |span: &&SpanData| span.links.iter().any(|link| ours.contains(&link.span_context.trace_id()));
        let calls: HashSet<TraceId> = all.iter().filter(is_linked).map(|span| span.span_context.trace_id()).collect();
        let is_ours = |span: &mut SpanData| {
            let trace = span.span_context.trace_id();
            ours.contains(&trace) || calls.contains(&trace)
        };
        let spans: Vec<SpanData> = all.extract_if(.., is_ours).collect();
        drop(all);
        let named = |id: SpanId| {
            spans.iter().find(|span| span.span_context.span_id() == id).map(|span| span.name.clone().into_owned())
        };
        let shown = |span: &SpanData| TestSpan {
            name: span.name.clone().into_owned(),
            event: self.traces.iter().position(|trace| *trace == span.span_context.trace_id()),
            parent: named(span.parent_span_id),
            attributes: span.attributes.iter().map(|each| (each.key.to_string(), each.value.to_string())).collect(),
            error: match &span.status {
                Status::Error { description } => Some(description.clone().into_owned()),
                _ => None,
            },
        };
        spans.iter().map(shown).collect()
    }
}
