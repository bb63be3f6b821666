//! Metrics: the state that `status` shows, at the same moment and from the same books, and histograms.

mod http;
#[cfg(test)]
mod tests;

use std::time::{Duration, UNIX_EPOCH};

use meshloom_core::moment::Moment;
use meshloom_proto::v1::{EdgeStatus, JournalStatus, NodeStatus, PipelineStatus, Standstill};
use meshloom_telemetry::{
    Stats,
    metrics::{Exposition, catalogue as metrics},
};

pub(crate) use self::http::{Served, bind, serve};
use crate::{
    node::NodeBooks,
    source::SourceBooks,
    status::Views,
    wiring::{EdgeView, NodeView, Place},
};

const BREAKER_STATES: [&str; 3] = ["closed", "open", "half-open"];
const STANDSTILLS: [(&str, Standstill); 3] =
    [("probing", Standstill::Probing), ("outage", Standstill::Outage), ("paused", Standstill::Paused)];

/// All metrics of a pipeline: its `status` in numbers, and what else there is to look at.
pub(crate) fn exposition(status: &PipelineStatus, views: &Views, traces: &Stats) -> Exposition {
    let mut out = Exposition::default();
    for (node, view) in status.nodes.iter().zip(&views.nodes) {
        match &view.place {
            Place::Source(books) => source(&mut out, node, books, views.clock.now()),
            Place::Node(books) => transform(&mut out, node, books),
        }
        replicas(&mut out, node, view);
    }
    let known = || views.edges.iter().chain(&views.replayed);
    for edge in &status.edges {
        if let Some(view) = known().find(|view| *view.label == *edge.from && *view.to == *edge.to) {
            flow(&mut out, edge, view);
        }
    }
    if let Some(status) = &status.journal {
        journal(&mut out, status);
    }
    let letters = status.dead_letters.unwrap_or_default();
    out.add(&metrics::LETTERS, &[], letters.letters);
    out.add(&metrics::LETTERS_BYTES, &[], letters.bytes);
    out.add(&metrics::LETTERS_LIMIT, &[], letters.size_bytes);
    out.add(&metrics::LETTERS_WAITING, &[], letters.waiting);
    out.add(&metrics::MEMORY_USED, &[], status.memory_used_bytes);
    out.add(&metrics::MEMORY_LIMIT, &[], status.memory_budget_bytes);
    out.add(&metrics::SPANS_DROPPED, &["store"], traces.dropped);
    out.add(&metrics::SPANS_DROPPED, &["exporter"], traces.export_dropped + traces.export_rejected);
    out.add(&metrics::STARTED, &[], views.started.duration_since(UNIX_EPOCH).unwrap_or_default());
    out
}

fn source(out: &mut Exposition, node: &NodeStatus, books: &SourceBooks, now: Moment) {
    use std::sync::atomic::Ordering::Relaxed;
    let name = [node.name.as_str()];
    let since = |moment: u64| now - Moment(moment);
    // Counters only rise: what is read again counts again, and `status` shows it once.
    let (given_up, unsettled) = (books.given_up.load(Relaxed), books.unsettled.load(Relaxed));
    out.add(&metrics::SOURCE_ACCEPTED, &name, node.received + given_up);
    out.add(&metrics::SOURCE_SETTLED, &name, node.settled + unsettled);
    out.add(&metrics::SOURCE_REREAD, &name, given_up);
    out.add(&metrics::SOURCE_OPEN, &name, node.received.saturating_sub(node.settled));
    let oldest = books.oldest_open.load(Relaxed);
    out.add(&metrics::SOURCE_LAG, &name, if oldest == 0 { Duration::ZERO } else { since(oldest) });
    let checkpointed = books.checkpointed.load(Relaxed);
    if checkpointed != 0 {
        out.add(&metrics::SOURCE_CHECKPOINT_AGE, &name, since(checkpointed));
    }
    out.add(&metrics::SOURCE_EXHAUSTED, &name, node.exhausted);
}

