//! The books of mode `lines`: which line answers which event. No I/O.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use meshloom_config::exec::Envelope;
use meshloom_core::{
    exchange::{Call, Failure, Work, WorkResult},
    limits,
    outputs::{OutputEvent, OutputsBuilder},
};
use tokio::time::Instant;

use super::collect::{Refused, emit_envelope};
use crate::{
    calls::{interrupted, last, reject, retry},
    formats::Encoder,
};

/// More lines came than were asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooMany;

/// Works in hand.
pub(super) struct Works {
    encoder: Encoder,
    envelope: Envelope,
    limit: Duration,
    /// Not begun.
    waiting: VecDeque<(Work, Instant)>,
    /// Begun, by sequence.
    open: BTreeMap<u64, Open>,
    /// Rows to be written: of which work, from which row.
    writing: VecDeque<(u64, usize)>,
    /// Lines to be answered, in order.
    asked: VecDeque<(u64, u32)>,
    /// When the oldest of them became the oldest.
    oldest_since: Instant,
    results: Vec<WorkResult>,
}

struct Open {
    work: Work,
    builder: OutputsBuilder,
    /// Rows without an answer.
    left: usize,
    consumed: u32,
    failures: Vec<Failure>,
    since: Instant,
    /// It has failed before: it goes alone, so that it can harm no other and no other can harm it.
    suspect: bool,
    /// Taken back: its answers are read, and ignored.
    cancelled: bool,
}

impl Works {
    pub(super) fn new(encoder: Encoder, envelope: Envelope, limit: Duration) -> Self {
        Self {
            encoder,
            envelope,
            limit,
            waiting: VecDeque::new(),
            open: BTreeMap::new(),
            writing: VecDeque::new(),
            asked: VecDeque::new(),
            oldest_since: Instant::now(),
            results: Vec::new(),
        }
    }

