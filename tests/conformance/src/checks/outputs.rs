//! W4, W5, W19: what outputs say.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde_json::{Value as Json, json};

use super::{batch::full, fared};
use crate::{
    check::area,
    client::Work,
    context::Context,
    event::{Event, Value},
    fault::{Outcome, holds, same},
    outputs::Row,
};

area! {
    "outputs.inherit" Core Shared ["W4"] "what an output does not set is its parent's" => inherit;
    "outputs.set" Core Shared ["W4"] "an output sets each attribute" => set;
    "outputs.clear" Core Shared ["W4"] "an empty text, a null time and a removed extension clear" => clear;
    "outputs.some-rows" Core Shared ["W4"] "what one output sets is not set by its neighbours" => some_rows;
    "outputs.copy" Core Shared ["W4", "B11"] "what was read can be written as it was" => copy;
    "outputs.content-type" Core Shared ["W5"] "a new payload has a content type of its own" => content_type;
    "outputs.route" Core Shared ["W4", "D3"] "outputs take the routes that were declared" => route;
    "outputs.refused" Core Shared ["W19"] "an output that breaks a limit is REJECT of its input alone" => refused;
    "outputs.largest" Core Shared ["W19"] "an output as large as it may be goes out" => largest;
}

/// What a flat map makes of these events by these outputs, one each.
async fn emitted(context: &Context, pairs: Vec<(Event, Json)>) -> Outcome<Vec<Row>> {
    let command = |(event, out): (Event, Json)| Event {
        payload: Bytes::from(json!({"do": "emit", "outputs": [out]}).to_string()),
        ..event
    };
    let count = pairs.len();
    let mut stream = context.open("flat_map").start().await?;
    let answer = stream.work(Work::new(pairs.into_iter().map(command))).await?;
    fared("`emit`", &answer, &vec!["out"; count])?;
    stream.finish().await?;
    let mut rows = answer.rows;
    rows.sort_by_key(|row| row.parent);
    Ok(rows)
}

async fn one(context: &Context, event: Event, out: Json) -> Outcome<Row> {
    Ok(emitted(context, vec![(event, out)]).await?.remove(0))
}

async fn inherit(context: &Context) -> Outcome {
    let event = full(1);
    let row = one(context, event.clone(), json!({})).await?;
    let command = json!({"do": "emit", "outputs": [{}]}).to_string();
    same("an output that sets nothing", &Event { payload: command.into(), ..event.clone() }, &row.event)?;
    same("its route", &None, &row.route)?;
    let row = one(context, event.clone(), json!({"value": 7, "content_type": "application/json"})).await?;
    let expected = Event { payload: "7".into(), content_type: Some("application/json".into()), ..event };
    same("an output that sets its payload", &expected, &row.event)
}

async fn set(context: &Context) -> Outcome {
    let out = json!({
        "text": "new", "content_type": "text/plain", "type": "t", "subject": "s", "key": "k", "data_schema": "d",
        "id": "i", "time": "-5", "route": "left",
        "extensions": {
            "yes": {"type": "boolean", "value": false}, "count": {"type": "integer", "value": 9},
            "newtext": {"type": "string", "value": ""}, "bytes": {"type": "binary", "value": STANDARD.encode([1, 2])},
            "uri": {"type": "uri", "value": "a:b"}, "reference": {"type": "uri_reference", "value": "#"},
            "at": {"type": "timestamp", "value": "12345678901234567"},
        },
    });
    for event in [full(1), Event::new("x")] {
        let row = one(context, event.clone(), out.clone()).await?;
        let text = |text: &str| Some(text.to_owned());
        let mut extensions = event.extensions.clone();
        let set = [
            ("yes", Value::Boolean(false)),
            ("count", Value::Integer(9)),
            ("newtext", Value::String(String::new())),
            ("bytes", Value::Binary(vec![1, 2])),
            ("uri", Value::Uri("a:b".into())),
            ("reference", Value::UriReference("#".into())),
            ("at", Value::Timestamp(12_345_678_901_234_567)),
        ];
        extensions.extend(set.into_iter().map(|(name, value)| (name.to_owned(), value)));
        let expected = Event {
            payload: "new".into(),
            content_type: text("text/plain"),
            type_: text("t"),
            subject: text("s"),
            key: text("k"),
            data_schema: text("d"),
            id: text("i"),
            time: Some(-5),
            extensions,
            ..event
        };
        same("an output that sets everything", &expected, &row.event)?;
        same("its route", &text("left"), &row.route)?;
    }
    Ok(())
}

async fn clear(context: &Context) -> Outcome {
    let event = full(1);
    let removed: serde_json::Map<String, Json> =
        event.extensions.keys().map(|name| (name.clone(), Json::Null)).collect();
    let out = json!({
        "text": "x", "content_type": "text/plain", "type": "", "subject": "", "key": "", "data_schema": "", "time": null,
        "extensions": removed,
    });
    let row = one(context, event.clone(), out).await?;
    let expected = Event {
        payload: "x".into(),
        content_type: Some("text/plain".into()),
        type_: None,
        subject: None,
        key: None,
        data_schema: None,
        time: None,
        extensions: BTreeMap::new(),
        ..event
    };
    same("an output that clears everything", &expected, &row.event)
}

