//! What can be wrong with the columns of a frame.

use std::borrow::Cow;

use thiserror::Error;

use crate::limits;

/// A frame that breaks a rule of the protocol. The message says which column, which rule and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("column `{column}`: {rule}")]
pub struct Malformed {
    /// The column, as the wire contract names it.
    pub column: Cow<'static, str>,
    /// The rule.
    pub rule: Rule,
}

impl Malformed {
    pub(crate) fn new(column: impl Into<Cow<'static, str>>, rule: Rule) -> Self {
        Self { column: column.into(), rule }
    }
}

/// A rule of the protocol that was broken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
pub enum Rule {
    #[error("{count} rows, allowed are 1 to {}", limits::BATCH_EVENTS)]
    Count { count: u32 },
    #[error("{bytes} bytes in all columns together, allowed are {}", limits::BATCH_BYTES)]
    BatchBytes { bytes: usize },
    #[error("{bytes} bytes are no whole number of entries of {size} bytes")]
    Ragged { bytes: usize, size: usize },
    #[error("{found} entries for {expected} rows")]
    Length { found: usize, expected: usize },
    #[error("value {value} ends at {end}, before the value ahead of it, which ends at {previous}")]
    EndsFall { value: usize, previous: u32, end: u32 },
    #[error("the last value ends at {end}, but there are {data} bytes of data")]
    EndsData { end: usize, data: usize },
    #[error("value {value} is no valid UTF-8")]
    Utf8 { value: usize },
    #[error("value {value} has {bytes} bytes, allowed are {limit}")]
    ValueBytes { value: usize, bytes: usize, limit: usize },
    #[error("row {row} points at value {slot} of {values}")]
    IndexRange { row: usize, slot: u32, values: usize },
    #[error("entry {entry} names row {row} of {count}")]
    RowRange { entry: usize, row: u32, count: u32 },
    #[error("entry {entry} names row {row}, rows must ascend and not repeat")]
    RowOrder { entry: usize, row: u32 },
    #[error("{found} extension columns, allowed are {}", limits::EXTENSIONS)]
    Extensions { found: usize },
    #[error("`{name}` is no extension name: 1 to {} characters of [a-z0-9]", limits::EXTENSION_NAME_CHARS)]
    ExtensionName { name: String },
    #[error("extension type {code} does not exist")]
    ExtensionType { code: i32 },
    #[error("an extension column of a batch must say its type")]
    ExtensionUntyped,
    #[error("an extension column that removes values cannot hold {values} values")]
    ExtensionRemovesValues { values: usize },
    #[error("there are two columns of this name and type")]
    ExtensionColumnTwice,
    #[error("row {row} has the extension twice")]
    ExtensionTwice { row: u32 },
    #[error("value {value} is no boolean: one byte, 0 or 1")]
    Boolean { value: usize },
    #[error("value {value} has {bytes} bytes, its type has {expected}")]
    Fixed { value: usize, bytes: usize, expected: usize },
    #[error("the trace id of row {row} has {bytes} bytes, must have 16")]
    TraceId { row: u32, bytes: usize },
    #[error("the span id of row {row} has {bytes} bytes, must have 8")]
    SpanId { row: u32, bytes: usize },
    #[error("the trace or span id of row {row} is all zero")]
    SpanZero { row: u32 },
    #[error("the trace state of row {row} has {bytes} bytes, allowed are {}", limits::TRACE_STATE_BYTES)]
    TraceState { row: u32, bytes: usize },
    #[error("output {output} names input {parent} of {count}")]
    ParentRange { output: usize, parent: u32, count: u32 },
    #[error("output {output} names input {parent} after input {previous}, inputs must not fall")]
    ParentOrder { output: usize, previous: u32, parent: u32 },
    #[error("{outputs} outputs without parents for {inputs} inputs; an empty column means output i came from input i")]
    ParentMissing { outputs: u32, inputs: u32 },
    #[error("output {output} comes from the whole batch and has no payload; such outputs carry their own")]
    WholeWithoutPayload { output: usize },
    #[error("output {output} of input {parent} would be its output number {ordinal}, more than can be counted")]
    Ordinal { output: usize, parent: u32, ordinal: u64 },
}
