//! Events as the kit thinks of them, row by row.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU64, Ordering},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use meshloom_proto::v1::{self, ExtensionType};
use serde_json::{Value as Json, json};

use crate::columns::{self, Style, TIME_ABSENT};

/// The value of an extension attribute.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Boolean(bool),
    Integer(i32),
    String(String),
    Binary(Vec<u8>),
    Uri(String),
    UriReference(String),
    Timestamp(i64),
}

impl Value {
    pub(crate) fn kind(&self) -> ExtensionType {
        match self {
            Self::Boolean(_) => ExtensionType::Boolean,
            Self::Integer(_) => ExtensionType::Integer,
            Self::String(_) => ExtensionType::String,
            Self::Binary(_) => ExtensionType::Binary,
            Self::Uri(_) => ExtensionType::Uri,
            Self::UriReference(_) => ExtensionType::UriReference,
            Self::Timestamp(_) => ExtensionType::Timestamp,
        }
    }

    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Boolean(value) => vec![u8::from(*value)],
            Self::Integer(value) => value.to_le_bytes().to_vec(),
            Self::Timestamp(value) => value.to_le_bytes().to_vec(),
            Self::Binary(value) => value.clone(),
            Self::String(value) | Self::Uri(value) | Self::UriReference(value) => value.clone().into_bytes(),
        }
    }

    pub(crate) fn decode(kind: ExtensionType, bytes: &[u8]) -> Result<Self, String> {
        let text = || String::from_utf8(bytes.to_vec()).map_err(|error| format!("a value is no UTF-8: {error}"));
        let wrong = |_| format!("a value of {kind:?} has {} bytes", bytes.len());
        Ok(match kind {
            ExtensionType::Unspecified => return Err("a value without a type".into()),
            ExtensionType::Boolean => match bytes {
                [0] => Self::Boolean(false),
                [1] => Self::Boolean(true),
                _ => return Err(format!("a boolean of {bytes:?}")),
            },
            ExtensionType::Integer => Self::Integer(i32::from_le_bytes(bytes.try_into().map_err(wrong)?)),
            ExtensionType::Timestamp => Self::Timestamp(i64::from_le_bytes(bytes.try_into().map_err(wrong)?)),
            ExtensionType::Binary => Self::Binary(bytes.to_vec()),
            ExtensionType::String => Self::String(text()?),
            ExtensionType::Uri => Self::Uri(text()?),
            ExtensionType::UriReference => Self::UriReference(text()?),
        })
    }

    /// As the interpreter writes it.
    pub(crate) fn to_json(&self) -> Json {
        match self {
            Self::Boolean(value) => json!({"type": "boolean", "value": value}),
            Self::Integer(value) => json!({"type": "integer", "value": value}),
            Self::String(value) => json!({"type": "string", "value": value}),
            Self::Binary(value) => json!({"type": "binary", "value": STANDARD.encode(value)}),
            Self::Uri(value) => json!({"type": "uri", "value": value}),
            Self::UriReference(value) => json!({"type": "uri_reference", "value": value}),
            Self::Timestamp(value) => json!({"type": "timestamp", "value": value.to_string()}),
        }
    }
}

/// A trace context.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) flags: u32,
}

/// An event.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Event {
    pub(crate) payload: Bytes,
    pub(crate) content_type: Option<String>,
    pub(crate) uid: [u8; 16],
    pub(crate) time: Option<i64>,
    pub(crate) id: Option<String>,
    pub(crate) source: Option<String>,
    pub(crate) type_: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) data_schema: Option<String>,
    pub(crate) from: Option<String>,
    pub(crate) extensions: BTreeMap<String, Value>,
    pub(crate) span: Option<Span>,
}

static EVENTS: AtomicU64 = AtomicU64::new(1);

