//! When to say again that something is still wrong.

use std::time::Duration;

use tokio::time::Instant;

/// Time until it is said a second time; doubles with each time.
const FIRST: Duration = Duration::from_secs(60);
/// Longest time between two times.
const LONGEST: Duration = Duration::from_secs(3600);

/// A trouble that lasts, said at growing intervals.
#[derive(Debug, Default)]
pub(super) struct Complaint(Option<Next>);

#[derive(Debug)]
struct Next {
    at: Instant,
    pause: Duration,
}

impl Complaint {
    /// Whether to say at `now` that the trouble is there.
    pub(super) fn is_due(&mut self, now: Instant) -> bool {
        let pause = match &self.0 {
            None => FIRST,
            Some(next) if next.at <= now => (2 * next.pause).min(LONGEST),
            Some(_) => return false,
        };
        self.0 = Some(Next { at: now + pause, pause });
        true
    }

    /// When to ask again; `None`: there is no trouble.
    pub(super) fn again(&self) -> Option<Instant> {
        self.0.as_ref().map(|next| next.at)
    }

    /// The trouble is over; whether there was any.
    pub(super) fn ends(&mut self) -> bool {
        self.0.take().is_some()
    }
}

#[tokio::test(start_paused = true)]
async fn a_trouble_is_said_at_once_and_then_ever_more_rarely() {
    let mut complaint = Complaint::default();
    let start = Instant::now();
    let said: Vec<u64> = (0..20_000).filter(|second| complaint.is_due(start + Duration::from_secs(*second))).collect();
    assert_eq!(said, [0, 60, 180, 420, 900, 1860, 3780, 7380, 10_980, 14_580, 18_180]);
    assert!(complaint.ends() && !complaint.ends() && complaint.again().is_none());
    assert!(complaint.is_due(start), "a new one is said at once");
}