    /// Whether nothing is in hand, not even a result.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.open.is_empty() && self.results.is_empty()
    }

    /// Whether the process is needed.
    pub(super) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether lines are with the process.
    pub(super) fn has_asked(&self) -> bool {
        !self.asked.is_empty()
    }

    /// Takes a work into hand.
    pub(super) fn take(&mut self, work: Work) {
        self.waiting.push_back((work, Instant::now()));
    }

    /// Takes a work back.
    pub(super) fn cancel(&mut self, sequence: u64) {
        let limit = self.limit;
        if let Some(at) = self.waiting.iter().position(|(work, _)| work.sequence == sequence) {
            // It has not begun, so its time cannot be over.
            self.waiting.remove(at);
            self.results.push(last(sequence, interrupted(Duration::ZERO, None)));
        } else if let Some(open) = self.open.get_mut(&sequence).filter(|open| !open.cancelled) {
            open.cancelled = true;
            let age = open.since.elapsed();
            let limit = open.work.timeout.unwrap_or(limit);
            self.results.push(WorkResult { busy: age, ..last(sequence, interrupted(age, Some(limit))) });
            self.writing.retain(|(writing, _)| *writing != sequence);
            let asked = self.asked.iter().filter(|(asked, _)| *asked == sequence).count();
            open.left = asked;
            if asked == 0 {
                self.open.remove(&sequence);
            }
        }
    }

    /// Appends lines for the process until `out` holds `most` bytes.
    pub(super) fn fill(&mut self, out: &mut Vec<u8>, most: usize) {
        while out.len() < most {
            let Some((sequence, row)) = self.writing.front_mut() else {
                if self.begin_next() {
                    continue;
                } else {
                    return;
                };
            };
            let (sequence, at) = (*sequence, *row);
            *row += 1;
            let Some(open) = self.open.get_mut(&sequence) else {
                self.writing.pop_front();
                continue;
            };
            if at + 1 >= open.work.batch.len() {
                self.writing.pop_front();
            }
            match self.encoder.check(&open.work.batch, at) {
                Ok(()) => {
                    self.encoder.write(&open.work.batch, at, false, out);
                    if self.asked.is_empty() {
                        self.oldest_since = Instant::now();
                    }
                    self.asked.extend(u32::try_from(at).map(|row| (sequence, row)));
                }
                Err(unwritable) => {
                    open.failures.push(reject(at, unwritable.reason, unwritable.message));
                    open.left -= 1;
                    self.close_if_done(sequence);
                }
            }
        }
    }

    fn begin_next(&mut self) -> bool {
        let Some((work, _)) = self.waiting.front() else {
            return false;
        };
        let suspect = work.attempts.as_deref().is_some_and(|attempts| attempts.iter().any(|&attempt| attempt > 1));
        let alone = self.open.is_empty();
        if !alone && (suspect || self.open.values().any(|open| open.suspect)) {
            return false;
        }
        let Some((work, _)) = self.waiting.pop_front() else {
            return false;
        };
        let sequence = work.sequence;
        let open = Open {
            builder: OutputsBuilder::new(&work.batch),
            left: work.batch.len(),
            consumed: 0,
            failures: Vec::new(),
            since: Instant::now(),
            suspect,
            cancelled: false,
            work,
        };
        let empty = open.left == 0;
        self.open.insert(sequence, open);
        if empty {
            self.close_if_done(sequence);
        } else {
            self.writing.push_back((sequence, 0));
        }
        true
    }

    /// Takes a line of the process.
    pub(super) fn answer(&mut self, line: &[u8]) -> Result<(), TooMany> {
        let Some((sequence, row)) = self.asked.pop_front() else {
            return Err(TooMany);
        };
        self.oldest_since = Instant::now();
        let Some(open) = self.open.get_mut(&sequence) else {
            return Ok(());
        };
        open.left -= 1;
        if open.cancelled {
            if open.left == 0 {
                self.open.remove(&sequence);
            }
            return Ok(());
        }
        let at = row as usize;
        if line.is_empty() {
            open.consumed += 1;
        } else {
            let mut emitted = emit(open, row, line, self.envelope);
            if matches!(emitted, Err(Refused::Full)) {
                self.results.extend(open.part());
                emitted = emit(open, row, line, self.envelope);
            }
            if let Err(refused) = emitted {
                let message = format!("the answer to this event cannot be used: {refused}");
                open.failures.push(retry(at, "BAD_OUTPUT", message));
            }
        }
        self.close_if_done(sequence);
        Ok(())
    }

    fn close_if_done(&mut self, sequence: u64) {
        if self.open.get(&sequence).is_some_and(|open| open.left == 0)
            && let Some(mut open) = self.open.remove(&sequence)
        {
            let outputs = open.part().and_then(|part| part.outputs);
            self.results.push(WorkResult {
                sequence,
                outputs,
                failures: open.failures,
                consumed: open.consumed,
                last: true,
                busy: open.since.elapsed(),
            });
        }
    }

    /// What can be answered now; a work that is not done answers in parts.
    pub(super) fn results(&mut self) -> Vec<WorkResult> {
        self.results.extend(self.open.values_mut().filter(|open| !open.cancelled).filter_map(Open::part));
        std::mem::take(&mut self.results)
    }

    /// The process is gone: all that was with it comes again.
    pub(super) fn fail(&mut self, failure: &Failure) {
        self.asked.clear();
        self.writing.clear();
        for (sequence, mut open) in std::mem::take(&mut self.open) {
            if !open.cancelled {
                self.results.extend(open.part());
                self.results.push(WorkResult { busy: open.since.elapsed(), ..last(sequence, failure.clone()) });
            }
        }
    }

    /// The process could not be started: all that waits for it comes again.
    pub(super) fn fail_waiting(&mut self, failure: &Failure) {
        let failed = self.waiting.drain(..).map(|(work, _)| last(work.sequence, failure.clone()));
        self.results.extend(failed);
    }

    /// When the oldest line will have waited too long.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let (sequence, _) = self.asked.front()?;
        Some(self.oldest_since + self.limit_of(*sequence))
    }

    /// The time limit of the oldest line.
    pub(super) fn oldest_limit(&self) -> Duration {
        self.asked.front().map_or(self.limit, |(sequence, _)| self.limit_of(*sequence))
    }

    fn limit_of(&self, sequence: u64) -> Duration {
        self.open.get(&sequence).and_then(|open| open.work.timeout).unwrap_or(self.limit)
    }

    /// What is running, oldest first.
    pub(super) fn progress(&self) -> Vec<Call> {
        let asked = self.asked.front().map(|(sequence, row)| Call {
            sequence: *sequence,
            index: Some(*row),
            age: self.oldest_since.elapsed(),
        });
        asked.into_iter().take(limits::PROGRESS_CALLS).collect()
    }
}

