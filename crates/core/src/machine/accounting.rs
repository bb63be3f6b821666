//! The account of one work in hand: every input is closed exactly once, and none by omission.

use std::collections::BTreeSet;

use super::{
    hop::OpenHop,
    segment::{Attempts, Isolation, Part},
};
use crate::{
    batch::Batch,
    exchange::WorkResult,
    moment::Moment,
    origin::Deliveries,
    outputs::{Ordinals, Outputs},
};

/// A work that a replica has and has not answered in full.
#[derive(Debug)]
pub(super) struct InHand {
    pub(super) batch: Batch,
    pub(super) deliveries: Deliveries,
    pub(super) attempts: Attempts,
    pub(super) parts: Vec<Part>,
    pub(super) isolation: Isolation,
    pub(super) hops: Vec<OpenHop>,
    pub(super) dispatched: Moment,
    /// Set when the work was taken back.
    pub(super) cancelled: Option<Moment>,
    /// Calls known to be past the time limit.
    pub(super) overdue: Overdue,
    /// Its inputs have been taken away; what still comes is ignored.
    pub(super) void: bool,
    closed: Vec<bool>,
    open: u32,
    /// Where the numbering of outputs goes on.
    pub(super) ordinals: Ordinals,
    /// The parent that the last result said goes on.
    continuing: Option<u32>,
}

/// Calls of a work that took longer than the node's `timeout`.
#[derive(Debug, Default)]
pub(super) struct Overdue {
    pub(super) rows: BTreeSet<u32>,
    pub(super) whole: bool,
}

/// What a result says, checked: rows ascending, each open.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Inputs closed by outputs.
    pub(super) answered: Vec<u32>,
    /// Outputs of single inputs.
    pub(super) own: Vec<u32>,
    /// Outputs of the whole batch.
    pub(super) whole: u32,
}

impl InHand {
    pub(super) fn new(
        batch: Batch,
        deliveries: Deliveries,
        attempts: Attempts,
        parts: Vec<Part>,
        isolation: Isolation,
        hops: Vec<OpenHop>,
        dispatched: Moment,
    ) -> Self {
        let rows = batch.len();
        Self {
            closed: vec![false; rows],
            open: rows as u32,
            batch,
            deliveries,
            attempts,
            parts,
            isolation,
            hops,
            dispatched,
            cancelled: None,
            overdue: Overdue::default(),
            void: false,
            ordinals: Ordinals::default(),
            continuing: None,
        }
    }

    pub(super) fn rows(&self) -> u32 {
        self.closed.len() as u32
    }

    pub(super) fn open(&self) -> u32 {
        self.open
    }

    pub(super) fn open_rows(&self) -> Vec<u32> {
        (0..self.rows()).filter(|row| !self.closed[*row as usize]).collect()
    }

    /// Marks rows closed and takes their deliveries out.
    pub(super) fn close(&mut self, rows: &[u32]) -> Deliveries {
        for row in rows {
            debug_assert!(!self.closed[*row as usize]);
            self.closed[*row as usize] = true;
        }
        self.open -= rows.len() as u32;
        self.deliveries.take(rows.iter().copied())
    }

    /// Checks a result against what is open, and takes note of what goes on in the next one. Nothing is closed yet.
    pub(super) fn hear(&mut self, result: &WorkResult) -> Result<Said, String> {
        let mut said = Said::default();
        let carried = self.continuing.take();
        if let Some(outputs) = &result.outputs {
            self.hear_outputs(outputs, &mut said)?;
        }
        let failed: BTreeSet<u32> = result.failures.iter().filter_map(|failure| failure.index).collect();
        if failed.len() < result.failures.iter().filter(|failure| failure.index.is_some()).count() {
            return Err("it names an input in two failures".into());
        }
        for row in &failed {
            if *row >= self.rows() {
                return Err(format!("it names input {row} of {}", self.rows()));
            }
            if self.closed[*row as usize] || said.answered.binary_search(row).is_ok() {
                return Err(format!("it names input {row}, which has been closed already"));
            }
        }
        // A parent that was to go on and is not mentioned again had no more outputs.
        if let Some(row) = carried
            && self.continuing != Some(row)
            && !failed.contains(&row)
            && let Err(place) = said.answered.binary_search(&row)
        {
            said.answered.insert(place, row);
        }
        if let Some(row) = self.continuing.take_if(|row| failed.contains(row) || result.last)
            && !failed.contains(&row)
        {
            said.answered.push(row);
        }
        Ok(said)
    }

    fn hear_outputs(&mut self, outputs: &Outputs, said: &mut Said) -> Result<(), String> {
        for parent in outputs.parents().iter() {
            match parent {
                Some(row) if row < self.rows() => said.own.push(row),
                Some(row) => return Err(format!("an output names input {row} of {}", self.rows())),
                None => said.whole += 1,
            }
        }
        if said.whole > 0 && self.open == 0 {
            return Err("an output of the whole batch came after every input had been closed".into());
        }
        said.answered.extend(&said.own);
        said.answered.dedup();
        if let Some(row) = said.answered.iter().find(|row| self.closed[**row as usize]) {
            return Err(format!("an output names input {row}, which has been closed already"));
        }
        if outputs.continued() && said.whole == 0 {
            self.continuing = said.answered.pop();
        }
        Ok(())
    }
}
