//! Events in order: those that wait, and those that were sent on the present stream. Pure.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use meshloom_proto::v1;
use rand::Rng;

use super::{PublishError, shared::Entry};
use crate::handler::frame::Frame;

/// How long the first event of a batch waits for others.
const LINGER: Duration = Duration::from_millis(5);
/// First and longest wait before a connection is made again.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

#[derive(Default)]
pub(super) struct Waiting {
    waiting: VecDeque<Entry>,
    waiting_bytes: u64,
    sent: BTreeMap<u64, Vec<Entry>>,
    credit_events: u64,
    credit_bytes: u64,
    sequence: u64,
    /// When what waits should go although more may come.
    due: Option<Instant>,
}

impl Waiting {
    pub(super) fn push(&mut self, entry: Entry, now: Instant) {
        self.waiting_bytes += entry.bytes;
        self.waiting.push_back(entry);
        self.due.get_or_insert(now + LINGER);
    }

    pub(super) fn grant(&mut self, credit: v1::PublishCredit) {
        self.credit_events = self.credit_events.saturating_add(credit.events);
        self.credit_bytes = self.credit_bytes.saturating_add(credit.bytes);
    }

    /// Whether any credit is left, which admits one event of any size.
    fn has_credit(&self) -> bool {
        self.credit_events > 0 && self.credit_bytes > 0
    }

    /// When the next batch may go: now, later, or `None` until something else happens.
    pub(super) fn when(&self, now: Instant) -> Option<Instant> {
        let due = self.due.filter(|_| self.has_credit() && !self.waiting.is_empty())?;
        let full = self.waiting.len() as u64 >= self.credit_events.min(4096)
            || self.waiting_bytes >= self.credit_bytes.min(1 << 20);
        Some(if full { now } else { due })
    }

    /// The next batch that the credit admits.
    pub(super) fn next(&mut self, now: Instant) -> Option<v1::Publication> {
        if !self.has_credit() {
            return None;
        }
        let (mut frame, mut entries) = (Frame::default(), Vec::new());
        while let Some(entry) = self.waiting.front() {
            let room = self.credit_events > entries.len() as u64 && frame.bytes() + entry.bytes <= self.credit_bytes;
            let full = frame.is_full() || frame.excess_extension(&entry.output).is_some();
            if !entries.is_empty() && (full || !room) {
                break;
            }
            let Some(entry) = self.waiting.pop_front() else { break };
            frame.add(&entry.output, Some(&entry.id));
            self.waiting_bytes -= entry.bytes;
            entries.push(entry);
        }
        if entries.is_empty() {
            return None;
        }
        self.credit_events = self.credit_events.saturating_sub(entries.len() as u64);
        self.credit_bytes = self.credit_bytes.saturating_sub(frame.bytes());
        // What is left has waited as long as it must.
        self.due = (!self.waiting.is_empty()).then_some(now);
        self.sequence += 1;
        self.sent.insert(self.sequence, entries);
        Some(v1::Publication { sequence: self.sequence, batch: Some(frame.finish()) })
    }

    pub(super) fn acknowledged(&mut self, sequence: u64) {
        for entry in self.sent.remove(&sequence).into_iter().flatten() {
            entry.close(Ok(()));
        }
    }

    /// Closes the events that are named, and lets the others go again.
    pub(super) fn refused(&mut self, refused: v1::Refused, now: Instant) {
        let Some(entries) = self.sent.remove(&refused.sequence) else { return };
        let whole = refused.failures.iter().find(|failure| failure.index == u32::MAX);
        let none = v1::EventFailure { reason: "REFUSED".into(), ..Default::default() };
        let whole = if refused.failures.is_empty() { Some(&none) } else { whole };
        let mut again = Vec::new();
        for (row, entry) in entries.into_iter().enumerate() {
            let named = refused.failures.iter().find(|failure| failure.index == row as u32).or(whole);
            match named {
                Some(failure) => entry.close(Err(PublishError::Refused {
                    reason: failure.reason.clone(),
                    message: failure.message.clone(),
                })),
                None => again.push(entry),
            }
        }
        self.put_back(again, now);
    }

    /// The stream is gone: everything that was not acknowledged goes again, before what was not sent yet.
    pub(super) fn disconnected(&mut self, now: Instant) {
        let sent = std::mem::take(&mut self.sent).into_values().flatten().collect();
        self.put_back(sent, now);
        (self.credit_events, self.credit_bytes) = (0, 0);
    }

    fn put_back(&mut self, entries: Vec<Entry>, now: Instant) {
        for entry in entries.into_iter().rev() {
            self.waiting_bytes += entry.bytes;
            self.waiting.push_front(entry);
        }
        if !self.waiting.is_empty() {
            self.due = Some(now);
        }
    }

    pub(super) fn close_all(&mut self, why: &PublishError) {
        for entry in std::mem::take(&mut self.sent).into_values().flatten().chain(self.waiting.drain(..)) {
            entry.close(Err(why.clone()));
        }
    }
}

/// The wait before attempt `failures` + 1: doubling, with equal jitter.
pub(super) fn backoff(failures: u32) -> Duration {
    let (first, longest) = BACKOFF;
    let whole = first.saturating_mul(1 << failures.min(16)).min(longest);
    whole / 2 + rand::rng().random_range(Duration::ZERO..=whole / 2)
}