fn transform(out: &mut Exposition, node: &NodeStatus, books: &NodeBooks) {
    let name = node.name.as_str();
    let time =
        |time: Option<prost_types::Duration>| time.and_then(|time| Duration::try_from(time).ok()).unwrap_or_default();
    out.add(&metrics::NODE_RECEIVED, &[name], node.received);
    out.add(&metrics::NODE_CLOSED, &[name, "delivered"], node.answered);
    out.add(&metrics::NODE_CLOSED, &[name, "consumed"], node.consumed);
    out.add(&metrics::NODE_CLOSED, &[name, "rejected"], node.dead_lettered);
    out.add(&metrics::NODE_RETRIES, &[name], node.retried);
    out.add(&metrics::NODE_PRODUCED, &[name], node.produced);
    out.add(&metrics::NODE_IN_HAND, &[name], node.in_hand);
    out.add(&metrics::NODE_WAITING, &[name], node.waiting);
    out.add(&metrics::NODE_BATCH, &[name], books.meters.batch.read());
    out.add(&metrics::NODE_QUEUE_WAIT, &[name], books.meters.queue_wait.read());
    out.add(&metrics::NODE_HOP, &[name], books.meters.hop.read());
    out.add(&metrics::NODE_HANDLER, &[name], books.meters.handler.read());
    out.add(&metrics::NODE_IDLE, &[name, "work"], time(node.waiting_for_work));
    out.add(&metrics::NODE_IDLE, &[name, "replica"], time(node.waiting_for_replica));
    out.add(&metrics::NODE_IDLE, &[name, "below"], time(node.waiting_below));
    let standstill = node.condition.as_ref().map(|condition| condition.standstill());
    for (word, kind) in STANDSTILLS {
        out.add(&metrics::NODE_STANDSTILL, &[name, word], standstill == Some(kind));
    }
}

fn replicas(out: &mut Exposition, node: &NodeStatus, view: &NodeView) {
    out.add(&metrics::NODE_RESTARTS, &[&node.name], node.restarts);
    for (index, replica) in node.replicas.iter().enumerate() {
        let number = replica.index.to_string();
        let labels = [node.name.as_str(), &number];
        out.add(&metrics::REPLICA_UP, &labels, replica.state == "up");
        let Place::Node(books) = &view.place else { continue };
        out.add(&metrics::REPLICA_IN_HAND, &labels, u64::from(replica.works));
        let oldest = replica.oldest_call.and_then(|age| Duration::try_from(age).ok());
        out.add(&metrics::REPLICA_OLDEST_CALL, &labels, oldest.unwrap_or_default());
        out.add(&metrics::REPLICA_BREAKER_CHANGES, &labels, books.breaker_changes(index));
        for state in BREAKER_STATES {
            out.add(&metrics::REPLICA_BREAKER, &[labels[0], labels[1], state], replica.breaker == state);
        }
    }
}

fn flow(out: &mut Exposition, edge: &EdgeStatus, view: &EdgeView) {
    let ends = [edge.from.as_str(), edge.to.as_str()];
    out.add(&metrics::EDGE_PRODUCED, &ends, edge.produced);
    out.add(&metrics::EDGE_SKIPPED, &ends, edge.skipped);
    out.add(&metrics::EDGE_DROPPED, &ends, edge.dropped);
    out.add(&metrics::EDGE_RECEIVED, &ends, edge.received);
    let (events, bytes) = view.room.limits();
    out.add(&metrics::EDGE_QUEUE, &ends, view.room.used().0);
    out.add(&metrics::EDGE_QUEUE_BYTES, &ends, edge.queued_bytes);
    out.add(&metrics::EDGE_QUEUE_LIMIT, &ends, events);
    out.add(&metrics::EDGE_QUEUE_LIMIT_BYTES, &ends, bytes);
}

fn journal(out: &mut Exposition, journal: &JournalStatus) {
    let commit_time = journal.commit_time.and_then(|time| Duration::try_from(time).ok()).unwrap_or_default();
    out.add(&metrics::JOURNAL, &[], journal.bytes);
    out.add(&metrics::JOURNAL_LIMIT, &[], journal.limit_bytes);
    out.add(&metrics::JOURNAL_OPEN, &[], journal.open_frames);
    out.add(&metrics::JOURNAL_COMMITS, &[], journal.commits);
    out.add(&metrics::JOURNAL_COMMIT_TIME, &[], commit_time);
}
