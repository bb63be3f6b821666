//! Which row of a column each row of a batch is.

use std::{ops::Range, sync::Arc};

use super::columns::ABSENT;

/// A map from the rows of a batch to the rows of one of its columns. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) enum Rows {
    /// The batch has exactly the column's rows.
    All,
    /// The batch begins at this row of the column.
    From(usize),
    /// Row i of the batch is the column's row `rows[start + i]`; [`ABSENT`]: it has no value.
    Picked { rows: Arc<[u32]>, start: usize },
}

impl Rows {
    pub(crate) fn get(&self, row: usize) -> Option<usize> {
        match self {
            Self::All => Some(row),
            Self::From(first) => Some(first + row),
            Self::Picked { rows, start } => match rows[start + row] {
                ABSENT => None,
                row => Some(row as usize),
            },
        }
    }

    /// The column's row of the batch's first, if the batch's rows are neighbours in the column.
    pub(crate) fn first(&self) -> Option<usize> {
        match self {
            Self::All => Some(0),
            Self::From(first) => Some(*first),
            Self::Picked { .. } => None,
        }
    }

    fn from(&self, first: usize) -> Self {
        match self {
            Self::All => Self::From(first),
            Self::From(start) => Self::From(start + first),
            Self::Picked { rows, start } => Self::Picked { rows: rows.clone(), start: start + first },
        }
    }

    /// Whether two maps are the same object.
    fn same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::All, Self::All) => true,
            (Self::From(a), Self::From(b)) => a == b,
            (Self::Picked { rows: a, start: i }, Self::Picked { rows: b, start: j }) => Arc::ptr_eq(a, b) && i == j,
            _ => false,
        }
    }
}

/// Takes rows out of a batch: maps each of its few distinct [`Rows`] once.
pub(crate) enum Picker {
    /// Neighbouring rows.
    Range(Range<usize>),
    /// Any rows.
    Rows { picked: Arc<[u32]>, done: Vec<(Rows, Rows)> },
}

impl Picker {
    pub(crate) fn range(range: Range<usize>) -> Self {
        Self::Range(range)
    }

    /// `picked` may hold [`ABSENT`]. Neighbouring rows become a range.
    pub(crate) fn rows(picked: Arc<[u32]>) -> Self {
        let neighbours = |pair: &[u32]| pair[0] != ABSENT && pair[1] == pair[0] + 1;
        match (picked.first(), picked.last()) {
            (Some(&first), Some(&last)) if last != ABSENT && picked.windows(2).all(neighbours) => {
                Self::Range(first as usize..last as usize + 1)
            }
            (None, _) => Self::Range(0..0),
            _ => Self::Rows { picked, done: Vec::new() },
        }
    }

    pub(crate) fn len(&self) -> usize {
        match self {
            Self::Range(range) => range.len(),
            Self::Rows { picked, .. } => picked.len(),
        }
    }

    /// Whether rows without a source are among them.
    pub(crate) fn has_absent(&self) -> bool {
        matches!(self, Self::Rows { picked, .. } if picked.contains(&ABSENT))
    }

    pub(crate) fn map(&mut self, rows: &Rows) -> Rows {
        match self {
            Self::Range(range) => rows.from(range.start),
            Self::Rows { picked, done } => {
                if matches!(rows, Rows::All) {
                    return Rows::Picked { rows: picked.clone(), start: 0 };
                }
                if let Some((_, mapped)) = done.iter().find(|(from, _)| from.same(rows)) {
                    return mapped.clone();
                }
                let mapped = picked.iter().map(|&row| match row {
                    ABSENT => ABSENT,
                    row => rows.get(row as usize).map_or(ABSENT, |row| row as u32),
                });
                let mapped = Rows::Picked { rows: mapped.collect(), start: 0 };
                done.push((rows.clone(), mapped.clone()));
                mapped
            }
        }
    }
}
