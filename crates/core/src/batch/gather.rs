//! Copying of events into flat columns.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    ABSENT, Attribute, Batch, Column, Columns, Extension, ExtensionType, Rows, SpanContext, Strings, TIME_ABSENT,
    Values,
    values::{StringsBuilder, ValuesBuilder},
};

/// Bytes of a uid.
const UID_BYTES: usize = 16;

/// Bytes of a time.
const TIME_BYTES: usize = 8;

/// The columns of one batch; those that are whole are shared, not copied.
pub(super) fn one(batch: &Batch) -> Columns {
    let parts = batch.parts();
    let batches = std::slice::from_ref(batch);
    let strings = |attribute: Attribute| match &parts.strings[attribute as usize] {
        Some(Column { data, rows: Rows::All, .. }) => Some(data.clone()),
        Some(Column { data, rows: Rows::From(first), .. }) if data.is_positional() => {
            Some(Strings { values: neighbours(&data.values, *first, batch.len()), index: Bytes::new() })
        }
        _ => strings(batches, attribute),
    };
    Columns {
        count: count(batch.len()),
        payload: match &parts.payload {
            Some(Column { data, rows: Rows::All, .. }) => Some(data.clone()),
            Some(Column { data, rows: Rows::From(first), .. }) => Some(neighbours(data, *first, batch.len())),
            _ => payloads(batches),
        },
        content_type: strings(Attribute::ContentType),
        uid: shared(&parts.uid, UID_BYTES, batch.len()).unwrap_or_else(|| uids(batches)),
        time: shared(&parts.time, TIME_BYTES, batch.len()).unwrap_or_else(|| times(batches)),
        id: strings(Attribute::Id),
        source: strings(Attribute::Source),
        type_: strings(Attribute::Type),
        subject: strings(Attribute::Subject),
        key: strings(Attribute::Key),
        data_schema: strings(Attribute::DataSchema),
        from: strings(Attribute::From),
        extensions: if parts.extensions.iter().all(Column::is_whole) {
            parts.extensions.iter().map(|column| column.data.clone()).collect()
        } else {
            extensions(batches)
        },
        spans: spans(batches),
    }
}

/// The events of all batches in columns with memory of their own.
pub(super) fn all(batches: &[Batch]) -> Columns {
    Columns {
        count: count(batches.iter().map(Batch::len).sum()),
        payload: payloads(batches),
        content_type: strings(batches, Attribute::ContentType),
        uid: uids(batches),
        time: times(batches),
        id: strings(batches, Attribute::Id),
        source: strings(batches, Attribute::Source),
        type_: strings(batches, Attribute::Type),
        subject: strings(batches, Attribute::Subject),
        key: strings(batches, Attribute::Key),
        data_schema: strings(batches, Attribute::DataSchema),
        from: strings(batches, Attribute::From),
        extensions: extensions(batches),
        spans: spans(batches),
    }
}

fn count(rows: usize) -> u32 {
    u32::try_from(rows).expect("batches are limited to 65,536 events and joined within that")
}

/// A column of `width` bytes per row, if its rows are neighbours.
fn shared(column: &Option<Column<Bytes>>, width: usize, count: usize) -> Option<Bytes> {
    let Column { data, rows, .. } = column.as_ref()?;
    let first = rows.first()?;
    Some(data.slice(first * width..(first + count) * width))
}

/// Neighbouring values share their data; only the ends are made anew.
fn neighbours(values: &Values, first: usize, count: usize) -> Values {
    if count == 0 {
        return Values::default();
    }
    let start = values.start(first);
    let ends: Vec<u8> =
        (first..first + count).flat_map(|row| ((values.end(row) - start) as u32).to_le_bytes()).collect();
    Values { data: values.data.slice(start..values.end(first + count - 1)), ends: ends.into() }
}

fn payloads(batches: &[Batch]) -> Option<Values> {
    if batches.iter().all(|batch| batch.parts().payload.is_none()) {
        return None;
    }
    let rows = batches.iter().map(Batch::len).sum();
    let mut values = ValuesBuilder::with_capacity(batches.iter().map(Batch::payload_size).sum(), rows);
    for batch in batches {
        match &batch.parts().payload {
            Some(column) => match column.rows.first() {
                Some(first) => values.extend(&column.data, first, batch.len()),
                None => (0..batch.len()).for_each(|row| values.push(batch.payload(row))),
            },
            None => (0..batch.len()).for_each(|_| values.push(&[])),
        }
    }
    Some(values.finish())
}

fn strings(batches: &[Batch], attribute: Attribute) -> Option<Strings> {
    let columns = || batches.iter().map(|batch| &batch.parts().strings[attribute as usize]);
    if columns().all(Option::is_none) {
        return None;
    }
    let mut strings = StringsBuilder::default();
    let mut slots = Vec::new();
    for (batch, column) in batches.iter().zip(columns()) {
        match column {
            None => strings.push_absent(batch.len()),
            Some(column) if column.is_whole() && column.data.is_constant() && !batch.is_empty() => {
                let slot = strings.push(column.data.values.get(0));
                strings.push_slots(slot, batch.len() - 1);
            }
            Some(column) => match column.rows.first().filter(|_| column.data.is_positional()) {
                Some(first) => strings.extend_positional(&column.data.values, first, batch.len()),
                None => extend_strings(&mut strings, column, batch.len(), &mut slots),
            },
        }
    }
    strings.finish()
}

