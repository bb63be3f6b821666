//! The golden vectors of the conformance kit: read, refused, and written again.

use std::{collections::BTreeMap, path::Path};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use meshloom::{Batch, Emitter, Event, ExtensionValue, Json, Output, Record, node, stream};
use meshloom_proto::v1::{self, ExtensionType, OpenProduce, TraceSampling, Work, trace_sampling::Rule};
use prost::Message as _;
use serde_json::{Map, Value, json};

use crate::common::{Stream, WHOLE, at, open_source, produce, serve, start, texts, value};

/// The text attributes that an output has.
const TEXTS: [&str; 6] = ["content_type", "type", "subject", "key", "id", "data_schema"];

fn vectors(file: &str) -> Vec<Value> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/conformance/vectors").join(file);
    let found: Vec<Value> = serde_json::from_slice(&std::fs::read(path).expect("the file")).expect("vectors");
    assert!(!found.is_empty(), "{file}");
    found
}

fn bytes(field: &Value) -> Bytes {
    STANDARD.decode(field.as_str().expect("a text")).expect("Base64").into()
}

fn batch(field: &Value) -> v1::Batch {
    v1::Batch::decode(bytes(field)).expect("a batch")
}

/// An extension as the vectors write it.
fn typed(value: &ExtensionValue) -> Value {
    match value {
        ExtensionValue::Boolean(value) => json!({ "type": "boolean", "value": value }),
        ExtensionValue::Integer(value) => json!({ "type": "integer", "value": value }),
        ExtensionValue::Text(value) => json!({ "type": "string", "value": value }),
        ExtensionValue::Binary(value) => json!({ "type": "binary", "value": STANDARD.encode(value) }),
        ExtensionValue::Uri(value) => json!({ "type": "uri", "value": value }),
        ExtensionValue::UriReference(value) => json!({ "type": "uri_reference", "value": value }),
        ExtensionValue::Timestamp(value) => json!({ "type": "timestamp", "value": value.to_string() }),
    }
}

fn from_typed(extension: &Value) -> ExtensionValue {
    let value = &extension["value"];
    let text = || value.as_str().expect("a text").to_owned();
    match extension["type"].as_str().expect("a type") {
        "boolean" => ExtensionValue::Boolean(value.as_bool().expect("a Boolean")),
        "integer" => ExtensionValue::Integer(value.as_i64().and_then(|n| n.try_into().ok()).expect("32 bits")),
        "string" => ExtensionValue::Text(text()),
        "binary" => ExtensionValue::Binary(bytes(value)),
        "uri" => ExtensionValue::Uri(text()),
        "uri_reference" => ExtensionValue::UriReference(text()),
        "timestamp" => ExtensionValue::Timestamp(text().parse().expect("nanoseconds")),
        other => panic!("{other}"),
    }
}

/// An event as the vectors write it.
async fn told(event: Event) -> Json<Value> {
    let extensions: Map<_, _> = event.extensions().map(|(name, value)| (name.to_owned(), typed(&value))).collect();
    Json(json!({
        "payload": STANDARD.encode(event.data()),
        "content_type": event.content_type(),
        "uid": event.uid().simple().to_string(),
        "time": event.time_ns().map(|time| time.to_string()),
        "id": event.id(),
        "source": event.source(),
        "type": event.kind(),
        "subject": event.subject(),
        "key": event.key(),
        "data_schema": event.data_schema(),
        "from": event.from(),
        "extensions": extensions,
    }))
}

/// What a node says of the events of a batch.
async fn read(stream: &mut Stream, batch: v1::Batch) -> Vec<Value> {
    let answer = stream.run(batch).await;
    assert_eq!((&answer.failures[..], answer.consumed), (&[][..], 0));
    answer
        .outputs
        .iter()
        .map(|(_, told)| serde_json::from_str(told.as_ref().expect("a payload")).expect("JSON"))
        .collect()
}

/// An event of the vectors with what a source or a handler can set, but for `without`. What is empty is not set.
fn settable(event: &Value, without: &[&str]) -> Value {
    let mut event = event.clone();
    event.as_object_mut().expect("an event").retain(|name, value| {
        if name != "payload" && value == "" {
            *value = Value::Null;
        }
        !without.contains(&name.as_str())
    });
    event
}

/// The output that makes a child of `parent` say `wanted`, and sets nothing that the parent says.
fn output(wanted: &Value, parent: &Value) -> Output {
    let mut output = match wanted["payload"] == parent["payload"] {
        true => Output::unchanged(),
        false => Output::bytes(bytes(&wanted["payload"])).content_type(""),
    };
    let retyped = wanted["payload"] != parent["payload"] || wanted["content_type"] != parent["content_type"];
    for name in TEXTS.into_iter().chain(["route"]) {
        if wanted[name] == parent[name] && !(name == "content_type" && retyped) {
            continue;
        }
        let text = wanted[name].as_str().unwrap_or_default();
        output = match name {
            "content_type" => output.content_type(text),
            "type" => output.kind(text),
            "subject" => output.subject(text),
            "key" => output.key(text),
            "id" => output.id(text),
            "route" => output.route(text),
            _ => output.data_schema(text),
        };
    }
    output = match wanted["time"].as_str() {
        _ if wanted["time"] == parent["time"] => output,
        Some(time) => output.time_ns(time.parse().expect("nanoseconds")),
        None => output.no_time(),
    };
    let none = Map::new();
    let (mine, theirs) =
        (wanted["extensions"].as_object().unwrap_or(&none), parent["extensions"].as_object().unwrap_or(&none));
    for (name, value) in mine.iter().filter(|(name, value)| theirs.get(*name) != Some(value)) {
        output = output.extension(name, from_typed(value));
    }
    for name in theirs.keys().filter(|name| !mine.contains_key(*name)) {
        output = output.without_extension(name);
    }
    output
}

