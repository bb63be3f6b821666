//! The parts of a batch as they stand on the wire, before or after validation.

use std::sync::Arc;

use bytes::Bytes;

use super::span::SpanContext;

/// "No value" in an index column.
pub const ABSENT: u32 = u32::MAX;

/// "No time" in a time column.
pub const TIME_ABSENT: i64 = i64::MIN;

/// "The parent's time" in the time column of outputs.
pub const TIME_INHERITED: i64 = i64::MIN + 1;

/// Values of variable length, end to end; see `Values` of the wire contract.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Values {
    /// All values, without separators.
    pub data: Bytes,
    /// Where each ends in `data`: u32 little-endian, cumulative.
    pub ends: Bytes,
}

/// UTF-8 values of which equal ones are stored once; see `Strings` of the wire contract.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Strings {
    /// The distinct values.
    pub values: Values,
    /// Per row a u32 little-endian into `values`, or [`ABSENT`]. Empty: no value, one for all, or positional.
    pub index: Bytes,
}

/// Type of a CloudEvents extension attribute. The numbers are those of the wire contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i32)]
pub enum ExtensionType {
    /// In outputs: the extension is removed. Never in a batch.
    Unspecified = 0,
    /// One byte, 0 or 1.
    Boolean = 1,
    /// i32 little-endian.
    Integer = 2,
    /// UTF-8.
    String = 3,
    /// Raw bytes.
    Binary = 4,
    /// An absolute URI.
    Uri = 5,
    /// A URI reference.
    UriReference = 6,
    /// i64 little-endian, UTC nanoseconds since the Unix epoch.
    Timestamp = 7,
}

impl ExtensionType {
    /// The type with this number on the wire; `None`: there is none.
    #[must_use]
    pub fn from_code(code: i32) -> Option<Self> {
        Some(match code {
            0 => Self::Unspecified,
            1 => Self::Boolean,
            2 => Self::Integer,
            3 => Self::String,
            4 => Self::Binary,
            5 => Self::Uri,
            6 => Self::UriReference,
            7 => Self::Timestamp,
            _ => return None,
        })
    }

    /// Its number on the wire.
    #[must_use]
    pub fn code(self) -> i32 {
        self as i32
    }
}

/// One extension attribute of all or some events; see `Extension` of the wire contract.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// 1 to 64 characters of [a-z0-9].
    pub name: Arc<str>,
    /// Type of every value.
    pub kind: ExtensionType,
    /// One value per covered event.
    pub values: Values,
    /// The covered events: u32 little-endian, strictly ascending. Empty: all.
    pub index: Bytes,
}

/// All columns of a batch. Made by the wire crate from a frame, or taken from a [`Batch`](super::Batch) to build one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    /// Number of events.
    pub count: u32,
    /// Payloads; absent: all are empty.
    pub payload: Option<Values>,
    /// Media types.
    pub content_type: Option<Strings>,
    /// 16 bytes per event; empty: not yet set.
    pub uid: Bytes,
    /// i64 little-endian per event, UTC nanoseconds since the Unix epoch, or [`TIME_ABSENT`]; empty: absent for all.
    pub time: Bytes,
    /// CloudEvents `id`.
    pub id: Option<Strings>,
    /// CloudEvents `source`.
    pub source: Option<Strings>,
    /// CloudEvents `type`.
    pub type_: Option<Strings>,
    /// CloudEvents `subject`.
    pub subject: Option<Strings>,
    /// Ordering key.
    pub key: Option<Strings>,
    /// CloudEvents `dataschema`.
    pub data_schema: Option<Strings>,
    /// The upstream as the pipeline file writes it.
    pub from: Option<Strings>,
    /// Extension attributes.
    pub extensions: Vec<Extension>,
    /// Trace contexts with the row each belongs to, by ascending row.
    pub spans: Vec<(u32, SpanContext)>,
}

impl Columns {
    /// Bytes of all parts together: about the size of the encoded batch.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let strings: usize = self.strings().into_iter().flatten().map(Strings::bytes).sum();
        let extensions: usize = self.extensions.iter().map(|e| e.name.len() + e.values.bytes() + e.index.len()).sum();
        let spans: usize = self.spans.iter().map(|(_, span)| span.bytes()).sum();
        self.payload.as_ref().map_or(0, Values::bytes) + self.uid.len() + self.time.len() + strings + extensions + spans
    }

    /// The string columns in the order of [`Attribute::ALL`].
    pub(crate) fn strings(&self) -> [Option<&Strings>; Attribute::COUNT] {
        [
            self.content_type.as_ref(),
            self.id.as_ref(),
            self.source.as_ref(),
            self.type_.as_ref(),
            self.subject.as_ref(),
            self.key.as_ref(),
            self.data_schema.as_ref(),
            self.from.as_ref(),
        ]
    }
}

/// The string attributes of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attribute {
    /// Media type of the payload.
    ContentType,
    /// CloudEvents `id`.
    Id,
    /// CloudEvents `source`.
    Source,
    /// CloudEvents `type`.
    Type,
    /// CloudEvents `subject`.
    Subject,
    /// Ordering key.
    Key,
    /// CloudEvents `dataschema`.
    DataSchema,
    /// Upstream.
    From,
}

impl Attribute {
    pub(crate) const COUNT: usize = 8;

    /// All of them.
    pub const ALL: [Self; Self::COUNT] =
        [Self::ContentType, Self::Id, Self::Source, Self::Type, Self::Subject, Self::Key, Self::DataSchema, Self::From];

    /// The field's name in the wire contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ContentType => "content_type",
            Self::Id => "id",
            Self::Source => "source",
            Self::Type => "type",
            Self::Subject => "subject",
            Self::Key => "key",
            Self::DataSchema => "data_schema",
            Self::From => "from",
        }
    }

    /// The most bytes that a value may have.
    #[must_use]
    pub const fn limit(self) -> usize {
        match self {
            Self::Key => crate::limits::KEY_BYTES,
            _ => crate::limits::ATTRIBUTE_BYTES,
        }
    }
}
