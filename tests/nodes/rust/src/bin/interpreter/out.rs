//! Outputs as commands write them.

use std::collections::BTreeMap;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use meshloom::{ExtensionValue, Output};
use serde::{Deserialize, Deserializer, Serialize, de::Error as _};
use serde_json::Value;

/// Sets a text of an output.
pub(crate) type Setter = fn(Output, String) -> Output;

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Out {
    #[serde(default, deserialize_with = "given")]
    value: Option<Value>,
    text: Option<String>,
    base64: Option<Base64>,
    content_type: Option<String>,
    r#type: Option<String>,
    subject: Option<String>,
    key: Option<String>,
    route: Option<String>,
    data_schema: Option<String>,
    id: Option<String>,
    #[serde(default, deserialize_with = "given")]
    time: Option<Option<Nanos>>,
    #[serde(default)]
    extensions: BTreeMap<String, Option<Extension>>,
}

/// Null is something else than a key that is left out.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

impl From<Out> for Output {
    fn from(out: Out) -> Self {
        let mut output = match (out.value, out.text, out.base64) {
            (Some(value), ..) => Output::json(value),
            (_, Some(text), _) => Output::text(text),
            (.., Some(Base64(bytes))) => Output::bytes(bytes),
            (None, None, None) => Output::unchanged(),
        };
        let texts: [(Option<String>, Setter); 7] = [
            (out.content_type, Output::content_type),
            (out.r#type, Output::kind),
            (out.subject, Output::subject),
            (out.key, Output::key),
            (out.route, Output::route),
            (out.data_schema, Output::data_schema),
            (out.id, Output::id),
        ];
        for (text, set) in texts {
            if let Some(text) = text {
                output = set(output, text);
            }
        }
        output = match out.time {
            Some(Some(Nanos(time))) => output.time_ns(time),
            Some(None) => output.no_time(),
            None => output,
        };
        for (name, extension) in out.extensions {
            output = match extension {
                Some(extension) => output.extension(name, extension),
                None => output.without_extension(name),
            };
        }
        output
    }
}

/// Nanoseconds since 1970 in decimal digits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Nanos(pub(crate) i64);

impl<'de> Deserialize<'de> for Nanos {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map(Self).map_err(D::Error::custom)
    }
}

impl Serialize for Nanos {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Bytes as text.
#[derive(Debug, Clone)]
pub(crate) struct Base64(pub(crate) Vec<u8>);

impl<'de> Deserialize<'de> for Base64 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        BASE64_STANDARD.decode(String::deserialize(deserializer)?).map(Self).map_err(D::Error::custom)
    }
}

impl Serialize for Base64 {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

/// An extension with its type, both ways.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(tag = "type", content = "value", rename_all = "snake_case")]
pub(crate) enum Extension {
    Boolean(bool),
    Integer(i32),
    String(String),
    Binary(Base64),
    Uri(String),
    UriReference(String),
    Timestamp(Nanos),
}

impl From<Extension> for ExtensionValue {
    fn from(extension: Extension) -> Self {
        match extension {
            Extension::Boolean(value) => Self::Boolean(value),
            Extension::Integer(value) => Self::Integer(value),
            Extension::String(text) => Self::Text(text),
            Extension::Binary(Base64(bytes)) => Self::Binary(bytes.into()),
            Extension::Uri(text) => Self::Uri(text),
            Extension::UriReference(text) => Self::UriReference(text),
            Extension::Timestamp(Nanos(time)) => Self::Timestamp(time),
        }
    }
}

impl From<ExtensionValue> for Extension {
    fn from(value: ExtensionValue) -> Self {
        match value {
            ExtensionValue::Boolean(value) => Self::Boolean(value),
            ExtensionValue::Integer(value) => Self::Integer(value),
            ExtensionValue::Text(text) => Self::String(text),
            ExtensionValue::Binary(bytes) => Self::Binary(Base64(bytes.into())),
            ExtensionValue::Uri(text) => Self::Uri(text),
            ExtensionValue::UriReference(text) => Self::UriReference(text),
            ExtensionValue::Timestamp(time) => Self::Timestamp(Nanos(time)),
        }
    }
}
