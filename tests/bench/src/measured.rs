//! What one run of one side gives.

use std::time::Duration;

use serde::Serialize;

/// One run.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Measured {
    /// Events answered while measured.
    pub(crate) events: u64,
    /// How long was measured.
    pub(crate) seconds: f64,
    /// Throughput.
    pub(crate) events_per_second: f64,
    /// Processor time per event of the client or coordinator, nanoseconds.
    pub(crate) client_cpu_ns: f64,
    /// Processor time per event of the server or node, nanoseconds.
    pub(crate) node_cpu_ns: f64,
    /// Events per batch.
    pub(crate) batch: u32,
    /// Batches in flight.
    pub(crate) in_flight: u32,
}

impl Measured {
    /// From two readings of counter, clock and processor time (client, node).
    pub(crate) fn between(from: &Reading, to: &Reading, batch: u32, in_flight: u32) -> Self {
        let events = to.events.saturating_sub(from.events);
        let seconds = to.at.duration_since(from.at).as_secs_f64();
        let each = |from: Duration, to: Duration| (to - from).as_nanos() as f64 / events.max(1) as f64;
        Self {
            events,
            seconds,
            events_per_second: events as f64 / seconds,
            client_cpu_ns: each(from.client_cpu, to.client_cpu),
            node_cpu_ns: each(from.node_cpu, to.node_cpu),
            batch,
            in_flight,
        }
    }
}

/// Counter, clock and processor time at one moment.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading {
    pub(crate) at: std::time::Instant,
    pub(crate) events: u64,
    pub(crate) client_cpu: Duration,
    pub(crate) node_cpu: Duration,
}
