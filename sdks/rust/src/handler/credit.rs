//! What a source may still send.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// Credit that the coordinator has given and frames have not used.
#[derive(Debug, Default)]
pub(crate) struct Credit {
    left: Mutex<Left>,
    more: Notify,
}

/// Events and payload bytes; both above zero admit one event whatever its size.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Left {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
}

impl Left {
    /// Whether a frame of `events` with `bytes` may grow by an event of `size`.
    pub(crate) fn admits(self, events: u64, bytes: u64, size: u64) -> bool {
        let bytes_allow = if events == 0 { self.bytes > 0 } else { self.bytes >= bytes.saturating_add(size) };
        self.events > events && bytes_allow
    }
}

impl Credit {
    pub(crate) fn add(&self, events: u64, bytes: u64) {
        let mut left = self.lock();
        left.events = left.events.saturating_add(events);
        left.bytes = left.bytes.saturating_add(bytes);
        drop(left);
        self.more.notify_one();
    }

    pub(crate) fn take(&self, events: u64, bytes: u64) {
        let mut left = self.lock();
        left.events = left.events.saturating_sub(events);
        left.bytes = left.bytes.saturating_sub(bytes);
    }

    pub(crate) fn left(&self) -> Left {
        *self.lock()
    }

    /// Waits until one event may be sent.
    pub(crate) async fn wait(&self) {
        while !self.left().admits(0, 0, 0) {
            self.more.notified().await;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Left> {
        self.left.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_credit_admits_one_event_and_no_second_beyond_it() {
        let left = Left { events: 2, bytes: 10 };
        assert!(left.admits(0, 0, 1_000_000));
        assert!(left.admits(1, 4, 6));
        assert!(!left.admits(1, 4, 7));
        assert!(!left.admits(2, 0, 0));
        assert!(!Left { events: 1, bytes: 0 }.admits(0, 0, 0));
        assert!(!Left { events: 0, bytes: 9 }.admits(0, 0, 0));
    }
}
