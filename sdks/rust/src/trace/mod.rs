//! Spans around handlers and at sources. Events without a span context pay nothing.

mod log;
mod names;
mod sampling;
mod setup;

use std::{borrow::Cow, collections::BTreeSet};

use bytes::Bytes;
use opentelemetry::{
    Context, KeyValue,
    global::{self, BoxedSpan, BoxedTracer},
    trace::{
        FutureExt as _, Link, Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _,
        TraceFlags, TraceId, TraceState, Tracer as _,
    },
};
use opentelemetry_sdk::trace::{IdGenerator as _, RandomIdGenerator};

pub(crate) use log::Current;
pub(crate) use sampling::Sampler;
pub(crate) use setup::Telemetry;

use crate::{
    columns::{Batch, SpanRef, u32_at},
    context::Opening,
    error::Error,
    event::Event,
};
use meshloom_proto::v1;

/// What became of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Delivered,
    Consumed,
}

impl Verdict {
    fn name(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Consumed => "consumed",
        }
    }
}

/// Makes the spans of one opened node.
pub(crate) struct Spans {
    tracer: BoxedTracer,
    process: Cow<'static, str>,
    send: Cow<'static, str>,
    common: Vec<KeyValue>,
}

impl Spans {
    pub(crate) fn new(opening: &Opening) -> Self {
        Self {
            tracer: global::tracer("meshloom"),
            process: format!("{} {}", names::PROCESS, opening.node).into(),
            send: format!("{} {}", names::SEND, opening.node).into(),
            common: vec![
                KeyValue::new(names::SYSTEM, names::SYSTEM_VALUE),
                KeyValue::new(names::DESTINATION, opening.node.clone()),
                KeyValue::new(names::CLIENT_ID, opening.replica_name()),
                KeyValue::new(names::PIPELINE, opening.pipeline.clone()),
            ],
        }
    }

    fn attributes(&self, operation: &'static str, more: impl IntoIterator<Item = KeyValue>) -> Vec<KeyValue> {
        let mut attributes = self.common.clone();
        attributes.push(KeyValue::new(names::OPERATION_NAME, operation));
        attributes.push(KeyValue::new(names::OPERATION_TYPE, operation));
        attributes.extend(more);
        attributes
    }

    /// The span around the handler of one sampled event.
    pub(crate) fn process(&self, event: &Event, parent: &SpanRef, attempt: u32) -> Option<CallSpan> {
        self.event_span(event, parent, attempt, Vec::new())
    }

    fn event_span(&self, event: &Event, parent: &SpanRef, attempt: u32, links: Vec<Link>) -> Option<CallSpan> {
        let parent = parent.context();
        if !parent.is_sampled() {
            return None;
        }
        let mut attributes = self.attributes(
            names::PROCESS,
            [
                KeyValue::new(names::MESSAGE_ID, event.uid().simple().to_string()),
                KeyValue::new(names::ATTEMPT, i64::from(attempt)),
            ],
        );
        for (name, value) in
            [(names::EVENT_ID, event.id()), (names::EVENT_SOURCE, event.source()), (names::EVENT_TYPE, event.kind())]
        {
            attributes.extend(value.map(|value| KeyValue::new(name, value.to_owned())));
        }
        let builder = SpanBuilder::from_name(self.process.clone())
            .with_kind(SpanKind::Consumer)
            .with_attributes(attributes)
            .with_links(links);
        Some(self.start(builder, &Context::new().with_remote_span_context(parent)))
    }

    fn start(&self, builder: SpanBuilder, parent: &Context) -> CallSpan {
        let span = self.tracer.build_with_context(builder, parent);
        CallSpan { context: Context::new().with_span(span) }
    }

    /// The spans of a batch call: one for the call, and one per sampled event that points back at it.
    pub(crate) fn batch(&self, batch: &Batch, attempts: &Bytes) -> Option<BatchSpans> {
        let sampled: Vec<&SpanRef> = batch.spans().iter().filter(|span| span.flags & 1 == 1).collect();
        if sampled.is_empty() {
            return None;
        }
        let links = sampled.iter().take(names::MAX_LINKS).map(|span| Link::with_context(span.context())).collect();
        let attributes = self.attributes(names::PROCESS, [KeyValue::new(names::BATCH_COUNT, batch.len() as i64)]);
        let builder = SpanBuilder::from_name(self.process.clone())
            .with_kind(SpanKind::Consumer)
            .with_attributes(attributes)
            .with_links(links);
        let call = self.start(builder, &Context::new());
        let back = call.context.span().span_context().clone();
        let events = sampled
            .into_iter()
            .filter_map(|span| {
                let row = span.row as usize;
                let attempt = if attempts.is_empty() { 1 } else { u32_at(attempts, row) };
                let event = self.event_span(&batch.event(row), span, attempt, vec![Link::with_context(back.clone())]);
                event.map(|event| (span.row, event))
            })
            .collect();
        Some(BatchSpans { call, events })
    }

