//! The one clock of the coordinator: Unix time that never runs backwards.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

use meshloom_core::moment::Moment;

/// Reads the time as core's [`Moment`]s. Anchored once, then monotonic: a step of the wall clock moves nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    anchor: Instant,
    unix_nanos: u64,
}

impl Clock {
    pub(crate) fn new() -> Self {
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { anchor: Instant::now(), unix_nanos: u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX / 2) }
    }

    pub(crate) fn now(&self) -> Moment {
        Moment(self.unix_nanos + u64::try_from(self.anchor.elapsed().as_nanos()).unwrap_or(0))
    }

    /// The instant of the runtime's timers at which this moment comes.
    pub(crate) fn instant(&self, moment: Moment) -> tokio::time::Instant {
        tokio::time::Instant::from_std(self.anchor + (moment - Moment(self.unix_nanos)))
    }
}

/// Waits for a deadline; for ever if there is none.
pub(crate) async fn sleep_until(deadline: Option<tokio::time::Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
