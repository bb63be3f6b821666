//! Which events of a source start a trace, decided before anything is allocated for them.

use std::time::Instant;

use rand::Rng;

use crate::ids::random;

/// Decides which events are sampled.
#[derive(Debug, Clone)]
pub struct Sampler(Policy);

#[derive(Debug, Clone)]
enum Policy {
    Rate(Bucket),
    Ratio(Skips),
}

impl Sampler {
    /// At most `per_second` events each second, after a burst of one second's worth; 0 samples none.
    pub fn rate(per_second: f64, now: Instant) -> Self {
        let per_second = if per_second.is_finite() { per_second.max(0.0) } else { 0.0 };
        let capacity = if per_second > 0.0 { per_second.max(1.0) } else { 0.0 };
        Self(Policy::Rate(Bucket { per_second, capacity, tokens: capacity, filled: now }))
    }

    /// Each event with this probability, from 0 to 1.
    pub fn ratio(ratio: f64) -> Self {
        let ratio = if ratio.is_nan() { 0.0 } else { ratio.clamp(0.0, 1.0) };
        Self(Policy::Ratio(Skips::new(ratio)))
    }

    /// Whether one event is sampled.
    pub fn decide(&mut self, now: Instant) -> bool {
        !self.rows(now, 1).is_empty()
    }

    /// Which of a frame's events are sampled, ascending. Costs by the number of sampled events, not of events, and
    /// allocates nothing when there are none.
    pub fn rows(&mut self, now: Instant, events: u32) -> Vec<u32> {
        match &mut self.0 {
            Policy::Rate(bucket) => bucket.rows(now, events),
            Policy::Ratio(skips) => skips.rows(events),
        }
    }
}

/// A token bucket.
#[derive(Debug, Clone)]
struct Bucket {
    per_second: f64,
    capacity: f64,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    fn rows(&mut self, now: Instant, events: u32) -> Vec<u32> {
        let elapsed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + elapsed * self.per_second).min(self.capacity);
        self.filled = now.max(self.filled);
        // Truncation is meant: only whole tokens are spent.
        let taken = (self.tokens as u32).min(events);
        self.tokens -= f64::from(taken);
        // Spread over the frame: the first events of every frame would be a poor sample.
        let place = |n: u32| u32::try_from(u64::from(n) * u64::from(events) / u64::from(taken)).unwrap_or(u32::MAX);
        (0..taken).map(place).collect()
    }
}

/// Distances between sampled events, drawn from the geometric distribution.
#[derive(Debug, Clone)]
struct Skips {
    ratio: f64,
    /// Events to pass over before the next sampled one.
    next: u64,
}

impl Skips {
    fn new(ratio: f64) -> Self {
        Self { ratio, next: Self::draw(ratio) }
    }

    fn draw(ratio: f64) -> u64 {
        if ratio >= 1.0 {
            return 0;
        }
        if ratio <= 0.0 {
            return u64::MAX;
        }
        let uniform: f64 = random(|random| random.random());
        // Saturates, so that a tiny ratio is no overflow.
        ((1.0 - uniform).ln() / (-ratio).ln_1p()) as u64
    }

    fn rows(&mut self, events: u32) -> Vec<u32> {
        let mut rows = Vec::new();
        let mut at = 0;
        while let Some(row) = at_most(at, self.next, events) {
            rows.push(row);
            at = u64::from(row) + 1;
            self.next = Self::draw(self.ratio);
        }
        if self.ratio > 0.0 {
            self.next -= u64::from(events) - at;
        }
        rows
    }
}

fn at_most(at: u64, skip: u64, events: u32) -> Option<u32> {
    u32::try_from(at.saturating_add(skip)).ok().filter(|row| *row < events)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_rate_holds_over_time_and_spreads_within_a_frame() {
        let start = Instant::now();
        let mut sampler = Sampler::rate(10.0, start);
        assert_eq!(sampler.rows(start, 1000), [0, 100, 200, 300, 400, 500, 600, 700, 800, 900]);
        assert!(sampler.rows(start, 1000).is_empty());
        let sampled: usize = (1..=10_000).map(|n| sampler.rows(start + Duration::from_millis(n), 50).len()).sum();
        assert!((99..=101).contains(&sampled), "{sampled}");
        assert_eq!(sampler.rows(start + Duration::from_secs(3600), 3), [0, 1, 2]);
        // A clock that steps back is no gift.
        assert_eq!(sampler.rows(start, 100).len(), 7);
        assert_eq!(sampler.rows(start + Duration::from_secs(1), 100).len(), 0);
    }

    #[test]
    fn slow_rates_and_none() {
        let start = Instant::now();
        let mut slow = Sampler::rate(0.1, start);
        assert!(slow.decide(start));
        assert!(!slow.decide(start + Duration::from_secs(9)));
        assert!(slow.decide(start + Duration::from_secs(11)));
        for none in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(!Sampler::rate(none, start).decide(start + Duration::from_secs(60)), "{none}");
        }
    }

    #[test]
    fn a_ratio_holds_however_frames_are_cut() {
        let now = Instant::now();
        for frame in [1, 7, 4096] {
            let mut sampler = Sampler::ratio(0.05);
            let frames = 400_000 / frame;
            let sampled: usize = (0..frames).map(|_| sampler.rows(now, frame).len()).sum();
            // 20,000 expected, with a deviation of 138: ten of those is never.
            assert!((18_600..=21_400).contains(&sampled), "frames of {frame}: {sampled}");
        }
    }

    #[test]
    fn a_ratio_at_its_ends() {
        let now = Instant::now();
        assert_eq!(Sampler::ratio(1.0).rows(now, 5), [0, 1, 2, 3, 4]);
        assert_eq!(Sampler::ratio(7.0).rows(now, 2), [0, 1]);
        for none in [0.0, -0.5, f64::NAN] {
            let mut sampler = Sampler::ratio(none);
            assert!((0..1000).all(|_| sampler.rows(now, u32::MAX).is_empty()), "{none}");
        }
    }
}
