//! CloudEvents 1.0 in JSON: the structured format, and the batch format as an array of it.
//!
//! The ordering key travels as the extension `partitionkey` (CloudEvents Partitioning extension).

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chrono::{DateTime, SecondsFormat};
use meshloom_core::{
    batch::{Batch, Event, ExtensionValue, SpanContext},
    limits,
    outputs::OutputEvent,
};
use serde_json::{Map, Value, value::RawValue};

use super::{check_json, compact};

const PARTITION_KEY: &str = "partitionkey";
/// For an event without `type`, which CloudEvents requires.
const DEFAULT_TYPE: &str = "io.meshloom.event";

/// An event read from an envelope.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Envelope {
    /// The data.
    pub payload: Vec<u8>,
    /// `datacontenttype`.
    pub content_type: Option<String>,
    /// `id`.
    pub id: Option<String>,
    /// `source`.
    pub source: Option<String>,
    /// `type`.
    pub type_: Option<String>,
    /// `subject`.
    pub subject: Option<String>,
    /// `partitionkey`.
    pub key: Option<String>,
    /// `dataschema`.
    pub data_schema: Option<String>,
    /// `time`, UTC nanoseconds since the Unix epoch.
    pub time_ns: Option<i64>,
    /// All other attributes.
    pub extensions: Vec<(String, Extension)>,
}

/// Value of an extension attribute, as JSON can tell them apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extension {
    /// A boolean.
    Boolean(bool),
    /// An integer.
    Integer(i32),
    /// Anything else.
    String(String),
}

impl Extension {
    fn value(&self) -> ExtensionValue<'_> {
        match self {
            Self::Boolean(value) => ExtensionValue::Boolean(*value),
            Self::Integer(value) => ExtensionValue::Integer(*value),
            Self::String(value) => ExtensionValue::String(value),
        }
    }
}

/// Why bytes are no CloudEvents envelope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a CloudEvents envelope: {0}")]
pub struct EnvelopeError(pub String);

fn refuse<T>(message: impl Into<String>) -> Result<T, EnvelopeError> {
    Err(EnvelopeError(message.into()))
}

/// The members of an envelope.
#[derive(Default)]
struct Raw<'a> {
    specversion: Option<String>,
    id: Option<String>,
    source: Option<String>,
    type_: Option<String>,
    subject: Option<String>,
    time: Option<String>,
    datacontenttype: Option<String>,
    dataschema: Option<String>,
    partitionkey: Option<String>,
    data: Option<&'a RawValue>,
    data_base64: Option<String>,
    extensions: Map<String, Value>,
}

/// Reads an envelope.
///
/// # Errors
/// Not a JSON object, a required attribute missing or empty, an attribute of a wrong type or name, a bad time.
pub fn parse(json: &[u8]) -> Result<Envelope, EnvelopeError> {
    let raw: RawFields<'_> = serde_json::from_slice(json).or_else(|error| refuse(error.to_string()))?;
    raw.envelope()
}

/// Read member by member: serde's `flatten` cannot keep `data` as it was written.
struct RawFields<'a>(Raw<'a>);

impl<'de> serde::Deserialize<'de> for RawFields<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::{Error, MapAccess, Visitor};
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Raw<'de>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Raw<'de>, A::Error> {
                let mut raw = Raw::default();
                while let Some(name) = map.next_key::<String>()? {
                    let slot = match name.as_str() {
                        "data" => {
                            raw.data = Some(map.next_value::<&RawValue>()?);
                            continue;
                        }
                        "specversion" => &mut raw.specversion,
                        "id" => &mut raw.id,
                        "source" => &mut raw.source,
                        "type" => &mut raw.type_,
                        "subject" => &mut raw.subject,
                        "time" => &mut raw.time,
                        "datacontenttype" => &mut raw.datacontenttype,
                        "dataschema" => &mut raw.dataschema,
                        PARTITION_KEY => &mut raw.partitionkey,
                        "data_base64" => &mut raw.data_base64,
                        _ => {
                            raw.extensions.insert(name, map.next_value()?);
                            continue;
                        }
                    };
                    *slot = map
                        .next_value::<Option<String>>()
                        .map_err(|error| A::Error::custom(format!("attribute `{name}`: {error}")))?;
                }
                Ok(raw)
            }
        }
        deserializer.deserialize_map(Members).map(RawFields)
    }
}

