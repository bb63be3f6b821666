//! Extensions of outputs: the parents', less those removed, with those set.

use std::sync::Arc;

use crate::{
    batch::{Batch, Column, Extension, ExtensionBuilder, ExtensionType, Malformed, Rule},
    limits,
};

/// `inherited` has the parents' extensions under the outputs' map.
pub(super) fn merge(inherited: &Batch, changes: &[Extension]) -> Result<Vec<Column<Extension>>, Malformed> {
    let changed = |name: &str| changes.iter().any(|change| *change.name == *name);
    let columns = &inherited.parts().extensions;
    let mut merged: Vec<_> = columns.iter().filter(|column| !changed(&column.data.name)).cloned().collect();
    for (at, change) in changes.iter().enumerate() {
        if changes[..at].iter().any(|earlier| earlier.name == change.name) {
            continue;
        }
        if change.index.is_empty() {
            // All outputs are covered: nothing of the parents' is left.
            if change.kind != ExtensionType::Unspecified {
                merged.push(Column::own(change.clone()));
            }
        } else {
            merged.extend(rebuild(inherited, changes, &change.name).map(Column::own));
        }
    }
    if merged.len() > limits::EXTENSIONS {
        return Err(Malformed::new("extensions", Rule::Extensions { found: merged.len() }));
    }
    Ok(merged)
}

/// The columns of one name, row by row: a change goes before what is inherited.
fn rebuild(inherited: &Batch, changes: &[Extension], name: &Arc<str>) -> impl Iterator<Item = Extension> {
    let changes: Vec<_> = changes.iter().filter(|change| change.name == *name).collect();
    let parents: Vec<_> = inherited.parts().extensions.iter().filter(|column| column.data.name == *name).collect();
    let mut made: Vec<(ExtensionType, ExtensionBuilder)> = Vec::new();
    let mut push = |kind, row, value: &[u8]| {
        let at = made.iter().position(|(known, _)| *known == kind).unwrap_or_else(|| {
            made.push((kind, ExtensionBuilder::new(name.clone(), kind)));
            made.len() - 1
        });
        made[at].1.push(row, value);
    };
    for row in 0..inherited.len() {
        let change = changes.iter().find_map(|change| Some((change, change.entry(row)?)));
        if let Some((change, entry)) = change {
            if change.kind != ExtensionType::Unspecified {
                push(change.kind, row, change.values.get(entry));
            }
            continue;
        }
        let parent = parents.iter().find_map(|column| Some((column, column.data.entry(column.row(row)?)?)));
        if let Some((column, entry)) = parent {
            push(column.data.kind, row, column.data.values.get(entry));
        }
    }
    let rows = inherited.len();
    made.into_iter().filter_map(move |(_, builder)| builder.finish(rows))
}
