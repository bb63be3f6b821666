//! Where a batch handler says what became of each row.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Display,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use meshloom_proto::v1::Ordering;

use crate::{
    columns::{ABSENT, Batch},
    error::{Error, reason, reject, retry, retry_after},
    output::{IntoOutput, Output},
    result::{Answer, Routes},
};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    Open,
    Emitted,
    Dropped,
    Failed,
    /// An output could not be sent.
    Refused,
}

/// What became of the rows of a batch.
#[derive(Debug)]
pub(crate) struct Verdicts {
    answer: Answer,
    rows: Vec<Row>,
    whole: bool,
    misuse: Option<String>,
    /// Why outputs of rows, or of the whole batch, cannot be sent.
    refused: BTreeMap<u32, Error>,
}

/// Takes the verdict of a batch handler on each row; every row must get one.
///
/// A row may have several outputs, but only one kind of verdict: naming it twice otherwise, or naming a row that is
/// not there, fails the batch RESULT_INDEX_REPEATED. Rows that stay unmentioned are retried UNACCOUNTED. An output that
/// breaks a limit of the protocol rejects its row, with all outputs of it.
#[derive(Debug)]
pub struct Emitter {
    verdicts: Option<Verdicts>,
    home: Arc<Mutex<Option<Verdicts>>>,
}

impl Emitter {
    pub(crate) fn new(rows: usize, routes: Routes) -> (Self, Arc<Mutex<Option<Verdicts>>>) {
        let verdicts = Verdicts {
            answer: Answer::new(routes),
            rows: vec![Row::Open; rows],
            whole: false,
            misuse: None,
            refused: BTreeMap::new(),
        };
        let home = Arc::new(Mutex::new(None));
        (Self { verdicts: Some(verdicts), home: Arc::clone(&home) }, home)
    }

    fn verdicts(&mut self) -> &mut Verdicts {
        self.verdicts.as_mut().expect("taken only when dropped")
    }

    /// Emits an output that came from `row`; several are possible.
    pub fn emit(&mut self, row: usize, output: impl IntoOutput) {
        let verdicts = self.verdicts();
        if verdicts.close(row, Row::Emitted)
            && let Err(error) = output.write(row as u32, &mut verdicts.answer.rows)
        {
            verdicts.rows[row] = Row::Refused;
            verdicts.refused.insert(row as u32, error);
        }
    }

    /// Passes rows on unchanged.
    pub fn pass(&mut self, rows: impl IntoIterator<Item = usize>) {
        let verdicts = self.verdicts();
        for row in rows {
            if verdicts.close(row, Row::Emitted) {
                verdicts.answer.rows.push_unchanged(row as u32);
            }
        }
    }

    /// Ends rows without an output, on purpose.
    pub fn drop(&mut self, rows: impl IntoIterator<Item = usize>) {
        let verdicts = self.verdicts();
        for row in rows {
            verdicts.close(row, Row::Dropped);
        }
    }

    /// Rejects a row: it becomes a dead letter. See [`reject`](crate::reject).
    pub fn reject(&mut self, row: usize, code: impl AsRef<str>, message: impl Display) {
        self.fail(row, reject(code, message));
    }

    /// Asks for another attempt for a row.
    pub fn retry(&mut self, row: usize, message: impl Display) {
        self.fail(row, retry(message));
    }

    /// Asks for another attempt for a row, not earlier than `after` from now.
    pub fn retry_after(&mut self, row: usize, after: Duration, message: impl Display) {
        self.fail(row, retry_after(after, message));
    }

    /// Answers a row with an error, as a handler of single events would return it.
    pub fn fail(&mut self, row: usize, error: impl Into<Error>) {
        let verdicts = self.verdicts();
        if verdicts.close(row, Row::Failed) {
            verdicts.answer.fail(row as u32, error.into());
        }
    }

    /// Emits an output that came from the whole batch. It needs a payload of its own, and what is not set is absent.
    /// Rows that nothing else names are then accounted for.
    pub fn whole(&mut self, output: impl Into<Output>) {
        let verdicts = self.verdicts();
        verdicts.whole = true;
        if let Err(error) = verdicts.answer.rows.push(ABSENT, output.into()) {
            verdicts.refused.insert(ABSENT, error);
        }
    }
}

impl Drop for Emitter {
    fn drop(&mut self) {
        *self.home.lock().unwrap_or_else(PoisonError::into_inner) = self.verdicts.take();
    }
}

impl Verdicts {
    /// Notes a verdict; false if the row cannot have it.
    fn close(&mut self, row: usize, verdict: Row) -> bool {
        let count = self.rows.len();
        match self.rows.get(row).copied() {
            Some(Row::Open) => {
                self.rows[row] = verdict;
                true
            }
            Some(Row::Emitted) if verdict == Row::Emitted => true,
            Some(Row::Refused) if verdict == Row::Emitted => false,
            Some(before) => {
                self.misuse.get_or_insert_with(|| format!("the batch handler gave row {row} two verdicts ({before:?}, then {verdict:?}); give each row one"));
                false
            }
            None => {
                self.misuse.get_or_insert_with(|| {
                    format!("the batch handler named row {row}, but the batch has {count} rows")
                });
                false
            }
        }
    }

    /// Ends the verdicts: the answer and the rows that are consumed, or why the whole batch fails.
    pub(crate) fn finish(mut self, batch: &Batch, ordering: Ordering) -> Result<(Answer, BTreeSet<u32>), Error> {
        if let Some(misuse) = self.misuse {
            return Err(Error::retry(reason::RESULT_INDEX_REPEATED, misuse));
        }
        if let Some(error) = self.refused.remove(&ABSENT) {
            return Err(error);
        }
        if !self.refused.is_empty() {
            self.answer.rows.remove(&self.refused.keys().copied().collect());
        }
        for (row, error) in self.refused {
            self.answer.fail(row, error);
        }
        let unmentioned = |(_, verdict): &(u32, &mut Row)| **verdict == Row::Open;
        for (row, verdict) in (0..).zip(&mut self.rows).filter(unmentioned) {
            if self.whole {
                *verdict = Row::Dropped;
                continue;
            }
            let error = Error::retry(
                reason::UNACCOUNTED,
                "the batch handler left this row unmentioned; emit, pass, drop, reject or retry every row",
            );
            self.answer.fail(row, error);
        }
        for row in self.answer.hold(batch, ordering) {
            self.rows[row as usize] = Row::Failed;
        }
        let consumed =
            (0..).zip(&self.rows).filter(|(_, verdict)| **verdict == Row::Dropped).map(|(row, _)| row).collect();
        Ok((self.answer, consumed))
    }
}
