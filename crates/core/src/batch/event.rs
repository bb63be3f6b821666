//! One event in row form, and what makes it illegal.

use thiserror::Error;

use super::{Attribute, ExtensionValue, SpanContext, size};
use crate::{ids::Uid, limits};

/// One event to append. Everything but the payload may be left out; an empty text is the same as none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Event<'a> {
    /// The payload.
    pub payload: &'a [u8],
    /// Media type of the payload, RFC 2046.
    pub content_type: Option<&'a str>,
    /// CloudEvents `id`.
    pub id: Option<&'a str>,
    /// CloudEvents `source`.
    pub source: Option<&'a str>,
    /// CloudEvents `type`.
    pub type_: Option<&'a str>,
    /// CloudEvents `subject`.
    pub subject: Option<&'a str>,
    /// Ordering key.
    pub key: Option<&'a str>,
    /// CloudEvents `dataschema`.
    pub data_schema: Option<&'a str>,
    /// UTC nanoseconds since the Unix epoch.
    pub time_ns: Option<i64>,
    /// Extension attributes.
    pub extensions: &'a [(&'a str, ExtensionValue<'a>)],
    /// Trace context of a sampled event; one that is not valid is left out.
    pub span: Option<&'a SpanContext>,
    /// Identity.
    pub uid: Option<Uid>,
    /// The upstream as the pipeline file writes it.
    pub from: Option<&'a str>,
}

impl<'a> Event<'a> {
    pub(super) fn attributes(&self) -> [(Attribute, &'a str); Attribute::COUNT] {
        [
            (Attribute::ContentType, self.content_type),
            (Attribute::Id, self.id),
            (Attribute::Source, self.source),
            (Attribute::Type, self.type_),
            (Attribute::Subject, self.subject),
            (Attribute::Key, self.key),
            (Attribute::DataSchema, self.data_schema),
            (Attribute::From, self.from),
        ]
        .map(|(attribute, value)| (attribute, value.unwrap_or_default()))
    }

    /// As [`Batch::bytes_of`](super::Batch::bytes_of).
    pub(super) fn bytes(&self) -> usize {
        let strings = self.attributes().into_iter().map(|(_, value)| value.len()).filter(|&bytes| bytes > 0);
        let extensions = self.extensions.iter().map(|(name, value)| name.len() + value.encode(<[u8]>::len));
        size::event(self.payload.len(), strings, extensions) + self.span.map_or(0, SpanContext::bytes)
    }

    pub(super) fn check(&self) -> Result<(), EventError> {
        check_payload(self.payload)?;
        for (attribute, value) in self.attributes() {
            check_attribute(attribute.name(), value, attribute.limit())?;
        }
        check_extensions(self.extensions.iter().map(|(name, value)| (*name, value.encode(<[u8]>::len))))
    }
}

/// Why an event was not appended. The builder is as it was before.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EventError {
    /// The event is legal but the batch has no room: finish it and append the event to the next.
    #[error("the batch is full: at most {} events and {} bytes", limits::BATCH_EVENTS, limits::BATCH_BYTES)]
    Full,
    /// The payload is too large for any batch.
    #[error("the payload has {bytes} bytes, allowed are {}", limits::EVENT_BYTES)]
    Payload {
        /// Its size.
        bytes: usize,
    },
    /// An attribute is too large.
    #[error("attribute `{attribute}` has {bytes} bytes, allowed are {limit}")]
    Attribute {
        /// Its name.
        attribute: String,
        /// Its size.
        bytes: usize,
        /// The most it may have.
        limit: usize,
    },
    /// An extension's name is illegal.
    #[error("`{name}` is no extension name: 1 to {} characters of [a-z0-9]", limits::EXTENSION_NAME_CHARS)]
    ExtensionName {
        /// The name, cut to 64 bytes.
        name: String,
    },
    /// An extension is given twice.
    #[error("extension `{name}` is given twice")]
    ExtensionTwice {
        /// Its name.
        name: String,
    },
    /// The event alone has too many extensions.
    #[error("{found} extensions, allowed are {}", limits::EXTENSIONS)]
    Extensions {
        /// How many.
        found: usize,
    },
}

pub(crate) fn check_payload(payload: &[u8]) -> Result<(), EventError> {
    match payload.len() {
        bytes if bytes > limits::EVENT_BYTES => Err(EventError::Payload { bytes }),
        _ => Ok(()),
    }
}

pub(crate) fn check_attribute(attribute: &str, value: &str, limit: usize) -> Result<(), EventError> {
    match value.len() {
        bytes if bytes > limit => Err(EventError::Attribute { attribute: attribute.to_owned(), bytes, limit }),
        _ => Ok(()),
    }
}

/// `extensions`: the names with the sizes of their values.
pub(crate) fn check_extensions<'a>(
    extensions: impl ExactSizeIterator<Item = (&'a str, usize)> + Clone,
) -> Result<(), EventError> {
    if extensions.len() > limits::EXTENSIONS {
        return Err(EventError::Extensions { found: extensions.len() });
    }
    for (at, (name, bytes)) in extensions.clone().enumerate() {
        if !limits::is_extension_name(name) {
            let name = limits::truncate(name, limits::EXTENSION_NAME_CHARS).to_owned();
            return Err(EventError::ExtensionName { name });
        }
        if extensions.clone().take(at).any(|(other, _)| other == name) {
            return Err(EventError::ExtensionTwice { name: name.to_owned() });
        }
        if bytes > limits::ATTRIBUTE_BYTES {
            let limit = limits::ATTRIBUTE_BYTES;
            return Err(EventError::Attribute { attribute: name.to_owned(), bytes, limit });
        }
    }
    Ok(())
}
