//! `on_exhausted: pause`: the node stops where an event has used up its attempts, until an operator says that it goes on.

use std::borrow::Cow;

use super::{Action, NodeMachine, Segment, segment::Attempts};
use crate::{exchange::Failure, ids::Uid, moment::Moment};

/// What happens when an event's attempts are used up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OnExhausted {
    /// It becomes a dead letter.
    #[default]
    DeadLetter,
    /// The node pauses.
    Pause,
}

/// Why nothing goes to the node.
#[derive(Debug)]
pub(super) struct Pause {
    /// Events whose attempts are used up.
    events: Vec<Segment>,
    since: Moment,
    /// The first of them.
    uid: Uid,
    reason: Cow<'static, str>,
    message: String,
}

/// What keeps a node from its work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standstill {
    /// All works have failed for a while: single events show whether the node is out.
    Probing,
    /// It is out.
    Outage,
    /// An event has used up its attempts, and an operator must say that it goes on.
    Paused,
}

/// A node that stands still, for those who ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What keeps it from its work.
    pub standstill: Standstill,
    /// Since when.
    pub since: Moment,
    /// Code of the failure that led to it, in an outage of the last one.
    pub reason: Cow<'static, str>,
    /// Its message.
    pub message: String,
    /// The event whose attempts are used up.
    pub uid: Option<Uid>,
}

impl NodeMachine {
    /// Keeps events whose attempts are used up, and stops.
    pub(super) fn pause(&mut self, segment: Segment, failure: &Failure, now: Moment) {
        if let Some(pause) = &mut self.paused {
            return pause.events.push(segment);
        }
        let Failure { reason, message, .. } = failure;
        let uid = segment.batch.uid(0);
        self.actions.push(Action::Paused { uid, why: format!("{reason}: {message}") });
        let (reason, message) = (reason.clone(), message.clone());
        self.paused = Some(Pause { events: vec![segment], since: now, uid, reason, message });
        self.outage.forget();
    }

    /// Gives the events that led to a pause fresh attempts and goes on.
    pub(super) fn resume(&mut self) {
        let Some(pause) = self.paused.take() else { return };
        for segment in pause.events.into_iter().rev() {
            self.ready.push_front(Segment { attempts: Attempts::One(1), ..segment });
        }
        self.ramp.begin();
    }

    /// Events that have used up their attempts while the node is paused; `None`: it is not.
    pub fn paused_events(&self) -> Option<u64> {
        let pause = self.paused.as_ref()?;
        Some(pause.events.iter().map(|segment| u64::from(segment.len())).sum())
    }

    /// What keeps the node from its work, if anything does.
    pub fn condition(&self) -> Option<Condition> {
        if let Some(Pause { since, uid, reason, message, .. }) = &self.paused {
            let (reason, message) = (reason.clone(), message.clone());
            return Some(Condition { standstill: Standstill::Paused, since: *since, reason, message, uid: Some(*uid) });
        }
        if !self.outage.holds() {
            return None;
        }
        let (reason, message) = self.outage.last_failure()?.clone();
        let out = self.outage.proven().is_some();
        let standstill = if out { Standstill::Outage } else { Standstill::Probing };
        Some(Condition { standstill, since: self.outage.since()?, reason, message, uid: None })
    }

    /// The events that led to a pause, when the pipeline ends.
    pub(super) fn take_paused(&mut self) -> Vec<Segment> {
        self.paused.take().map(|pause| pause.events).unwrap_or_default()
    }

    /// Whether nothing more goes before the pipeline has ended.
    pub(super) fn stands_still_to_the_end(&self) -> bool {
        self.paused.is_some() || (self.draining && self.outage.has_failed_in_drain())
    }
}
