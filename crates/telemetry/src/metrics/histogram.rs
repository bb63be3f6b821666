//! Histograms that take many equal observations at once, and no lock.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// Bounds of times, seconds.
const SECONDS: &[f64] = &[
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 50.0,
    100.0,
];
/// Bounds of numbers of events.
const EVENTS: &[f64] =
    &[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 16384.0, 65536.0];

/// Observations by size.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [f64],
    /// One more than bounds.
    counts: Box<[AtomicU64]>,
    /// Bits of a float.
    sum: AtomicU64,
}

/// A histogram at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// Upper bounds, the last one infinite, and how many observations are at most that and above the bound before.
    pub buckets: Vec<(f64, u64)>,
    /// Of all observations.
    pub sum: f64,
}

impl Histogram {
    /// Of times, from 0.1 ms to 100 s.
    pub fn seconds() -> Self {
        Self::new(SECONDS)
    }

    /// Of numbers of events, from 1 to the most that a batch may have.
    pub fn events() -> Self {
        Self::new(EVENTS)
    }

    fn new(bounds: &'static [f64]) -> Self {
        let counts = std::iter::repeat_with(AtomicU64::default).take(bounds.len() + 1).collect();
        Self { bounds, counts, sum: AtomicU64::new(0.0f64.to_bits()) }
    }

    /// Takes `times` observations of `value`.
    pub fn observe(&self, value: f64, times: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        self.counts[bucket].fetch_add(times, Ordering::Relaxed);
        let add = |sum: u64| Some((f64::from_bits(sum) + value * times as f64).to_bits());
        // It never declines.
        let _ = self.sum.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }

    /// Takes `times` observations of a time.
    pub fn observe_time(&self, time: Duration, times: u64) {
        self.observe(time.as_secs_f64(), times);
    }

    /// What it has taken so far.
    pub fn read(&self) -> Reading {
        let bounds = self.bounds.iter().copied().chain([f64::INFINITY]);
        let counts = self.counts.iter().map(|count| count.load(Ordering::Relaxed));
        Reading { buckets: bounds.zip(counts).collect(), sum: f64::from_bits(self.sum.load(Ordering::Relaxed)) }
    }
}

impl Reading {
    /// Number of observations.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_the_bucket_below_it() {
        let histogram = Histogram::seconds();
        histogram.observe_time(Duration::from_micros(100), 3);
        histogram.observe_time(Duration::from_nanos(100_001), 1);
        histogram.observe_time(Duration::ZERO, 1);
        histogram.observe_time(Duration::from_secs(101), 2);
        let reading = histogram.read();
        assert_eq!(reading.buckets[..3], [(0.0001, 4), (0.00025, 1), (0.0005, 0)]);
        assert_eq!(reading.buckets.last(), Some(&(f64::INFINITY, 2)));
        assert_eq!(reading.count(), 7);
        assert!((reading.sum - 202.000_400_001).abs() < 1e-9, "{}", reading.sum);
    }

    #[test]
    fn bounds_rise_and_hold_the_largest_batch() {
        for bounds in [SECONDS, EVENTS] {
            assert!(bounds.is_sorted_by(|one, next| one < next));
        }
        let histogram = Histogram::events();
        histogram.observe(65_536.0, 1);
        assert_eq!(histogram.read().buckets.last(), Some(&(f64::INFINITY, 0)));
    }

    #[test]
    fn observations_from_several_threads_are_all_there() {
        let histogram = Histogram::events();
        std::thread::scope(|scope| {
            (0..4).for_each(|_| drop(scope.spawn(|| (0..1000).for_each(|_| histogram.observe(3.0, 2)))));
        });
        let reading = histogram.read();
        assert_eq!((reading.count(), reading.sum), (8000, 24_000.0));
    }
}
