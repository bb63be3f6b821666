//! Circuit breaker of a replica: one at which works fail as wholes gets none for a while, then a single one as a probe.
//!
//! Failures that name events are verdicts on these and say nothing of the replica. An end of its stream is the affair of
//! the restart back-off; a new stream begins with its breaker closed.

use std::{collections::VecDeque, time::Duration};

use super::{Action, NodeMachine, RetryPolicy};
use crate::moment::Moment;

/// Works in a row that failed as wholes and open it.
const FAILURES_IN_A_ROW: u32 = 7;
/// The time over which the share of failed works is looked at.
const WINDOW: Duration = Duration::from_secs(10);
/// The least number of works in it that say anything.
const WORKS_IN_WINDOW: u32 = 20;
/// Length of one of its parts, which are forgotten as wholes.
const PART: Duration = Duration::from_secs(1);
/// How long it stays open: doubles with each probe that fails. Attempts do not count here.
const OPEN: RetryPolicy =
    RetryPolicy { attempts: u32::MAX, initial: Duration::from_secs(1), max: Duration::from_secs(60) };

/// What a breaker lets through.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum BreakerState {
    /// All works.
    #[default]
    Closed,
    /// None, for a while.
    Open,
    /// One work, which shows whether the replica is well again.
    HalfOpen,
}

impl BreakerState {
    /// The word used in `status` and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        }
    }
}

#[derive(Debug, Default, PartialEq, Eq)]
enum State {
    /// In use.
    #[default]
    Closed,
    /// Not in use until then.
    Open { until: Moment },
    /// In use for one work.
    HalfOpen { probe: Option<u64> },
}

#[derive(Debug)]
struct Part {
    since: Moment,
    works: u32,
    failed: u32,
}

/// See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    state: State,
    failures_in_a_row: u32,
    window: VecDeque<Part>,
    /// Openings since it was last closed.
    openings: u32,
}

/// What the end of a work means.
#[derive(Debug, PartialEq, Eq)]
enum Finding {
    /// The replica should not be used.
    Bad(String),
    /// The probe was answered.
    Recovered,
}

impl Breaker {
    /// Whether the replica is in use without reserve.
    pub(super) fn is_closed(&self) -> bool {
        self.state == State::Closed
    }

    fn state(&self) -> BreakerState {
        match self.state {
            State::Closed => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }

    /// Whether no work may be sent for a while.
    pub(super) fn is_open(&self) -> bool {
        matches!(self.state, State::Open { .. })
    }

    /// Whether a work may be sent.
    pub(super) fn admits(&self) -> bool {
        matches!(self.state, State::Closed | State::HalfOpen { probe: None })
    }

    /// A work was sent.
    pub(super) fn sent(&mut self, sequence: u64) {
        if let State::HalfOpen { probe: probe @ None } = &mut self.state {
            *probe = Some(sequence);
        }
    }

    /// When a probe may be sent.
    fn opens_half_at(&self) -> Option<Moment> {
        match self.state {
            State::Open { until } => Some(until),
            _ => None,
        }
    }

    /// A work ended, as a whole with success or not.
    fn ended(&mut self, sequence: u64, failed: bool, now: Moment) -> Option<Finding> {
        match self.state {
            State::Closed => self.count(failed, now),
            State::HalfOpen { probe: Some(probe) } if probe == sequence && failed => {
                Some(Finding::Bad("its probe failed".into()))
            }
            State::HalfOpen { probe: Some(probe) } if probe == sequence => Some(Finding::Recovered),
            // It was sent before.
            State::HalfOpen { .. } | State::Open { .. } => None,
        }
    }

    fn count(&mut self, failed: bool, now: Moment) -> Option<Finding> {
        self.failures_in_a_row = if failed { self.failures_in_a_row + 1 } else { 0 };
        while self.window.front().is_some_and(|part| now - part.since >= WINDOW) {
            self.window.pop_front();
        }
        if self.window.back().is_none_or(|part| now - part.since >= PART) {
            self.window.push_back(Part { since: now, works: 0, failed: 0 });
        }
        if let Some(part) = self.window.back_mut() {
            part.works += 1;
            part.failed += u32::from(failed);
        }
        if self.failures_in_a_row >= FAILURES_IN_A_ROW {
            return Some(Finding::Bad(format!("{FAILURES_IN_A_ROW} works in a row failed as wholes")));
        }
        let (works, bad) =
            self.window.iter().fold((0, 0), |(works, bad), part| (works + part.works, bad + part.failed));
        (works >= WORKS_IN_WINDOW && 2 * bad > works)
            .then(|| Finding::Bad(format!("{bad} of {works} works failed as wholes within {WINDOW:?}")))
    }

    /// Opens it; for how long is returned.
    fn open(&mut self, random: u64, now: Moment) -> Duration {
        let openings = self.openings + 1;
        let time = OPEN.delay(openings, random);
        *self = Self { state: State::Open { until: now + time }, openings, ..Self::default() };
        time
    }
}

impl NodeMachine {
    /// What the breaker of a replica lets through.
    pub fn breaker(&self, replica: u32) -> BreakerState {
        self.replicas[replica as usize].breaker.state()
    }

