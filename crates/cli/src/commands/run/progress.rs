//! The live display, as lines of text.

use std::time::Duration;

use meshloom_proto::v1::{NodeStatus, PipelineStatus};

use crate::{
    books::{self, Role, role},
    text,
};

/// One line for the pipeline and one for each node.
pub(crate) fn lines(status: &PipelineStatus, rates: &[f64], elapsed: Duration) -> Vec<String> {
    let width = status.nodes.iter().map(|node| node.name.len()).max().unwrap_or(0);
    let mut lines = vec![format!(
        "{} {} for {}, {} of {} in memory",
        status.pipeline,
        books::phase(status.phase()),
        text::clock(elapsed),
        text::bytes(status.memory_used_bytes),
        text::bytes(status.memory_budget_bytes),
    )];
    for (index, node) in status.nodes.iter().enumerate() {
        let rate = text::rate(rates.get(index).copied().unwrap_or_default());
        lines.push(format!("  {:width$}  {rate:>9} events/s  {}", node.name, details(status, node)));
    }
    lines
}

/// What waits, what went wrong, which replicas are not there.
fn details(status: &PipelineStatus, node: &NodeStatus) -> String {
    let mut parts = Vec::new();
    if role(status, node) == Role::Source {
        parts.push(format!("{:>11} accepted", text::count(node.received)));
        parts.push(format!("{} open", text::count(node.received.saturating_sub(node.settled))));
        if node.exhausted {
            parts.push("exhausted".to_owned());
        }
    } else {
        parts.push(format!("{:>11} in queue", text::count(node.waiting)));
        parts.push(format!("{} in hand", text::count(node.in_hand)));
    }
    for (number, what) in [(node.retried, "retried"), (node.dead_lettered, "rejected")] {
        if number > 0 {
            parts.push(format!("{} {what}", text::count(number)));
        }
    }
    if let Some(condition) = &node.condition {
        parts.push(books::standstill(condition.standstill()).to_owned());
    }
    if node.restarts > 0 {
        parts.push(text::plural(node.restarts, "restart"));
    }
    let down: Vec<_> =
        node.replicas.iter().filter(|replica| replica.state != "up" && replica.state != "stopped").collect();
    if let Some(first) = down.first() {
        let error = if first.last_error.is_empty() { String::new() } else { format!(" ({})", first.last_error) };
        parts.push(format!(
            "{} of {} {}{error}",
            down.len(),
            text::plural(node.replicas.len() as u64, "replica"),
            first.state
        ));
    }
    parts.join(", ")
}

#[test]
fn every_node_has_a_line() {
    let status = books::tests::sample();
    let lines = lines(&status, &[1234.0, 5.25, 0.0], Duration::from_millis(12_900));
    assert_eq!(
        lines,
        [
            "anomaly running for 12 s, 3.0 MiB of 256 MiB in memory",
            "  ingest      1,234 events/s        8,759 accepted, 759 open",
            "  filter        5.2 events/s          100 in queue, 97 in hand, 40 retried, 3 rejected",
            "  alert           0 events/s            0 in queue, 0 in hand, 2 restarts, 1 of 1 replica down (connection refused)",
        ]
    );
}