impl Event {
    /// An event with a uid that no other event of this process has.
    pub(crate) fn new(payload: impl Into<Bytes>) -> Self {
        let mut uid = *b"meshloom\0\0\0\0\0\0\0\0";
        uid[8..].copy_from_slice(&EVENTS.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        Self { payload: payload.into(), uid, ..Self::default() }
    }

    /// A command for the interpreter.
    pub(crate) fn command(command: &Json) -> Self {
        Self { content_type: Some("application/json".into()), ..Self::new(command.to_string()) }
    }

    pub(crate) fn key(self, key: &str) -> Self {
        Self { key: Some(key.to_owned()), ..self }
    }

    pub(crate) fn span(self, span: Span) -> Self {
        Self { span: Some(span), ..self }
    }

    pub(crate) fn uid_hex(&self) -> String {
        hex(&self.uid)
    }

    fn texts(&self) -> [Option<&str>; 8] {
        [
            &self.content_type,
            &self.id,
            &self.source,
            &self.type_,
            &self.subject,
            &self.key,
            &self.data_schema,
            &self.from,
        ]
        .map(Option::as_deref)
    }

    /// What `context` must tell of the event itself.
    pub(crate) fn to_context(&self) -> Json {
        json!({
            "uid": self.uid_hex(), "id": self.id, "source": self.source, "type": self.type_, "subject": self.subject,
            "key": self.key, "from": self.from, "content_type": self.content_type, "data_schema": self.data_schema,
            "time": self.time.map(|time| time.to_string()), "payload": STANDARD.encode(&self.payload),
            "extensions": self.extensions.iter().map(|(name, value)| (name.clone(), value.to_json()))
                .collect::<serde_json::Map<_, _>>(),
        })
    }
}

/// Bytes as lower-case hex digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The events as a batch for a node.
pub(crate) fn batch(events: &[Event], style: Style) -> v1::Batch {
    let column = |at: usize| {
        let cells: Vec<Option<&str>> = events.iter().map(|event| event.texts()[at]).collect();
        columns::strings(&cells, style)
    };
    let times = events.iter().any(|event| event.time.is_some()) || style == Style::Dictionary;
    let payloads = events.iter().any(|event| !event.payload.is_empty()) || style != Style::Short;
    let time = |event: &Event| event.time.unwrap_or(TIME_ABSENT).to_le_bytes();
    v1::Batch {
        count: events.len() as u32,
        payload: payloads.then(|| columns::values(events.iter().map(|event| &event.payload))),
        content_type: column(0),
        uid: events.iter().flat_map(|event| event.uid).collect::<Vec<_>>().into(),
        time: if times { events.iter().flat_map(time).collect::<Vec<_>>().into() } else { Bytes::new() },
        id: column(1),
        source: column(2),
        r#type: column(3),
        subject: column(4),
        key: column(5),
        data_schema: column(6),
        from: column(7),
        extensions: extensions(events, style),
        spans: events.iter().enumerate().filter_map(|(row, event)| Some(span(row, event.span?))).collect(),
    }
}

fn span(row: usize, span: Span) -> v1::SpanContext {
    v1::SpanContext {
        index: row as u32,
        trace_id: span.trace_id.to_vec().into(),
        span_id: span.span_id.to_vec().into(),
        flags: span.flags,
        trace_state: String::new(),
    }
}

/// The extensions of one name and type: rows, and a value for each.
#[derive(Default)]
struct Column {
    rows: Vec<u32>,
    values: Vec<Vec<u8>>,
}

fn extensions(events: &[Event], style: Style) -> Vec<v1::Extension> {
    let mut columns: BTreeMap<(&str, i32), Column> = BTreeMap::new();
    for (row, event) in events.iter().enumerate() {
        for (name, value) in &event.extensions {
            let column = columns.entry((name, value.kind().into())).or_default();
            column.rows.push(row as u32);
            column.values.push(value.encode());
        }
    }
    let encode = |((name, kind), Column { rows, values }): ((&str, i32), Column)| {
        let all = rows.len() == events.len() && style != Style::Dictionary;
        let index = if all { Bytes::new() } else { columns::u32s(rows) };
        v1::Extension { name: name.to_owned(), r#type: kind, values: Some(columns::values(values)), index }
    };
    columns.into_iter().map(encode).collect()
}
