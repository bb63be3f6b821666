//! Reading and building of values end to end. Readers assume validated parts.

use bytes::Bytes;

use super::columns::{ABSENT, Strings, Values};

/// The `row`th u32 of a column of them; the column need not be aligned.
pub(crate) fn u32_at(column: &[u8], row: usize) -> u32 {
    let bytes = column[row * 4..].first_chunk().expect("rows lie within their column");
    u32::from_le_bytes(*bytes)
}

/// The `row`th i64 of a column of them; the column need not be aligned.
pub(crate) fn i64_at(column: &[u8], row: usize) -> i64 {
    let bytes = column[row * 8..].first_chunk().expect("rows lie within their column");
    i64::from_le_bytes(*bytes)
}

impl Values {
    /// Number of values.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len() / 4
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    pub(crate) fn bytes(&self) -> usize {
        self.data.len() + self.ends.len()
    }

    pub(crate) fn start(&self, row: usize) -> usize {
        if row == 0 { 0 } else { u32_at(&self.ends, row - 1) as usize }
    }

    pub(crate) fn end(&self, row: usize) -> usize {
        u32_at(&self.ends, row) as usize
    }

    pub(crate) fn get(&self, row: usize) -> &[u8] {
        &self.data[self.start(row)..self.end(row)]
    }

    pub(crate) fn get_shared(&self, row: usize) -> Bytes {
        self.data.slice(self.start(row)..self.end(row))
    }

    pub(crate) fn size(&self, row: usize) -> usize {
        self.end(row) - self.start(row)
    }

    pub(crate) fn get_str(&self, row: usize) -> &str {
        std::str::from_utf8(self.get(row)).expect("string columns are validated or built from strings")
    }
}

impl Strings {
    /// One value for every row.
    #[must_use]
    pub fn constant(value: &str) -> Self {
        let mut values = ValuesBuilder::with_capacity(value.len(), 1);
        values.push(value.as_bytes());
        Self { values: values.finish(), index: Bytes::new() }
    }

    pub(crate) fn bytes(&self) -> usize {
        self.values.bytes() + self.index.len()
    }

    /// Whether one value holds for every row, however many there are.
    pub(crate) fn is_constant(&self) -> bool {
        self.index.is_empty() && self.values.len() == 1
    }

    /// Whether value i is that of row i.
    pub(crate) fn is_positional(&self) -> bool {
        self.index.is_empty() && self.values.len() > 1
    }

    /// Where the row's value stands in `values`.
    pub(crate) fn slot(&self, row: usize) -> Option<usize> {
        if self.index.is_empty() {
            return match self.values.len() {
                0 => None,
                1 => Some(0),
                _ => Some(row),
            };
        }
        match u32_at(&self.index, row) {
            ABSENT => None,
            slot => Some(slot as usize),
        }
    }

    /// The row's value as it stands, "" included.
    pub(crate) fn raw(&self, row: usize) -> Option<&str> {
        self.slot(row).map(|slot| self.values.get_str(slot))
    }
}

/// Appends values end to end.
#[derive(Debug, Default)]
pub(crate) struct ValuesBuilder {
    data: Vec<u8>,
    ends: Vec<u8>,
}

impl ValuesBuilder {
    pub(crate) fn with_capacity(bytes: usize, values: usize) -> Self {
        Self { data: Vec::with_capacity(bytes), ends: Vec::with_capacity(values * 4) }
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len() / 4
    }

    pub(crate) fn push(&mut self, value: &[u8]) {
        self.data.extend_from_slice(value);
        self.end();
    }

    fn end(&mut self) {
        let end = u32::try_from(self.data.len()).expect("batches are limited far below 4 GiB");
        self.ends.extend_from_slice(&end.to_le_bytes());
    }

    /// Appends `count` neighbouring values of a column with one copy.
    pub(crate) fn extend(&mut self, values: &Values, first: usize, count: usize) {
        if count == 0 {
            return;
        }
        let (start, before) = (values.start(first), self.data.len());
        self.data.extend_from_slice(&values.data[start..values.end(first + count - 1)]);
        u32::try_from(self.data.len()).expect("batches are limited far below 4 GiB");
        for row in first..first + count {
            let end = (before + values.end(row) - start) as u32;
            self.ends.extend_from_slice(&end.to_le_bytes());
        }
    }

