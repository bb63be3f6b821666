//! CloudEvents extension attributes: values with their CloudEvents types.

use bytes::Bytes;
use meshloom_proto::v1::{self, ExtensionType};

use super::{
    Malformed,
    limits::MAX_ATTRIBUTE_BYTES,
    values::{Values, i64_at, u32_at},
};

/// Value of a CloudEvents extension attribute, at most 64 KiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExtensionValue {
    /// A Boolean.
    Boolean(bool),
    /// A 32-bit Integer.
    Integer(i32),
    /// A String.
    Text(String),
    /// Bytes.
    Binary(Bytes),
    /// An absolute URI.
    Uri(String),
    /// A URI reference.
    UriReference(String),
    /// A Timestamp in UTC nanoseconds since the Unix epoch.
    Timestamp(i64),
}

impl ExtensionValue {
    pub(crate) fn wire_type(&self) -> ExtensionType {
        match self {
            Self::Boolean(_) => ExtensionType::Boolean,
            Self::Integer(_) => ExtensionType::Integer,
            Self::Text(_) => ExtensionType::String,
            Self::Binary(_) => ExtensionType::Binary,
            Self::Uri(_) => ExtensionType::Uri,
            Self::UriReference(_) => ExtensionType::UriReference,
            Self::Timestamp(_) => ExtensionType::Timestamp,
        }
    }

    pub(crate) fn to_wire(&self) -> Bytes {
        match self {
            Self::Boolean(value) => Bytes::copy_from_slice(&[u8::from(*value)]),
            Self::Integer(value) => Bytes::copy_from_slice(&value.to_le_bytes()),
            Self::Text(text) | Self::Uri(text) | Self::UriReference(text) => Bytes::copy_from_slice(text.as_bytes()),
            Self::Binary(bytes) => bytes.clone(),
            Self::Timestamp(nanos) => Bytes::copy_from_slice(&nanos.to_le_bytes()),
        }
    }
}

impl From<&str> for ExtensionValue {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for ExtensionValue {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<bool> for ExtensionValue {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl From<i32> for ExtensionValue {
    fn from(value: i32) -> Self {
        Self::Integer(value)
    }
}

/// Whether a name may name an extension: 1 to 64 characters of [a-z0-9].
pub(crate) fn name_is_valid(name: &str) -> bool {
    (1..=64).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
}

/// One extension of all or some events of a batch.
#[derive(Debug, Clone)]
pub(crate) struct ExtensionColumn {
    pub(crate) name: String,
    kind: ExtensionType,
    values: Values,
    /// Empty: every event is covered.
    index: Bytes,
}

impl ExtensionColumn {
    pub(crate) fn decode(wire: v1::Extension, count: usize) -> Result<Self, Malformed> {
        let name = wire.name;
        if !name_is_valid(&name) {
            return Err(Malformed::batch(format!(
                "extension name `{}` is not 1 to 64 characters of [a-z0-9]",
                name.escape_debug()
            )));
        }
        let kind = match ExtensionType::try_from(wire.r#type) {
            Ok(ExtensionType::Unspecified) | Err(_) => {
                return Err(Malformed::batch(format!("extension `{name}` has no known type ({})", wire.r#type)));
            }
            Ok(kind) => kind,
        };
        let values = Values::decode(wire.values.unwrap_or_default(), &name, MAX_ATTRIBUTE_BYTES)?;
        let covered = if wire.index.is_empty() { count } else { wire.index.len() / 4 };
        if !wire.index.len().is_multiple_of(4) || values.len() != covered {
            return Err(Malformed::batch(format!(
                "extension `{name}` has {} values for {covered} events",
                values.len()
            )));
        }
        for i in 0..wire.index.len() / 4 {
            let row = u32_at(&wire.index, i);
            if row as usize >= count || (i > 0 && row <= u32_at(&wire.index, i - 1)) {
                return Err(Malformed::batch(format!(
                    "extension `{name}`: indexes must ascend and stay below {count}; entry {i} is {row}"
                )));
            }
        }
        let size = match kind {
            ExtensionType::Boolean => Some(1),
            ExtensionType::Integer => Some(4),
            ExtensionType::Timestamp => Some(8),
            ExtensionType::Binary => None,
            _ => {
                values.check_utf8(&name)?;
                None
            }
        };
        if let Some(size) = size {
            for i in 0..values.len() {
                let value = values.get(i);
                if value.len() != size || (kind == ExtensionType::Boolean && value[0] > 1) {
                    return Err(Malformed::batch(format!("extension `{name}`: value {i} does not encode its type")));
                }
            }
        }
        Ok(Self { name, kind, values, index: wire.index })
    }

    /// The value of one event, if this column covers it.
    pub(crate) fn get(&self, row: usize) -> Option<ExtensionValue> {
        let at = self.position(row)?;
        let raw = self.values.get(at);
        Some(match self.kind {
            ExtensionType::Boolean => ExtensionValue::Boolean(raw[0] == 1),
            ExtensionType::Integer => ExtensionValue::Integer(u32_at(raw, 0).cast_signed()),
            ExtensionType::Binary => ExtensionValue::Binary(self.values.get_bytes(at)),
            ExtensionType::Uri => ExtensionValue::Uri(self.values.text(at).to_owned()),
            ExtensionType::UriReference => ExtensionValue::UriReference(self.values.text(at).to_owned()),
            ExtensionType::Timestamp => ExtensionValue::Timestamp(i64_at(raw, 0)),
            ExtensionType::String | ExtensionType::Unspecified => ExtensionValue::Text(self.values.text(at).to_owned()),
        })
    }

    fn position(&self, row: usize) -> Option<usize> {
        if self.index.is_empty() {
            return Some(row);
        }
        let (mut low, mut high) = (0, self.index.len() / 4);
        while low < high {
            let middle = usize::midpoint(low, high);
            match (u32_at(&self.index, middle) as usize).cmp(&row) {
                std::cmp::Ordering::Equal => return Some(middle),
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
            }
        }
        None
    }

    /// Whether both columns cover some event.
    pub(crate) fn overlaps(&self, other: &Self, count: usize) -> bool {
        (0..count).any(|row| self.position(row).is_some() && other.position(row).is_some())
    }
}
