//! Events in columns: what came over the wire, checked once, and what goes back.

mod batch;
mod build;
mod extension;
pub mod limits;
pub(crate) mod read;
#[cfg(test)]
mod tests;
mod values;

pub use batch::Batch;
pub(crate) use batch::SpanRef;
pub(crate) use build::{ColumnsBuilder, Text, ValuesBuilder};
pub use extension::ExtensionValue;
pub(crate) use extension::name_is_valid;
pub(crate) use values::u32_at;

/// The index that means "no value", "as the parent's" or "the whole work", wherever an index stands.
pub(crate) const ABSENT: u32 = u32::MAX;
/// The time that means "no time".
pub(crate) const NO_TIME: i64 = i64::MIN;
/// The time that means "as the parent's", in outputs.
pub(crate) const PARENT_TIME: i64 = i64::MIN + 1;

/// Why a batch cannot be read: a stable code and a sentence for a person.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}: {message}")]
pub(crate) struct Malformed {
    pub(crate) reason: &'static str,
    pub(crate) message: String,
}

impl Malformed {
    pub(crate) fn batch(message: String) -> Self {
        Self { reason: "BATCH_MALFORMED", message }
    }

    fn value_too_large(column: &str, i: usize, size: usize, max: usize) -> Self {
        let reason = if column == "payload" { "EVENT_TOO_LARGE" } else { "ATTRIBUTE_TOO_LARGE" };
        Self { reason, message: format!("column `{column}`: value {i} has {size} bytes; at most {max} are allowed") }
    }
}
