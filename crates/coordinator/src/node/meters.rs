//! How long events wait and are worked on at a node, and in what numbers they go; for metrics.

use std::time::Duration;

use meshloom_core::{machine::Part, moment::Moment};
use meshloom_telemetry::metrics::Histogram;

/// Written by an actor, a few additions per work.
#[derive(Debug)]
pub(crate) struct NodeMeters {
    /// Events of a work.
    pub(crate) batch: Histogram,
    /// From the queue to the replica, per event and attempt.
    pub(crate) queue_wait: Histogram,
    /// From the replica to the answer, per event and attempt.
    pub(crate) hop: Histogram,
    /// In the handler, per event.
    pub(crate) handler: Histogram,
}

impl NodeMeters {
    pub(super) fn new() -> Self {
        Self {
            batch: Histogram::events(),
            queue_wait: Histogram::seconds(),
            hop: Histogram::seconds(),
            handler: Histogram::seconds(),
        }
    }

    /// A work was sent, with events that had waited since they came.
    pub(super) fn sent(&self, dispatched: Moment, parts: &[Part]) {
        let events: u32 = parts.iter().map(|part| part.rows).sum();
        self.batch.observe(events.into(), 1);
        for part in parts {
            self.queue_wait.observe_time(dispatched - part.since, part.rows.into());
        }
    }

    /// A work was answered in full: `each` in the handler, `elapsed` since it was sent.
    pub(super) fn answered(&self, events: u32, each: Duration, elapsed: Duration) {
        self.handler.observe_time(each, events.into());
        self.hop.observe_time(elapsed, events.into());
    }
}
