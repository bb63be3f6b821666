//! What has happened in this process.

use std::sync::{Mutex, MutexGuard, PoisonError};

use meshloom::Uuid;
use serde::Serialize;

#[derive(Debug, Clone, Serialize)]
pub(crate) struct Report {
    setups: u64,
    teardowns: u64,
    calls: u64,
    cancelled: Vec<String>,
    notes: Vec<(Option<String>, i64)>,
    most: u64,
    #[serde(skip)]
    running: u64,
}

static REPORT: Mutex<Report> = Mutex::new(Report {
    setups: 0,
    teardowns: 0,
    calls: 0,
    cancelled: Vec::new(),
    notes: Vec::new(),
    most: 0,
    running: 0,
});

fn report() -> MutexGuard<'static, Report> {
    REPORT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The report; what it lists begins anew.
pub(crate) fn take() -> Report {
    let mut report = report();
    let taken = report.clone();
    report.cancelled.clear();
    report.notes.clear();
    report.most = report.running;
    taken
}

pub(crate) fn set_up() {
    report().setups += 1;
}

pub(crate) fn torn_down() {
    report().teardowns += 1;
}

pub(crate) fn note(key: Option<&str>, n: i64) {
    report().notes.push((key.map(str::to_owned), n));
}

/// A handler's call, from its start until this is dropped.
pub(crate) struct Running(());

impl Running {
    pub(crate) fn begin() -> Self {
        let mut report = report();
        report.calls += 1;
        report.running += 1;
        report.most = report.most.max(report.running);
        Self(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        report().running -= 1;
    }
}

/// Notes an event whose call is dropped before its end.
pub(crate) struct NoteIfDropped(Option<Uuid>);

impl NoteIfDropped {
    pub(crate) fn new(uid: Uuid) -> Self {
        Self(Some(uid))
    }

    pub(crate) fn forget(mut self) {
        self.0 = None;
    }
}

impl Drop for NoteIfDropped {
    fn drop(&mut self) {
        if let Some(uid) = self.0 {
            report().cancelled.push(uid.simple().to_string());
        }
    }
}
