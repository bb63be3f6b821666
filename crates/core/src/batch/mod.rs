//! Events in columns: immutable, cheap to clone, cheap to cut.
//!
//! A [`Batch`] is a set of columns, each with a map from the batch's rows to its own ([`rows::Rows`]). Cutting a batch
//! changes maps, not columns; an answer's batch keeps the parents' columns under a map and adds the changed ones. Bytes
//! are copied only by [`Batch::compact`], [`Batch::detach`], [`Batch::concat`] and for columns that
//! [`Batch::to_columns`] finds under a map.

mod builder;
mod columns;
mod error;
pub(crate) mod event;
mod extension;
mod gather;
mod identity;
mod parts;
mod rows;
mod size;
mod span;
#[cfg(test)]
pub(crate) mod tests;
pub(crate) mod validate;
pub(crate) mod values;

use std::{
    fmt,
    ops::Range,
    sync::{Arc, OnceLock},
};

use bytes::Bytes;

pub use self::{
    builder::BatchBuilder,
    columns::{ABSENT, Attribute, Columns, Extension, ExtensionType, Strings, TIME_ABSENT, TIME_INHERITED, Values},
    error::{Malformed, Rule},
    event::{Event, EventError},
    extension::ExtensionValue,
    span::SpanContext,
};
pub(crate) use self::{
    gather::{ExtensionBuilder, strings_of},
    parts::{Column, Parts, Pin},
    rows::{Picker, Rows},
};
use crate::ids::Uid;

/// Events in columns.
#[derive(Clone)]
pub struct Batch(Arc<Inner>);

struct Inner {
    parts: Parts,
    bytes: OnceLock<usize>,
}

impl From<Parts> for Batch {
    fn from(parts: Parts) -> Self {
        Self(Arc::new(Inner { parts, bytes: OnceLock::new() }))
    }
}

impl fmt::Debug for Batch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch").field("len", &self.len()).field("bytes", &self.bytes()).finish_non_exhaustive()
    }
}

/// Making and taking apart.
impl Batch {
    /// Validates the columns of a frame against every rule of the protocol.
    pub fn from_columns(columns: Columns) -> Result<Self, Malformed> {
        validate::batch(&columns)?;
        Ok(Self::from_valid(columns))
    }

    /// From columns that are known to keep the rules.
    pub(crate) fn from_valid(columns: Columns) -> Self {
        Parts::from_columns(columns).into()
    }

    /// The columns, if the batch has them whole and unchanged: then it goes on the wire as it is.
    #[must_use]
    pub fn flat_columns(&self) -> Option<Columns> {
        self.parts().is_flat().then(|| self.to_columns())
    }

    /// The columns, ready for the wire. Only those that are under a map are copied.
    #[must_use]
    pub fn to_columns(&self) -> Columns {
        gather::one(self)
    }

    /// The same events with every column whole, so that [`flat_columns`](Self::flat_columns) is free from now on.
    #[must_use]
    pub fn flatten(&self) -> Self {
        if self.parts().is_flat() { self.clone() } else { Self::from_valid(self.to_columns()) }
    }

    pub(crate) fn parts(&self) -> &Parts {
        &self.0.parts
    }
}

/// Reading. Rows count from 0; a row that is not below [`len`](Batch::len) panics.
impl Batch {
    /// Number of events.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parts().len
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The payload.
    #[must_use]
    pub fn payload(&self, row: usize) -> &[u8] {
        let found = self.parts().payload.as_ref().and_then(|column| Some(column.data.get(column.row(row)?)));
        found.unwrap_or_default()
    }

    /// The payload as a slice that shares the column; it keeps the whole column in memory.
    #[must_use]
    pub fn payload_bytes(&self, row: usize) -> Bytes {
        let found = self.parts().payload.as_ref().and_then(|column| Some(column.data.get_shared(column.row(row)?)));
        found.unwrap_or_default()
    }

