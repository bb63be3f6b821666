//! B: what a handler sees of a batch.

use std::collections::BTreeMap;

use meshloom_proto::v1;
use serde_json::{Value as Json, json};

use super::fared;
use crate::{
    check::area,
    client::{Answer, Work},
    columns::Style,
    context::Context,
    event::{Event, Value},
    fault::{Fault, Outcome, holds, same},
    vectors,
};

area! {
    "batch.columns" Core Shared ["B11", "B2", "B3", "B4"] "a handler sees what the columns say, however they are written" => columns;
    "batch.vectors" Core Shared ["B11", "B4", "B6", "B7"] "the golden batches are seen as their files say" => vectors;
    "batch.times" Core Shared ["B11", "B5"] "times reach the handler to the nanosecond" => times;
    "batch.extensions" Core Shared ["B11", "B6", "B7"] "extensions reach the handler with their types" => extensions;
    "batch.empty-and-absent" Core Shared ["B11", "B4"] "empty is not absent" => empty;
    "batch.limits-reached" Core Shared ["B1", "B4", "B6"] "values as large as they may be are taken" => largest;
    "batch.most-events" Core Shared ["B1"] "65,536 events are one batch" => most;
}

/// What the handlers of a node were given of these events.
pub(super) async fn contexts(context: &Context, events: Vec<Event>, style: Style) -> Outcome<Vec<Json>> {
    // The command stands in the config: the payloads are the events' own.
    let mut stream = context.open("map").config(&json!({"command": {"do": "context"}})).start().await?;
    let count = events.len();
    let answer = stream.work(Work { events, style, ..Work::default() }).await?;
    stream.finish().await?;
    told(&answer, count)
}

/// What `context` told, per input.
pub(super) fn told(answer: &Answer, count: usize) -> Outcome<Vec<Json>> {
    fared("`context`", answer, &vec!["out"; count])?;
    let mut rows: Vec<_> = answer.rows.iter().collect();
    rows.sort_by_key(|row| row.parent);
    let read = |payload: &[u8]| {
        serde_json::from_slice(payload).map_err(|error| Fault::new("a context in JSON", error.to_string()))
    };
    rows.into_iter().map(|row| read(&row.event.payload)).collect()
}

/// Holds what was told of an event against what was sent.
pub(super) fn matches(expected: &Json, told: &Json) -> Outcome {
    let empty = serde_json::Map::new();
    let wrong: Vec<String> = expected
        .as_object()
        .unwrap_or(&empty)
        .iter()
        .filter(|(name, value)| told.get(name.as_str()) != Some(value))
        .map(|(name, value)| format!("{name}: {} in place of {value}", told.get(name.as_str()).unwrap_or(&Json::Null)))
        .collect();
    holds(wrong.is_empty(), "the context says what the columns say", || wrong.join("; "))
}

async fn sees(context: &Context, events: Vec<Event>) -> Outcome {
    for style in [Style::Short, Style::Dictionary, Style::Plain] {
        let told = contexts(context, events.clone(), style).await?;
        for (row, (event, told)) in events.iter().zip(&told).enumerate() {
            matches(&event.to_context(), told).map_err(|fault| fault.at(&format!("event {row}, columns {style:?}")))?;
        }
    }
    Ok(())
}

/// An event that has everything.
pub(crate) fn full(n: u32) -> Event {
    Event {
        content_type: Some("text/plain; charset=utf-8".into()),
        time: Some(1_700_000_000_123_456_789 + i64::from(n)),
        id: Some(format!("id-{n}")),
        source: Some("/sensors/\u{e9}".into()),
        type_: Some("org.example.reading".into()),
        subject: Some(format!("subject {}", n % 2)),
        key: Some(format!("key {}", n % 3)),
        data_schema: Some("https://example.org/schema".into()),
        from: Some("up.left".into()),
        extensions: all_types(),
        ..Event::new(format!("payload {n} \u{1f427}"))
    }
}

