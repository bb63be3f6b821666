//! Answers of a node: output events in columns that name the inputs they came from.

mod apply;
mod builder;
mod extensions;
mod identity;
mod parents;
mod routes;
#[cfg(test)]
mod tests;
mod validate;

use std::sync::Arc;

use bytes::Bytes;

pub use self::{
    apply::{Answer, Ordinals},
    builder::{EmitError, OutputEvent, OutputsBuilder},
    identity::NodeIdentity,
    parents::Parents,
    routes::Routes,
};
use crate::batch::{Extension, Malformed, Strings, Values};

/// Reason of an answer that breaks a rule of the protocol: the open inputs of its work are retried.
pub const RESULT_MALFORMED: &str = "RESULT_MALFORMED";

/// The parent of an output that came from the whole batch.
pub const WHOLE: u32 = u32::MAX;

/// All columns of an answer, as they stand on the wire.
///
/// In string columns an index of [`ABSENT`](crate::batch::ABSENT) and in `time`
/// [`TIME_INHERITED`](crate::batch::TIME_INHERITED) mean "as the parent's"; an empty string clears.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OutputColumns {
    /// Number of outputs.
    pub count: u32,
    /// Input of each output: u32 little-endian, never falling, or [`WHOLE`]. Empty: output i came from input i.
    pub parent: Bytes,
    /// The last parent named goes on in the next result.
    pub continued: bool,
    /// Payloads; absent: the parents'.
    pub payload: Option<Values>,
    /// Media types.
    pub content_type: Option<Strings>,
    /// CloudEvents `type`.
    pub type_: Option<Strings>,
    /// CloudEvents `subject`.
    pub subject: Option<Strings>,
    /// Ordering key.
    pub key: Option<Strings>,
    /// i64 little-endian per output; empty: the parents'.
    pub time: Bytes,
    /// Ids set by the node.
    pub id: Option<Strings>,
    /// Route of each output.
    pub route: Option<Strings>,
    /// CloudEvents `dataschema`.
    pub data_schema: Option<Strings>,
    /// Extensions set or removed.
    pub extensions: Vec<Extension>,
}

impl OutputColumns {
    /// Bytes of all parts together.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let strings =
            [&self.content_type, &self.type_, &self.subject, &self.key, &self.id, &self.route, &self.data_schema];
        self.parent.len()
            + self.time.len()
            + self.payload.as_ref().map_or(0, Values::bytes)
            + strings.into_iter().flatten().map(Strings::bytes).sum::<usize>()
            + self.extensions.iter().map(|e| e.name.len() + e.values.bytes() + e.index.len()).sum::<usize>()
    }
}

/// Validated outputs of a work. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outputs(Arc<Inner>);

#[derive(Debug, PartialEq, Eq)]
struct Inner {
    columns: OutputColumns,
    parents: Parents,
}

impl Outputs {
    /// Validates the columns against every rule of the protocol and the number of the work's inputs.
    pub fn from_columns(columns: OutputColumns, inputs: u32) -> Result<Self, Malformed> {
        validate::outputs(&columns, inputs)?;
        Ok(Self::from_valid(columns))
    }

    pub(crate) fn from_valid(columns: OutputColumns) -> Self {
        let parents = Parents::from_column(&columns.parent, columns.count as usize);
        Self(Arc::new(Inner { columns, parents }))
    }

    /// The columns, ready for the wire.
    #[must_use]
    pub fn columns(&self) -> &OutputColumns {
        &self.0.columns
    }

    /// Number of outputs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.columns.count as usize
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.columns.count == 0
    }

    /// The inputs that the outputs came from.
    #[must_use]
    pub fn parents(&self) -> &Parents {
        &self.0.parents
    }

    /// Whether the last parent named goes on in the next result of the work.
    #[must_use]
    pub fn continued(&self) -> bool {
        self.0.columns.continued
    }

    /// Bytes of all columns together.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.0.columns.bytes()
    }
}