    /// The identity; [`Uid::NIL`] until the coordinator has set it.
    #[must_use]
    pub fn uid(&self, row: usize) -> Uid {
        let found = self.parts().uid.as_ref().and_then(|column| {
            let bytes = column.data[column.row(row)? * 16..].first_chunk().expect("uids are validated");
            Some(Uid::from_bytes(*bytes))
        });
        found.unwrap_or_default()
    }

    /// Whether identities have been set.
    #[must_use]
    pub fn has_uids(&self) -> bool {
        self.parts().uid.is_some()
    }

    /// Time of occurrence, UTC nanoseconds since the Unix epoch.
    #[must_use]
    pub fn time_ns(&self, row: usize) -> Option<i64> {
        let column = self.parts().time.as_ref()?;
        let time = values::i64_at(&column.data, column.row(row)?);
        (time != TIME_ABSENT).then_some(time)
    }

    /// A string attribute. An empty one is an absent one.
    #[must_use]
    pub fn attribute(&self, attribute: Attribute, row: usize) -> Option<&str> {
        let column = self.parts().strings[attribute as usize].as_ref()?;
        column.data.raw(column.row(row)?).filter(|value| !value.is_empty())
    }

    /// A string attribute as its bytes, which spares the look at whether they are UTF-8.
    pub(crate) fn attribute_bytes(&self, attribute: Attribute, row: usize) -> Option<&[u8]> {
        let column = self.parts().strings[attribute as usize].as_ref()?;
        let slot = column.data.slot(column.row(row)?)?;
        Some(column.data.values.get(slot)).filter(|value| !value.is_empty())
    }

    /// Media type of the payload, RFC 2046.
    #[must_use]
    pub fn content_type(&self, row: usize) -> Option<&str> {
        self.attribute(Attribute::ContentType, row)
    }

    /// CloudEvents `id`.
    #[must_use]
    pub fn id(&self, row: usize) -> Option<&str> {
        self.attribute(Attribute::Id, row)
    }

    /// CloudEvents `source`.
    #[must_use]
    pub fn source(&self, row: usize) -> Option<&str> {
        self.attribute(Attribute::Source, row)
    }

    /// CloudEvents `type`.
    #[must_use]
    pub fn type_(&self, row: usize) -> Option<&str> {
        self.attribute(Attribute::Type, row)
    }

    /// CloudEvents `subject`.
    #[must_use]
    pub fn subject(&self, row: usize) -> Option<&str> {
        self.attribute(Attribute::Subject, row)
    }

    /// Ordering key.
    #[must_use]
    pub fn key(&self, row: usize) -> Option<&str> {
        self.attribute(Attribute::Key, row)
    }

    /// CloudEvents `dataschema`.
    #[must_use]
    pub fn data_schema(&self, row: usize) -> Option<&str> {
        self.attribute(Attribute::DataSchema, row)
    }

    /// The upstream as the pipeline file writes it; set at a node with several upstreams.
    #[must_use]
    pub fn from(&self, row: usize) -> Option<&str> {
        self.attribute(Attribute::From, row)
    }

    /// Extension attributes with their names.
    pub fn extensions(&self, row: usize) -> impl Iterator<Item = (&str, ExtensionValue<'_>)> {
        self.parts().extensions.iter().filter_map(move |column| {
            let entry = column.data.entry(column.row(row)?)?;
            Some((&*column.data.name, column.data.value(entry)))
        })
    }

    /// Number of extension columns; at most [`limits::EXTENSIONS`](crate::limits::EXTENSIONS) fit in one frame.
    #[must_use]
    pub fn extension_columns(&self) -> usize {
        self.parts().extensions.len()
    }

    /// Trace context, if the event is sampled.
    #[must_use]
    pub fn span(&self, row: usize) -> Option<&SpanContext> {
        let spans = self.parts().spans.as_deref()?;
        let at = spans.binary_search_by_key(&(row as u32), |(row, _)| *row).ok()?;
        Some(&spans[at].1)
    }

    /// The sampled events by ascending row.
    pub fn spans(&self) -> impl Iterator<Item = (usize, &SpanContext)> {
        self.parts().spans.iter().flat_map(|spans| spans.iter().map(|(row, span)| (*row as usize, span)))
    }

