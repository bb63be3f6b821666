//! Outages: a node at which everything fails is left alone, but for a single event now and then, until one succeeds.
//!
//! An outage is a statement about the node, so different events must prove it: one bad event, or a batch with one in it,
//! is no outage. While it is being proven and while it lasts no attempt is spent, and what waits stays where it is.

use std::{borrow::Cow, time::Duration};

use super::{Action, NodeMachine, accounting::InHand, whole};
use crate::{
    exchange::{Action as FailureAction, Failure, WorkResult},
    ids::Uid,
    moment::Moment,
};

/// Different events that must fail, one after the other, each alone; and the least that must be at a node to be tried.
const WITNESSES: usize = 3;

/// What becomes of events that wait in an outage.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum InOutage {
    /// They wait until it is over.
    #[default]
    Hold,
    /// They become dead letters.
    DeadLetter,
}

/// When a node is out, and what happens then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutagePolicy {
    /// Works that have all failed for so long are a reason to look closer.
    pub after: Duration,
    /// Time between the first two probes; doubles with each.
    pub probe_initial: Duration,
    /// The longest time between probes.
    pub probe_max: Duration,
    /// What becomes of events that wait.
    pub events: InOutage,
    /// How long they wait at most once every source is exhausted.
    pub patience: Duration,
}

impl Default for OutagePolicy {
    fn default() -> Self {
        Self {
            after: Duration::from_secs(10),
            probe_initial: Duration::from_secs(1),
            probe_max: Duration::from_secs(30),
            events: InOutage::default(),
            patience: Duration::from_secs(15 * 60),
        }
    }
}

/// What is known of a node's health. See the module's documentation.
#[derive(Debug, Default)]
pub(super) struct Outage {
    /// Since when nothing has succeeded, counted from the first failure.
    failing_since: Option<Moment>,
    /// Code and message of the last failure.
    last: Option<(Cow<'static, str>, String)>,
    hold: Option<Hold>,
    /// When the last source was exhausted.
    exhausted: Option<Moment>,
}

/// Works are not sent, but for probes.
#[derive(Debug)]
struct Hold {
    next_probe: Moment,
    /// Time to the probe after the next one that fails.
    gap: Duration,
    /// The next one is from what has arrived and was never sent, if there is such.
    from_queue: bool,
    /// Events that have failed as probes, up to the number that proves the outage.
    failed: Vec<Uid>,
    /// Since when it is an outage.
    proven: Option<Moment>,
    /// A probe has failed since the pipeline began to drain.
    failed_in_drain: bool,
}

impl Hold {
    fn new(now: Moment, gap: Duration) -> Self {
        Self { next_probe: now, gap, from_queue: false, failed: Vec::new(), proven: None, failed_in_drain: false }
    }
}

impl Outage {
    /// Whether failures are the node's and not the events', as far as is known.
    pub(super) fn holds(&self) -> bool {
        self.hold.is_some()
    }

    /// Whether the node is known to be out, and since when.
    pub(super) fn proven(&self) -> Option<Moment> {
        self.hold.as_ref()?.proven
    }

    /// Since when works are not sent, or since when all have failed.
    pub(super) fn since(&self) -> Option<Moment> {
        self.proven().or(self.failing_since)
    }

    pub(super) fn last_failure(&self) -> Option<&(Cow<'static, str>, String)> {
        self.last.as_ref()
    }

    /// Begins anew: an operator says that the node is well.
    pub(super) fn forget(&mut self) {
        *self = Self { exhausted: self.exhausted, ..Self::default() };
    }

    /// No event will arrive that is not in the pipeline.
    pub(super) fn sources_exhausted(&mut self, now: Moment) {
        self.exhausted.get_or_insert(now);
    }

    /// The pipeline ends: the next probe is the last chance, and comes now.
    pub(super) fn hurry(&mut self, now: Moment) {
        if let Some(hold) = &mut self.hold {
            hold.next_probe = now;
        }
    }

    /// Whether nothing is to be hoped for before the pipeline has ended.
    pub(super) fn has_failed_in_drain(&self) -> bool {
        self.hold.as_ref().is_some_and(|hold| hold.failed_in_drain)
    }

