//! Spans around handlers. A process of its own: the tracer provider is global.

mod common;

use common::{batch, start};
use meshloom::{Batch, Emitter, Event, Result, node, reject};
use meshloom_proto::v1::SpanContext;
use opentelemetry::{
    Value,
    trace::{SpanId, SpanKind, Tracer as _, TracerProvider as _},
};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider, SpanData};
use tracing_subscriber::layer::SubscriberExt as _;

async fn handle(event: Event) -> Result<Event> {
    tracing::info_span!("by tracing").in_scope(|| {});
    // A span made by the API after the handler had to wait is still inside.
    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    opentelemetry::global::tracer("user").in_span("by the API", |_| {});
    if event.data() == b"bad" { Err(reject("BAD", "bad")) } else { Ok(event) }
}

async fn all(batch: Batch, mut out: Emitter) {
    opentelemetry::global::tracer("user").in_span("in the batch", |_| {});
    out.drop([0]);
    out.reject(2, "BAD", "bad");
    out.pass([1]);
    assert_eq!(batch.len(), 3);
}

fn sampled(index: u32) -> SpanContext {
    SpanContext {
        index,
        trace_id: vec![index as u8 + 1; 16].into(),
        span_id: vec![9; 8].into(),
        flags: 1,
        trace_state: String::new(),
    }
}

fn attribute(span: &SpanData, name: &str) -> Option<Value> {
    span.attributes.iter().find(|attribute| attribute.key.as_str() == name).map(|attribute| attribute.value.clone())
}

#[tokio::test]
async fn a_sampled_event_has_a_span_that_the_users_own_nest_in() {
    let exporter = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(exporter.clone()).build();
    opentelemetry::global::set_tracer_provider(provider.clone());
    let subscriber =
        tracing_subscriber::registry().with(tracing_opentelemetry::layer().with_tracer(provider.tracer("application")));
    tracing::subscriber::set_global_default(subscriber).expect("the first one");

    let (_served, mut stream) = start(node("m").map(handle), "").await;
    let mut events = batch(&["a", "b", "bad"]);
    events.spans = vec![sampled(1), sampled(2)];
    assert_eq!(stream.run(events).await.outputs.len(), 2);
    let spans = exporter.get_finished_spans().expect("kept");
    let process: Vec<&SpanData> = spans.iter().filter(|span| span.name == "process n").collect();
    assert_eq!(process.len(), 2, "only the sampled events have one");
    let first = process.iter().find(|span| span.span_context.trace_id().to_bytes() == [2; 16]).expect("of event 1");
    assert_eq!((first.parent_span_id, first.span_kind.clone()), (SpanId::from_bytes([9; 8]), SpanKind::Consumer));
    assert_eq!(attribute(first, "messaging.system"), Some("meshloom".into()));
    assert_eq!(attribute(first, "messaging.message.id"), Some("00000000000000000000000000000002".into()));
    assert_eq!(attribute(first, "meshloom.verdict"), Some("delivered".into()));
    let second = process.iter().find(|span| span.span_context.trace_id().to_bytes() == [3; 16]).expect("of event 2");
    assert_eq!(attribute(second, "error.type"), Some("BAD".into()));
    assert_eq!(attribute(second, "meshloom.verdict"), Some("reject".into()));
    assert_eq!(attribute(second, "messaging.client.id"), Some("n/0".into()));
    for name in ["by tracing", "by the API"] {
        let mine: Vec<&SpanData> = spans
            .iter()
            .filter(|span| {
                span.name == name && process.iter().any(|process| process.span_context.span_id() == span.parent_span_id)
            })
            .collect();
        assert_eq!(mine.len(), 2, "{name} nests in both");
    }

    exporter.reset();
    let (_served, mut stream) = start(node("b").batch(all), "").await;
    let mut events = batch(&["a", "b", "c"]);
    events.spans = vec![sampled(0), sampled(2)];
    assert_eq!(stream.run(events).await.outputs.len(), 1);
    let spans = exporter.get_finished_spans().expect("kept");
    let call = spans.iter().find(|span| span.name == "process n" && span.links.iter().count() == 2).expect("the call");
    assert_eq!(call.parent_span_id, SpanId::INVALID);
    assert_eq!(attribute(call, "messaging.batch.message_count"), Some(3i64.into()));
    let back: Vec<&SpanData> = spans
        .iter()
        .filter(|span| span.links.iter().any(|link| link.span_context.span_id() == call.span_context.span_id()))
        .collect();
    assert_eq!(back.len(), 2);
    assert!(back.iter().all(|span| span.parent_span_id == SpanId::from_bytes([9; 8])));
    let said = |trace: u8| {
        let span =
            back.iter().find(|span| span.span_context.trace_id().to_bytes() == [trace; 16]).expect("of the event");
        (attribute(span, "meshloom.verdict"), attribute(span, "error.type"))
    };
    assert_eq!(said(1), (Some("consumed".into()), None));
    assert_eq!(said(3), (Some("reject".into()), Some("BAD".into())));
    let inner = spans.iter().find(|span| span.name == "in the batch").expect("the user's");
    assert_eq!(inner.parent_span_id, call.span_context.span_id());
}
