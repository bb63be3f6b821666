//! Columns under construction, for answers and for the frames of a source.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use meshloom_proto::v1::{self, ExtensionType};

use super::{ABSENT, ExtensionValue, limits::MAX_EXTENSIONS};

/// Above this many distinct values a column stops looking for equal ones: the search would cost more than it saves.
const MAX_INTERNED: usize = 256;

/// Values of variable length, end to end.
#[derive(Debug, Default)]
pub(crate) struct ValuesBuilder {
    pub(crate) data: Vec<u8>,
    ends: Vec<u8>,
}

impl ValuesBuilder {
    pub(crate) fn push(&mut self, value: &[u8]) {
        self.data.extend_from_slice(value);
        self.end();
    }

    /// Ends the value whose bytes were written to `data`.
    pub(crate) fn end(&mut self) {
        let end = u32::try_from(self.data.len()).expect("columns are flushed long before 4 GiB");
        self.ends.extend_from_slice(&end.to_le_bytes());
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len() / 4
    }

    pub(crate) fn range(&self, i: usize) -> std::ops::Range<usize> {
        let start = if i == 0 { 0 } else { super::u32_at(&self.ends, i - 1) as usize };
        start..super::u32_at(&self.ends, i) as usize
    }

    pub(crate) fn get(&self, i: usize) -> &[u8] {
        &self.data[self.range(i)]
    }

    pub(crate) fn finish(self) -> v1::Values {
        v1::Values { data: Bytes::from(self.data), ends: Bytes::from(self.ends) }
    }
}

/// A column of strings that most rows may leave unset.
#[derive(Debug, Default)]
pub(crate) struct StringsBuilder {
    values: ValuesBuilder,
    index: Vec<u32>,
    known: HashMap<Box<str>, u32>,
}

impl StringsBuilder {
    fn set(&mut self, row: usize, value: &str) {
        let at = self.intern(value);
        self.index.resize(row, ABSENT);
        self.index.push(at);
    }

    fn intern(&mut self, value: &str) -> u32 {
        if let Some(&last) = self.index.last().filter(|&&last| last != ABSENT)
            && self.values.get(last as usize) == value.as_bytes()
        {
            return last;
        }
        if let Some(&at) = self.known.get(value) {
            return at;
        }
        let at = self.values.len() as u32;
        self.values.push(value.as_bytes());
        if self.known.len() < MAX_INTERNED {
            self.known.insert(value.into(), at);
        }
        at
    }

    fn get(&self, row: usize) -> Option<&str> {
        let at = *self.index.get(row)?;
        (at != ABSENT).then(|| std::str::from_utf8(self.values.get(at as usize)).expect("only strings are pushed"))
    }

    fn finish(&self, rows: &[u32]) -> Option<v1::Strings> {
        let at = |row: u32| self.index.get(row as usize).copied().unwrap_or(ABSENT);
        let first = at(*rows.first()?);
        if rows.iter().all(|&row| at(row) == first) {
            if first == ABSENT {
                return None;
            }
            let mut one = ValuesBuilder::default();
            one.push(self.values.get(first as usize));
            return Some(v1::Strings { values: Some(one.finish()), index: Bytes::new() });
        }
        let values = v1::Values {
            data: Bytes::copy_from_slice(&self.values.data),
            ends: Bytes::copy_from_slice(&self.values.ends),
        };
        Some(v1::Strings { values: Some(values), index: rows.iter().flat_map(|&row| at(row).to_le_bytes()).collect() })
    }
}

/// The attribute columns that answers and frames have in common. Rows are set in ascending order.
#[derive(Debug, Default)]
pub(crate) struct ColumnsBuilder {
    text: [Option<Box<StringsBuilder>>; Text::COUNT],
    time: Vec<i64>,
    extensions: Vec<(u32, String, Option<ExtensionValue>)>,
    names: HashSet<String>,
    /// Bytes of all attribute values, for limits.
    pub(crate) bytes: usize,
}

/// The text attributes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Text {
    ContentType,
    Type,
    Subject,
    Key,
    Id,
    Route,
    DataSchema,
    Source,
}

