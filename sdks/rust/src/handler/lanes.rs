//! Order within a work: one key's events one after the other, and none past an event that will come again.

use std::collections::{HashMap, VecDeque};

use meshloom_proto::v1::Ordering;

use crate::{
    columns::Batch,
    error::{Error, reason},
};

/// Which rows wait for which.
pub(crate) struct Lanes {
    ordering: Ordering,
    lanes: HashMap<Box<str>, Lane>,
}

enum Lane {
    /// A call of this key runs; these rows come after it.
    Busy(VecDeque<u32>),
    /// A row of this key will be retried: no later row may go before it.
    Held,
}

/// Whether a row may start.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    Start,
    Queued,
    Held,
}

/// What follows when a row's call has ended.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Nothing,
    Start(u32),
    /// These rows are held behind the failed one.
    Hold(VecDeque<u32>),
}

/// What rows must have in common to wait for each other; `None`: the row waits for nobody.
pub(crate) fn key_of(ordering: Ordering, batch: &Batch, row: u32) -> Option<&str> {
    match ordering {
        Ordering::Unspecified | Ordering::None => None,
        Ordering::Key => batch.key(row as usize),
        Ordering::All => Some(""),
    }
}

/// What is said of a row behind one of its key that will come again.
pub(crate) fn held() -> Error {
    Error::retry(reason::KEY_HELD, "an earlier event of the same key will be tried again first")
}

impl Lanes {
    pub(crate) fn new(ordering: Ordering) -> Self {
        Self { ordering, lanes: HashMap::new() }
    }

    fn key<'a>(&self, batch: &'a Batch, row: u32) -> Option<&'a str> {
        key_of(self.ordering, batch, row)
    }

    pub(crate) fn admit(&mut self, batch: &Batch, row: u32) -> Admission {
        let Some(key) = self.key(batch, row) else {
            return Admission::Start;
        };
        match self.lanes.get_mut(key) {
            None => {
                self.lanes.insert(key.into(), Lane::Busy(VecDeque::new()));
                Admission::Start
            }
            Some(Lane::Busy(waiting)) => {
                waiting.push_back(row);
                Admission::Queued
            }
            Some(Lane::Held) => Admission::Held,
        }
    }

    /// Notes that a row's call has ended, and whether the row will come again.
    pub(crate) fn ended(&mut self, batch: &Batch, row: u32, comes_again: bool) -> Next {
        let Some(key) = self.key(batch, row) else {
            return Next::Nothing;
        };
        let Some(Lane::Busy(waiting)) = self.lanes.get_mut(key) else {
            return Next::Nothing;
        };
        if comes_again {
            let held = std::mem::take(waiting);
            self.lanes.insert(key.into(), Lane::Held);
            return Next::Hold(held);
        }
        match waiting.pop_front() {
            Some(next) => Next::Start(next),
            None => {
                self.lanes.remove(key);
                Next::Nothing
            }
        }
    }

    /// Rows that were queued and will not start any more.
    pub(crate) fn queued(self) -> impl Iterator<Item = u32> {
        self.lanes.into_values().flat_map(|lane| match lane {
            Lane::Busy(waiting) => waiting,
            Lane::Held => VecDeque::new(),
        })
    }
}
