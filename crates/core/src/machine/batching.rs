//! How large a work should be.

use std::time::Duration;

/// Events a work aims at before anything has been measured: small enough for a slow handler, few steps from the largest.
const FIRST_EVENTS: u32 = 256;

/// Full batches between two trials of a larger size that may well be too slow.
const BETWEEN_TRIALS: u32 = 100;

/// Slow batches that cannot be made smaller between two trials of a larger size, which may take hardly longer.
const SLOW_BETWEEN_TRIALS: u32 = 8;

/// Batch size that adapts to the time a node needs: grows while the time per batch stays under the latency aimed at,
/// shrinks when it does not, unless that is futile: where the cost is one of batches and not of events (a process per
/// batch, a bulk insert), half a batch takes as long as a whole one, and going down would only cost throughput.
///
/// Past half of the latency nobody knows whether twice the events would take twice the time: growing is a trial there.
#[derive(Debug)]
pub(super) struct BatchSize {
    target: u32,
    max: u32,
    /// Size and time of the batch that the last halving answered.
    halved: Option<(u32, Duration)>,
    /// Below this size shrinking was futile, while a batch took this time.
    floor: (u32, Duration),
    /// Full batches to come before the next trial.
    trial_in: u32,
    /// Slow batches to come before the next trial.
    slow_trial_in: u32,
    /// Size and time of the batch before the doubling that a trial is.
    tried: Option<(u32, Duration)>,
}

impl BatchSize {
    pub(super) fn new(max: u32) -> Self {
        Self {
            target: FIRST_EVENTS.min(max),
            max,
            halved: None,
            floor: (1, Duration::ZERO),
            trial_in: 0,
            slow_trial_in: SLOW_BETWEEN_TRIALS,
            tried: None,
        }
    }

    /// Events to aim at now.
    pub(super) fn events(&self) -> u32 {
        self.target
    }

    /// A work of `events` took `elapsed`. Doubles with room to spare, halves when over.
    pub(super) fn learn(&mut self, events: u32, elapsed: Duration, latency: Duration) {
        if elapsed <= latency {
            (self.halved, self.tried) = (None, None);
            if events >= self.target {
                if elapsed * 2 < latency || self.trial_in == 0 {
                    self.target = self.target.saturating_mul(2).min(self.max);
                }
                self.trial_in = self.trial_in.saturating_sub(1);
            }
            return;
        }
        self.trial_in = BETWEEN_TRIALS;
        if let Some(before) = self.tried {
            return self.judge(before, events, elapsed);
        }
        if let Some((size, time)) = self.halved {
            if events > size / 4 * 3 {
                // It was on its way before the halving.
                return;
            }
            if elapsed * 4 > time * 3 {
                (self.floor, self.halved) = ((size, time), None);
                self.target = size.saturating_mul(2).min(self.max);
                return;
            }
        }
        if elapsed > self.floor.1 * 2 {
            // It is another cost than it was.
            self.floor = (1, Duration::ZERO);
        }
        let half = (self.target.min(events) / 2).max(self.floor.0);
        self.halved = (half < events).then_some((events, elapsed));
        self.target = self.target.min(half);
        if self.halved.is_none() {
            self.slow_trial_in -= 1;
            if self.slow_trial_in == 0 {
                self.try_twice(events, elapsed);
            }
        }
    }

    /// Doubles to see whether twice the events take much longer than `events` did.
    fn try_twice(&mut self, events: u32, elapsed: Duration) {
        self.slow_trial_in = SLOW_BETWEEN_TRIALS;
        let twice = self.target.saturating_mul(2).min(self.max);
        self.tried = (twice > self.target).then_some((events, elapsed));
        self.target = twice;
    }

