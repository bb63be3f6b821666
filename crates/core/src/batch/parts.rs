//! The columns of a batch under their maps.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Attribute, Columns, Extension, SpanContext, Strings, Values,
    rows::{Picker, Rows},
};

/// The memory that a column lives in, with its size in bytes. Columns of one frame share it.
pub(crate) type Pin = Arc<usize>;

/// A column and which of its rows the batch has.
#[derive(Clone)]
pub(crate) struct Column<C> {
    pub(crate) data: C,
    pub(crate) rows: Rows,
    /// `None`: memory of its own that need not be counted.
    pub(crate) pin: Option<Pin>,
}

impl<C: Clone> Column<C> {
    pub(crate) fn own(data: C) -> Self {
        Self { data, rows: Rows::All, pin: None }
    }

    pub(crate) fn pinned(data: C, pin: &Pin) -> Self {
        Self { data, rows: Rows::All, pin: Some(pin.clone()) }
    }

    pub(crate) fn row(&self, row: usize) -> Option<usize> {
        self.rows.get(row)
    }

    pub(crate) fn is_whole(&self) -> bool {
        matches!(self.rows, Rows::All)
    }

    pub(crate) fn pick(&self, picker: &mut Picker) -> Self {
        Self { data: self.data.clone(), rows: picker.map(&self.rows), pin: self.pin.clone() }
    }
}

/// Everything that a batch is.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) len: usize,
    pub(crate) payload: Option<Column<Values>>,
    pub(crate) uid: Option<Column<Bytes>>,
    pub(crate) time: Option<Column<Bytes>>,
    /// By [`Attribute`].
    pub(crate) strings: [Option<Column<Strings>>; Attribute::COUNT],
    pub(crate) extensions: Vec<Column<Extension>>,
    /// By ascending row of the batch itself; never empty.
    pub(crate) spans: Option<Arc<[(u32, SpanContext)]>>,
}

impl Parts {
    pub(crate) fn from_columns(columns: Columns) -> Self {
        let pin = Pin::new(columns.bytes());
        let fixed = |column: Bytes| (!column.is_empty()).then(|| Column::pinned(column, &pin));
        let strings = [
            columns.content_type,
            columns.id,
            columns.source,
            columns.type_,
            columns.subject,
            columns.key,
            columns.data_schema,
            columns.from,
        ];
        Self {
            len: columns.count as usize,
            payload: columns.payload.map(|column| Column::pinned(column, &pin)),
            uid: fixed(columns.uid),
            time: fixed(columns.time),
            strings: strings.map(|column| {
                column.filter(|column| !column.values.is_empty()).map(|column| Column::pinned(column, &pin))
            }),
            extensions: columns.extensions.into_iter().map(|column| Column::pinned(column, &pin)).collect(),
            spans: (!columns.spans.is_empty()).then(|| columns.spans.into()),
        }
    }

    pub(crate) fn is_flat(&self) -> bool {
        fn whole<C: Clone>(column: &Option<Column<C>>) -> bool {
            column.as_ref().is_none_or(Column::is_whole)
        }
        whole(&self.payload)
            && whole(&self.uid)
            && whole(&self.time)
            && self.strings.iter().all(whole)
            && self.extensions.iter().all(Column::is_whole)
    }

    /// The parts of a batch with the picked rows.
    pub(crate) fn pick(&self, picker: &mut Picker) -> Self {
        let absent = picker.has_absent();
        Self {
            len: picker.len(),
            payload: self.payload.as_ref().map(|column| column.pick(picker)),
            uid: self.uid.as_ref().map(|column| column.pick(picker)),
            time: self.time.as_ref().map(|column| column.pick(picker)),
            strings: self.strings.each_ref().map(|column| {
                let column = column.as_ref()?;
                // One value for all rows needs no map.
                let constant = column.is_whole() && column.data.is_constant() && !absent;
                Some(if constant { column.clone() } else { column.pick(picker) })
            }),
            extensions: self.extensions.iter().map(|column| column.pick(picker)).collect(),
            spans: self.pick_spans(picker),
        }
    }

    fn pick_spans(&self, picker: &Picker) -> Option<Arc<[(u32, SpanContext)]>> {
        let spans = self.spans.as_deref()?;
        let picked: Vec<_> = match picker {
            Picker::Range(range) => spans
                .iter()
                .filter(|(row, _)| range.contains(&(*row as usize)))
                .map(|(row, span)| (row - range.start as u32, span.clone()))
                .collect(),
            Picker::Rows { picked, .. } => (0u32..)
                .zip(picked.iter())
                .filter_map(|(row, from)| {
                    let at = spans.binary_search_by_key(from, |(row, _)| *row).ok()?;
                    Some((row, spans[at].1.clone()))
                })
                .collect(),
        };
        (!picked.is_empty()).then(|| picked.into())
    }
}