/// What outputs say together with their parents, as a coordinator reads them: parent, route and event.
fn children(outputs: &v1::Outputs, inputs: &[Value]) -> Vec<Value> {
    let count = outputs.count as usize;
    let columns = [
        ("content_type", &outputs.content_type),
        ("type", &outputs.r#type),
        ("subject", &outputs.subject),
        ("key", &outputs.key),
        ("id", &outputs.id),
        ("data_schema", &outputs.data_schema),
    ];
    let columns: BTreeMap<_, _> =
        columns.into_iter().map(|(name, column)| (name, texts(column.as_ref(), count))).collect();
    let routes = texts(outputs.route.as_ref(), count);
    let mut children: Vec<Value> = (0..count)
        .map(|row| {
            let parent = if outputs.parent.is_empty() { row as u32 } else { at(&outputs.parent, row) };
            let mut event = match parent {
                WHOLE => json!({ "content_type": null, "type": null, "subject": null, "key": null, "id": null,
                    "data_schema": null, "time": null, "extensions": {} }),
                parent => inputs[parent as usize].clone(),
            };
            if let Some(payload) = &outputs.payload {
                event["payload"] = STANDARD.encode(value(payload, row)).into();
            }
            for (name, texts) in &columns {
                if let Some(text) = &texts[row] {
                    event[*name] = if text.is_empty() { Value::Null } else { text.as_str().into() };
                }
            }
            if let Some(time) = outputs.time.as_chunks::<8>().0.get(row).map(|time| i64::from_le_bytes(*time)) {
                match time {
                    i64::MIN => event["time"] = Value::Null,
                    time if time == i64::MIN + 1 => {}
                    time => event["time"] = time.to_string().into(),
                }
            }
            let parent = if parent == WHOLE { Value::Null } else { parent.into() };
            let route = routes[row].clone().filter(|route| !route.is_empty());
            json!({ "parent": parent, "route": route, "event": event })
        })
        .collect();
    for column in &outputs.extensions {
        let covered: Vec<usize> = match column.index.is_empty() {
            true => (0..count).collect(),
            false => (0..column.index.len() / 4).map(|i| at(&column.index, i) as usize).collect(),
        };
        for (place, row) in covered.into_iter().enumerate() {
            let extensions = children[row]["event"]["extensions"].as_object_mut().expect("extensions");
            extensions.remove(&column.name);
            if column.r#type() != ExtensionType::Unspecified {
                let bytes = value(column.values.as_ref().expect("values"), place);
                extensions.insert(column.name.clone(), wire_typed(column.r#type(), bytes));
            }
        }
    }
    children
}

fn wire_typed(kind: ExtensionType, bytes: &[u8]) -> Value {
    let text = || String::from_utf8(bytes.to_vec()).expect("a text");
    typed(&match kind {
        ExtensionType::Boolean => ExtensionValue::Boolean(bytes == [1]),
        ExtensionType::Integer => ExtensionValue::Integer(i32::from_le_bytes(bytes.try_into().expect("4 bytes"))),
        ExtensionType::String => ExtensionValue::Text(text()),
        ExtensionType::Binary => ExtensionValue::Binary(Bytes::copy_from_slice(bytes)),
        ExtensionType::Uri => ExtensionValue::Uri(text()),
        ExtensionType::UriReference => ExtensionValue::UriReference(text()),
        ExtensionType::Timestamp => ExtensionValue::Timestamp(i64::from_le_bytes(bytes.try_into().expect("8 bytes"))),
        ExtensionType::Unspecified => unreachable!("it removes"),
    })
}

/// The outputs of a batch handler that makes these rows (parent, route and event) of a batch.
async fn written(inputs: &v1::Batch, events: &[Value], rows: &[Value]) -> Vec<Value> {
    let (parents, wanted) = (events.to_vec(), rows.to_vec());
    let make = move |batch: Batch, mut out: Emitter| {
        let (parents, wanted) = (parents.clone(), wanted.clone());
        async move {
            let mut silent: Vec<bool> = vec![true; batch.len()];
            for row in &wanted {
                let mut event = row["event"].clone();
                event["route"] = row["route"].clone();
                match row["parent"].as_u64() {
                    None => out.whole(output(&event, &json!({}))),
                    Some(parent) => {
                        silent[parent as usize] = false;
                        out.emit(parent as usize, output(&event, &parents[parent as usize]));
                    }
                }
            }
            out.drop((0..batch.len()).filter(|row| silent[*row]));
        }
    };
    let (_served, mut stream) = start(node("write").batch(make).routes(["left"]), "").await;
    let answer = stream.run(inputs.clone()).await;
    assert_eq!(answer.failures, []);
    answer.parts.iter().flat_map(|part| children(part, events)).collect()
}

#[tokio::test]
async fn batches_say_what_stands_there() {
    let (_served, mut stream) = start(node("tell").map(told), "").await;
    for vector in vectors("batches.json") {
        let said = read(&mut stream, batch(&vector["batch"])).await;
        assert_eq!(Value::from(said), vector["events"], "{}", vector["name"]);
    }
}

#[tokio::test]
async fn what_a_source_makes_of_the_events_says_the_same() {
    let (_served, mut stream) = start(node("tell").map(told), "").await;
    for vector in vectors("batches.json") {
        let events = vector["events"].as_array().expect("events").clone();
        let made = events.clone();
        let records = move || {
            let record = |event: &Value| {
                let record = Record::from(output(event, &json!({})));
                match event["source"].as_str() {
                    Some(source) => record.source(source),
                    None => record,
                }
            };
            stream::iter(made.iter().map(record).collect::<Vec<_>>())
        };
        let served = serve([node("s").source(records).replays(false)]).await;
        let untraced = Some(TraceSampling { rule: Some(Rule::Ratio(0.0)) });
        let mut source = open_source(&served, OpenProduce { trace: untraced, ..produce() }).await.expect("opened");
        source.demand(1000, 1 << 30).await;
        let mut again = Vec::new();
        while again.len() < events.len() {
            let mut frame = source.frame().await.batch.expect("a batch");
            frame.uid = vec![7; 16 * frame.count as usize].into();
            again.extend(read(&mut stream, frame).await);
        }
        for (again, event) in again.iter().zip(&events) {
            let without = ["uid", "from"];
            assert_eq!(settable(again, &without), settable(event, &without), "{}", vector["name"]);
        }
    }
}

#[tokio::test]
async fn outputs_say_what_stands_there_and_are_written_again() {
    let (_served, mut stream) = start(node("tell").map(told), "").await;
    for vector in vectors("outputs.json") {
        let inputs = batch(&vector["inputs"]);
        let events = read(&mut stream, inputs.clone()).await;
        let rows = vector["rows"].as_array().expect("rows");
        let golden = v1::Outputs::decode(bytes(&vector["outputs"])).expect("outputs");
        let without = ["uid", "source", "from"];
        let plain = |rows: &[Value]| -> Vec<Value> {
            let mut rows = rows.to_vec();
            rows.iter_mut().for_each(|row| row["event"] = settable(&row["event"], &without));
            rows
        };
        assert_eq!(plain(&children(&golden, &events)), plain(rows), "{}", vector["name"]);
        assert_eq!(plain(&written(&inputs, &events, rows).await), plain(rows), "{}", vector["name"]);
    }
}

/// All events of a batch as outputs of its first: whatever differs is set, cleared or removed.
#[tokio::test]
async fn events_as_outputs_of_another_say_the_same() {
    let (_served, mut stream) = start(node("tell").map(told), "").await;
    for vector in vectors("batches.json") {
        let inputs = batch(&vector["batch"]);
        let events = read(&mut stream, inputs.clone()).await;
        let without = ["uid", "source", "from"];
        let rows: Vec<Value> =
            events.iter().map(|event| json!({ "parent": 0, "route": null, "event": event })).collect();
        let made = written(&inputs, &events, &rows).await;
        assert_eq!(made.len(), events.len(), "{}", vector["name"]);
        for (made, event) in made.iter().zip(&events) {
            assert_eq!(settable(&made["event"], &without), settable(event, &without), "{}", vector["name"]);
        }
    }
}

#[tokio::test]
async fn malformed_works_are_refused_unseen() {
    let see = |event: Event| async move { assert_eq!(event.data(), b"good") };
    let (_served, mut stream) = start(node("see").sink(see), "").await;
    for vector in vectors("malformed.json") {
        let name = vector["name"].as_str().expect("a name");
        let batch = (!vector["batch"].is_null()).then(|| batch(&vector["batch"]));
        let sequence = stream.send_work(Work { batch, attempts: bytes(&vector["attempts"]), ..Work::default() }).await;
        let answer = stream.answer(sequence).await;
        // Some have a reason of their own, which is more exact.
        let reason = match name {
            "b4-key-long" | "b4-key-long-unnamed" => "ATTRIBUTE_TOO_LARGE",
            "b1-largest-number" | "b1-overflow" => "BATCH_TOO_LARGE",
            "b6-many" => "TOO_MANY_EXTENSIONS",
            _ => vector["reason"].as_str().expect("a reason"),
        };
        assert_eq!(answer.failures, [(WHOLE, reason.to_owned(), false)], "{name}");
        assert_eq!((answer.outputs.len(), answer.consumed), (0, 0), "{name}");
    }
    let answer = stream.run(crate::common::batch(&["good"])).await;
    assert_eq!((answer.failures.len(), answer.consumed), (0, 1));
}
