//! From what happened to sampled events to spans (tracing.md).

use std::{borrow::Cow, sync::Arc};

use meshloom_config::Sampling;
use meshloom_core::{
    batch::{Batch, SpanContext},
    machine::{Hop, Verdict},
    moment::Moment,
};
use meshloom_telemetry::{Kind, Link, Sampler, Service, Span, SpanRef, Status, Traces, names};

/// Records the `receive` spans of one node.
#[derive(Debug, Clone)]
pub(crate) struct HopSpans {
    traces: Traces,
    service: Arc<Service>,
    pipeline: Arc<str>,
    node: Arc<str>,
    name: Arc<str>,
}

impl HopSpans {
    pub(crate) fn new(traces: Traces, pipeline: &str, node: &str) -> Self {
        Self {
            traces,
            service: Service::of_coordinator(pipeline, node),
            pipeline: pipeline.into(),
            node: node.into(),
            name: format!("receive {node}").into(),
        }
    }

    /// A hop has ended.
    pub(crate) fn record(&self, hop: &Hop) {
        let identity = SpanRef { trace_id: hop.trace_id.into(), span_id: hop.span_id.into() };
        let name = self.name.to_string();
        let mut span = Span::new(identity, hop.parent.map(Into::into), self.service.clone(), Kind::Client, name);
        span.start = hop.since.0;
        span.end = hop.ended.0;
        span.set(names::MESSAGING_SYSTEM, names::SYSTEM);
        span.set(names::OPERATION_NAME, names::operation::RECEIVE);
        span.set(names::OPERATION_TYPE, names::operation::RECEIVE);
        span.set(names::DESTINATION, self.node.to_string());
        span.set(names::MESSAGE_ID, hop.uid.to_string());
        span.set(names::BATCH_COUNT, hop.batch_events);
        span.set(names::CLIENT_ID, format!("{}/{}", self.node, hop.replica));
        span.set(names::PIPELINE, self.pipeline.to_string());
        span.set(names::ATTEMPT, hop.attempt);
        span.set(names::VERDICT, hop.verdict.as_str());
        span.set(names::QUEUE_MS, (hop.dispatched - hop.since).as_secs_f64() * 1e3);
        let event =
            [(names::EVENT_ID, &hop.id), (names::EVENT_SOURCE, &hop.source), (names::EVENT_TYPE, &hop.event_type)];
        for (name, value) in event {
            if let Some(value) = value {
                span.set(name, value.clone());
            }
        }
        span.events = vec![
            meshloom_telemetry::Event::new(hop.since.0, names::event::ENQUEUE),
            meshloom_telemetry::Event::new(hop.dispatched.0, names::event::DISPATCH),
            meshloom_telemetry::Event::new(hop.ended.0, names::event::VERDICT),
        ];
        span.links = hop.links.iter().map(|(trace_id, span_id)| link(trace_id, span_id)).collect();
        if let Some(reason) = &hop.reason {
            span.set(names::ERROR_TYPE, reason.to_string());
        }
        if matches!(hop.verdict, Verdict::Retry | Verdict::Rejected) {
            let reason = hop.reason.clone().unwrap_or(Cow::Borrowed(""));
            let message = hop.message.as_deref().unwrap_or_default();
            span.status = Status::Error(format!("{reason}: {message}"));
        }
        self.traces.record(span);
    }
}

fn link(trace_id: &[u8; 16], span_id: &[u8; 8]) -> Link {
    Link { to: SpanRef { trace_id: (*trace_id).into(), span_id: (*span_id).into() }, attributes: Vec::new() }
}

/// Samples the events of a source that the coordinator runs itself, and records their `send` spans.
/// A source with an SDK has sampled its events already.
#[derive(Debug)]
pub(crate) struct SourceSpans {
    traces: Traces,
    service: Arc<Service>,
    pipeline: Arc<str>,
    node: Arc<str>,
    sampler: Option<Sampler>,
}

impl SourceSpans {
    /// `samples`: whether the coordinator is the one to choose.
    pub(crate) fn new(traces: Traces, pipeline: &str, node: &str, sampling: Sampling, samples: bool) -> Self {
        let sampler = samples.then(|| match sampling {
            Sampling::Rate(rate) => Sampler::rate(rate, std::time::Instant::now()),
            Sampling::Ratio(ratio) => Sampler::ratio(ratio),
        });
        let service = Service::of_coordinator(pipeline, node);
        Self { traces, service, pipeline: pipeline.into(), node: node.into(), sampler }
    }

    /// The frame with the contexts of its sampled events.
    pub(crate) fn sample(&mut self, batch: Batch, now: Moment) -> Batch {
        let Some(sampler) = &mut self.sampler else { return batch };
        let chosen = sampler.rows(std::time::Instant::now(), batch.len() as u32);
        if chosen.is_empty() && !batch.has_spans() {
            return batch;
        }
        let mut spans: Vec<(u32, SpanContext)> = Vec::new();
        for row in 0..batch.len() as u32 {
            let incoming = batch.span(row as usize).filter(|context| context.is_sampled());
            if incoming.is_none() && chosen.binary_search(&row).is_err() {
                continue;
            }
            let identity = match incoming {
                Some(context) => {
                    SpanRef { trace_id: context.trace_id.into(), span_id: meshloom_telemetry::SpanId::random() }
                }
                None => SpanRef::new_root(),
            };
            let parent = incoming.map(|context| context.span_id.into());
            self.record(identity, parent, &batch, row as usize, now);
            spans.push((
                row,
                SpanContext {
                    trace_id: identity.trace_id.into(),
                    span_id: identity.span_id.into(),
                    flags: 1,
                    trace_state: incoming.and_then(|context| context.trace_state.clone()),
                },
            ));
        }
        batch.with_spans(spans)
    }

    fn record(
        &self,
        identity: SpanRef,
        parent: Option<meshloom_telemetry::SpanId>,
        batch: &Batch,
        row: usize,
        now: Moment,
    ) {
        let name = format!("send {}", self.node);
        let mut span = Span::new(identity, parent, self.service.clone(), Kind::Producer, name);
        span.start = now.0;
        span.end = now.0;
        span.set(names::MESSAGING_SYSTEM, names::SYSTEM);
        span.set(names::OPERATION_NAME, names::operation::SEND);
        span.set(names::OPERATION_TYPE, names::operation::SEND);
        span.set(names::DESTINATION, self.node.to_string());
        span.set(names::MESSAGE_ID, batch.uid(row).to_string());
        span.set(names::PIPELINE, self.pipeline.to_string());
        let event = [
            (names::EVENT_ID, batch.id(row)),
            (names::EVENT_SOURCE, batch.source(row)),
            (names::EVENT_TYPE, batch.type_(row)),
        ];
        for (name, value) in event {
            if let Some(value) = value {
                span.set(name, value.to_owned());
            }
        }
        self.traces.record(span);
    }
}
