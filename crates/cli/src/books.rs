//! The books of a pipeline, as its commands show them.

use std::{
    collections::VecDeque,
    time::{Duration, Instant, SystemTime},
};

use meshloom_proto::v1::{self, EdgeStatus, NodeCondition, NodeStatus, PipelineStatus};
use serde_json::{Value, json};

/// Time over which a rate is measured.
const WINDOW: Duration = Duration::from_secs(2);

/// Where a node stands in the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// Nothing comes in.
    Source,
    /// Something comes in and goes out.
    Transform,
    /// Nothing goes out.
    Sink,
}

/// Where a node stands.
pub(crate) fn role(status: &PipelineStatus, node: &NodeStatus) -> Role {
    // A name has no dot, a port follows one.
    let upstream = |edge: &EdgeStatus| edge.from.split('.').next() == Some(&node.name);
    if !status.edges.iter().any(|edge| edge.to == node.name) {
        Role::Source
    } else if status.edges.iter().any(upstream) {
        Role::Transform
    } else {
        Role::Sink
    }
}

/// Events that a node is done with; at a source: that it has accepted.
fn done(node: &NodeStatus) -> u64 {
    node.received.saturating_sub(node.waiting + node.in_hand)
}

/// A duration of a message; absent or negative: zero.
pub(crate) fn duration(duration: Option<prost_types::Duration>) -> Duration {
    duration.and_then(|duration| duration.try_into().ok()).unwrap_or_default()
}

/// Events per second of every node, from what was seen lately.
#[derive(Debug, Default)]
pub(crate) struct Rates {
    seen: VecDeque<(Instant, Vec<u64>)>,
}

impl Rates {
    /// Looks at the books at a moment; returns the rate of each node. The first look knows none.
    pub(crate) fn look(&mut self, status: &PipelineStatus, now: Instant) -> Vec<f64> {
        let counts: Vec<u64> = status.nodes.iter().map(done).collect();
        while self.seen.len() > 1 && self.seen.get(1).is_some_and(|(then, _)| now - *then >= WINDOW) {
            self.seen.pop_front();
        }
        let rates = match self.seen.front() {
            Some((then, before)) if now > *then => {
                let seconds = (now - *then).as_secs_f64();
                let rate = |(now, before): (&u64, &u64)| now.saturating_sub(*before) as f64 / seconds;
                counts.iter().zip(before).map(rate).collect()
            }
            _ => vec![0.0; counts.len()],
        };
        self.seen.push_back((now, counts));
        rates
    }
}

/// The node that the others wait for, and the time in which its work waited for it.
///
/// Work waits for a replica only where replicas are too slow: above that node outputs wait for an edge below, below it
/// nodes wait for work. Under a tenth of the time it is no bottleneck.
pub(crate) fn bottleneck(status: &PipelineStatus, up: Duration) -> Option<(&NodeStatus, Duration)> {
    let waited = |node: &NodeStatus| duration(node.waiting_for_replica).saturating_sub(duration(node.waiting_below));
    let slowest = status.nodes.iter().max_by_key(|node| waited(node))?;
    (waited(slowest) > up / 10).then(|| (slowest, waited(slowest)))
}

/// The books for a program.
pub(crate) fn to_json(status: &PipelineStatus, rates: &[f64]) -> Value {
    let rate = |index: usize| rates.get(index).copied().unwrap_or_default();
    json!({
        "pipeline": status.pipeline,
        "pid": status.pid,
        "phase": phase(status.phase()),
        "memory_used_bytes": status.memory_used_bytes,
        "memory_budget_bytes": status.memory_budget_bytes,
        "journal": status.journal.as_ref().map(journal_json),
        "dead_letter_store": store_json(status),
        "nodes": status.nodes.iter().enumerate().map(|(index, node)| node_json(status, node, rate(index))).collect::<Vec<_>>(),
        "edges": status.edges.iter().map(edge_json).collect::<Vec<_>>(),
    })
}

fn store_json(status: &PipelineStatus) -> Value {
    let store = status.dead_letters.unwrap_or_default();
    json!({
        "letters": store.letters,
        "bytes": store.bytes,
        "size_bytes": store.size_bytes,
        "waiting": store.waiting,
        "full": store.full,
    })
}

/// A phase in one word.
pub(crate) fn phase(phase: v1::PipelinePhase) -> &'static str {
    match phase {
        v1::PipelinePhase::Unspecified => "unknown",
        v1::PipelinePhase::Starting => "starting",
        v1::PipelinePhase::Running => "running",
        v1::PipelinePhase::Draining => "draining",
        v1::PipelinePhase::Ended => "ended",
    }
}

