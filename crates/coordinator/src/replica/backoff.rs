//! The wait before a replica is started again.

use std::time::{Duration, Instant};

use meshloom_config::spec::Restart;
use meshloom_telemetry::SpanId;

/// After so long up, the wait begins anew.
const HEALTHY: Duration = Duration::from_secs(60);

/// Doubles from `initial` to `max`, with equal jitter; forgets after a minute up.
#[derive(Debug)]
pub(crate) struct Backoff {
    policy: Restart,
    failures: u32,
    up_since: Option<Instant>,
}

impl Backoff {
    pub(crate) fn new(policy: Restart) -> Self {
        Self { policy, failures: 0, up_since: None }
    }

    /// The replica is up.
    pub(crate) fn up(&mut self) {
        self.up_since = Some(Instant::now());
    }

    /// Whether the replica is up.
    pub(crate) fn is_up(&self) -> bool {
        self.up_since.is_some()
    }

    /// The last end was that of a trial in quarantine, which was to be expected: the next wait is no longer for it.
    pub(crate) fn forgive(&mut self) {
        self.failures = self.failures.saturating_sub(1);
    }

    /// The replica is down. How long to wait; `None`: it must not be started again.
    pub(crate) fn down(&mut self) -> Option<Duration> {
        let Restart::Backoff { initial, max } = self.policy else { return None };
        if self.up_since.take().is_some_and(|since| since.elapsed() >= HEALTHY) {
            self.failures = 0;
        }
        let full = initial.saturating_mul(1 << self.failures.min(20)).min(max);
        self.failures += 1;
        let random = u64::from_be_bytes(SpanId::random().to_bytes());
        let half = full / 2;
        Some(half + half.mul_f64((random >> 11) as f64 / (1u64 << 53) as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_the_maximum() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(Restart::Backoff { initial: ms(100), max: ms(1000) });
        for full in [100, 200, 400, 800, 1000, 1000] {
            let wait = backoff.down().unwrap();
            assert!(wait >= ms(full / 2) && wait <= ms(full), "{wait:?} of {full}");
        }
    }

    #[test]
    fn what_is_forgiven_does_not_make_the_next_wait_longer() {
        let ms = Duration::from_millis;
        let mut backoff = Backoff::new(Restart::Backoff { initial: ms(100), max: ms(1000) });
        for _ in 0..20 {
            assert!(backoff.down().unwrap() <= ms(100));
            backoff.forgive();
        }
    }

    #[test]
    fn never_is_never() {
        assert_eq!(Backoff::new(Restart::Never).down(), None);
    }
}