impl Open {
    /// The outputs so far, as a part of the answer.
    fn part(&mut self) -> Option<WorkResult> {
        if self.builder.is_empty() {
            return None;
        }
        let full = std::mem::replace(&mut self.builder, OutputsBuilder::new(&self.work.batch));
        Some(WorkResult { sequence: self.work.sequence, outputs: full.finish(false), ..WorkResult::default() })
    }
}

fn emit(open: &mut Open, row: u32, line: &[u8], envelope: Envelope) -> Result<(), Refused> {
    let at = row as usize;
    match envelope {
        Envelope::CloudEvents => emit_envelope(&mut open.builder, Some((&open.work.batch, row)), line),
        Envelope::Data => {
            let changed = line != open.work.batch.payload(at);
            Ok(open.builder.emit(Some(row), changed.then_some(line), OutputEvent::default())?)
        }
    }
}

#[cfg(test)]
mod tests {
    use meshloom_core::batch::{BatchBuilder, Event};

    use super::*;

    fn work(sequence: u64, payloads: &[&str], attempt: u32) -> Work {
        let mut builder = BatchBuilder::new();
        for payload in payloads {
            builder.push(Event { payload: payload.as_bytes(), ..Event::default() }).unwrap();
        }
        let attempts = Some(vec![attempt; payloads.len()].into());
        Work { sequence, batch: builder.finish(), attempts, timeout: None }
    }

    fn works() -> Works {
        Works::new(Encoder::Text, Envelope::Data, Duration::from_secs(30))
    }

    fn filled(works: &mut Works) -> String {
        let mut out = Vec::new();
        works.fill(&mut out, 1000);
        String::from_utf8(out).unwrap()
    }

    fn closed(works: &mut Works) -> Vec<u64> {
        works.results().iter().filter(|result| result.last).map(|result| result.sequence).collect()
    }

    #[test]
    fn a_work_that_has_failed_before_goes_alone() {
        let mut works = works();
        works.take(work(1, &["a", "b"], 1));
        works.take(work(2, &["c"], 2));
        works.take(work(3, &["d"], 1));
        assert_eq!(filled(&mut works), "a\nb\n");
        works.answer(b"A").unwrap();
        assert_eq!(filled(&mut works), "");
        works.answer(b"B").unwrap();
        assert_eq!(filled(&mut works), "c\n");
        works.answer(b"C").unwrap();
        assert_eq!(filled(&mut works), "d\n");
        assert_eq!(closed(&mut works), [1, 2]);
        assert_eq!(works.answer(b""), Ok(()));
        assert_eq!(works.answer(b"more"), Err(TooMany));
        assert_eq!(closed(&mut works), [3]);
        assert!(works.is_empty());
    }

    #[test]
    fn no_more_is_encoded_than_there_is_room_for() {
        let mut works = works();
        works.take(work(1, &["aaaa"; 10], 1));
        let mut out = Vec::new();
        works.fill(&mut out, 8);
        assert_eq!(out.len(), 10);
        out.clear();
        works.fill(&mut out, 1000);
        assert_eq!(out.len(), 40);
    }

    #[test]
    fn a_failure_closes_what_was_begun_and_leaves_what_waits() {
        let mut works = works();
        works.take(work(1, &["a", "b"], 1));
        works.take(work(2, &["c"], 2));
        filled(&mut works);
        works.answer(b"A").unwrap();
        works.fail(&crate::calls::whole("EXIT_STATUS", "gone"));
        let results = works.results();
        assert_eq!(
            results.iter().map(|result| (result.sequence, result.last)).collect::<Vec<_>>(),
            [(1, false), (1, true)]
        );
        assert_eq!(results[0].outputs.as_ref().map(|outputs| outputs.len()), Some(1));
        assert_eq!((results[1].failures.len(), results[1].consumed), (1, 0));
        assert_eq!(works.deadline(), None);
        assert_eq!(filled(&mut works), "c\n");
        assert!(works.deadline().is_some());
    }

    #[test]
    fn a_work_taken_back_before_it_has_begun_is_never_written() {
        let mut works = works();
        works.take(work(1, &["a"], 2));
        works.take(work(2, &["b"], 1));
        filled(&mut works);
        works.cancel(2);
        works.cancel(1);
        let results = works.results();
        assert!(results.iter().all(|result| result.last && result.failures[0].reason == "CANCELLED"));
        assert_eq!(results.len(), 2);
        // Its line is still with the process.
        assert_eq!(works.answer(b"A"), Ok(()));
        assert_eq!(filled(&mut works), "");
        assert!(works.is_empty());
    }
}