    pub(crate) fn last(&self) -> Option<&[u8]> {
        let last = self.len().checked_sub(1)?;
        let start = if last == 0 { 0 } else { u32_at(&self.ends, last - 1) as usize };
        Some(&self.data[start..])
    }

    pub(crate) fn finish(self) -> Values {
        Values { data: self.data.into(), ends: self.ends.into() }
    }
}

/// Appends optional strings row by row; equal neighbours are stored once.
///
/// Most columns are absent, constant or positional to the end and never get an index.
#[derive(Debug, Default)]
pub(crate) struct StringsBuilder {
    values: ValuesBuilder,
    shape: Shape,
    rows: usize,
}

/// How the rows so far stand to the values.
#[derive(Debug, Default)]
enum Shape {
    /// No row has a value.
    #[default]
    Absent,
    /// Every row has value 0.
    Constant,
    /// Row i has value i.
    Positional,
    /// Slots, one per row.
    Indexed(Vec<u8>),
}

impl StringsBuilder {
    /// Appends `count` rows without a value.
    pub(crate) fn push_absent(&mut self, count: usize) {
        self.push_slots(ABSENT, count);
    }

    /// Rows so far.
    pub(crate) fn len(&self) -> usize {
        self.rows
    }

    /// Appends one row; "" is a value. Returns the value's slot. `value` is valid UTF-8.
    pub(crate) fn push_value(&mut self, value: impl AsRef<[u8]>) -> u32 {
        let value = value.as_ref();
        if self.values.last() != Some(value) {
            self.values.push(value);
        }
        let slot = (self.values.len() - 1) as u32;
        self.push_slot(slot);
        slot
    }

    /// Appends one row; "" is the same as absent. Returns the value's slot. `value` is valid UTF-8.
    pub(crate) fn push(&mut self, value: impl AsRef<[u8]>) -> u32 {
        let value = value.as_ref();
        if value.is_empty() {
            self.push_absent(1);
            return ABSENT;
        }
        self.push_value(value)
    }

    /// Appends neighbouring values of a column, a row each.
    pub(crate) fn extend_positional(&mut self, values: &Values, first: usize, count: usize) {
        let one_each = self.values.len() == self.rows && !matches!(self.shape, Shape::Indexed(_));
        if !one_each || self.rows + count < 2 {
            for row in first..first + count {
                self.push(values.get(row));
            }
            return;
        }
        self.values.extend(values, first, count);
        self.shape = Shape::Positional;
        self.rows += count;
    }

    /// Appends one row with the slot that an earlier push returned.
    #[inline]
    pub(crate) fn push_slot(&mut self, slot: u32) {
        self.push_slots(slot, 1);
    }

    /// Appends `count` rows with one slot.
    #[inline]
    pub(crate) fn push_slots(&mut self, slot: u32, count: usize) {
        if count == 0 {
            return;
        }
        match &mut self.shape {
            Shape::Absent if slot == ABSENT => {}
            Shape::Absent if self.rows == 0 && slot == 0 => self.shape = Shape::Constant,
            Shape::Constant if slot == 0 => {}
            Shape::Constant if self.rows == 1 && slot == 1 && count == 1 => self.shape = Shape::Positional,
            Shape::Positional if slot as usize == self.rows && count == 1 => {}
            Shape::Indexed(index) => index.extend(std::iter::repeat_n(slot.to_le_bytes(), count).flatten()),
            _ => self.index(slot, count),
        }
        self.rows += count;
    }

    /// Gives the column the index that it cannot do without any more, and appends to it.
    fn index(&mut self, slot: u32, count: usize) {
        let slots = (0..self.rows as u32).map(|row| match self.shape {
            Shape::Absent => ABSENT,
            Shape::Positional => row,
            Shape::Constant | Shape::Indexed(_) => 0,
        });
        let slots = slots.chain(std::iter::repeat_n(slot, count));
        self.shape = Shape::Indexed(slots.flat_map(u32::to_le_bytes).collect());
    }

    /// The column in its smallest form; `None`: no row has a value.
    pub(crate) fn finish(self) -> Option<Strings> {
        let index = match self.shape {
            Shape::Absent => return None,
            Shape::Constant | Shape::Positional => Bytes::new(),
            Shape::Indexed(index) => index.into(),
        };
        Some(Strings { values: self.values.finish(), index })
    }
}
