//! Which input each output came from.

use std::sync::Arc;

use super::WHOLE;
use crate::{batch::Picker, batch::values::u32_at};

/// The input of each output, ascending; outputs of the whole batch come last. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Parents {
    /// `None`: output i came from input i.
    rows: Option<Arc<[u32]>>,
    len: usize,
    whole_from: usize,
}

impl Parents {
    pub(super) fn from_column(column: &[u8], count: usize) -> Self {
        if column.is_empty() {
            return Self { rows: None, len: count, whole_from: count };
        }
        let rows: Arc<[u32]> = (0..count).map(|row| u32_at(column, row)).collect();
        let whole_from = rows.partition_point(|&parent| parent != WHOLE);
        Self { rows: Some(rows), len: count, whole_from }
    }

    /// Number of outputs.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no outputs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The input of an output; `None`: it came from the whole batch.
    #[must_use]
    pub fn get(&self, output: usize) -> Option<u32> {
        assert!(output < self.len, "output {output} of {}", self.len);
        match &self.rows {
            None => Some(output as u32),
            Some(rows) => (rows[output] != WHOLE).then_some(rows[output]),
        }
    }

    /// The first output that came from the whole batch; [`len`](Self::len) if none did.
    #[must_use]
    pub fn whole_from(&self) -> usize {
        self.whole_from
    }

    /// The input of every output, in order.
    pub fn iter(&self) -> impl Iterator<Item = Option<u32>> {
        (0..self.len).map(|output| self.get(output))
    }

    /// The input of every output that came from a single one, in order.
    #[must_use]
    pub fn own(&self) -> Vec<u32> {
        match &self.rows {
            None => (0..self.len as u32).collect(),
            Some(rows) => rows[..self.whole_from].to_vec(),
        }
    }

    /// Every input that is named, once, in order.
    pub fn named(&self) -> impl Iterator<Item = u32> {
        let mut previous = None;
        self.iter().flatten().filter(move |parent| previous.replace(*parent) != Some(*parent))
    }

    /// Those of these (ascending) outputs.
    pub(super) fn select(&self, outputs: &[u32]) -> Self {
        let rows: Arc<[u32]> = outputs.iter().map(|output| self.get(*output as usize).unwrap_or(WHOLE)).collect();
        let whole_from = rows.partition_point(|&parent| parent != WHOLE);
        Self { len: rows.len(), rows: Some(rows), whole_from }
    }

    pub(super) fn picker(&self) -> Picker {
        match &self.rows {
            None => Picker::range(0..self.len),
            Some(rows) => Picker::rows(rows.clone()),
        }
    }
}