impl RawFields<'_> {
    fn envelope(self) -> Result<Envelope, EnvelopeError> {
        let raw = self.0;
        match raw.specversion.as_deref() {
            Some("1.0") => {}
            Some(other) => {
                return refuse(format!("specversion is `{other}`; only 1.0 is understood"));
            }
            None => return refuse("specversion is missing"),
        }
        for (name, value) in [("id", &raw.id), ("source", &raw.source), ("type", &raw.type_)] {
            if value.as_deref().unwrap_or_default().is_empty() {
                return refuse(format!("{name} is missing or empty"));
            }
        }
        let payload = match (raw.data, raw.data_base64) {
            (Some(_), Some(_)) => return refuse("it has both data and data_base64"),
            (None, None) => Vec::new(),
            (None, Some(text)) => STANDARD.decode(&text).or_else(|error| refuse(format!("data_base64: {error}")))?,
            (Some(data), None) => data_bytes(data, raw.datacontenttype.as_deref())?,
        };
        let time_ns = raw.time.as_deref().map(parse_time).transpose()?;
        let mut extensions = Vec::new();
        for (name, value) in raw.extensions {
            if let Some(value) = extension(&name, value)? {
                extensions.push((name, value));
            }
        }
        Ok(Envelope {
            payload,
            // Without datacontenttype the data of the JSON format is JSON.
            content_type: raw.datacontenttype.or_else(|| raw.data.is_some().then(|| "application/json".into())),
            id: raw.id,
            source: raw.source,
            type_: raw.type_,
            subject: raw.subject,
            key: raw.partitionkey,
            data_schema: raw.dataschema,
            time_ns,
            extensions,
        })
    }
}

fn data_bytes(data: &RawValue, content_type: Option<&str>) -> Result<Vec<u8>, EnvelopeError> {
    let json = data.get().as_bytes();
    if content_type.is_none_or(is_json) {
        let mut payload = Vec::with_capacity(json.len());
        compact(json, &mut payload);
        return Ok(payload);
    }
    match serde_json::from_slice(json) {
        Ok(Value::String(text)) => Ok(text.into_bytes()),
        _ => refuse("data must be a JSON string, or data_base64, when datacontenttype is not JSON"),
    }
}

/// Reads the time of an event, RFC 3339.
pub(crate) fn parse_time(text: &str) -> Result<i64, EnvelopeError> {
    let time = DateTime::parse_from_rfc3339(text).or_else(|error| refuse(format!("time `{text}`: {error}")))?;
    time.timestamp_nanos_opt().ok_or_else(|| EnvelopeError(format!("time `{text}` is out of range")))
}

/// Reads an extension attribute; `null` is the same as none.
fn extension(name: &str, value: Value) -> Result<Option<Extension>, EnvelopeError> {
    if !limits::is_extension_name(name) {
        return refuse(format!("attribute `{name}`: names are lower-case letters and digits"));
    }
    Ok(Some(match value {
        Value::Null => return Ok(None),
        Value::Bool(value) => Extension::Boolean(value),
        Value::String(value) => Extension::String(value),
        Value::Number(number) => match number.as_i64().and_then(|number| i32::try_from(number).ok()) {
            Some(number) => Extension::Integer(number),
            None => {
                return refuse(format!("attribute `{name}`: numbers are integers of 32 bits"));
            }
        },
        Value::Array(_) | Value::Object(_) => {
            return refuse(format!("attribute `{name}` is an array or object; put it into data"));
        }
    }))
}

/// Whether a media type says JSON.
pub(crate) fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    media_type.ends_with("/json") || media_type.ends_with("+json")
}

/// Whether a media type is text that a JSON string can hold as it is: no character set is said, or one that is UTF-8.
fn is_utf8_text(content_type: &str) -> bool {
    let mut parts = content_type.split(';').map(str::trim);
    let charset = |parameter: &str| {
        let (name, value) = parameter.split_once('=')?;
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"').to_ascii_lowercase())
    };
    parts.next().is_some_and(|media_type| media_type.to_ascii_lowercase().starts_with("text/"))
        && parts.filter_map(charset).all(|charset| matches!(charset.as_str(), "utf-8" | "us-ascii"))
}

