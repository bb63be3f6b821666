//! What a result means, worked out row by row and independently of the machine.

use std::collections::BTreeSet;

use super::{
    super::stage::{outputs, reject, retry},
    ops::{Says, Wrong},
    world::{Expected, Place, WorkModel, World},
};
use crate::{
    exchange::{Action, Failure, WorkResult},
    machine::tests::stage::{MS, failure},
};

impl World {
    /// A result as `says` wants it, and what it must lead to.
    #[expect(clippy::too_many_arguments, reason = "they are the fields of one operation")]
    pub(super) fn answer(
        &mut self,
        replica: u32,
        sequence: u64,
        says: &[Says],
        of_whole: u8,
        continued: bool,
        last: bool,
        wrong: Wrong,
    ) -> (WorkResult, Expected) {
        let mut work = self.take(replica, sequence);
        let open = work.open();
        let mut parents: Vec<Option<u32>> = Vec::new();
        let mut failures: Vec<Failure> = Vec::new();
        for row in &open {
            match says[*row as usize % says.len()] {
                Says::Nothing => {}
                Says::Outputs(count) => parents.extend((0..count).map(|_| Some(*row))),
                Says::Retry => failures.push(retry(*row)),
                Says::RetryAfter(ms) => {
                    failures.push(Failure { retry_after: Some(u32::from(ms) * MS), ..retry(*row) });
                }
                Says::Reject => failures.push(reject(*row)),
                Says::Cancelled => failures.push(failure(*row, Action::Retry, "CANCELLED")),
                Says::KeyHeld => failures.push(failure(*row, Action::Retry, "KEY_HELD")),
            }
        }
        if !open.is_empty() {
            parents.extend((0..of_whole).map(|_| None));
        }
        let continued = continued && !parents.is_empty();
        let mut result = WorkResult {
            sequence,
            outputs: outputs(&work.work, &parents, continued),
            failures,
            last,
            ..WorkResult::default()
        };
        let mut expected = Expected::default();
        let repeats = wrong == Wrong::Repeats && self.repeat(&work, &mut result);
        if work.void {
            self.books.late_results += 1;
        } else if repeats {
            expected.warns = true;
            self.fail_open(&mut work, false, "RESULT_INDEX_REPEATED", &mut expected);
        } else {
            self.accept(&mut work, &mut result, &parents, continued, wrong == Wrong::Consumed, &mut expected);
        }
        self.put_back(replica, work, last);
        (result, expected)
    }

    pub(super) fn fail_work(
        &mut self,
        replica: u32,
        sequence: u64,
        rejects: bool,
        last: bool,
    ) -> (WorkResult, Expected) {
        let mut work = self.take(replica, sequence);
        let mut expected = Expected::default();
        let failures = vec![if rejects { reject(None) } else { retry(None) }];
        let reason = failures[0].reason.to_string();
        let result = WorkResult { sequence, failures, last, ..WorkResult::default() };
        if work.void {
            self.books.late_results += 1;
        } else {
            if let Some(row) = work.continuing.take() {
                self.end(&mut work, row);
                self.books.answered += 1;
            }
            self.fail_open(&mut work, rejects, &reason, &mut expected);
        }
        self.put_back(replica, work, last);
        (result, expected)
    }

    pub(super) fn refuse(&mut self, replica: u32, sequence: u64, last: bool) -> Expected {
        let mut work = self.take(replica, sequence);
        let mut expected = Expected::default();
        if work.void {
            self.books.late_results += 1;
        } else {
            expected.warns = true;
            self.fail_open(&mut work, false, "RESULT_MALFORMED", &mut expected);
        }
        self.put_back(replica, work, last);
        expected
    }

    /// The replica is gone.
    pub(super) fn give_back(&mut self, mut work: WorkModel, expected: &mut Expected) {
        if work.overdue_whole {
            return self.fail_open(&mut work, false, "TIMEOUT", expected);
        }
        let overdue: Vec<u32> = work.open().into_iter().filter(|row| work.overdue.contains(row)).collect();
        for row in &overdue {
            self.fail_row(&mut work, *row, &failure(*row, Action::Retry, "TIMEOUT"), expected);
        }
        let rest = work.open();
        self.free(&mut work, &rest);
    }

    fn take(&mut self, replica: u32, sequence: u64) -> WorkModel {
        self.replicas[replica as usize].works.remove(&sequence).unwrap()
    }

    fn put_back(&mut self, replica: u32, work: WorkModel, last: bool) {
        if last {
            assert!(work.open().is_empty());
        } else {
            self.replicas[replica as usize].works.insert(work.work.sequence, work);
        }
    }

    /// Names an input once more than is right, if there is one to name.
    fn repeat(&self, work: &WorkModel, result: &mut WorkResult) -> bool {
        let closed = (0..work.rows.len() as u32).find(|row| work.closed[*row as usize]);
        let failed = result.failures.first().and_then(|failure| failure.index);
        let Some(row) = closed.or(failed) else { return false };
        result.failures.push(retry(row));
        true
    }

