//! Reads an answer back, as the test kit shows it.

use bytes::Bytes;
use meshloom_proto::v1;

use super::{
    ABSENT, Malformed,
    limits::{MAX_ATTRIBUTE_BYTES, MAX_EVENT_BYTES},
    values::{Strings, Values},
};
use crate::testing::TestOutput;

/// The columns of outputs over those of their parents.
pub(crate) struct Outputs {
    own: Columns,
    parents: Option<Columns>,
    route: Strings,
}

struct Columns {
    payload: Option<Values>,
    content_type: Strings,
    kind: Strings,
    key: Strings,
    id: Strings,
}

fn strings(column: Option<&v1::Strings>, count: u32, name: &str) -> Result<Strings, Malformed> {
    Strings::decode(column.cloned(), count as usize, name, MAX_ATTRIBUTE_BYTES)
}

fn payload(column: Option<&v1::Values>) -> Result<Option<Values>, Malformed> {
    column.map(|values| Values::decode(values.clone(), "payload", MAX_EVENT_BYTES)).transpose()
}

impl Columns {
    fn of_batch(batch: &v1::Batch) -> Result<Self, Malformed> {
        Ok(Self {
            payload: payload(batch.payload.as_ref())?,
            content_type: strings(batch.content_type.as_ref(), batch.count, "content_type")?,
            kind: strings(batch.r#type.as_ref(), batch.count, "type")?,
            key: strings(batch.key.as_ref(), batch.count, "key")?,
            id: strings(batch.id.as_ref(), batch.count, "id")?,
        })
    }
}

impl Outputs {
    pub(crate) fn new(outputs: &v1::Outputs, parents: &v1::Batch) -> Result<Self, Malformed> {
        let own = Columns {
            payload: payload(outputs.payload.as_ref())?,
            content_type: strings(outputs.content_type.as_ref(), outputs.count, "content_type")?,
            kind: strings(outputs.r#type.as_ref(), outputs.count, "type")?,
            key: strings(outputs.key.as_ref(), outputs.count, "key")?,
            id: strings(outputs.id.as_ref(), outputs.count, "id")?,
        };
        Ok(Self {
            own,
            parents: Some(Columns::of_batch(parents)?),
            route: strings(outputs.route.as_ref(), outputs.count, "route")?,
        })
    }

    /// What a source produced: events without parents.
    pub(crate) fn of_batch(batch: &v1::Batch) -> Result<Self, Malformed> {
        Ok(Self { own: Columns::of_batch(batch)?, parents: None, route: Strings::Absent })
    }

    pub(crate) fn output(&self, i: usize, row: u32, parent: Option<usize>) -> TestOutput {
        let above = self.parents.as_ref().filter(|_| row != ABSENT);
        let row = row as usize;
        let text = |own: &Strings, inherited: Option<&Strings>| {
            let set = own.get(i).or_else(|| inherited.and_then(|column| column.get(row)));
            set.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let (payload, content_type) = match &self.own.payload {
            Some(values) => (values.get_bytes(i), text(&self.own.content_type, None)),
            None => {
                let inherited = above.and_then(|columns| columns.payload.as_ref());
                (
                    inherited.map_or_else(Bytes::new, |values| values.get_bytes(row)),
                    text(&self.own.content_type, above.map(|columns| &columns.content_type)),
                )
            }
        };
        TestOutput {
            parent,
            payload,
            content_type,
            key: text(&self.own.key, above.map(|columns| &columns.key)),
            route: text(&self.route, None),
            kind: text(&self.own.kind, above.map(|columns| &columns.kind)),
            id: text(&self.own.id, None),
        }
    }
}
