//! The account of one work in hand: every input is closed exactly once, and none by omission.

use std::collections::BTreeSet;

use super::{
    deaths::Suspicion,
    hop::OpenHop,
    segment::{Attempts, Isolation, Part, Segment, since},
};
use crate::{
    batch::Batch,
    exchange::WorkResult,
    moment::Moment,
    origin::Deliveries,
    outputs::{Ordinals, Outputs, RESULT_MALFORMED},
};

/// A work that a replica has and has not answered in full.
#[derive(Debug)]
pub(super) struct InHand {
    pub(super) batch: Batch,
    pub(super) deliveries: Deliveries,
    pub(super) attempts: Attempts,
    pub(super) parts: Vec<Part>,
    pub(super) isolation: Isolation,
    pub(super) suspicion: Suspicion,
    pub(super) hops: Vec<OpenHop>,
    /// Outputs of the whole batch went on in the trace of the first hop.
    pub(super) joins: bool,
    pub(super) dispatched: Moment,
    /// Set when the work was taken back.
    pub(super) cancelled: Option<Moment>,
    /// Calls known to be past the time limit.
    pub(super) overdue: Overdue,
    /// Its inputs have been taken away; what still comes is ignored.
    pub(super) void: bool,
    /// An input of it was closed for good.
    pub(super) succeeded: bool,
    /// It shows whether the node is out.
    pub(super) probe: bool,
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

/// Reason and message of a result that is not accepted.
pub(super) type Refused = (&'static str, String);

fn repeated(message: impl Into<String>) -> Refused {
    ("RESULT_INDEX_REPEATED", message.into())
}

impl InHand {
    pub(super) fn new(segment: Segment, hops: Vec<OpenHop>, dispatched: Moment) -> Self {
        let Segment { batch, deliveries, attempts, parts, isolation, suspicion } = segment;
        let rows = batch.len();
        Self {
            closed: vec![false; rows],
            open: rows as u32,
            batch,
            deliveries,
            attempts,
            parts,
            isolation,
            suspicion,
            hops,
            joins: false,
            dispatched,
            cancelled: None,
            overdue: Overdue::default(),
            void: false,
            succeeded: false,
            probe: false,
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

    /// The hop of a sampled row.
    pub(super) fn hop(&self, row: u32) -> Option<&OpenHop> {
        self.hops.binary_search_by_key(&row, |hop| hop.row).ok().map(|place| &self.hops[place])
    }

    /// Since when a row waited for this attempt.
    pub(super) fn since(&self, row: u32) -> Moment {
        since(&self.parts, row)
    }

    pub(super) fn open_rows(&self) -> Vec<u32> {
        (0..self.rows()).filter(|row| !self.closed[*row as usize]).collect()
    }

    /// New deliveries for outputs of these (never falling) rows.
    pub(super) fn fork(&self, own: &[u32]) -> Deliveries {
        // The most frequent answer by far, one output per input, needs no look at each.
        let one_each = self.untouched() && own.len() == self.closed.len() && own.iter().copied().eq(0..self.rows());
        if one_each { self.deliveries.duplicate() } else { self.deliveries.fork(own.iter().copied()) }
    }

    fn untouched(&self) -> bool {
        self.open == self.rows()
    }

    /// Marks rows closed and takes their deliveries out.
    pub(super) fn close(&mut self, rows: &[u32]) -> Deliveries {
        if self.untouched() && rows.len() == self.closed.len() {
            self.closed.fill(true);
            self.open = 0;
            return self.deliveries.take_all();
        }
        for row in rows {
            debug_assert!(!self.closed[*row as usize]);
            self.closed[*row as usize] = true;
        }
        self.open -= rows.len() as u32;
        self.deliveries.take(rows.iter().copied())
    }

    /// Checks a result against what is open, and takes note of what goes on in the next one. Nothing is closed yet.
    pub(super) fn hear(&mut self, result: &WorkResult) -> Result<Said, Refused> {
        let mut said = Said::default();
        let carried = self.continuing.take();
        if let Some(outputs) = &result.outputs {
            self.hear_outputs(outputs, &mut said)?;
        }
        let failed: BTreeSet<u32> = result.failures.iter().filter_map(|failure| failure.index).collect();
        if failed.len() < result.failures.iter().filter(|failure| failure.index.is_some()).count() {
            return Err(repeated("it names an input in two failures"));
        }
        for row in &failed {
            if *row >= self.rows() {
                return Err((RESULT_MALFORMED, format!("it names input {row} of {}", self.rows())));
            }
            if self.closed[*row as usize] || said.answered.binary_search(row).is_ok() {
                return Err(repeated(format!("it names input {row}, which has been closed already")));
            }
        }
        // A parent that was to go on and is not mentioned again, or not any more, had no more outputs.
        let forgotten = carried.filter(|row| self.continuing != Some(*row));
        let ended = self.continuing.take_if(|row| result.last || failed.contains(row));
        for row in forgotten.into_iter().chain(ended).filter(|row| !failed.contains(row)) {
            if let Err(place) = said.answered.binary_search(&row) {
                said.answered.insert(place, row);
            }
        }
        Ok(said)
    }

    fn hear_outputs(&mut self, outputs: &Outputs, said: &mut Said) -> Result<(), Refused> {
        said.own = outputs.parents().own();
        said.whole = (outputs.len() - said.own.len()) as u32;
        if let Some(row) = said.own.iter().find(|row| **row >= self.rows()) {
            return Err((RESULT_MALFORMED, format!("an output names input {row} of {}", self.rows())));
        }
        if said.whole > 0 && self.open == 0 {
            return Err(repeated("an output of the whole batch came after every input had been closed"));
        }
        said.answered.extend(&said.own);
        said.answered.dedup();
        if let Some(row) = said.answered.iter().find(|row| self.closed[**row as usize]) {
            return Err(repeated(format!("an output names input {row}, which has been closed already")));
        }
        if outputs.continued() && said.whole == 0 {
            self.continuing = said.answered.pop();
        }
        Ok(())
    }
}