    fn words(&self) -> String {
        self.last.as_ref().map_or_else(String::new, |(reason, message)| format!("{reason}: {message}"))
    }

    /// When events stop waiting.
    fn gives_up_at(&self, policy: &OutagePolicy) -> Option<Moment> {
        Some(self.exhausted?.max(self.proven()?) + policy.patience)
    }
}

/// Whether a result closes an input otherwise than by asking for another attempt: then the node works. `answered` of its
/// `open` inputs are closed by outputs.
pub(super) fn shows_success(result: &WorkResult, answered: usize, open: u32) -> bool {
    let rejects = result.failures.iter().any(|failure| failure.action == FailureAction::Reject);
    let names_all = result.failures.iter().all(|failure| failure.index.is_some());
    let unnamed = (open as usize).saturating_sub(answered + result.failures.len());
    let consumes = result.last && names_all && unnamed > 0 && result.consumed as usize == unnamed;
    answered > 0 || rejects || consumes
}

impl NodeMachine {
    /// An input of a work was closed for good: the node works.
    pub(super) fn note_success(&mut self, work: &mut InHand, now: Moment) {
        work.succeeded = true;
        self.outage.failing_since = None;
        let Some(hold) = self.outage.hold.take() else { return };
        self.ramp.begin();
        match hold.proven {
            Some(since) => {
                let message = format!(
                    "its outage is over after {:.0?}; what waits goes on, little by little; the last failure was {}",
                    now - since,
                    self.outage.words()
                );
                self.actions.push(Action::Outage { began: false, message });
            }
            None => self.halve_failed(),
        }
    }

    /// An attempt failed, of which it is not known that the event is to blame.
    pub(super) fn note_failure(&mut self, work: &InHand, failure: &Failure, now: Moment) {
        if work.succeeded || self.paused.is_some() {
            return;
        }
        self.outage.last = Some((failure.reason.clone(), failure.message.clone()));
        self.ramp.fail();
        self.outage.failing_since.get_or_insert(now);
        if work.probe {
            self.probe_failed(work.batch.uid(0), now);
        } else {
            self.look_after_hold(now);
        }
    }

    fn probe_failed(&mut self, uid: Uid, now: Moment) {
        let (policy, draining) = (self.settings.outage, self.draining);
        let Some(hold) = &mut self.outage.hold else { return };
        hold.next_probe = now + hold.gap;
        hold.gap = (hold.gap * 2).min(policy.probe_max);
        hold.failed_in_drain |= draining;
        if hold.proven.is_none() && !hold.failed.contains(&uid) {
            hold.failed.push(uid);
        }
        if hold.proven.is_some() || hold.failed.len() < WITNESSES {
            return;
        }
        hold.proven = Some(now);
        let failing = self.outage.failing_since.map(|since| now - since).unwrap_or_default();
        let then = match policy.events {
            InOutage::Hold => "events wait and lose no attempt until a probe succeeds",
            InOutage::DeadLetter => "events become dead letters until a probe succeeds (`outage: dead_letter`)",
        };
        let message = format!(
            "outage: nothing has succeeded for {failing:.0?}, and {WITNESSES} different events failed one after the other; {then}; the last failure was {}",
            self.outage.words()
        );
        self.actions.push(Action::Outage { began: true, message });
    }

    /// Whether there are enough events here for an outage to be told from bad events.
    fn has_witnesses(&self) -> bool {
        self.books.waiting + self.books.in_hand >= WITNESSES as u64
    }

    /// Sends what may go while works are held back: nothing but a probe, and what may have killed its replica, alone.
    pub(super) fn dispatch_held(&mut self, now: Moment, room: &mut u64) {
        self.look_after_quarantine(now);
        self.dispatch_suspect(true, now, room);
        self.dispatch_probe(now, room);
        let gives_up = self.outage.gives_up_at(&self.settings.outage);
        let in_vain = gives_up.is_some_and(|at| at <= now);
        if in_vain || (self.outage.proven().is_some() && self.settings.outage.events == InOutage::DeadLetter) {
            self.letter_waiting(now);
        } else if let Some(at) = gives_up {
            self.wake_at(at);
        }
    }

