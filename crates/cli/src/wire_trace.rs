//! A trace as the admin service sends it.

use std::{borrow::Cow, sync::Arc};

use anyhow::Context as _;
use meshloom_proto::v1::{TraceResponse, TraceSpan};
use meshloom_telemetry::{Event, Kind, Service, Span, SpanId, SpanRef, Status, Trace, TraceId, Value, names};

/// A trace to draw.
pub(crate) fn decode(response: &TraceResponse) -> anyhow::Result<Trace> {
    const MALFORMED: &str = "the coordinator sent a malformed trace; are it and this command of the same version?";
    let id = TraceId::from_slice(&response.trace_id).context(MALFORMED)?;
    let spans: Option<Vec<_>> = response.spans.iter().map(|span| decode_span(id, span).map(Arc::new)).collect();
    Ok(Trace { id, spans: spans.context(MALFORMED)?, left_out: 0 })
}

fn decode_span(trace_id: TraceId, span: &TraceSpan) -> Option<Span> {
    let kind = match span.kind.as_str() {
        "server" => Kind::Server,
        "client" => Kind::Client,
        "producer" => Kind::Producer,
        "consumer" => Kind::Consumer,
        _ => Kind::Internal,
    };
    let service = Arc::new(Service { name: span.service.clone(), instance: String::new() });
    let identity = SpanRef { trace_id, span_id: SpanId::from_slice(&span.span_id)? };
    let parent = SpanId::from_slice(&span.parent_span_id);
    let mut decoded = Span::new(identity, parent, service, kind, span.name.clone());
    decoded.start = nanos(span.start?)?;
    let duration = crate::books::duration(span.duration);
    decoded.end = decoded.start.saturating_add(u64::try_from(duration.as_nanos()).ok()?);
    let mut attributes: Vec<_> = span.attributes.iter().collect();
    attributes.sort();
    decoded.attributes =
        attributes.into_iter().map(|(name, text)| (Cow::Owned(name.clone()), value(name, text))).collect();
    for event in &span.events {
        decoded.events.push(Event::new(nanos(event.time?)?, event.name.clone()));
    }
    if span.error {
        decoded.status = Status::Error(span.error_message.clone());
    }
    Some(decoded)
}

/// Values come as text; those that are drawn as numbers are numbers again.
fn value(name: &str, text: &str) -> Value {
    if name == names::ATTEMPT
        && let Ok(number) = text.parse::<i64>()
    {
        return Value::Int(number);
    }
    Value::Text(Cow::Owned(text.to_owned()))
}

fn nanos(time: prost_types::Timestamp) -> Option<u64> {
    u64::try_from(time.seconds).ok()?.checked_mul(1_000_000_000)?.checked_add(u64::try_from(time.nanos).ok()?)
}

#[test]
fn a_trace_is_drawn_from_the_answer() {
    let span = TraceSpan {
        span_id: vec![1; 8].into(),
        name: "receive filter".into(),
        service: "p/filter".into(),
        kind: "client".into(),
        start: Some(prost_types::Timestamp { seconds: 1, nanos: 5 }),
        duration: Some(prost_types::Duration { seconds: 0, nanos: 7 }),
        attributes: [(names::ATTEMPT.to_owned(), "2".to_owned())].into(),
        error: true,
        error_message: "broke".into(),
        ..TraceSpan::default()
    };
    let response = TraceResponse { trace_id: vec![2; 16].into(), spans: vec![span] };
    let trace = decode(&response).unwrap();
    assert_eq!((trace.spans[0].start, trace.spans[0].end), (1_000_000_005, 1_000_000_012));
    assert_eq!(trace.spans[0].attribute(names::ATTEMPT), Some(&Value::Int(2)));
    let drawn = meshloom_telemetry::waterfall(&trace, 100, false);
    assert!(drawn.contains("receive filter") && drawn.contains("broke") && drawn.contains("attempt 2"), "{drawn}");
    let error = decode(&TraceResponse::default()).unwrap_err().to_string();
    assert!(error.contains("same version"), "{error}");
}
