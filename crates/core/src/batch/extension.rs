//! Typed values of extension attributes.

use super::{
    columns::{Extension, ExtensionType},
    values::u32_at,
};

/// The value of one CloudEvents extension attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtensionValue<'a> {
    /// A boolean.
    Boolean(bool),
    /// An integer.
    Integer(i32),
    /// A text.
    String(&'a str),
    /// Bytes.
    Binary(&'a [u8]),
    /// An absolute URI.
    Uri(&'a str),
    /// A URI reference.
    UriReference(&'a str),
    /// UTC nanoseconds since the Unix epoch.
    Timestamp(i64),
}

impl<'a> ExtensionValue<'a> {
    /// Its type.
    #[must_use]
    pub fn kind(&self) -> ExtensionType {
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

    /// Calls `take` with its encoding.
    pub(crate) fn encode<T>(&self, take: impl FnOnce(&[u8]) -> T) -> T {
        match self {
            Self::Boolean(value) => take(&[u8::from(*value)]),
            Self::Integer(value) => take(&value.to_le_bytes()),
            Self::String(text) | Self::Uri(text) | Self::UriReference(text) => take(text.as_bytes()),
            Self::Binary(bytes) => take(bytes),
            Self::Timestamp(value) => take(&value.to_le_bytes()),
        }
    }
}

impl Extension {
    /// The entry of a row in `values`, if the column covers the row.
    pub(crate) fn entry(&self, row: usize) -> Option<usize> {
        if self.index.is_empty() {
            return Some(row);
        }
        let (mut low, mut high) = (0, self.index.len() / 4);
        while low < high {
            let middle = (low + high) / 2;
            match (u32_at(&self.index, middle) as usize).cmp(&row) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Some(middle),
            }
        }
        None
    }

    /// The value of an entry of a validated column.
    pub(crate) fn value(&self, entry: usize) -> ExtensionValue<'_> {
        const SIZED: &str = "fixed sizes are validated";
        let bytes = self.values.get(entry);
        match self.kind {
            ExtensionType::Boolean => ExtensionValue::Boolean(bytes == [1]),
            ExtensionType::Integer => ExtensionValue::Integer(i32::from_le_bytes(bytes.try_into().expect(SIZED))),
            ExtensionType::Timestamp => ExtensionValue::Timestamp(i64::from_le_bytes(bytes.try_into().expect(SIZED))),
            ExtensionType::String => ExtensionValue::String(self.values.get_str(entry)),
            ExtensionType::Uri => ExtensionValue::Uri(self.values.get_str(entry)),
            ExtensionType::UriReference => ExtensionValue::UriReference(self.values.get_str(entry)),
            ExtensionType::Binary | ExtensionType::Unspecified => ExtensionValue::Binary(bytes),
        }
    }
}
