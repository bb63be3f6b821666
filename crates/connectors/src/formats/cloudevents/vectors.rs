//! The golden vectors of CloudEvents in JSON, `tests/conformance/vectors/cloudevents.json`, and the direction that writes.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use meshloom_core::{
    batch::{Batch, BatchBuilder, Event, ExtensionValue},
    ids::Uid,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::formats::Encoder;

/// A text, and what it says or why it says nothing.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Vector {
    pub(crate) name: String,
    /// The paragraph of a specification that it stands on.
    #[serde(rename = "spec")]
    _spec: String,
    pub(crate) format: Format,
    pub(crate) direction: Direction,
    pub(crate) text: String,
    #[serde(default)]
    pub(crate) events: Vec<Value>,
    /// Why a reader refuses it.
    pub(crate) refused: Option<String>,
    /// What a refusal names.
    #[serde(default)]
    pub(crate) says: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Format {
    Structured,
    Batched,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Direction {
    Read,
    Write,
    Both,
}

/// All of them.
pub(crate) fn vectors() -> Vec<Vector> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/conformance/vectors/cloudevents.json");
    let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// A row as the vectors have it; what is absent is left out.
pub(crate) fn told(batch: &Batch, row: usize) -> Value {
    let mut event = Map::new();
    let texts = [
        ("content_type", batch.content_type(row)),
        ("id", batch.id(row)),
        ("source", batch.source(row)),
        ("type", batch.type_(row)),
        ("subject", batch.subject(row)),
        ("key", batch.key(row)),
        ("data_schema", batch.data_schema(row)),
    ];
    event.extend(texts.into_iter().filter_map(|(name, text)| Some((name.to_owned(), text?.into()))));
    if let Some(time) = batch.time_ns(row) {
        event.insert("time".into(), time.to_string().into());
    }
    if !batch.payload(row).is_empty() {
        event.insert("payload".into(), STANDARD.encode(batch.payload(row)).into());
    }
    let extensions: Map<_, _> = batch.extensions(row).map(|(name, value)| (name.to_owned(), typed(value))).collect();
    if !extensions.is_empty() {
        event.insert("extensions".into(), extensions.into());
    }
    event.into()
}

fn typed(value: ExtensionValue<'_>) -> Value {
    match value {
        ExtensionValue::Boolean(value) => json!({"type": "boolean", "value": value}),
        ExtensionValue::Integer(value) => json!({"type": "integer", "value": value}),
        ExtensionValue::String(value) => json!({"type": "string", "value": value}),
        other => panic!("JSON has no type for {other:?}"),
    }
}

/// The events of a vector as a batch.
fn batch(events: &[Value]) -> Batch {
    let mut builder = BatchBuilder::new();
    for event in events {
        let text = |name: &str| event[name].as_str();
        let payload = STANDARD.decode(text("payload").unwrap_or_default()).expect("payloads are Base64");
        let none = Map::new();
        let extensions = event["extensions"].as_object().unwrap_or(&none);
        let bytes: Vec<_> =
            extensions.values().map(|value| STANDARD.decode(value["value"].as_str().unwrap_or_default())).collect();
        let extensions: Vec<_> = extensions
            .iter()
            .zip(&bytes)
            .map(|((name, value), bytes)| (name.as_str(), extension(value, bytes.as_deref().unwrap_or_default())))
            .collect();
        let uid = text("uid").map(|hex| u128::from_str_radix(hex, 16).expect("a uid is hexadecimal").to_be_bytes());
        let event = Event {
            payload: &payload,
            content_type: text("content_type"),
            id: text("id"),
            source: text("source"),
            type_: text("type"),
            subject: text("subject"),
            key: text("key"),
            data_schema: text("data_schema"),
            time_ns: text("time").map(|time| time.parse().expect("a time is a number")),
            extensions: &extensions,
            uid: uid.map(Uid::from_bytes),
            ..Event::default()
        };
        builder.push(event).expect("the vectors are within the limits");
    }
    builder.finish()
}

/// `bytes`: its value, if that is Base64.
fn extension<'a>(value: &'a Value, bytes: &'a [u8]) -> ExtensionValue<'a> {
    let (kind, value) = (value["type"].as_str().expect("a type"), &value["value"]);
    let text = value.as_str().unwrap_or_default();
    match kind {
        "boolean" => ExtensionValue::Boolean(value.as_bool().expect("a boolean")),
        "integer" => ExtensionValue::Integer(value.as_i64().expect("an integer").try_into().expect("of 32 bits")),
        "string" => ExtensionValue::String(text),
        "uri" => ExtensionValue::Uri(text),
        "uri_reference" => ExtensionValue::UriReference(text),
        "binary" => ExtensionValue::Binary(bytes),
        "timestamp" => ExtensionValue::Timestamp(text.parse().expect("a time is a number")),
        other => panic!("no type of CloudEvents: {other}"),
    }
}

#[test]
fn every_vector_is_written_as_it_stands_there() {
    let mut written = 0;
    for vector in vectors().iter().filter(|vector| vector.direction != Direction::Read) {
        let batch = batch(&vector.events);
        let encoder = match vector.format {
            Format::Structured => Encoder::CloudEvents,
            Format::Batched => Encoder::CloudEventsArray,
        };
        let mut out = Vec::new();
        encoder.begin(&mut out);
        for row in 0..batch.len() {
            encoder.check(&batch, row).unwrap_or_else(|error| panic!("{}: {error}", vector.name));
            encoder.write(&batch, row, row == 0, &mut out);
        }
        encoder.end(&mut out);
        let found: Value = serde_json::from_slice(&out).unwrap_or_else(|error| panic!("{}: {error}", vector.name));
        let expected: Value = serde_json::from_str(&vector.text).expect("the vectors are JSON");
        assert_eq!(found, expected, "{}", vector.name);
        written += 1;
    }
    assert!(written > 0, "there are vectors to write");
}
