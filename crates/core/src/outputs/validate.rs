//! The rules that the columns of an answer must keep.

use super::{OutputColumns, WHOLE};
use crate::{
    batch::{
        Attribute, Malformed, Rule,
        validate::{count, extensions, fixed, payloads, strings},
        values::u32_at,
    },
    limits,
};

pub(super) fn outputs(columns: &OutputColumns, inputs: u32) -> Result<(), Malformed> {
    count(columns.count)?;
    let bytes = columns.bytes();
    if bytes > limits::BATCH_BYTES {
        return Err(Malformed::new("outputs", Rule::BatchBytes { bytes }));
    }
    let rows = columns.count as usize;
    if let Some(payload) = &columns.payload {
        payloads("payload", payload, rows)?;
    }
    parents(columns, inputs)?;
    fixed("time", &columns.time, 8, rows)?;
    let attributes = [
        (Attribute::ContentType, &columns.content_type),
        (Attribute::Type, &columns.type_),
        (Attribute::Subject, &columns.subject),
        (Attribute::Key, &columns.key),
        (Attribute::Id, &columns.id),
        (Attribute::DataSchema, &columns.data_schema),
    ];
    for (attribute, column) in attributes {
        if let Some(column) = column {
            strings(attribute.name(), column, rows, attribute.limit())?;
        }
    }
    if let Some(route) = &columns.route {
        strings("route", route, rows, limits::ATTRIBUTE_BYTES)?;
    }
    extensions(&columns.extensions, columns.count, true)
}

fn parents(columns: &OutputColumns, inputs: u32) -> Result<(), Malformed> {
    if columns.parent.is_empty() {
        if columns.count > inputs {
            return Err(Malformed::new("parent", Rule::ParentMissing { outputs: columns.count, inputs }));
        }
        return Ok(());
    }
    fixed("parent", &columns.parent, 4, columns.count as usize)?;
    let mut previous = 0;
    for output in 0..columns.count as usize {
        let parent = u32_at(&columns.parent, output);
        let broken = if parent != WHOLE && parent >= inputs {
            Some(Rule::ParentRange { output, parent, count: inputs })
        } else if parent < previous {
            Some(Rule::ParentOrder { output, previous, parent })
        } else if parent == WHOLE && columns.payload.is_none() {
            Some(Rule::WholeWithoutPayload { output })
        } else {
            None
        };
        if let Some(rule) = broken {
            return Err(Malformed::new("parent", rule));
        }
        previous = parent;
    }
    Ok(())
}
