//! G: traces.

use std::collections::BTreeMap;

use meshloom_proto::v1;
use opentelemetry_proto::tonic::trace::v1::{Span as Exported, span::SpanKind};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};
use serde_json::json;

use super::{
    batch::{matches, told},
    fared,
};
use crate::{
    check::area,
    client::Work,
    columns::Style,
    context::Context,
    event::{Event, Span, Value, batch, hex},
    fault::{Fault, Outcome, holds, same},
    spans::attribute,
};

area! {
    "trace.passed-on" Core Shared ["B11", "W4"] "a traceparent among the extensions passes on as it came" => passed_on;
    "trace.bad-contexts" Core Shared ["G4", "B8"] "a context that is none fails nothing" => bad;
    "trace.span-of-call" Full Fresh ["G1", "G5"] "a call for a sampled event makes a span with its attributes" => span_of_call;
    "trace.verdicts" Full Fresh ["G1"] "the span says what became of the event" => verdicts;
    "trace.spans-of-user" Full Fresh ["G2"] "spans that the handler opens are children of the call's" => of_user;
    "trace.current-in-handler" Full Fresh ["G2", "G4"] "the call's span is current in the handler, and none is without a sampled context" => current;
    "trace.not-sampled" Full Fresh ["G4"] "an event that is not sampled makes no span" => not_sampled;
    "trace.batch-handler" Full Fresh ["G3"] "a batch call has one span, linked with those of its events" => of_batch;
    "trace.exporter-down" Full Fresh ["G5"] "an exporter that is down holds no work up" => exporter_down;
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
        same(&format!("the extensions behind input {parent}"), &events[0].extensions, &row.event.extensions)?;
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
        let columns = v1::Batch { spans: vec![span], ..batch(&events, Style::Short) };
        let work = stream.send_work(v1::Work { batch: Some(columns), ..v1::Work::default() }, events);
        fared(what, &stream.answer(work).await?, &["out", "out"])?;
    }
    stream.finish().await
}

