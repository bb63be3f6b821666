//! When a failed event is tried again.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    time::Duration,
};

use super::Segment;
use crate::moment::Moment;

/// Attempts and the time between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts in all, at least 1.
    pub attempts: u32,
    /// Delay before the second attempt.
    pub initial: Duration,
    /// The delay doubles up to this.
    pub max: Duration,
}

impl RetryPolicy {
    /// Delay after attempt `attempt` (from 1) failed, with equal jitter: half fixed, half by `random`.
    pub fn delay(&self, attempt: u32, random: u64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(32);
        let full = self.initial.saturating_mul(1 << doublings.min(31)).min(self.max);
        let half = u64::try_from((full / 2).as_nanos()).unwrap_or(u64::MAX / 2);
        Duration::from_nanos(half + random % (half + 1))
    }
}

/// Segments that wait for their time.
#[derive(Debug, Default)]
pub(super) struct Retries {
    order: BinaryHeap<Reverse<(Moment, u64)>>,
    /// With whether the node asked for the time.
    segments: HashMap<u64, (Segment, bool)>,
    next: u64,
}

impl Retries {
    /// `asked`: the node asked for this time.
    pub(super) fn push(&mut self, at: Moment, segment: Segment, asked: bool) {
        self.order.push(Reverse((at, self.next)));
        self.segments.insert(self.next, (segment, asked));
        self.next += 1;
    }

    pub(super) fn next(&self) -> Option<Moment> {
        self.order.peek().map(|Reverse((at, _))| *at)
    }

    /// Those whose time has come, earliest first.
    pub(super) fn due(&mut self, now: Moment) -> Vec<Segment> {
        let mut due = Vec::new();
        while self.next().is_some_and(|at| at <= now) {
            due.extend(self.pop());
        }
        due
    }

    /// All, earliest first.
    pub(super) fn fire_all(&mut self) -> Vec<Segment> {
        std::iter::from_fn(|| self.pop()).collect()
    }

    /// All but those whose time the node asked for, earliest first.
    pub(super) fn release(&mut self) -> Vec<Segment> {
        let order = std::mem::take(&mut self.order).into_sorted_vec();
        let (asked, free): (Vec<_>, Vec<_>) = order
            .into_iter()
            .rev()
            .partition(|Reverse((_, id))| self.segments.get(id).is_some_and(|(_, asked)| *asked));
        self.order.extend(asked);
        free.into_iter().filter_map(|Reverse((_, id))| Some(self.segments.remove(&id)?.0)).collect()
    }

    fn pop(&mut self) -> Option<Segment> {
        let Reverse((_, id)) = self.order.pop()?;
        Some(self.segments.remove(&id)?.0)
    }
}