impl Envelope {
    /// Hands on the event, as an event of a batch.
    pub fn event<T>(&self, span: Option<&SpanContext>, take: impl FnOnce(Event<'_>) -> T) -> T {
        let extensions: Vec<_> = self.extensions.iter().map(|(name, value)| (name.as_str(), value.value())).collect();
        take(Event {
            payload: &self.payload,
            content_type: self.content_type.as_deref(),
            id: self.id.as_deref(),
            source: self.source.as_deref(),
            type_: self.type_.as_deref(),
            subject: self.subject.as_deref(),
            key: self.key.as_deref(),
            data_schema: self.data_schema.as_deref(),
            time_ns: self.time_ns,
            extensions: &extensions,
            span,
            ..Event::default()
        })
    }
}

impl Envelope {
    /// Hands on the event, as an output of an event that was written: what has the id or the type that [`write`] made up
    /// for the event has none of its own.
    pub fn output<T>(&self, parent: Option<(&Batch, usize)>, take: impl FnOnce(OutputEvent<'_>) -> T) -> T {
        let mut hex = [0; 32];
        let written = parent.map(|(batch, row)| required(batch, row, &mut hex));
        let extensions: Vec<_> =
            self.extensions.iter().map(|(name, value)| (name.as_str(), Some(value.value()))).collect();
        take(OutputEvent {
            content_type: self.content_type.as_deref(),
            type_: self.type_.as_deref().filter(|type_| written.is_none_or(|(_, theirs)| *type_ != theirs)),
            subject: self.subject.as_deref(),
            key: self.key.as_deref(),
            data_schema: self.data_schema.as_deref(),
            time_ns: self.time_ns.map(Some),
            id: self.id.as_deref().filter(|id| written.is_none_or(|(theirs, _)| *id != theirs)),
            extensions: &extensions,
            ..OutputEvent::default()
        })
    }
}

/// The id and the type that [`write`] gives an event: CloudEvents has none without.
fn required<'a>(batch: &'a Batch, row: usize, hex: &'a mut [u8; 32]) -> (&'a str, &'a str) {
    let said = |text: &&str| !text.is_empty();
    let id = batch.id(row).filter(said).unwrap_or_else(|| batch.uid(row).hex(hex));
    (id, batch.type_(row).filter(said).unwrap_or(DEFAULT_TYPE))
}

/// Appends an event as an envelope, in one line. CloudEvents has no empty attributes: they are left out, as absent ones.
pub fn write(batch: &Batch, row: usize, out: &mut Vec<u8>) {
    let mut hex = [0; 32];
    let (id, type_) = required(batch, row, &mut hex);
    let said = |text: &&str| !text.is_empty();
    let time = batch.time_ns(row).map(format_time);
    out.extend_from_slice(b"{\"specversion\":\"1.0\"");
    let attributes = [
        ("id", Some(id)),
        ("source", Some(batch.source(row).filter(said).unwrap_or("meshloom"))),
        ("type", Some(type_)),
        ("subject", batch.subject(row)),
        ("time", time.as_deref()),
        ("datacontenttype", batch.content_type(row)),
        ("dataschema", batch.data_schema(row)),
        (PARTITION_KEY, batch.key(row)),
    ];
    for (name, value) in attributes {
        if let Some(value) = value.filter(said) {
            member(name, &json_string(value), out);
        }
    }
    for (name, value) in batch.extensions(row) {
        let json = match value {
            ExtensionValue::Boolean(value) => value.to_string(),
            ExtensionValue::Integer(value) => value.to_string(),
            ExtensionValue::String(value) | ExtensionValue::Uri(value) | ExtensionValue::UriReference(value) => {
                json_string(value)
            }
            ExtensionValue::Binary(value) => json_string(&STANDARD.encode(value)),
            ExtensionValue::Timestamp(value) => json_string(&format_time(value)),
        };
        // The key has its own place.
        if name != PARTITION_KEY || batch.key(row).filter(said).is_none() {
            member(name, &json, out);
        }
    }
    data(batch.payload(row), batch.content_type(row), out);
    out.push(b'}');
}

fn data(payload: &[u8], content_type: Option<&str>, out: &mut Vec<u8>) {
    if payload.is_empty() {
        return;
    }
    if content_type.is_none_or(|media_type| media_type.is_empty() || is_json(media_type)) {
        if check_json(payload).is_ok() {
            out.extend_from_slice(b",\"data\":");
            compact(payload, out);
            return;
        }
    } else if content_type.is_some_and(is_utf8_text)
        && let Ok(text) = std::str::from_utf8(payload)
    {
        member("data", &json_string(text), out);
        return;
    }
    member("data_base64", &json_string(&STANDARD.encode(payload)), out);
}

fn member(name: &str, json: &str, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b"\":");
    out.extend_from_slice(json.as_bytes());
}

fn json_string(text: &str) -> String {
    Value::from(text).to_string()
}

fn format_time(nanoseconds: i64) -> String {
    DateTime::from_timestamp_nanos(nanoseconds).to_rfc3339_opts(SecondsFormat::AutoSi, true)
}

#[cfg(test)]
mod tests;
#[cfg(test)]
pub(crate) mod vectors;