/// A sampled context of a trace that no other check has.
fn sampled(context: &Context, salt: u64) -> Span {
    let mut random = SmallRng::seed_from_u64(context.seed ^ salt.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    Span { trace_id: random.random(), span_id: random.random(), flags: 1 }
}

fn of_call(spans: &[Exported]) -> Option<Exported> {
    spans.iter().find(|span| span.name == "process interpreter").cloned()
}

async fn exported(context: &Context, span: Span) -> Outcome<Exported> {
    context.spans.wait(span.trace_id, context.patience, "an exported span `process interpreter`", of_call).await
}

async fn span_of_call(context: &Context) -> Outcome {
    let span = sampled(context, 1);
    let event = Event {
        id: Some("id-1".into()),
        source: Some("/s".into()),
        type_: Some("t".into()),
        ..Event::command(&json!({"do": "pass"})).span(span)
    };
    let uid = event.uid_hex();
    let mut stream = context.open("map").start().await?;
    fared("`pass`", &stream.work(Work { attempts: vec![3], ..Work::new([event]) }).await?, &["out"])?;
    stream.finish().await?;
    let found = exported(context, span).await?;
    same("the parent of the span", &hex(&span.span_id), &hex(&found.parent_span_id))?;
    same("the kind of the span", &SpanKind::Consumer, &found.kind())?;
    holds(found.end_time_unix_nano >= found.start_time_unix_nano, "a span that ends behind its start", || {
        format!("{found:?}")
    })?;
    let attributes = [
        ("messaging.system", "meshloom"),
        ("messaging.operation.name", "process"),
        ("messaging.operation.type", "process"),
        ("messaging.destination.name", "interpreter"),
        ("messaging.message.id", &uid),
        ("messaging.client.id", "interpreter/0"),
        ("meshloom.pipeline", "conformance"),
        ("meshloom.attempt", "3"),
        ("meshloom.verdict", "delivered"),
        ("cloudevents.event_id", "id-1"),
        ("cloudevents.event_source", "/s"),
        ("cloudevents.event_type", "t"),
    ];
    let wrong: Vec<String> = attributes
        .into_iter()
        .filter(|(name, value)| attribute(&found.attributes, name).as_deref() != Some(value))
        .map(|(name, value)| format!("{name}: {:?} in place of {value:?}", attribute(&found.attributes, name)))
        .collect();
    holds(wrong.is_empty(), "the attributes of the span", || wrong.join("; "))
}

async fn verdicts(context: &Context) -> Outcome {
    let ways = [
        (json!({"do": "emit", "outputs": [{"value": 1}]}), "delivered", None),
        (json!({"do": "drop"}), "consumed", None),
        (json!({"do": "retry", "reason": "BUSY"}), "retry", Some("BUSY")),
        (json!({"do": "reject", "reason": "BAD_ROW"}), "reject", Some("BAD_ROW")),
        (json!({"do": "throw", "message": "no"}), "retry", Some("HANDLER_ERROR")),
    ];
    let spans: Vec<Span> = (0..ways.len() as u64).map(|n| sampled(context, 100 + n)).collect();
    let mut stream = context.open("map").start().await?;
    let events = ways.iter().zip(&spans).map(|((command, ..), span)| Event::command(command).span(*span));
    stream.work(Work::new(events)).await?;
    stream.finish().await?;
    for ((command, verdict, reason), span) in ways.iter().zip(spans) {
        let found = exported(context, span).await?;
        let said = (attribute(&found.attributes, "meshloom.verdict"), attribute(&found.attributes, "error.type"));
        let expected = (Some((*verdict).to_owned()), reason.map(str::to_owned));
        same(&format!("`meshloom.verdict` and `error.type` behind {command}"), &expected, &said)?;
    }
    Ok(())
}

async fn of_user(context: &Context) -> Outcome {
    let span = sampled(context, 2);
    let mut stream = context.open("map").start().await?;
    let event = Event::command(&json!({"do": "spans", "names": ["outer", "inner"]})).span(span);
    fared("`spans`", &stream.work(Work::new([event])).await?, &["out"])?;
    stream.finish().await?;
    let named = |spans: &[Exported], name: &str| spans.iter().find(|span| span.name == name).cloned();
    let all = |spans: &[Exported]| Some((of_call(spans)?, named(spans, "outer")?, named(spans, "inner")?));
    let (call, outer, inner) = context
        .spans
        .wait(span.trace_id, context.patience, "the spans `outer` and `inner` in the event's trace", all)
        .await?;
    same("the parent of `outer`", &hex(&call.span_id), &hex(&outer.parent_span_id))?;
    same("the parent of `inner`", &hex(&outer.span_id), &hex(&inner.parent_span_id))
}

async fn current(context: &Context) -> Outcome {
    let span = sampled(context, 3);
    let command = json!({"do": "context"});
    let events = [
        Event::command(&command).span(span),
        Event::command(&command),
        Event::command(&command).span(Span { flags: 0, ..sampled(context, 4) }),
    ];
    let mut stream = context.open("map").start().await?;
    let answer = stream.work(Work::new(events)).await?;
    let contexts = told(&answer, 3)?;
    stream.finish().await?;
    let found = exported(context, span).await?;
    let expected = format!("{}-{}-01", hex(&span.trace_id), hex(&found.span_id));
    same("the current span of a sampled event", &Some(expected.as_str()), &contexts[0]["trace"].as_str())?;
    for (what, told) in [("an event without a context", &contexts[1]), ("an event that is not sampled", &contexts[2])] {
        let trace = told["trace"].as_str();
        holds(
            trace.is_none_or(|trace| trace.ends_with("-00")),
            format!("no sampled span in the handler of {what}"),
            || format!("{trace:?}"),
        )?;
    }
    Ok(())
}

async fn not_sampled(context: &Context) -> Outcome {
    let (unsampled, span) = (Span { flags: 0, ..sampled(context, 5) }, sampled(context, 6));
    let command = json!({"do": "spans", "names": ["outer"]});
    let mut stream = context.open("map").concurrency(1).start().await?;
    for span in [unsampled, span] {
        fared("`spans`", &stream.work(Work::new([Event::command(&command).span(span)])).await?, &["out"])?;
    }
    stream.finish().await?;
    // What was handled before is exported before, or with it.
    exported(context, span).await?;
    let names: Vec<_> = context.spans.of(unsampled.trace_id).into_iter().map(|span| span.name).collect();
    same("spans of an event that is not sampled", &Vec::<String>::new(), &names)
}

async fn of_batch(context: &Context) -> Outcome {
    let sampled_events = [sampled(context, 7), sampled(context, 8)];
    let pass = || Event::command(&json!({"do": "pass"}));
    let events = [pass().span(sampled_events[0]), pass(), pass().span(sampled_events[1])];
    let mut stream = context.open("batch").start().await?;
    fared("a batch handler", &stream.work(Work::new(events)).await?, &["out"; 3])?;
    stream.finish().await?;
    let mut calls = Vec::new();
    for span in sampled_events {
        let own = |spans: &[Exported]| spans.iter().find(|found| found.parent_span_id == span.span_id).cloned();
        let own = context.spans.wait(span.trace_id, context.patience, "a span of each sampled event", own).await?;
        let link = own.links.first().cloned();
        calls.push(link.ok_or_else(|| Fault::new("a link from the event's span to the call's", format!("{own:?}")))?);
    }
    same("the call that the events' spans are linked to", &calls[0].span_id, &calls[1].span_id)?;
    let trace: [u8; 16] = calls[0].trace_id.as_slice().try_into().unwrap_or_default();
    let call = |spans: &[Exported]| spans.iter().find(|span| span.span_id == calls[0].span_id).cloned();
    let call = context.spans.wait(trace, context.patience, "the span of the batch call", call).await?;
    let count = attribute(&call.attributes, "messaging.batch.message_count");
    same("`messaging.batch.message_count`", &Some("3".to_owned()), &count)?;
    let mut linked: Vec<_> = call.links.iter().map(|link| hex(&link.span_id)).collect();
    linked.sort();
    let mut expected: Vec<_> = sampled_events.iter().map(|span| hex(&span.span_id)).collect();
    expected.sort();
    same("the contexts that the call's span is linked to", &expected, &linked)
}

async fn exporter_down(context: &Context) -> Outcome {
    // Nothing listens on a port that was bound and let go.
    let gone = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    let gone = gone.map_err(|error| Fault::NotCheckable(format!("no port: {error}")))?;
    let other = context.again(&format!("http://{gone}")).await?;
    let mut stream = other.open("map").start().await?;
    for n in 0..50 {
        let events =
            (0..100).map(|m| Event::command(&json!({"do": "pass"})).span(sampled(context, 1000 + n * 100 + m)));
        fared("`pass` without an exporter", &stream.work(Work::new(events)).await?, &["out"; 100])?;
    }
    stream.finish().await
}