    /// A work was answered in full by a replica.
    pub(super) fn work_ended(&mut self, replica: u32, sequence: u64, failed: bool, now: Moment) {
        let Some(finding) = self.replicas[replica as usize].breaker.ended(sequence, failed, now) else { return };
        let may_open = self.has_closed_breaker_besides(replica);
        let breaker = &mut self.replicas[replica as usize].breaker;
        let message = match finding {
            Finding::Bad(why) if may_open => {
                let time = breaker.open(self.ids.random(), now);
                format!("open: {why}; it gets no work for {time:.1?}")
            }
            _ if breaker.is_closed() => {
                // The last one stays in use whatever it does; it is counted from the beginning.
                *breaker = Breaker::default();
                return;
            }
            Finding::Bad(why) => {
                *breaker = Breaker::default();
                format!("closed, though {why}: no other replica is in use")
            }
            Finding::Recovered => {
                *breaker = Breaker::default();
                "closed: its probe was answered".into()
            }
        };
        self.actions.push(Action::Breaker { replica, message });
    }

    /// Half-opens the breakers whose time has come, and all of them if no other replica is in use.
    pub(super) fn half_open(&mut self, now: Moment) {
        for replica in 0..self.replicas.len() as u32 {
            let breaker = &self.replicas[replica as usize].breaker;
            let Some(until) = breaker.opens_half_at() else { continue };
            if until <= now || !self.has_closed_breaker_besides(replica) {
                self.replicas[replica as usize].breaker.state = State::HalfOpen { probe: None };
                self.actions.push(Action::Breaker { replica, message: "half-open: its next work is a probe".into() });
            }
        }
    }

    pub(super) fn next_half_open(&self) -> Option<Moment> {
        self.replicas.iter().filter_map(|replica| replica.breaker.opens_half_at()).min()
    }

    fn has_closed_breaker_besides(&self, replica: u32) -> bool {
        let in_use = |(index, other): (u32, &super::Replica)| {
            index != replica && other.in_service() && other.breaker.is_closed()
        };
        (0..).zip(&self.replicas).any(in_use)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Moment = Moment(1_000_000_000_000);

    /// The first finding about works that end `apart` from each other.
    fn feed(apart: Duration, failed: impl IntoIterator<Item = bool>) -> Option<(usize, Finding)> {
        let mut breaker = Breaker::default();
        let mut now = START;
        failed.into_iter().enumerate().find_map(|(at, failed)| {
            now = now + apart;
            Some((at + 1, breaker.ended(at as u64, failed, now)?))
        })
    }

    #[test]
    fn seven_failures_in_a_row_are_too_many() {
        let apart = Duration::from_secs(3600);
        let six = std::iter::repeat_n(true, 6).chain([false]).cycle().take(1000);
        assert_eq!(feed(apart, six), None);
        let finding = Finding::Bad("7 works in a row failed as wholes".into());
        assert_eq!(feed(apart, std::iter::repeat(true)), Some((7, finding)));
    }

    #[test]
    fn so_is_more_than_half_of_twenty_within_ten_seconds() {
        let apart = Duration::from_millis(100);
        let half = [false, true].into_iter().cycle();
        assert_eq!(feed(apart, half.take(1000)), None, "50 % is enough");
        let worse = [true, true, false].into_iter().cycle();
        let (works, finding) = feed(apart, worse.clone().take(1000)).unwrap();
        let expected = Finding::Bad("14 of 20 works failed as wholes within 10s".into());
        assert_eq!((works, finding), (20, expected), "not before the twentieth");
        assert_eq!(feed(Duration::from_secs(1), worse.take(1000)), None, "never twenty in the time");
    }

    #[test]
    fn it_stays_open_for_a_second_and_doubles_to_a_minute_with_jitter() {
        let mut breaker = Breaker::default();
        for full in [1, 2, 4, 8, 16, 32, 60, 60] {
            let full = Duration::from_secs(full);
            for random in [0, 12345, u64::MAX] {
                let mut same = Breaker { openings: breaker.openings, ..Breaker::default() };
                let time = same.open(random, START);
                assert!(time >= full / 2 && time <= full, "{time:?}");
                assert_eq!(same.opens_half_at(), Some(START + time));
            }
            breaker.open(0, START);
        }
    }
}
