//! After an outage or a pause the events in hand grow from one, by as many as succeed: so they double with each round,
//! and a far side that has just come back is not knocked over by all that has waited for it.

use super::NodeMachine;

/// How many events may be in hand; nothing is kept back before the first outage.
#[derive(Debug, Default)]
pub(super) struct Ramp(Option<u64>);

impl Ramp {
    pub(super) fn begin(&mut self) {
        self.0 = Some(1);
    }

    /// Events have succeeded.
    pub(super) fn succeed(&mut self, events: usize) {
        if let Some(window) = &mut self.0 {
            *window += events as u64;
        }
    }

    /// A work failed.
    pub(super) fn fail(&mut self) {
        if let Some(window) = &mut self.0 {
            *window = (*window / 2).max(1);
        }
    }
}

impl NodeMachine {
    /// How many of `allowed` events may go; `None`: none before some in hand have ended.
    pub(super) fn ramp_allows(&mut self, allowed: u32) -> Option<u32> {
        let Some(window) = self.ramp.0 else { return Some(allowed) };
        if window >= self.most_in_hand() {
            self.ramp.0 = None;
            return Some(allowed);
        }
        let free = u32::try_from(window.saturating_sub(self.books.in_hand)).unwrap_or(u32::MAX);
        (free > 0).then(|| allowed.min(free))
    }

    /// Whether a batch that must stay as it is has to wait. One that is larger than what may be in hand goes alone.
    pub(super) fn ramp_holds(&self, events: u32) -> bool {
        self.books.in_hand > 0 && self.ramp.0.is_some_and(|window| self.books.in_hand + u64::from(events) > window)
    }

    /// Events that the replicas take at once.
    fn most_in_hand(&self) -> u64 {
        let of_one = |events: u32| u64::from(events.min(self.settings.batch_events));
        let up = self.replicas.iter().filter(|replica| replica.up);
        up.map(|replica| u64::from(replica.limits.works) * of_one(replica.limits.events)).sum::<u64>().max(1)
    }
}
