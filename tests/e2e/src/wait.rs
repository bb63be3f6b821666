//! Waiting for conditions, with a deadline.

use std::{
    thread,
    time::{Duration, Instant},
};

/// Pause between looks.
const LOOK: Duration = Duration::from_millis(10);

/// Looks until there is something, at most for `limit`.
///
/// # Panics
/// At the deadline, naming `what`.
#[track_caller]
pub fn until<T>(limit: Duration, what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} for {what}");
        thread::sleep(LOOK);
    }
}

/// Looks until it holds, at most for `limit`.
///
/// # Panics
/// At the deadline, naming `what`.
#[track_caller]
pub fn holds(limit: Duration, what: &str, mut look: impl FnMut() -> bool) {
    until(limit, what, || look().then_some(()));
}
