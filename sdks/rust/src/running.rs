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
#[derive(Debug)]
pub(crate) struct Running {
    base: Instant,
    /// The call that is being polled for the first time: two plain stores per event.
    current: AtomicU64,
    started_ns: AtomicU64,
    /// Calls that were not ready at once.
    waiting: Mutex<BTreeMap<u32, Instant>>,
}

impl Running {
    pub(crate) fn new() -> Self {
        Self {
            base: Instant::now(),
            current: AtomicU64::new(NONE),
            started_ns: AtomicU64::new(0),
            waiting: Mutex::default(),
        }
    }

    pub(crate) fn begin(&self, row: u32, started: Instant) {
        self.started_ns.store(started.saturating_duration_since(self.base).as_nanos() as u64, Ordering::Relaxed);
        self.current.store(u64::from(row), Ordering::Release);
    }

    pub(crate) fn idle(&self) {
        self.current.store(NONE, Ordering::Release);
    }

    pub(crate) fn park(&self, row: u32, started: Instant) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(row, started);
        self.idle();
    }

    pub(crate) fn unpark(&self, row: u32) {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&row);
    }

    /// Row (`ABSENT`: the whole batch) and age of every call.
    pub(crate) fn calls(&self) -> Vec<(u32, Duration)> {
        let mut calls: Vec<(u32, Duration)> = self
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|(&row, started)| (row, started.elapsed()))
            .collect();
        let current = self.current.load(Ordering::Acquire);
        if current != NONE {
            let started = Duration::from_nanos(self.started_ns.load(Ordering::Relaxed));
            calls.push((u32::try_from(current).unwrap_or(ABSENT), self.base.elapsed().saturating_sub(started)));
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
