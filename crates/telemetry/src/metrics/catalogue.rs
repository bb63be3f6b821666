//! The one list of metrics. `deploy/METRICS.md` is this list for operators; a test keeps them the same.

use super::{Kind, Metric};

macro_rules! catalogue {
    ($($id:ident = $kind:ident $name:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub static $id: Metric =
                Metric { name: $name, kind: Kind::$kind, labels: &[$($label),*], help: $help };
        )*

        /// All of them, in the order of the text.
        pub static ALL: &[&Metric] = &[$(&$id),*];
    };
}

catalogue! {
    SOURCE_ACCEPTED = Counter "meshloom_source_accepted_events_total" ["node"]
        "Events taken from the source; those that are read again count again.";
    SOURCE_SETTLED = Counter "meshloom_source_settled_events_total" ["node"]
        "Events of which every delivery has its verdict; those that are read again count again.";
    SOURCE_REREAD = Counter "meshloom_source_reread_events_total" ["node"]
        "Events given up and read again, because some were lost on their way.";
    SOURCE_OPEN = Gauge "meshloom_source_open_events" ["node"]
        "Events accepted that have not settled.";
    SOURCE_LAG = Gauge "meshloom_source_lag_seconds" ["node"]
        "Age of the oldest event above the source's position; 0 if there is none.";
    SOURCE_CHECKPOINT_AGE = Gauge "meshloom_source_checkpoint_age_seconds" ["node"]
        "Time since the source's position, or its mark in the journal, was last made durable; absent before the first time.";
    SOURCE_EXHAUSTED = Gauge "meshloom_source_exhausted" ["node"]
        "1 once the source has said that no more will come.";
    NODE_RECEIVED = Counter "meshloom_node_received_events_total" ["node"]
        "Events that arrived; closed + in hand + waiting.";
    NODE_CLOSED = Counter "meshloom_node_closed_events_total" ["node", "verdict"]
        "Events that ended here: delivered (answered with outputs), consumed (ended on purpose; at a sink: taken) or rejected (dead letters).";
    NODE_RETRIES = Counter "meshloom_node_retries_total" ["node"]
        "Attempts that ended in a retry.";
    NODE_PRODUCED = Counter "meshloom_node_produced_events_total" ["node"]
        "Outputs.";
    NODE_IN_HAND = Gauge "meshloom_node_in_hand_events" ["node"]
        "Events at replicas.";
    NODE_WAITING = Gauge "meshloom_node_waiting_events" ["node"]
        "Events that the node has taken from its edges and no replica has, those that wait for a retry among them.";
    NODE_BATCH = Histogram "meshloom_node_batch_events" ["node"]
        "Events of each batch sent to a replica.";
    NODE_QUEUE_WAIT = Histogram "meshloom_node_queue_wait_seconds" ["node"]
        "Time of each event and attempt from the node's queue until it was sent to a replica.";
    NODE_HOP = Histogram "meshloom_node_hop_seconds" ["node"]
        "Time of each event and attempt from being sent to a replica until its batch was answered in full.";
    NODE_HANDLER = Histogram "meshloom_node_handler_seconds" ["node"]
        "Time in the handler per event; a batch's time in equal parts.";
    NODE_IDLE = Counter "meshloom_node_idle_seconds_total" ["node", "for"]
        "Time that the node waited for work, for a replica with room, or for room on an edge below.";
    NODE_STANDSTILL = Gauge "meshloom_node_standstill" ["node", "standstill"]
        "1 for what keeps the node from its work: probing, outage or paused.";
    NODE_RESTARTS = Counter "meshloom_node_restarts_total" ["node"]
        "Starts of replicas after the first.";
    REPLICA_UP = Gauge "meshloom_replica_up" ["node", "replica"]
        "1 while the replica is ready.";
    REPLICA_IN_HAND = Gauge "meshloom_replica_in_hand_works" ["node", "replica"]
        "Batches that the replica has and has not answered in full.";
    REPLICA_OLDEST_CALL = Gauge "meshloom_replica_oldest_call_seconds" ["node", "replica"]
        "How long the oldest of the replica's handler calls has been running; 0: none is.";
    REPLICA_BREAKER = Gauge "meshloom_replica_breaker" ["node", "replica", "state"]
        "1 for the state of the replica's breaker: closed, open or half-open.";
    REPLICA_BREAKER_CHANGES = Counter "meshloom_replica_breaker_changes_total" ["node", "replica"]
        "Changes of the state of the replica's breaker, also those between two scrapes; that a new process begins with a closed one is none.";
    EDGE_PRODUCED = Counter "meshloom_edge_produced_events_total" ["from", "to"]
        "Events offered to the edge; skipped + dropped + received + under way.";
    EDGE_SKIPPED = Counter "meshloom_edge_skipped_events_total" ["from", "to"]
        "Events that the edge's `when` filtered out.";
    EDGE_DROPPED = Counter "meshloom_edge_dropped_events_total" ["from", "to"]
        "Events dropped because the edge was full (`overflow: drop_newest`).";
    EDGE_RECEIVED = Counter "meshloom_edge_received_events_total" ["from", "to"]
        "Events that the node below has taken.";
    EDGE_QUEUE = Gauge "meshloom_edge_queue_events" ["from", "to"]
        "Events that take up the edge's queue, until they are sent to a replica.";
    EDGE_QUEUE_BYTES = Gauge "meshloom_edge_queue_bytes" ["from", "to"]
        "Their bytes.";
    EDGE_QUEUE_LIMIT = Gauge "meshloom_edge_queue_limit_events" ["from", "to"]
        "The most events in the edge's queue (`queue: { events }`).";
    EDGE_QUEUE_LIMIT_BYTES = Gauge "meshloom_edge_queue_limit_bytes" ["from", "to"]
        "The most bytes in it (`queue: { bytes }`); one event may always be in it.";
    JOURNAL = Gauge "meshloom_journal_bytes" []
        "Bytes of the journal; absent, like all of the journal, if the pipeline needs none.";
    JOURNAL_LIMIT = Gauge "meshloom_journal_limit_bytes" []
        "The most bytes that it may have (`journal: { size }`).";
    JOURNAL_OPEN = Gauge "meshloom_journal_open_frames" []
        "Frames in it that have not settled.";
    JOURNAL_COMMITS = Counter "meshloom_journal_commits_total" []
        "Groups written and synced.";
    JOURNAL_COMMIT_TIME = Counter "meshloom_journal_commit_seconds_total" []
        "Time spent writing and syncing them.";
    LETTERS = Gauge "meshloom_dead_letters" []
        "Dead letters in the store.";
    LETTERS_BYTES = Gauge "meshloom_dead_letters_bytes" []
        "Their bytes.";
    LETTERS_LIMIT = Gauge "meshloom_dead_letters_limit_bytes" []
        "The most bytes of the store.";
    LETTERS_WAITING = Gauge "meshloom_dead_letters_waiting" []
        "Dead letters that wait for room in the store; the sources stand still.";
    MEMORY_USED = Gauge "meshloom_memory_used_bytes" []
        "Bytes of payloads in the coordinator's memory.";
    MEMORY_LIMIT = Gauge "meshloom_memory_limit_bytes" []
        "The most of them (`memory`).";
    SPANS_DROPPED = Counter "meshloom_spans_dropped_total" ["at"]
        "Spans of traces lost: at the store because they came too fast, at the exporter because the collector was down, slow or refused them.";
    STARTED = Gauge "meshloom_start_time_seconds" []
        "When the coordinator started, in Unix time.";
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        let names: HashSet<_> = ALL.iter().map(|metric| metric.name).collect();
        assert_eq!(names.len(), ALL.len(), "each once");
        for metric in ALL {
            assert!(metric.name.starts_with("meshloom_"), "{}", metric.name);
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Kind::Counter, "{}", metric.name);
            assert!(!metric.help.contains(['\n', '\\', '|']), "{}", metric.name);
            assert!(!metric.labels.contains(&"pipeline"), "{}", metric.name);
        }
    }
}
