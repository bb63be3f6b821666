//! Why spans cannot be exported as configured.

use thiserror::Error;

/// A setting that cannot be followed. Names the setting and what would do; never a header's value, which may be secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ExportError {
    /// No address.
    #[error(
        "{setting}: `{value}` is no collector's address: {reason}. Write it like http://127.0.0.1:4317 (OTLP over gRPC)"
    )]
    Endpoint {
        /// The flag or variable.
        setting: String,
        /// As given.
        value: String,
        /// Why not.
        reason: String,
    },
    /// A value that means nothing.
    #[error("{setting}: `{value}` is not {expected}")]
    Value {
        /// The variable.
        setting: String,
        /// As given.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
    /// A header or resource attribute.
    #[error(
        "{setting}: entry {number} is not KEY=VALUE with a percent-encoded value. Write it like KEY1=VALUE1,KEY2=VALUE2"
    )]
    Pairs {
        /// The variable.
        setting: String,
        /// Which entry, from 1.
        number: usize,
    },
}