/// Appends the rows of a column, each of its distinct values once. `slots` is scratch space.
fn extend_strings(strings: &mut StringsBuilder, column: &Column<Strings>, rows: usize, slots: &mut Vec<u32>) {
    const UNKNOWN: u32 = ABSENT - 1;
    slots.clear();
    slots.resize(column.data.values.len(), UNKNOWN);
    for row in 0..rows {
        match column.row(row).and_then(|row| column.data.slot(row)) {
            None => strings.push_absent(1),
            Some(slot) if slots[slot] == UNKNOWN => slots[slot] = strings.push(column.data.values.get(slot)),
            Some(slot) => strings.push_slot(slots[slot]),
        }
    }
}

/// A column of these values; `None`: there are none.
pub(crate) fn strings_of<'a>(values: impl Iterator<Item = Option<&'a str>>) -> Option<Strings> {
    let mut strings = StringsBuilder::default();
    for value in values {
        strings.push(value.unwrap_or_default());
    }
    strings.finish()
}

fn uids(batches: &[Batch]) -> Bytes {
    if batches.iter().all(|batch| batch.parts().uid.is_none()) {
        return Bytes::new();
    }
    let mut uids = Vec::with_capacity(batches.iter().map(Batch::len).sum::<usize>() * UID_BYTES);
    for batch in batches {
        match shared(&batch.parts().uid, UID_BYTES, batch.len()) {
            Some(neighbours) => uids.extend_from_slice(&neighbours),
            None => (0..batch.len()).for_each(|row| uids.extend_from_slice(batch.uid(row).as_bytes())),
        }
    }
    uids.into()
}

fn times(batches: &[Batch]) -> Bytes {
    if batches.iter().all(|batch| batch.parts().time.is_none()) {
        return Bytes::new();
    }
    let mut times = Vec::with_capacity(batches.iter().map(Batch::len).sum::<usize>() * TIME_BYTES);
    for batch in batches {
        match shared(&batch.parts().time, TIME_BYTES, batch.len()) {
            Some(neighbours) => times.extend_from_slice(&neighbours),
            None => (0..batch.len())
                .for_each(|row| times.extend_from_slice(&batch.time_ns(row).unwrap_or(TIME_ABSENT).to_le_bytes())),
        }
    }
    times.into()
}

/// Names with types in order of appearance: one column each.
pub(super) fn extension_keys<'a>(batches: impl Iterator<Item = &'a Batch>) -> Vec<(&'a Arc<str>, ExtensionType)> {
    let mut keys = Vec::new();
    for column in batches.flat_map(|batch| &batch.parts().extensions) {
        let key = (&column.data.name, column.data.kind);
        if !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

fn extensions(batches: &[Batch]) -> Vec<Extension> {
    let merge = |(name, kind): (&Arc<str>, ExtensionType)| {
        let mut made = ExtensionBuilder::new(name.clone(), kind);
        let mut first = 0;
        for batch in batches {
            let columns = batch.parts().extensions.iter();
            for column in columns.filter(|column| column.data.name == *name && column.data.kind == kind) {
                for row in 0..batch.len() {
                    if let Some(entry) = column.row(row).and_then(|row| column.data.entry(row)) {
                        made.push(first + row, column.data.values.get(entry));
                    }
                }
            }
            first += batch.len();
        }
        made.finish(first)
    };
    extension_keys(batches.iter()).into_iter().filter_map(merge).collect()
}

/// Appends the values of one extension by ascending row.
pub(crate) struct ExtensionBuilder {
    name: Arc<str>,
    kind: ExtensionType,
    values: ValuesBuilder,
    index: Vec<u8>,
}

impl ExtensionBuilder {
    pub(crate) fn new(name: Arc<str>, kind: ExtensionType) -> Self {
        Self { name, kind, values: ValuesBuilder::default(), index: Vec::new() }
    }

    pub(crate) fn is(&self, name: &str, kind: ExtensionType) -> bool {
        *self.name == *name && self.kind == kind
    }

    pub(crate) fn push(&mut self, row: usize, value: &[u8]) {
        self.values.push(value);
        self.index.extend_from_slice(&count(row).to_le_bytes());
    }

    /// Notes a row that the extension is removed from.
    pub(crate) fn remove(&mut self, row: usize) {
        self.index.extend_from_slice(&count(row).to_le_bytes());
    }

    /// The column of a batch of `rows` events; `None`: it covers none of them.
    pub(crate) fn finish(self, rows: usize) -> Option<Extension> {
        let covered = self.index.len() / 4;
        let index = if covered == rows { Bytes::new() } else { self.index.into() };
        let Self { name, kind, values, .. } = self;
        (covered > 0).then(|| Extension { name, kind, values: values.finish(), index })
    }
}

fn spans(batches: &[Batch]) -> Vec<(u32, SpanContext)> {
    let mut spans = Vec::new();
    let mut first = 0;
    for batch in batches {
        spans.extend(batch.spans().map(|(row, span)| (count(first + row), span.clone())));
        first += batch.len();
    }
    spans
}