fn all_types() -> BTreeMap<String, Value> {
    let values = [
        ("yes", Value::Boolean(true)),
        ("no", Value::Boolean(false)),
        ("count", Value::Integer(-7)),
        ("most", Value::Integer(i32::MAX)),
        ("least", Value::Integer(i32::MIN)),
        ("text", Value::String("\u{4e2d}\u{6587}".into())),
        ("bytes", Value::Binary(vec![0, 255, 128, 10])),
        ("uri", Value::Uri("https://example.org/a?b=c".into())),
        ("reference", Value::UriReference("../a#b".into())),
        ("at", Value::Timestamp(1_700_000_000_000_000_001)),
    ];
    values.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

async fn columns(context: &Context) -> Outcome {
    sees(context, vec![Event::new("")]).await?;
    sees(context, vec![full(1)]).await?;
    let alike = Event { id: None, time: None, ..full(0) };
    sees(
        context,
        vec![Event { uid: full(0).uid, ..alike.clone() }, alike.clone(), Event { uid: full(0).uid, ..alike }],
    )
    .await?;
    let mixed = (0..7).map(|n| if n % 3 == 1 { Event::new(vec![0, 159, 146, 150]) } else { full(n) });
    sees(context, mixed.collect()).await
}

async fn vectors(context: &Context) -> Outcome {
    for handler in ["map", "flat_map"] {
        golden(context, handler).await.map_err(|fault| fault.at(handler))?;
    }
    Ok(())
}

/// Sends the batches of `vectors/batches.json`, each as the bytes that stand there.
pub(super) async fn golden(context: &Context, handler: &str) -> Outcome {
    // The command stands in the config: the payloads are the vectors' own.
    let mut stream = context.open(handler).config(&json!({"command": {"do": "context"}})).start().await?;
    for vector in vectors::batches() {
        let work = v1::Work { batch: Some(vector.batch), ..v1::Work::default() };
        let work = stream.send_work(work, vector.events.clone());
        let found = told(&stream.answer(work).await?, vector.events.len())?;
        for (row, (event, told)) in vector.events.iter().zip(&found).enumerate() {
            let place = || format!("the vector {}, event {row}", vector.name);
            matches(&event.to_context(), told).map_err(|fault| fault.at(&place()))?;
        }
    }
    stream.finish().await
}

async fn times(context: &Context) -> Outcome {
    let times = [Some(0), Some(-1), Some(1), Some(i64::MAX), Some(i64::MIN + 2), None, Some(1_700_000_000_999_999_999)];
    sees(context, times.into_iter().map(|time| Event { time, ..Event::new("x") }).collect()).await
}

async fn extensions(context: &Context) -> Outcome {
    let one =
        |name: &str, value: Value| Event { extensions: BTreeMap::from([(name.to_owned(), value)]), ..Event::new("x") };
    let some = vec![
        one("part", Value::Integer(1)),
        Event::new("x"),
        one("part", Value::String("one".into())),
        Event { extensions: all_types(), ..Event::new("x") },
        one("part", Value::Boolean(false)),
        one("empty", Value::String(String::new())),
        one("nothing", Value::Binary(Vec::new())),
    ];
    sees(context, some).await?;
    let many = (0..64).map(|n| (format!("name{n}"), Value::Integer(n))).collect();
    sees(context, vec![Event { extensions: many, ..Event::new("x") }, Event::new("y")]).await
}

async fn empty(context: &Context) -> Outcome {
    let clear = |event: &mut Event| {
        for field in
            [&mut event.subject, &mut event.key, &mut event.type_, &mut event.data_schema, &mut event.content_type]
        {
            *field = Some(String::new());
        }
    };
    let mut blank = Event::new("");
    clear(&mut blank);
    sees(context, vec![blank.clone()]).await?;
    sees(context, vec![blank, Event::new(""), full(2)]).await
}

async fn largest(context: &Context) -> Outcome {
    let event = Event {
        subject: Some("s".repeat(64 << 10)),
        key: Some("\u{e9}".repeat(512)),
        extensions: BTreeMap::from([("a".repeat(64), Value::String("v".repeat(64 << 10)))]),
        ..Event::new("x")
    };
    sees(context, vec![event]).await
}

async fn most(context: &Context) -> Outcome {
    let limits = context.handler("map")?.limits.unwrap_or_default();
    let own = limits.max_batch_events;
    if own != 0 && own < 65_536 {
        return Err(Fault::NotCheckable(format!("the node's own limit is {own} events")));
    }
    let mut stream = context.open("map").config(&json!({"command": {"do": "pass"}})).start().await?;
    let events: Vec<Event> = (0..65_536).map(|n: u32| Event::new(n.to_string())).collect();
    let answer = stream.work(Work::new(events)).await?;
    if let Some(whole) = answer.whole() {
        return match limits.max_batch_events {
            0 if whole.reason == "BATCH_TOO_LARGE" => {
                Err(Fault::NotCheckable("the SDK takes fewer events of itself".into()))
            }
            _ => Err(Fault::new("65,536 events are taken", format!("{whole:?}"))),
        };
    }
    same("outputs", &65_536, &answer.rows.len())?;
    stream.finish().await
}
