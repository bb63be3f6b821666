//! Which replica gets the next work: the better of two picked at random, by the time that it would take there.
//!
//! Looking at two spreads work almost as well as looking at all, and does not send everybody to the one that has just
//! become the best. A replica that is at its limits is not looked at; that is no failure of it.

use std::time::Duration;

use super::{NodeMachine, dispatch::Replica};
use crate::moment::Moment;

/// A measurement counts half after this time.
const HALF_LIFE: Duration = Duration::from_secs(1);
/// What has not been measured for so long is not known any more: a replica that was slow gets another chance.
const FORGOTTEN: Duration = Duration::from_secs(10);

/// Time per event of a replica: a moving average, exponentially weighted by age.
#[derive(Debug, Default)]
pub(super) struct Speed {
    /// Seconds and events, both discounted: so a work of one event counts as one event, and not like a work of thousands.
    seconds: f64,
    events: f64,
    /// When a work was last answered.
    at: Moment,
}

impl Speed {
    /// A work of `events` that was sent at `dispatched` has been answered. Time that it spent behind others, which were
    /// answered later than that, is theirs.
    pub(super) fn learn(&mut self, events: u32, dispatched: Moment, now: Moment) {
        let kept = 0.5f64.powf((now - self.at).as_secs_f64() / HALF_LIFE.as_secs_f64());
        self.seconds = self.seconds * kept + (now - dispatched.max(self.at)).as_secs_f64();
        self.events = self.events * kept + f64::from(events);
        self.at = now;
    }

    /// Seconds per event; `None`: not known.
    fn per_event(&self, now: Moment) -> Option<f64> {
        (self.events > 0.0 && now - self.at < FORGOTTEN).then(|| self.seconds / self.events)
    }
}

/// Whether `one` would answer `more` events no later than `other`.
fn is_better(one: &Replica, other: &Replica, more: u64, now: Moment) -> bool {
    let (mine, others) = (one.events_in_hand(), other.events_in_hand());
    match (one.speed.per_event(now), other.speed.per_event(now)) {
        (Some(my_time), Some(others_time)) => (mine + more) as f64 * my_time <= (others + more) as f64 * others_time,
        _ => mine <= others,
    }
}

impl NodeMachine {
    /// A replica for the next work, if one has a place.
    pub(super) fn best_replica(&mut self, now: Moment) -> Option<usize> {
        let probed = self.places().find(|index| !self.replicas[*index].breaker.is_closed());
        if probed.is_some() {
            // Else one that is no better than others would never be found to be well again.
            return probed;
        }
        let places = self.places().count() as u64;
        let (one, other) = match places {
            0 => return None,
            1 => return self.places().next(),
            2 => (0, 1),
            _ => {
                let one = self.ids.random() % places;
                (one, (one + 1 + self.ids.random() % (places - 1)) % places)
            }
        };
        let one = self.places().nth(one as usize)?;
        let other = self.places().nth(other as usize)?;
        let more = self.books.waiting.min(self.size.events().into());
        let better = is_better(&self.replicas[one], &self.replicas[other], more, now);
        Some(if better { one } else { other })
    }

    /// The replicas that may get another work.
    pub(super) fn places(&self) -> impl Iterator<Item = usize> {
        let with_place = self.replicas.iter().enumerate().filter(|(_, replica)| replica.has_place());
        with_place.map(|(index, _)| index).filter(|index| !self.is_reserved(*index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn works_in_a_row_do_not_count_the_time_that_they_waited_for_each_other() {
        let (start, mut speed) = (Moment(1_000_000_000), Speed::default());
        for work in 1..=4 {
            speed.learn(10, start, start + 100 * MS * work);
        }
        let time = speed.per_event(start + 400 * MS).unwrap();
        assert!((time - 0.01).abs() < 0.001, "{time}");
    }

    #[test]
    fn a_work_of_one_event_weighs_one_event() {
        let (start, mut speed) = (Moment(1_000_000_000), Speed::default());
        speed.learn(1000, start, start + 100 * MS);
        speed.learn(1, start + 100 * MS, start + 105 * MS);
        let time = speed.per_event(start + 105 * MS).unwrap();
        assert!(time < 0.000_2, "{time}");
    }

    #[test]
    fn what_was_is_outweighed_by_what_is_and_then_forgotten() {
        let (start, mut speed) = (Moment(1_000_000_000), Speed::default());
        speed.learn(1000, start, start + MS);
        speed.learn(10, start + 5000 * MS, start + 6000 * MS);
        assert!(speed.per_event(start + 6000 * MS).unwrap() > 0.02);
        assert!(speed.per_event(start + 15_999 * MS).is_some());
        assert_eq!(speed.per_event(start + 16_000 * MS), None);
    }
}