    /// A trial in which twice the events took less than half as long again was worth it, and another may be.
    fn judge(&mut self, (size, time): (u32, Duration), events: u32, elapsed: Duration) {
        if events <= size {
            // It was on its way before the trial.
            return;
        }
        self.tried = None;
        if elapsed * 2 < time * 3 {
            self.floor = (events, elapsed);
            self.try_twice(events, elapsed);
        } else {
            self.target = size;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LATENCY: Duration = Duration::from_millis(50);

    #[test]
    fn grows_to_the_limit_while_fast_and_full() {
        let mut size = BatchSize::new(4096);
        for _ in 0..10 {
            size.learn(size.events(), Duration::from_millis(2), LATENCY);
        }
        assert_eq!(size.events(), 4096);
    }

    /// Works of the size aimed at, one after the other.
    fn run(size: &mut BatchSize, works: usize, time: impl Fn(u32) -> Duration) {
        for _ in 0..works {
            size.learn(size.events(), time(size.events()), LATENCY);
        }
    }

    #[test]
    fn shrinks_to_one_while_events_are_slow_and_recovers() {
        let mut size = BatchSize::new(4096);
        run(&mut size, 20, |events| Duration::from_millis(100) * events);
        assert_eq!(size.events(), 1);
        size.learn(1, Duration::from_millis(1), LATENCY);
        assert_eq!(size.events(), 2);
    }

    #[test]
    fn does_not_shrink_where_the_cost_is_of_the_batch() {
        let mut size = BatchSize::new(4096);
        run(&mut size, 40, |_| Duration::from_millis(300));
        assert!(size.events() >= 2048, "{}", size.events());
        // Events have become slow as well: now it helps.
        run(&mut size, 60, |events| Duration::from_millis(300) * events);
        assert_eq!(size.events(), 1);
    }

    #[test]
    fn grows_past_half_of_the_latency_where_the_cost_is_of_the_batch() {
        let mut size = BatchSize::new(4096);
        run(&mut size, 10, |_| Duration::from_millis(40));
        assert_eq!(size.events(), 4096);
    }

    #[test]
    fn comes_back_from_a_size_that_was_too_small() {
        let mut size = BatchSize::new(4096);
        size.learn(1, Duration::from_millis(110), LATENCY);
        assert_eq!(size.events(), 1, "one event took too long");
        run(&mut size, 40, |_| Duration::from_millis(110));
        assert_eq!(size.events(), 4096, "but it was the batch that did");
    }

    #[test]
    fn noise_does_not_keep_batches_small() {
        let (mut size, mut random, mut sent) = (BatchSize::new(256), 1u64, 0);
        for _ in 0..300 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let noise = Duration::from_micros((random >> 33) % 150_000);
            sent += size.events();
            size.learn(size.events(), Duration::from_millis(110) + noise, LATENCY);
        }
        assert!(sent > 300 * 64, "{sent} events in 300 batches");
    }

    #[test]
    fn events_that_are_slow_stay_in_small_batches() {
        let mut size = BatchSize::new(4096);
        let mut sent = 0;
        for _ in 0..200 {
            sent += size.events();
            size.learn(size.events(), Duration::from_millis(100) * size.events(), LATENCY);
        }
        assert!(size.events() <= 2 && sent < 1000, "{size:?}, {sent}");
    }

    #[test]
    fn seldom_tries_a_size_that_was_too_slow() {
        let mut size = BatchSize::new(4096);
        let mut slow = 0;
        for _ in 0..1000 {
            let time = Duration::from_micros(150) * size.events();
            slow += u32::from(time > LATENCY);
            size.learn(size.events(), time, LATENCY);
        }
        assert!(size.events() >= 256 && slow <= 11, "{size:?}, {slow}");
    }

    #[test]
    fn shrinks_as_far_as_it_helps() {
        let mut size = BatchSize::new(4096);
        run(&mut size, 40, |events| Duration::from_millis(60 + u64::from(events)));
        assert!((16..=64).contains(&size.events()), "{}", size.events());
    }

    #[test]
    fn a_partial_batch_teaches_nothing_when_fast() {
        let mut size = BatchSize::new(4096);
        size.learn(3, Duration::from_micros(10), LATENCY);
        assert_eq!(size.events(), 256);
    }
}