impl Text {
    const COUNT: usize = 8;
    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::ContentType,
        Self::Type,
        Self::Subject,
        Self::Key,
        Self::Id,
        Self::Route,
        Self::DataSchema,
        Self::Source,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::ContentType => "content_type",
            Self::Type => "type",
            Self::Subject => "subject",
            Self::Key => "key",
            Self::Id => "id",
            Self::Route => "route",
            Self::DataSchema => "data_schema",
            Self::Source => "source",
        }
    }
}

impl ColumnsBuilder {
    pub(crate) fn set_text(&mut self, row: usize, column: Text, value: &str) {
        self.bytes += value.len();
        self.text[column as usize].get_or_insert_default().set(row, value);
    }

    pub(crate) fn text(&self, row: usize, column: Text) -> Option<&str> {
        self.text[column as usize].as_ref()?.get(row)
    }

    /// Sets the time of one row; rows between get `otherwise`.
    pub(crate) fn set_time(&mut self, row: usize, time: i64, otherwise: i64) {
        self.time.resize(row, otherwise);
        self.time.push(time);
    }

    pub(crate) fn time(&self, row: usize) -> Option<i64> {
        self.time.get(row).copied()
    }

    /// Sets an extension, or removes it with `None`.
    pub(crate) fn set_extension(&mut self, row: usize, name: &str, value: Option<ExtensionValue>) {
        self.bytes += name.len() + value.as_ref().map_or(0, |value| value.to_wire().len());
        if !self.names.contains(name) {
            self.names.insert(name.to_owned());
        }
        self.extensions.push((row as u32, name.to_owned(), value));
    }

    /// Whether one more extension of this name stays within the columns of one message. Eight types share a name.
    pub(crate) fn has_room_for_extension(&self, name: &str) -> bool {
        self.names.len() < MAX_EXTENSIONS || self.names.contains(name)
    }

    pub(crate) fn extensions_of(&self, row: usize) -> impl Iterator<Item = (&str, &Option<ExtensionValue>)> {
        self.extensions
            .iter()
            .filter(move |(at, ..)| *at as usize == row)
            .map(|(_, name, value)| (name.as_str(), value))
    }

    pub(crate) fn has_extensions(&self) -> bool {
        !self.extensions.is_empty()
    }

    pub(crate) fn finish_text(&self, rows: &[u32], column: Text) -> Option<v1::Strings> {
        self.text[column as usize].as_ref()?.finish(rows)
    }

    pub(crate) fn finish_time(&self, rows: &[u32], otherwise: i64) -> Bytes {
        if self.time.is_empty() {
            return Bytes::new();
        }
        rows.iter().flat_map(|&row| self.time.get(row as usize).copied().unwrap_or(otherwise).to_le_bytes()).collect()
    }

    pub(crate) fn finish_extensions(&self, rows: &[u32]) -> Vec<v1::Extension> {
        if self.extensions.is_empty() {
            return Vec::new();
        }
        let mut place = HashMap::with_capacity(rows.len());
        for (at, &row) in rows.iter().enumerate() {
            place.insert(row, at as u32);
        }
        let mut set: Vec<_> =
            self.extensions.iter().filter_map(|(row, name, value)| Some((name, place.get(row)?, value))).collect();
        set.sort_by_key(|(_, at, _)| **at);
        let mut columns: Vec<(&str, ExtensionType, ValuesBuilder, Vec<u8>)> = Vec::new();
        for (name, at, value) in set {
            let kind = value.as_ref().map_or(ExtensionType::Unspecified, ExtensionValue::wire_type);
            let found =
                columns.iter().position(|(other, other_kind, ..)| *other == name.as_str() && *other_kind == kind);
            let slot = found.unwrap_or_else(|| {
                columns.push((name, kind, ValuesBuilder::default(), Vec::new()));
                columns.len() - 1
            });
            let (_, _, values, index) = &mut columns[slot];
            if let Some(value) = value {
                values.push(&value.to_wire());
            }
            index.extend_from_slice(&at.to_le_bytes());
        }
        columns
            .into_iter()
            .map(|(name, kind, values, index)| v1::Extension {
                name: name.to_owned(),
                r#type: kind.into(),
                values: (kind != ExtensionType::Unspecified).then(|| values.finish()),
                index: Bytes::from(index),
            })
            .collect()
    }
}