    fn accept(
        &mut self,
        work: &mut WorkModel,
        result: &mut WorkResult,
        parents: &[Option<u32>],
        continued: bool,
        wrong_count: bool,
        expected: &mut Expected,
    ) {
        if result.outputs.is_some() {
            let frames = work.open().iter().map(|row| self.rows[work.rows[*row as usize] as usize].frame).collect();
            let numbers = parents.iter().map(|parent| parent.map(|row| work.rows[row as usize])).collect();
            expected.forward = Some((numbers, frames));
        }
        let mut answered: BTreeSet<u32> = parents.iter().flatten().copied().collect();
        let carried = work.continuing.take();
        let goes_on = match parents.last() {
            Some(Some(row)) if continued && !result.last => Some(*row),
            _ => None,
        };
        let failed: BTreeSet<u32> = result.failures.iter().filter_map(|failure| failure.index).collect();
        answered.extend(carried.filter(|row| !failed.contains(row)));
        if let Some(row) = goes_on {
            answered.remove(&row);
        }
        work.continuing = goes_on;
        for row in answered {
            self.end(work, row);
            self.books.answered += 1;
        }
        self.fail_named(work, &result.failures, expected);
        if !result.last {
            return;
        }
        let unnamed = work.open();
        result.consumed = unnamed.len() as u32 + u32::from(wrong_count);
        for row in unnamed {
            if wrong_count {
                self.fail_row(work, row, &failure(row, Action::Retry, "UNACCOUNTED"), expected);
            } else {
                self.end(work, row);
                self.books.consumed += 1;
            }
        }
    }

    fn fail_named(&mut self, work: &mut WorkModel, failures: &[Failure], expected: &mut Expected) {
        let mut free = Vec::new();
        for failure in failures {
            let row = failure.index.unwrap();
            if failure.action == Action::Retry && failure.reason == "CANCELLED" && work.cancelled.is_some() {
                free.push(row);
            } else {
                self.fail_row(work, row, failure, expected);
            }
        }
        self.free(work, &free);
    }

    fn fail_row(&mut self, work: &mut WorkModel, row: u32, failure: &Failure, expected: &mut Expected) {
        let number = work.rows[row as usize];
        let attempt = self.rows[number as usize].attempt;
        let costs = failure.reason != "KEY_HELD";
        if failure.action == Action::Reject || (costs && attempt == self.policy.attempts) {
            return self.reject(work, row, &failure.reason, expected);
        }
        self.wait_again(work, row, failure.retry_after, costs, None);
    }

    fn reject(&mut self, work: &mut WorkModel, row: u32, reason: &str, expected: &mut Expected) {
        self.end(work, row);
        self.books.dead_lettered += 1;
        expected.letters.insert(work.rows[row as usize], reason.to_owned());
    }

    fn wait_again(
        &mut self,
        work: &mut WorkModel,
        row: u32,
        retry_after: Option<std::time::Duration>,
        costs: bool,
        group: Option<usize>,
    ) {
        let at = &mut self.rows[work.rows[row as usize] as usize];
        let shortest = self.policy.delay(at.attempt, 0).max(retry_after.unwrap_or_default());
        at.attempt += u32::from(costs);
        at.place = Place::Waiting { not_before: self.now + shortest, group };
        self.books.retried += 1;
        self.back(work, row);
    }

    fn back(&mut self, work: &mut WorkModel, row: u32) {
        work.closed[row as usize] = true;
        self.books.in_hand -= 1;
        self.books.waiting += 1;
    }

    /// Free redelivery: what had to go alone still has to.
    fn free(&mut self, work: &mut WorkModel, rows: &[u32]) {
        if rows.is_empty() {
            return;
        }
        let group = self.group_of(work, rows, work.isolated);
        for row in rows {
            self.rows[work.rows[*row as usize] as usize].place = Place::Waiting { not_before: self.now, group };
            self.back(work, *row);
        }
    }

    fn group_of(&mut self, work: &WorkModel, rows: &[u32], isolated: Option<bool>) -> Option<usize> {
        let numbers = rows.iter().map(|row| work.rows[*row as usize]).collect();
        isolated.map(|halving| self.new_group(numbers, halving))
    }

    /// A failure that names no event.
    fn fail_open(&mut self, work: &mut WorkModel, rejects: bool, reason: &str, expected: &mut Expected) {
        work.void = true;
        let open = work.open();
        if rejects {
            return open.iter().for_each(|row| self.reject(work, *row, reason, expected));
        }
        let by_attempt = |row: &u32| self.rows[work.rows[*row as usize] as usize].attempt == self.policy.attempts;
        let (exhausted, left): (Vec<u32>, Vec<u32>) = open.iter().partition(|row| by_attempt(row));
        if open.len() == 1 && !exhausted.is_empty() {
            return self.reject(work, exhausted[0], reason, expected);
        }
        if !left.is_empty() {
            let group = self.group_of(work, &left, Some(false));
            // They go together, after the delay of the one that has tried most often.
            let highest = left.iter().map(|row| self.rows[work.rows[*row as usize] as usize].attempt).max().unwrap();
            for row in &left {
                self.wait_again(work, *row, None, true, group);
                let not_before = self.now + self.policy.delay(highest, 0);
                self.rows[work.rows[*row as usize] as usize].place = Place::Waiting { not_before, group };
            }
        }
        let (first, second) = exhausted.split_at(exhausted.len() / 2);
        for half in [first, second].into_iter().filter(|half| !half.is_empty()) {
            let group = self.group_of(work, half, Some(true));
            for row in half {
                self.rows[work.rows[*row as usize] as usize].place = Place::Waiting { not_before: self.now, group };
                self.books.retried += 1;
                self.back(work, *row);
            }
        }
    }

    fn end(&mut self, work: &mut WorkModel, row: u32) {
        assert!(!work.closed[row as usize], "the model closed a row twice");
        work.closed[row as usize] = true;
        self.rows[work.rows[row as usize] as usize].place = Place::Ended;
        self.books.in_hand -= 1;
    }
}
