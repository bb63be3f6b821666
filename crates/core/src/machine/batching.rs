//! How large a work should be.

use std::time::Duration;

/// Events a work aims at before anything has been measured: small enough for a slow handler, few steps from the largest.
const FIRST_EVENTS: u32 = 256;

/// Batch size that adapts to the time a node needs: grows while the time per batch stays under the latency aimed at.
#[derive(Debug)]
pub(super) struct BatchSize {
    target: u32,
    max: u32,
}

impl BatchSize {
    pub(super) fn new(max: u32) -> Self {
        Self { target: FIRST_EVENTS.min(max), max }
    }

    /// Events to aim at now.
    pub(super) fn events(&self) -> u32 {
        self.target
    }

    /// A work of `events` took `elapsed`. Doubles with room to spare, halves when over.
    pub(super) fn learn(&mut self, events: u32, elapsed: Duration, latency: Duration) {
        if elapsed > latency {
            self.target = (self.target.min(events.max(1)) / 2).max(1);
        } else if events >= self.target && elapsed * 2 < latency {
            self.target = self.target.saturating_mul(2).min(self.max);
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

    #[test]
    fn shrinks_to_one_while_slow_and_recovers() {
        let mut size = BatchSize::new(4096);
        for _ in 0..20 {
            size.learn(size.events(), Duration::from_secs(1), LATENCY);
        }
        assert_eq!(size.events(), 1);
        size.learn(1, Duration::from_millis(1), LATENCY);
        assert_eq!(size.events(), 2);
    }

    #[test]
    fn a_partial_batch_teaches_nothing_when_fast() {
        let mut size = BatchSize::new(4096);
        size.learn(3, Duration::from_micros(10), LATENCY);
        assert_eq!(size.events(), 256);
    }
}