async fn some_rows(context: &Context) -> Outcome {
    let event = || Event {
        subject: Some("parent's".into()),
        time: Some(5),
        extensions: BTreeMap::from([("part".into(), Value::Integer(1))]),
        ..Event::new("")
    };
    let outs = [
        (json!({"subject": "own"}), Some("own"), Some(5), Some(Value::Integer(1))),
        (json!({}), Some("parent's"), Some(5), Some(Value::Integer(1))),
        (json!({"subject": "", "time": null}), None, None, Some(Value::Integer(1))),
        (json!({"time": "0", "extensions": {"part": null}}), Some("parent's"), Some(0), None),
        (
            json!({"extensions": {"part": {"type": "string", "value": "s"}}}),
            Some("parent's"),
            Some(5),
            Some(Value::String("s".into())),
        ),
        (json!({}), Some("parent's"), Some(5), Some(Value::Integer(1))),
    ];
    let rows = emitted(context, outs.iter().map(|(out, ..)| (event(), out.clone())).collect()).await?;
    for (at, (row, (_, subject, time, part))) in rows.iter().zip(&outs).enumerate() {
        let found = (row.event.subject.as_deref(), row.event.time, row.event.extensions.get("part"));
        same(&format!("subject, time and extension of output {at}"), &(*subject, *time, part.as_ref()), &found)?;
    }
    Ok(())
}

async fn copy(context: &Context) -> Outcome {
    let mut stream = context.open("map").config(&json!({"command": {"do": "copy"}})).start().await?;
    let events: Vec<Event> = (0..5).map(full).collect();
    let answer = stream.work(Work::new(events.clone())).await?;
    fared("`copy`", &answer, &["out"; 5])?;
    let mut rows = answer.rows;
    rows.sort_by_key(|row| row.parent);
    for (event, row) in events.iter().zip(&rows) {
        same("a copied event", event, &row.event)?;
        holds(row.payload, "a payload in the result", || "none".into())?;
    }
    stream.finish().await
}

async fn content_type(context: &Context) -> Outcome {
    let event = || Event { content_type: Some("text/csv".into()), ..Event::new("") };
    let bytes = STANDARD.encode([0, 255]);
    let outs = [
        (json!({"value": {"a": 1}}), "application/json"),
        (json!({"value": null}), "application/json"),
        (json!({"value": "text"}), "application/json"),
        (json!({"base64": bytes}), "application/octet-stream"),
        (json!({"base64": bytes, "content_type": "image/png"}), "image/png"),
        (json!({"value": 1, "content_type": "application/x+json"}), "application/x+json"),
        (json!({}), "text/csv"),
    ];
    let rows = emitted(context, outs.iter().map(|(out, _)| (event(), out.clone())).collect()).await?;
    for (row, (out, expected)) in rows.iter().zip(&outs) {
        same(&format!("the content type of {out}"), &Some(*expected), &row.event.content_type.as_deref())?;
    }
    let text = one(context, event(), json!({"text": "t"})).await?;
    let of_text = text.event.content_type.as_deref().unwrap_or_default();
    holds(!of_text.is_empty() && of_text != "text/csv", "a content type of its own for a text", || of_text.to_owned())
}

async fn route(context: &Context) -> Outcome {
    let outs = [
        json!({"value": 1, "route": "left"}),
        json!({"value": 1}),
        json!({"value": 1, "route": "right"}),
        json!({"route": "left"}),
        json!({"route": ""}),
    ];
    let rows = emitted(context, outs.iter().map(|out| (Event::new(""), out.clone())).collect()).await?;
    let routes: Vec<_> = rows.iter().map(|row| row.route.as_deref()).collect();
    same("routes", &vec![Some("left"), None, Some("right"), Some("left"), None], &routes)
}

async fn refused(context: &Context) -> Outcome {
    let extension =
        |name: &str, value: &str| json!({"value": 1, "extensions": {name: {"type": "string", "value": value}}});
    let many: serde_json::Map<String, Json> =
        (0..65).map(|n| (format!("name{n}"), json!({"type": "integer", "value": n}))).collect();
    let outs = [
        (json!({"value": 1, "route": "nowhere"}), "ROUTE_UNDECLARED"),
        (json!({"value": 1, "key": "k".repeat(1025)}), "ATTRIBUTE_TOO_LARGE"),
        (json!({"value": 1, "subject": "s".repeat((64 << 10) + 1)}), "ATTRIBUTE_TOO_LARGE"),
        (extension("part", &"v".repeat((64 << 10) + 1)), "ATTRIBUTE_TOO_LARGE"),
        (json!({"value": 1, "extensions": many}), "TOO_MANY_EXTENSIONS"),
        (extension("Not_A_Name", "v"), "OUTPUT_INVALID"),
        (extension("", "v"), "OUTPUT_INVALID"),
        (extension(&"n".repeat(65), "v"), "OUTPUT_INVALID"),
    ];
    for (out, reason) in outs {
        let pass = || Event::command(&json!({"do": "pass"}));
        let mut stream = context.open("flat_map").start().await?;
        let bad = Event::command(&json!({"do": "emit", "outputs": [out]}));
        let answer = stream.work(Work::new([pass(), bad, pass()])).await?;
        let out = out.to_string();
        let out: String = out.chars().take(80).collect();
        fared(&format!("an output {out}"), &answer, &["out", &format!("REJECT {reason}"), "out"])?;
        stream.finish().await?;
    }
    Ok(())
}

async fn largest(context: &Context) -> Outcome {
    let out = json!({"value": 1, "key": "k".repeat(1024), "subject": "s".repeat(64 << 10)});
    let row = one(context, Event::new(""), out).await?;
    let lengths = (row.event.key.map(|key| key.len()), row.event.subject.map(|subject| subject.len()));
    same("the lengths of key and subject", &(Some(1024), Some(64 << 10)), &lengths)
}
