//! What runs right now: read by the transport's timer while handlers write it.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio_util::sync::CancellationToken;

use crate::columns::ABSENT;

const NONE: u64 = u64::MAX;

/// The calls of one work that are running.
///
/// A call that is ready at once costs one plain store: no clock is read for it. The transport, which no handler blocks,
/// [looks](Running::look) every few milliseconds, and a call is as old as the first look that found it running.
#[derive(Debug)]
pub(crate) struct Running {
    /// The call that is being polled for the first time.
    current: AtomicU64,
    /// The call that the last look found, and the first look that did.
    seen: Mutex<(u64, Instant)>,
    /// Calls that were not ready at once.
    waiting: Mutex<BTreeMap<u32, Instant>>,
}

impl Running {
    pub(crate) fn new() -> Self {
        Self { current: AtomicU64::new(NONE), seen: Mutex::new((NONE, Instant::now())), waiting: Mutex::default() }
    }

    pub(crate) fn begin(&self, row: u32) {
        self.current.store(u64::from(row), Ordering::Release);
    }

    pub(crate) fn idle(&self) {
        self.current.store(NONE, Ordering::Release);
    }

    /// Notes that the call that was begun has to wait; since when it runs.
    pub(crate) fn park(&self, row: u32) -> Instant {
        let (_, started) = self.look();
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(row, started);
        self.idle();
        started
    }

    pub(crate) fn unpark(&self, row: u32) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&row);
    }

    /// Looks at what runs; since when, as far as looks can tell.
    pub(crate) fn look(&self) -> (u64, Instant) {
        let current = self.current.load(Ordering::Acquire);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.0 != current {
            *seen = (current, Instant::now());
        }
        *seen
    }

    /// Row (`ABSENT`: the whole batch) and age of every call.
    pub(crate) fn calls(&self) -> Vec<(u32, Duration)> {
        let (current, since) = self.look();
        let mut calls: Vec<(u32, Duration)> = self
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|(&row, started)| (row, started.elapsed()))
            .collect();
        if current != NONE {
            calls.push((u32::try_from(current).unwrap_or(ABSENT), since.elapsed()));
        }
        calls
    }
}

/// Tells a work that it was taken back.
#[derive(Debug, Default)]
pub(crate) struct CancelSignal {
    raised: AtomicBool,
    token: CancellationToken,
}

impl CancelSignal {
    pub(crate) fn raise(&self) {
        self.raised.store(true, Ordering::Release);
        self.token.cancel();
    }

    /// Cheap enough to ask before every event.
    pub(crate) fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Acquire)
    }

    pub(crate) fn token(&self) -> &CancellationToken {
        &self.token
    }
}