fn node_json(status: &PipelineStatus, node: &NodeStatus, rate: f64) -> Value {
    let seconds = |time| duration(time).as_secs_f64();
    let mut value = json!({
        "node": node.name,
        "kind": node.kind,
        "events_per_second": rate,
        "restarts": node.restarts,
        "replicas": node.replicas.iter().map(|replica| json!({
            "replica": replica.index,
            "state": replica.state,
            "pid": if replica.pid == 0 { Value::Null } else { replica.pid.into() },
            "sdk": replica.sdk,
            "works": replica.works,
            "last_error": replica.last_error,
            "breaker": if replica.breaker.is_empty() { Value::Null } else { replica.breaker.as_str().into() },
            "oldest_call_seconds": replica.oldest_call.map(|age| seconds(Some(age))),
        })).collect::<Vec<_>>(),
        "condition": node.condition.as_ref().map(condition_json),
    });
    let books = match role(status, node) {
        Role::Source => json!({
            "accepted": node.received,
            "settled": node.settled,
            "open": node.received.saturating_sub(node.settled),
            "exhausted": node.exhausted,
        }),
        Role::Transform | Role::Sink => json!({
            "received": node.received,
            "answered": node.answered,
            "consumed": node.consumed,
            "produced": node.produced,
            "retried": node.retried,
            "dead_lettered": node.dead_lettered,
            "in_hand": node.in_hand,
            "waiting": node.waiting,
            "busy_seconds": seconds(node.busy),
            "handler_p50_seconds": seconds(node.handler_p50),
            "handler_p99_seconds": seconds(node.handler_p99),
            "waiting_for_work_seconds": seconds(node.waiting_for_work),
            "waiting_for_replica_seconds": seconds(node.waiting_for_replica),
            "waiting_below_seconds": seconds(node.waiting_below),
        }),
    };
    if let (Some(value), Value::Object(books)) = (value.as_object_mut(), books) {
        value.extend(books);
    }
    value
}

/// Time that one commit of the journal took; `None`: there was none.
pub(crate) fn commit_time(journal: &v1::JournalStatus) -> Option<Duration> {
    let commits = u32::try_from(journal.commits).ok().filter(|commits| *commits > 0)?;
    Some(duration(journal.commit_time) / commits)
}

fn journal_json(journal: &v1::JournalStatus) -> Value {
    json!({
        "bytes": journal.bytes,
        "limit_bytes": journal.limit_bytes,
        "segments": journal.segments,
        "open_frames": journal.open_frames,
        "commits": journal.commits,
        "commit_seconds": commit_time(journal).map(|time| time.as_secs_f64()),
        "problems": journal.problems,
    })
}

/// What keeps a node from its work, in one word.
pub(crate) fn standstill(standstill: v1::Standstill) -> &'static str {
    match standstill {
        v1::Standstill::Unspecified => "unknown",
        v1::Standstill::Probing => "probing",
        v1::Standstill::Outage => "outage",
        v1::Standstill::Paused => "paused",
    }
}

