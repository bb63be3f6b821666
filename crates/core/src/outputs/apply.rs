//! From an answer and its inputs to the events that go on.

use bytes::Bytes;

use super::{NodeIdentity, Outputs, Parents, Routes, extensions};
use crate::batch::{
    ABSENT, Attribute, Batch, Column, Malformed, Strings, TIME_ABSENT, TIME_INHERITED, strings_of,
    values::{i64_at, u32_at},
};

/// The events that an answer made.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The output events, sharing what they have from their parents.
    pub batch: Batch,
    /// The input of each.
    pub parents: Parents,
    /// The route of each.
    pub routes: Routes,
    /// Give this to [`Outputs::apply`] with the next result of the same work.
    pub ordinals: Ordinals,
}

/// How many outputs earlier results of a work had, so that output numbers go on across results.
/// A work starts with the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Ordinals {
    /// The parent that goes on, and the number of its next output.
    pub(super) open: Option<(u32, u32)>,
    /// Number of the next output of the whole batch.
    pub(super) whole: u32,
}

impl Answer {
    /// Leaves out the outputs of the inputs that `leave` names.
    pub(crate) fn leave_out(&mut self, leave: impl Fn(u32) -> bool) {
        let kept: Vec<u32> = (0..)
            .zip(self.parents.iter())
            .filter(|(_, parent)| !parent.is_some_and(&leave))
            .map(|(output, _)| output)
            .collect();
        if kept.len() < self.parents.len() {
            self.batch = self.batch.select(&kept);
            self.parents = self.parents.select(&kept);
            self.routes = self.routes.select(&kept);
        }
    }
}

impl Outputs {
    /// The output events. `input` is the batch of the work that these outputs were validated for.
    ///
    /// The events keep the parents' columns but for `from`, and get uid, id and source by the rules of identity.
    /// Fails when outputs and parents together have more extensions, or one input more outputs, than are allowed.
    pub fn apply(&self, input: &Batch, node: &NodeIdentity, before: Ordinals) -> Result<Answer, Malformed> {
        let mut parts = input.parts().pick(&mut self.0.parents.picker());
        parts.strings[Attribute::From as usize] = None;
        let inherited: Batch = parts.clone().into();
        if let Some(payload) = &self.0.columns.payload {
            parts.payload = Some(Column::own(payload.clone()));
        }
        let overrides = [
            (Attribute::ContentType, &self.0.columns.content_type),
            (Attribute::Type, &self.0.columns.type_),
            (Attribute::Subject, &self.0.columns.subject),
            (Attribute::Key, &self.0.columns.key),
            (Attribute::DataSchema, &self.0.columns.data_schema),
        ];
        for (attribute, column) in overrides {
            if let Some(column) = column.as_ref().filter(|column| !column.values.is_empty()) {
                parts.strings[attribute as usize] = override_strings(&inherited, attribute, column).map(Column::own);
            }
        }
        if !self.0.columns.time.is_empty() {
            parts.time = Some(Column::own(override_times(&inherited, &self.0.columns.time)));
        }
        if !self.0.columns.extensions.is_empty() {
            parts.extensions = extensions::merge(&inherited, &self.0.columns.extensions)?;
        }
        let ordinals = Answer::identify(&mut parts, self, input, node, before)?;
        Ok(Answer {
            batch: parts.into(),
            parents: self.0.parents.clone(),
            routes: Routes::new(self.0.columns.route.clone()),
            ordinals,
        })
    }
}

/// The node's column as it is, unless some outputs keep or clear their parent's value.
fn override_strings(inherited: &Batch, attribute: Attribute, column: &Strings) -> Option<Strings> {
    let inherits = (0..column.index.len() / 4).any(|row| u32_at(&column.index, row) == ABSENT);
    let clears = (0..column.values.len()).any(|value| column.values.size(value) == 0);
    if !inherits && !clears {
        return Some(column.clone());
    }
    strings_of((0..inherited.len()).map(|row| match column.raw(row) {
        None => inherited.attribute(attribute, row),
        value => value,
    }))
}

fn override_times(inherited: &Batch, column: &Bytes) -> Bytes {
    let rows = 0..inherited.len();
    if rows.clone().all(|row| i64_at(column, row) != TIME_INHERITED) {
        return column.clone();
    }
    let times = rows.flat_map(|row| {
        let time = match i64_at(column, row) {
            TIME_INHERITED => inherited.time_ns(row).unwrap_or(TIME_ABSENT),
            time => time,
        };
        time.to_le_bytes()
    });
    times.collect::<Vec<u8>>().into()
}