    /// Holds works back once all have failed for a while, and drops a hold that cannot come to a proof: with too few events
    /// attempts simply count.
    pub(super) fn look_after_hold(&mut self, now: Moment) {
        if self.outage.proven().is_some() {
            return;
        }
        if !self.has_witnesses() {
            self.outage.hold = None;
            return;
        }
        let doubted_at = self.outage.failing_since.map(|since| since + self.settings.outage.after);
        match doubted_at.filter(|_| self.outage.hold.is_none()) {
            Some(at) if at <= now => {
                self.ready.extend(self.retries.release());
                self.outage.hold = Some(Hold::new(now, self.settings.outage.probe_initial));
            }
            Some(at) => self.wake_at(at),
            None => {}
        }
    }

    /// A deadline beside those that are there.
    pub(super) fn wake_at(&mut self, at: Moment) {
        self.linger_until = Some(self.linger_until.map_or(at, |known| known.min(at)));
    }

    fn dispatch_probe(&mut self, now: Moment, room: &mut u64) {
        let probe_in_hand = || {
            let mut works = self.replicas.iter().flat_map(|replica| replica.works.values());
            works.any(|work| work.probe && work.open() > 0)
        };
        let next = match &self.outage.hold {
            Some(hold) if !probe_in_hand() => hold.next_probe,
            _ => return,
        };
        if next > now {
            return self.wake_at(next);
        }
        if let Err(later) = self.pace.allows(now) {
            return self.wake_at(later);
        }
        let Some(replica) = self.best_replica(now) else { return };
        let limits = self.replicas[replica].limits;
        while let Some(segment) = self.take_probe() {
            if self.affordable(1, segment.batch.bytes(), *room).is_none() {
                return self.ready.push_front(segment);
            }
            if let Some(segment) = self.letter_too_large(replica, segment, limits, now) {
                self.spend_and_send(replica, segment, now, room);
                let sent = self.replicas[replica].works.values_mut().next_back();
                return sent.into_iter().for_each(|work| work.probe = true);
            }
        }
    }

    /// An event for a probe, in turn from different waiting works; while the outage is unproven preferably one that has not
    /// failed as a probe.
    fn take_probe(&mut self) -> Option<super::Segment> {
        let hold = self.outage.hold.as_mut()?;
        // What has arrived takes turns with what has failed before.
        if (hold.from_queue || self.ready.is_empty())
            && let Some(arrived) = self.queue.pop_front()
        {
            self.ready.push_front(arrived);
        }
        hold.from_queue = !hold.from_queue;
        let failed = hold.proven.is_none().then_some(&hold.failed[..]);
        let free = |segment: &super::Segment| !segment.suspicion.is_quarantined();
        let unseen = |segment: &super::Segment| {
            free(segment) && failed.is_none_or(|failed| !failed.contains(&segment.batch.uid(0)))
        };
        let place = self.ready.iter().position(unseen).or_else(|| self.ready.iter().position(free))?;
        let mut segment = self.ready.remove(place)?;
        if segment.len() == 1 {
            return Some(segment);
        }
        let first = segment.split_front(1);
        self.ready.push_back(segment);
        Some(first)
    }

    /// The node works, so a batch that failed without naming an event has one in it that is to blame.
    fn halve_failed(&mut self) {
        for mut segment in std::mem::take(&mut self.ready) {
            if segment.has_failed_as_a_whole() && segment.len() > 1 {
                segment.narrow();
                self.ready.push_back(segment.split_front(segment.len() / 2));
            }
            self.ready.push_back(segment);
        }
    }

    /// Makes dead letters of all that waits for a node that is out.
    fn letter_waiting(&mut self, now: Moment) {
        let message = match self.outage.proven() {
            Some(since) => format!(
                "the node has been out for {:.0?}, and the event could not wait; the last failure was {}",
                now - since,
                self.outage.words()
            ),
            None => return,
        };
        let waiting: Vec<_> = self.ready.drain(..).chain(self.queue.drain(..)).chain(self.retries.fire_all()).collect();
        for segment in waiting {
            let attempts = segment.attempts.made();
            let mut work = self.take_in_hand(super::Segment { attempts, ..segment }, now);
            for row in work.open_rows() {
                let failure = Failure { index: Some(row), ..whole("OUTAGE", message.clone()) };
                self.letter(0, &mut work, row, failure, now);
            }
        }
    }
}
