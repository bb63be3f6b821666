//! `rate`: how many events a node may be given per time.

use std::time::Duration;

use crate::moment::Moment;

/// A bucket that holds up to one second's worth of events, at least one.
#[derive(Debug)]
pub(super) struct Pace {
    per_second: Option<f64>,
    tokens: f64,
    at: Moment,
}

impl Pace {
    pub(super) fn new(per_second: Option<f64>) -> Self {
        Self { per_second, tokens: per_second.map_or(0.0, |rate| rate.max(1.0)), at: Moment::default() }
    }

    /// Events that may go now, or when the next one may.
    pub(super) fn allows(&mut self, now: Moment) -> Result<u32, Moment> {
        let Some(rate) = self.per_second else {
            return Ok(u32::MAX);
        };
        self.tokens = (self.tokens + (now - self.at).as_secs_f64() * rate).min(rate.max(1.0));
        self.at = now;
        if self.tokens >= 1.0 {
            return Ok(self.tokens as u32);
        }
        // A nanosecond more, that rounding cannot bring the moment before the token.
        Err(now + Duration::from_secs_f64((1.0 - self.tokens) / rate) + Duration::from_nanos(1))
    }

    /// Events have gone.
    pub(super) fn spend(&mut self, events: u32) {
        if self.per_second.is_some() {
            self.tokens -= f64::from(events);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_a_second_is_one_a_second() {
        let mut pace = Pace::new(Some(1.0));
        let mut now = Moment(1_000_000_000_000);
        let start = now;
        for _ in 0..5 {
            while let Err(later) = pace.allows(now) {
                assert!(later > now);
                now = later;
            }
            pace.spend(1);
        }
        let elapsed = now - start;
        assert!(elapsed >= Duration::from_secs(4) && elapsed < Duration::from_millis(4001), "{elapsed:?}");
    }
}