    /// The span of an event at its source; without a parent it begins a trace.
    pub(crate) fn send(&self, parent: Option<SpanContext>, id: Option<&str>) -> SentSpan {
        let parent_context =
            parent.clone().map_or_else(Context::new, |parent| Context::new().with_remote_span_context(parent));
        let attributes = self.attributes(names::SEND, id.map(|id| KeyValue::new(names::EVENT_ID, id.to_owned())));
        let builder =
            SpanBuilder::from_name(self.send.clone()).with_kind(SpanKind::Producer).with_attributes(attributes);
        let span = self.tracer.build_with_context(builder, &parent_context);
        let own = span.span_context().clone();
        let context = if own.is_valid() {
            own
        } else {
            // No exporter here: the trace begins all the same, at the first hop that has one.
            SpanContext::new(
                RandomIdGenerator::default().new_trace_id(),
                RandomIdGenerator::default().new_span_id(),
                TraceFlags::SAMPLED,
                true,
                TraceState::default(),
            )
        };
        SentSpan { span, context }
    }
}

impl SpanRef {
    fn context(&self) -> SpanContext {
        SpanContext::new(
            TraceId::from_bytes(self.trace_id),
            SpanId::from_bytes(self.span_id),
            TraceFlags::new(self.flags),
            true,
            self.trace_state.parse().unwrap_or_default(),
        )
    }
}

/// The span of one call.
pub(crate) struct CallSpan {
    context: Context,
}

impl CallSpan {
    /// Makes the span current on this thread, so that the user's own spans become its children.
    pub(crate) fn attach(&self) -> opentelemetry::ContextGuard {
        self.context.clone().attach()
    }

    pub(crate) fn end(self, verdict: Verdict) {
        let span = self.context.span();
        span.set_attribute(KeyValue::new(names::VERDICT, verdict.name()));
        span.end();
    }

    pub(crate) fn fail(self, error: &Error) {
        self.refuse(error.is_reject(), error.reason(), error.message());
    }

    fn refuse(self, is_reject: bool, reason: &str, message: &str) {
        let span = self.context.span();
        span.set_attribute(KeyValue::new(names::VERDICT, if is_reject { "reject" } else { "retry" }));
        span.set_attribute(KeyValue::new(names::ERROR_TYPE, reason.to_owned()));
        span.set_status(Status::error(message.to_owned()));
        span.end();
    }
}

/// The spans of one batch call: its own, and those of sampled events by row.
pub(crate) struct BatchSpans {
    call: CallSpan,
    events: Vec<(u32, CallSpan)>,
}

impl BatchSpans {
    pub(crate) fn context(&self) -> Context {
        self.call.context.clone()
    }

    /// Ends them with what became of each row, its failures and what was consumed, or with what failed the call.
    pub(crate) fn end(self, ended: Result<(&[v1::EventFailure], &BTreeSet<u32>), &Error>) {
        let (failures, consumed) = match ended {
            Ok(verdicts) => verdicts,
            Err(error) => {
                self.events.into_iter().for_each(|(_, span)| span.fail(error));
                return self.call.fail(error);
            }
        };
        for (row, span) in self.events {
            match failures.iter().find(|failure| failure.index == row) {
                Some(failure) => {
                    let is_reject = failure.action() == v1::FailureAction::Reject;
                    span.refuse(is_reject, &failure.reason, &failure.message);
                }
                None if consumed.contains(&row) => span.end(Verdict::Consumed),
                None => span.end(Verdict::Delivered),
            }
        }
        self.call.context.span().end();
    }
}

/// The span of an event on its way out of a source.
pub(crate) struct SentSpan {
    span: BoxedSpan,
    context: SpanContext,
}

impl SentSpan {
    /// Ends the span and writes its context for the event's row.
    pub(crate) fn end(mut self, row: u32) -> v1::SpanContext {
        self.span.end();
        v1::SpanContext {
            index: row,
            trace_id: Bytes::copy_from_slice(&self.context.trace_id().to_bytes()),
            span_id: Bytes::copy_from_slice(&self.context.span_id().to_bytes()),
            flags: u32::from(self.context.trace_flags().to_u8()),
            trace_state: self.context.trace_state().header(),
        }
    }
}

/// Runs a future with a span current whenever it is polled.
pub(crate) fn with_span<F: Future>(future: F, span: Option<Context>) -> impl Future<Output = F::Output> {
    future.with_context(span.unwrap_or_default())
}
