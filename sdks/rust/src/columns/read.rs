//! Reads an answer back, as the test kit shows it.

use std::collections::BTreeMap;

use bytes::Bytes;
use meshloom_proto::v1::{self, ExtensionType};

use super::{
    ABSENT, ExtensionValue, Malformed, NO_TIME, PARENT_TIME,
    extension::ExtensionColumn,
    limits::{MAX_ATTRIBUTE_BYTES, MAX_EVENT_BYTES},
    u32_at,
    values::{Strings, Values, i64_at},
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
    subject: Strings,
    key: Strings,
    data_schema: Strings,
    id: Strings,
    time: Bytes,
    extensions: Vec<ExtensionColumn>,
    /// Names that are removed, and from which events.
    removed: Vec<(String, Bytes)>,
}

/// What batches and outputs have in common.
macro_rules! columns {
    ($wire:expr) => {{
        let wire = $wire;
        let strings = |column: &Option<v1::Strings>, name| {
            Strings::decode(column.clone(), wire.count as usize, name, MAX_ATTRIBUTE_BYTES)
        };
        let (removed, set): (Vec<_>, Vec<_>) =
            wire.extensions.iter().cloned().partition(|column| column.r#type() == ExtensionType::Unspecified);
        let decode = |column| ExtensionColumn::decode(column, wire.count as usize);
        Columns {
            payload: wire
                .payload
                .clone()
                .map(|values| Values::decode(values, "payload", MAX_EVENT_BYTES))
                .transpose()?,
            content_type: strings(&wire.content_type, "content_type")?,
            kind: strings(&wire.r#type, "type")?,
            subject: strings(&wire.subject, "subject")?,
            key: strings(&wire.key, "key")?,
            data_schema: strings(&wire.data_schema, "data_schema")?,
            id: strings(&wire.id, "id")?,
            time: wire.time.clone(),
            extensions: set.into_iter().map(decode).collect::<Result<_, _>>()?,
            removed: removed.into_iter().map(|column| (column.name, column.index)).collect(),
        }
    }};
}

impl Columns {
    fn time(&self, row: usize) -> Option<i64> {
        if self.time.is_empty() { None } else { Some(i64_at(&self.time, row)) }
    }

    fn extensions(&self, row: usize) -> impl Iterator<Item = (String, ExtensionValue)> {
        self.extensions.iter().filter_map(move |column| Some((column.name.clone(), column.get(row)?)))
    }

    fn removed(&self, row: usize) -> impl Iterator<Item = &str> {
        let covers =
            move |index: &Bytes| index.is_empty() || (0..index.len() / 4).any(|i| u32_at(index, i) as usize == row);
        self.removed.iter().filter(move |(_, index)| covers(index)).map(|(name, _)| name.as_str())
    }
}

impl Outputs {
    pub(crate) fn new(outputs: &v1::Outputs, parents: &v1::Batch) -> Result<Self, Malformed> {
        let route = Strings::decode(outputs.route.clone(), outputs.count as usize, "route", MAX_ATTRIBUTE_BYTES)?;
        Ok(Self { own: columns!(outputs), parents: Some(columns!(parents)), route })
    }

    /// What a source produced: events without parents.
    pub(crate) fn of_batch(batch: &v1::Batch) -> Result<Self, Malformed> {
        Ok(Self { own: columns!(batch), parents: None, route: Strings::Absent })
    }

    pub(crate) fn output(&self, i: usize, row: u32, parent: Option<usize>) -> TestOutput {
        let above = self.parents.as_ref().filter(|_| row != ABSENT);
        let row = row as usize;
        let text = |own: &Strings, inherited: Option<&Strings>| {
            let set = own.get(i).or_else(|| inherited.and_then(|column| column.get(row)));
            set.filter(|text| !text.is_empty()).map(str::to_owned)
        };
        let payload = match (&self.own.payload, above.and_then(|columns| columns.payload.as_ref())) {
            (Some(values), _) => values.get_bytes(i),
            (None, Some(inherited)) => inherited.get_bytes(row),
            (None, None) => Bytes::new(),
        };
        let time_ns = match self.own.time(i) {
            None | Some(PARENT_TIME) => above.and_then(|columns| columns.time(row)),
            own => own,
        };
        let mut extensions: BTreeMap<String, ExtensionValue> =
            above.into_iter().flat_map(|columns| columns.extensions(row)).collect();
        for name in self.own.removed(i) {
            extensions.remove(name);
        }
        extensions.extend(self.own.extensions(i));
        TestOutput {
            parent,
            payload,
            content_type: text(&self.own.content_type, above.map(|columns| &columns.content_type)),
            key: text(&self.own.key, above.map(|columns| &columns.key)),
            route: text(&self.route, None),
            kind: text(&self.own.kind, above.map(|columns| &columns.kind)),
            subject: text(&self.own.subject, above.map(|columns| &columns.subject)),
            data_schema: text(&self.own.data_schema, above.map(|columns| &columns.data_schema)),
            id: text(&self.own.id, None),
            time_ns: time_ns.filter(|&time| time != NO_TIME),
            extensions,
        }
    }
}