    /// Whether any event is sampled.
    #[must_use]
    pub fn has_spans(&self) -> bool {
        self.parts().spans.is_some()
    }
}

/// Cutting and joining.
impl Batch {
    /// The events of these rows, in this order; a row may come several times. Copies no columns.
    #[must_use]
    pub fn select(&self, rows: &[u32]) -> Self {
        assert!(rows.iter().all(|&row| (row as usize) < self.len()), "selected rows lie within the batch");
        self.picked(Picker::rows(rows.into()))
    }

    /// Neighbouring events. Copies no columns.
    #[must_use]
    pub fn slice(&self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.len(), "sliced rows lie within the batch");
        self.picked(Picker::range(range))
    }

    fn picked(&self, mut picker: Picker) -> Self {
        match picker {
            Picker::Range(ref range) if range.len() == self.len() => self.clone(),
            _ => self.parts().pick(&mut picker).into(),
        }
    }

    /// Copies the events out if they are under a quarter of the bytes that they keep in memory.
    #[must_use]
    pub fn compact(self) -> Self {
        if self.bytes().saturating_mul(4) < self.pinned_bytes() { self.detach() } else { self }
    }

    /// The events in memory of their own: for whatever has to wait.
    ///
    /// At most 4 GiB of payload; a batch that an answer has multiplied beyond that must be cut first.
    #[must_use]
    pub fn detach(&self) -> Self {
        Self::concat(std::slice::from_ref(self))
    }

    /// All events in one flat batch with memory of its own. Ask [`may_join`](Self::may_join) whether it will fit a frame.
    #[must_use]
    pub fn concat(batches: &[Self]) -> Self {
        Self::from_valid(gather::all(batches))
    }

    /// Whether `next` can be joined to `batches` without more extension columns than a frame may have.
    #[must_use]
    pub fn may_join(batches: &[Self], next: &Self) -> bool {
        next.extension_columns() == 0
            || gather::extension_keys(batches.iter().chain([next])).len() <= crate::limits::EXTENSIONS
    }
}

/// Setting a column.
impl Batch {
    /// With these identities, one per event.
    #[must_use]
    pub fn with_uids(&self, uids: Vec<Uid>) -> Self {
        assert_eq!(uids.len(), self.len(), "one uid per event");
        let mut data = Vec::with_capacity(uids.len() * 16);
        uids.iter().for_each(|uid| data.extend_from_slice(uid.as_bytes()));
        let mut parts = self.parts().clone();
        parts.uid = Some(Column::own(data.into()));
        parts.into()
    }

    /// With this upstream for all events.
    #[must_use]
    pub fn with_from(&self, from: &str) -> Self {
        self.with_strings(Attribute::From, Strings::constant(from))
    }

    /// With this `source` for the events that have none.
    #[must_use]
    pub fn with_default_source(&self, source: &str) -> Self {
        if self.parts().strings[Attribute::Source as usize].is_none() {
            return self.with_strings(Attribute::Source, Strings::constant(source));
        }
        if (0..self.len()).all(|row| self.source(row).is_some()) {
            return self.clone();
        }
        let filled = gather::strings_of((0..self.len()).map(|row| self.source(row).or(Some(source))));
        self.with_strings(Attribute::Source, filled.unwrap_or_default())
    }

    /// With exactly these trace contexts. Of several for one row the first counts; those that are not valid are left out.
    #[must_use]
    pub fn with_spans(&self, mut spans: Vec<(u32, SpanContext)>) -> Self {
        assert!(spans.iter().all(|(row, _)| (*row as usize) < self.len()), "spans belong to rows of the batch");
        spans.retain(|(_, span)| span.is_valid());
        spans.sort_by_key(|(row, _)| *row);
        spans.dedup_by_key(|(row, _)| *row);
        let mut parts = self.parts().clone();
        parts.spans = (!spans.is_empty()).then(|| spans.into());
        parts.into()
    }

    fn with_strings(&self, attribute: Attribute, column: Strings) -> Self {
        let mut parts = self.parts().clone();
        parts.strings[attribute as usize] = Some(Column::own(column));
        parts.into()
    }
}
