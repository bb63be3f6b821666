//! G: trace contexts.

use std::collections::BTreeMap;

use meshloom_proto::v1;
use serde_json::json;

use super::{batch::matches, fared};
use crate::{
    check::area,
    client::Work,
    context::Context,
    event::{Event, Span, Value, batch},
    fault::Outcome,
};

area! {
    "trace.passed-on" Core Shared ["B11", "W4"] "a traceparent among the extensions passes on as it came" => passed_on;
    "trace.bad-contexts" Core Shared ["G4", "B8"] "a context that is none fails nothing" => bad;
}

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

async fn passed_on(context: &Context) -> Outcome {
    let event = |payload: String| Event {
        extensions: BTreeMap::from([
            ("traceparent".to_owned(), Value::String(PARENT.into())),
            ("tracestate".to_owned(), Value::String("a=b".into())),
        ]),
        span: Some(Span { trace_id: [7; 16], span_id: [9; 8], flags: 1 }),
        ..Event::new(payload)
    };
    let events = ["pass", "copy", "context"].map(|command| event(json!({"do": command}).to_string()));
    let mut stream = context.open("map").start().await?;
    let answer = stream.work(Work::new(events.clone())).await?;
    fared("events with a trace context", &answer, &["out"; 3])?;
    for row in &answer.rows {
        let parent = row.parent.unwrap_or_default();
        crate::fault::same(
            &format!("the extensions behind input {parent}"),
            &events[0].extensions,
            &row.event.extensions,
        )?;
        if parent == 2 {
            let told = serde_json::from_slice(&row.event.payload).unwrap_or_default();
            matches(&events[2].to_context(), &told)?;
        }
    }
    stream.finish().await
}

async fn bad(context: &Context) -> Outcome {
    let span = |trace_id: [u8; 16], span_id: [u8; 8], flags, trace_state: &str| v1::SpanContext {
        index: 0,
        trace_id: trace_id.to_vec().into(),
        span_id: span_id.to_vec().into(),
        flags,
        trace_state: trace_state.to_owned(),
    };
    let contexts = [
        ("a trace id of zeros", span([0; 16], [1; 8], 1, "")),
        ("a span id of zeros", span([1; 16], [0; 8], 1, "")),
        ("unknown flags", span([1; 16], [1; 8], 0xffff_ffff, "")),
        ("not sampled", span([1; 16], [1; 8], 0, "")),
        ("a tracestate that is none", span([1; 16], [1; 8], 1, "=,=;\u{1f427}")),
        ("a long tracestate", span([1; 16], [1; 8], 1, &format!("a={}", "b".repeat(5000)))),
    ];
    let mut stream = context.open("map").start().await?;
    for (what, span) in contexts {
        let events = vec![Event::command(&json!({"do": "pass"})), Event::command(&json!({"do": "pass"}))];
        let columns = v1::Batch { spans: vec![span], ..batch(&events, crate::columns::Style::Short) };
        let work = stream.send_work(v1::Work { batch: Some(columns), ..v1::Work::default() }, events);
        fared(what, &stream.answer(work).await?, &["out", "out"])?;
    }
    stream.finish().await
}
