//! The works in hand at one stream, seen from the transport.

use std::{collections::HashMap, sync::Arc, time::Duration};

use meshloom_proto::v1::{self, HandlerCall, Progress, WorkResult, process_response::Response};
use tokio::time::Instant;

use crate::{
    columns::{ABSENT, u32_at},
    error::{Error, reason},
    running::{CancelSignal, Running},
};

/// How long a work that was taken back may take to answer for itself before the transport answers for it: a handler
/// that blocks its thread cannot be stopped, only left behind.
const GRACE: Duration = Duration::from_millis(500);
/// Calls told in one Progress.
const MAX_CALLS: usize = 256;

#[derive(Default)]
pub(super) struct Hand {
    works: HashMap<u64, InHand>,
}

/// However the stream ended: what is left in hand has nobody who reads its answers.
impl Drop for Hand {
    fn drop(&mut self) {
        for work in self.works.values() {
            work.signal.raise();
        }
    }
}

struct InHand {
    events: u32,
    timeout: Option<Duration>,
    signal: Arc<CancelSignal>,
    running: Arc<Running>,
    /// Inputs that results sent so far have closed; empty while nothing was sent.
    closed: Vec<bool>,
    overdue: Option<Instant>,
}

impl Hand {
    pub(super) fn is_empty(&self) -> bool {
        self.works.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.works.len()
    }

    pub(super) fn has(&self, sequence: u64) -> bool {
        self.works.contains_key(&sequence)
    }

    pub(super) fn take(&mut self, work: &v1::Work, signal: Arc<CancelSignal>, running: Arc<Running>) {
        let events = work.batch.as_ref().map_or(0, |batch| batch.count);
        let timeout = work.timeout.and_then(|timeout| timeout.try_into().ok());
        self.works
            .insert(work.sequence, InHand { events, timeout, signal, running, closed: Vec::new(), overdue: None });
    }

    /// Takes a work back. One that is not in hand has been answered already.
    pub(super) fn cancel(&mut self, sequence: u64) {
        if let Some(work) = self.works.get_mut(&sequence)
            && work.overdue.is_none()
        {
            work.signal.raise();
            work.overdue = Some(Instant::now() + GRACE);
        }
    }

    /// Passes a result on, unless its work was answered for.
    pub(super) fn pass(&mut self, result: WorkResult) -> Option<Response> {
        let work = self.works.get_mut(&result.sequence)?;
        if result.last {
            self.works.remove(&result.sequence);
        } else {
            work.note(&result);
        }
        Some(Response::Result(result))
    }

    pub(super) fn overdue(&self) -> Option<Instant> {
        self.works.values().filter_map(|work| work.overdue).min()
    }

    /// Answers for a work that was taken back and does not answer for itself.
    pub(super) fn answer_overdue(&mut self) -> Option<Response> {
        let now = Instant::now();
        let sequence = *self.works.iter().find(|(_, work)| work.overdue.is_some_and(|at| at <= now))?.0;
        let work = self.works.remove(&sequence)?;
        Some(Response::Result(work.give_up(sequence)))
    }

    /// Looks at what runs, so that it is known since when.
    pub(super) fn look(&self) {
        for work in self.works.values() {
            work.running.look();
        }
    }

    pub(super) fn progress(&self) -> Option<Response> {
        if self.works.is_empty() {
            return None;
        }
        let mut calls: Vec<(u64, u32, Duration)> = self
            .works
            .iter()
            .flat_map(|(&sequence, work)| work.running.calls().into_iter().map(move |(row, age)| (sequence, row, age)))
            .collect();
        calls.sort_by_key(|(.., age)| std::cmp::Reverse(*age));
        calls.truncate(MAX_CALLS);
        let calls = calls
            .into_iter()
            .map(|(sequence, index, age)| HandlerCall { sequence, index, age: age.try_into().ok() })
            .collect();
        Some(Response::Progress(Progress { calls }))
    }
}

impl InHand {
    /// Notes which inputs a part of the answer closes.
    fn note(&mut self, result: &WorkResult) {
        self.closed.resize(self.events as usize, false);
        let mut close = |row: u32, closed: bool| {
            if let Some(slot) = self.closed.get_mut(row as usize) {
                *slot = closed;
            }
        };
        for failure in &result.failures {
            close(failure.index, true);
        }
        if let Some(outputs) = &result.outputs {
            let parent = |i: u32| {
                if outputs.parent.is_empty() { i } else { u32_at(&outputs.parent, i as usize) }
            };
            for i in 0..outputs.count {
                close(parent(i), true);
            }
            if outputs.continued {
                close(parent(outputs.count - 1), false);
            }
        }
    }

    fn give_up(self, sequence: u64) -> WorkResult {
        let calls = self.running.calls();
        let late = |age: Duration| self.timeout.is_some_and(|timeout| age >= timeout);
        let timed_out = |age: Duration| {
            Error::retry(
                reason::TIMEOUT,
                format!("the handler's call ran for {age:.1?}, longer than the node's timeout, and blocks its thread"),
            )
        };
        let mut failures = Vec::new();
        if let Some((_, age)) = calls.iter().find(|(row, age)| *row == ABSENT && late(*age)) {
            failures.push(timed_out(*age).into_failure(ABSENT));
        } else {
            for row in (0..self.events).filter(|&row| !self.closed.get(row as usize).is_some_and(|closed| *closed)) {
                let error = match calls.iter().find(|(call, age)| *call == row && late(*age)) {
                    Some((_, age)) => timed_out(*age),
                    None => Error::retry(reason::CANCELLED, "the coordinator took the work back"),
                };
                failures.push(error.into_failure(row));
            }
        }
        WorkResult { sequence, failures, last: true, ..WorkResult::default() }
    }
}
