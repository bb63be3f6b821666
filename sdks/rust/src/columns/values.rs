//! Columns of variable-length values, checked once and then read without failing.

use bytes::Bytes;
use meshloom_proto::v1;

use super::{ABSENT, Malformed};

/// Reads entry `i` of a column of u32 little-endian.
pub(crate) fn u32_at(column: &[u8], i: usize) -> u32 {
    let at = i * 4;
    u32::from_le_bytes(column[at..at + 4].try_into().expect("a slice of four bytes"))
}

/// Reads entry `i` of a column of i64 little-endian.
pub(crate) fn i64_at(column: &[u8], i: usize) -> i64 {
    let at = i * 8;
    i64::from_le_bytes(column[at..at + 8].try_into().expect("a slice of eight bytes"))
}

/// Values of variable length, end to end.
#[derive(Debug, Clone, Default)]
pub(crate) struct Values {
    data: Bytes,
    ends: Bytes,
}

impl Values {
    /// Checks that the ends are whole, never fall, stay within the data and leave no value above `max` bytes.
    pub(crate) fn decode(wire: v1::Values, column: &str, max: usize) -> Result<Self, Malformed> {
        let v1::Values { data, ends } = wire;
        if !ends.len().is_multiple_of(4) {
            return Err(Malformed::batch(format!(
                "column `{column}`: `ends` has {} bytes, which is no multiple of 4",
                ends.len()
            )));
        }
        let mut start = 0usize;
        for i in 0..ends.len() / 4 {
            let end = u32_at(&ends, i) as usize;
            if end < start || end > data.len() {
                return Err(Malformed::batch(format!(
                    "column `{column}`: value {i} ends at {end}; it must lie between {start} and the {} bytes of `data`",
                    data.len()
                )));
            }
            if end - start > max {
                return Err(Malformed::value_too_large(column, i, end - start, max));
            }
            start = end;
        }
        if start != data.len() {
            return Err(Malformed::batch(format!(
                "column `{column}`: {} bytes of `data` belong to no value",
                data.len() - start
            )));
        }
        Ok(Self { data, ends })
    }

    pub(crate) fn len(&self) -> usize {
        self.ends.len() / 4
    }

    fn range(&self, i: usize) -> std::ops::Range<usize> {
        let start = if i == 0 { 0 } else { u32_at(&self.ends, i - 1) as usize };
        start..u32_at(&self.ends, i) as usize
    }

    pub(crate) fn get(&self, i: usize) -> &[u8] {
        &self.data[self.range(i)]
    }

    pub(crate) fn get_bytes(&self, i: usize) -> Bytes {
        self.data.slice(self.range(i))
    }

    /// Checks that every value is UTF-8.
    pub(crate) fn check_utf8(&self, column: &str) -> Result<(), Malformed> {
        // Each value is UTF-8 if all of them together are and none ends inside a character.
        let broken = match std::str::from_utf8(&self.data) {
            Ok(text) => (0..self.len()).find(|&i| !text.is_char_boundary(self.range(i).end)),
            Err(error) => (0..self.len()).find(|&i| self.range(i).end > error.valid_up_to()),
        };
        match broken {
            Some(i) => Err(Malformed::batch(format!("column `{column}`: value {i} is not UTF-8"))),
            None => Ok(()),
        }
    }

    /// A value of a column that `check_utf8` has passed.
    pub(crate) fn text(&self, i: usize) -> &str {
        std::str::from_utf8(self.get(i)).expect("checked when the batch was decoded")
    }
}

/// A column of strings in which equal values are stored once.
#[derive(Debug, Clone, Default)]
pub(crate) enum Strings {
    #[default]
    Absent,
    All(Values),
    Positional(Values),
    Indexed(Values, Bytes),
}

impl Strings {
    /// Checks shape, indexes, UTF-8 and size of a column for `count` events.
    pub(crate) fn decode(wire: Option<v1::Strings>, count: usize, column: &str, max: usize) -> Result<Self, Malformed> {
        let Some(wire) = wire else {
            return Ok(Self::Absent);
        };
        let values = Values::decode(wire.values.unwrap_or_default(), column, max)?;
        values.check_utf8(column)?;
        if wire.index.is_empty() {
            return match values.len() {
                0 => Ok(Self::Absent),
                1 => Ok(Self::All(values)),
                n if n == count => Ok(Self::Positional(values)),
                n => Err(Malformed::batch(format!(
                    "column `{column}`: {n} values without an index for {count} events; 0, 1 or {count} are possible"
                ))),
            };
        }
        if wire.index.len() != count * 4 {
            return Err(Malformed::batch(format!(
                "column `{column}`: `index` has {} bytes; {count} events need {}",
                wire.index.len(),
                count * 4
            )));
        }
        for i in 0..count {
            let at = u32_at(&wire.index, i);
            if at != ABSENT && at as usize >= values.len() {
                return Err(Malformed::batch(format!(
                    "column `{column}`: event {i} points at value {at} of {}",
                    values.len()
                )));
            }
        }
        Ok(Self::Indexed(values, wire.index))
    }

    pub(crate) fn get(&self, row: usize) -> Option<&str> {
        match self {
            Self::Absent => None,
            Self::All(values) => Some(values.text(0)),
            Self::Positional(values) => Some(values.text(row)),
            Self::Indexed(values, index) => match u32_at(index, row) {
                ABSENT => None,
                at => Some(values.text(at as usize)),
            },
        }
    }
}