/// A uid as it is shown everywhere; empty: there is none.
pub(crate) fn uid(condition: &NodeCondition) -> String {
    condition.uid.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn condition_json(condition: &NodeCondition) -> Value {
    let since = condition.since.and_then(|since| SystemTime::try_from(since).ok());
    let since = since.and_then(|since| since.duration_since(SystemTime::UNIX_EPOCH).ok());
    json!({
        "standstill": standstill(condition.standstill()),
        "since_unix_seconds": since.map(|since| since.as_secs_f64()),
        "reason": condition.reason,
        "message": condition.message,
        "uid": if condition.uid.is_empty() { Value::Null } else { uid(condition).into() },
    })
}

fn edge_json(edge: &EdgeStatus) -> Value {
    json!({
        "from": edge.from,
        "to": edge.to,
        "produced": edge.produced,
        "skipped": edge.skipped,
        "dropped": edge.dropped,
        "queued": edge.queued,
        "queued_bytes": edge.queued_bytes,
        "received": edge.received,
    })
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn seconds(seconds: u64) -> Option<prost_types::Duration> {
        Duration::from_secs(seconds).try_into().ok()
    }

    /// ingest -> filter -> alert, busy.
    pub(crate) fn sample() -> PipelineStatus {
        let replica = |state: &str, pid, sdk: &str, last_error: &str| v1::ReplicaStatus {
            index: 0,
            state: state.into(),
            pid,
            sdk: sdk.into(),
            works: 1,
            last_error: last_error.into(),
            breaker: "closed".into(),
            oldest_call: (pid == 4244).then(|| seconds(12)).flatten(),
        };
        let edge = |from: &str, to: &str, produced, queued| EdgeStatus {
            from: from.into(),
            to: to.into(),
            produced,
            queued,
            received: produced - queued,
            queued_bytes: queued * 100,
            ..EdgeStatus::default()
        };
        PipelineStatus {
            pipeline: "anomaly".into(),
            pid: 4242,
            started: None,
            phase: v1::PipelinePhase::Running.into(),
            nodes: vec![
                NodeStatus {
                    name: "ingest".into(),
                    kind: "run".into(),
                    received: 8759,
                    produced: 8759,
                    settled: 8000,
                    replicas: vec![replica("up", 4243, "rust 0.1.0", "")],
                    ..NodeStatus::default()
                },
                NodeStatus {
                    name: "filter".into(),
                    kind: "run".into(),
                    received: 8700,
                    answered: 8000,
                    consumed: 500,
                    retried: 40,
                    dead_lettered: 3,
                    in_hand: 97,
                    waiting: 100,
                    produced: 8000,
                    handler_p50: Duration::from_micros(12).try_into().ok(),
                    handler_p99: Duration::from_micros(850).try_into().ok(),
                    waiting_for_replica: seconds(8),
                    waiting_below: seconds(1),
                    replicas: vec![replica("up", 4244, "go 0.1.0", "")],
                    ..NodeStatus::default()
                },
                NodeStatus {
                    name: "alert".into(),
                    kind: "use:webhook".into(),
                    received: 8000,
                    consumed: 8000,
                    waiting_for_work: seconds(9),
                    replicas: vec![replica("down", 0, "", "connection refused")],
                    restarts: 2,
                    ..NodeStatus::default()
                },
            ],
            edges: vec![edge("ingest", "filter", 8759, 59), edge("filter.side", "alert", 8000, 0)],
            memory_used_bytes: 3 << 20,
            memory_budget_bytes: 256 << 20,
            journal: None,
            dead_letters: None,
        }
    }

    pub(crate) fn journal() -> v1::JournalStatus {
        v1::JournalStatus {
            bytes: 5 << 20,
            limit_bytes: 256 << 20,
            segments: 2,
            open_frames: 7,
            commits: 1500,
            commit_time: seconds(3),
            problems: vec!["ingest: the journal is full".into()],
        }
    }

    #[test]
    fn roles_come_from_the_edges() {
        let status = sample();
        let roles: Vec<_> = status.nodes.iter().map(|node| role(&status, node)).collect();
        assert_eq!(roles, [Role::Source, Role::Transform, Role::Sink]);
    }

    #[test]
    fn rates_are_of_the_last_seconds() {
        let mut rates = Rates::default();
        let mut status = sample();
        let start = Instant::now();
        assert_eq!(rates.look(&status, start), [0.0, 0.0, 0.0]);
        status.nodes[0].received += 100;
        assert_eq!(rates.look(&status, start + Duration::from_secs(1)), [100.0, 0.0, 0.0]);
        for second in 2..10 {
            rates.look(&status, start + Duration::from_secs(second));
        }
        assert_eq!(rates.look(&status, start + Duration::from_secs(10)), [0.0, 0.0, 0.0]);
        assert!(rates.seen.len() < 5);
    }

    #[test]
    fn the_bottleneck_is_where_work_waits_for_replicas() {
        let mut status = sample();
        let found = bottleneck(&status, Duration::from_secs(10)).unwrap();
        assert_eq!((found.0.name.as_str(), found.1), ("filter", Duration::from_secs(7)));
        // It is slow only because of what is below.
        status.nodes[1].waiting_below = seconds(8);
        assert!(bottleneck(&status, Duration::from_secs(10)).is_none());
    }

    #[test]
    fn json_names_units_and_roles() {
        let value = to_json(&sample(), &[1.0, 2.0, 3.0]);
        assert_eq!(value["nodes"][0]["accepted"], 8759);
        assert_eq!(value["nodes"][0]["open"], 759);
        assert_eq!(value["nodes"][1]["handler_p99_seconds"], 0.00085);
        assert_eq!(value["nodes"][1]["events_per_second"], 2.0);
        assert_eq!(value["nodes"][2]["replicas"][0]["pid"], Value::Null);
        assert_eq!(value["edges"][1]["from"], "filter.side");
        assert_eq!(value["journal"], Value::Null);
        let value = to_json(&PipelineStatus { journal: Some(journal()), ..sample() }, &[]);
        assert_eq!((&value["journal"]["bytes"], &value["journal"]["commit_seconds"]), (&json!(5 << 20), &json!(0.002)));
        assert_eq!(value["nodes"][1]["replicas"][0]["breaker"], "closed");
        assert_eq!(value["nodes"][1]["condition"], Value::Null);
    }

    #[test]
    fn json_says_what_keeps_a_node_from_its_work() {
        let mut status = sample();
        status.nodes[2].condition = Some(paused());
        let value = to_json(&status, &[]);
        let expected = json!({
            "standstill": "paused",
            "since_unix_seconds": 1_700_000_000.5,
            "reason": "HTTP_503",
            "message": "try later",
            "uid": "0707070707070707".repeat(2),
        });
        assert_eq!(value["nodes"][2]["condition"], expected);
    }

    pub(crate) fn paused() -> NodeCondition {
        NodeCondition {
            standstill: v1::Standstill::Paused.into(),
            since: Some(prost_types::Timestamp { seconds: 1_700_000_000, nanos: 500_000_000 }),
            reason: "HTTP_503".into(),
            message: "try later".into(),
            uid: vec![7; 16].into(),
        }
    }
}
