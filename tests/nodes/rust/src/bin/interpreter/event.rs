//! What a handler was given, written down.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use meshloom::{Event, Output};
use opentelemetry::trace::TraceContextExt as _;
use serde::Serialize;

use crate::{
    obey::Call,
    out::{Base64, Extension, Nanos, Setter},
};

/// An output that sets everything to what was read of the event.
pub(crate) fn copy(event: &Event) -> Output {
    let mut output = Output::bytes(event.bytes());
    let texts: [(Option<&str>, Setter); 6] = [
        (event.content_type(), Output::content_type),
        (event.kind(), Output::kind),
        (event.subject(), Output::subject),
        (event.key(), Output::key),
        (event.data_schema(), Output::data_schema),
        (event.id(), Output::id),
    ];
    for (text, set) in texts {
        if let Some(text) = text {
            output = set(output, text.to_owned());
        }
    }
    if let Some(time) = event.time_ns() {
        output = output.time_ns(time);
    }
    event.extensions().fold(output, |output, (name, value)| output.extension(name, value))
}

#[derive(Serialize)]
struct Given<'a> {
    uid: String,
    id: Option<&'a str>,
    source: Option<&'a str>,
    r#type: Option<&'a str>,
    subject: Option<&'a str>,
    key: Option<&'a str>,
    from: Option<&'a str>,
    content_type: Option<&'a str>,
    data_schema: Option<&'a str>,
    time: Option<Nanos>,
    extensions: BTreeMap<&'a str, Extension>,
    payload: Base64,
    attempt: u32,
    pipeline: &'a str,
    node: &'a str,
    replica: String,
    label: &'a str,
    deadline_ms: Option<u64>,
    wait_ms: u64,
    room_bytes: u64,
    trace: Option<String>,
}

/// The event and the surroundings of its call.
pub(crate) fn context(call: &Call<'_>) -> Output {
    let Call { event, context, attempt } = call;
    let settings = &context.state().0;
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    Output::json(Given {
        uid: event.uid().simple().to_string(),
        id: event.id(),
        source: event.source(),
        r#type: event.kind(),
        subject: event.subject(),
        key: event.key(),
        from: event.from(),
        content_type: event.content_type(),
        data_schema: event.data_schema(),
        time: event.time_ns().map(Nanos),
        extensions: event.extensions().map(|(name, value)| (name, value.into())).collect(),
        payload: Base64(event.data().to_vec()),
        attempt: *attempt,
        pipeline: context.pipeline(),
        node: context.node(),
        replica: context.replica(),
        label: &settings.label,
        deadline_ms: context.deadline().map(|deadline| millis(deadline.saturating_duration_since(Instant::now()))),
        wait_ms: millis(settings.wait),
        room_bytes: settings.room,
        trace: current_trace(),
    })
}

fn current_trace() -> Option<String> {
    let context = opentelemetry::Context::current();
    let span = context.span();
    let span = span.span_context();
    span.is_valid().then(|| format!("{}-{}-{:02x}", span.trace_id(), span.span_id(), span.trace_flags().to_u8()))
}
