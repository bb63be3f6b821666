//! What the memory budget must hold before a source may be read.
//!
//! Taken off it at load: the receive window of each replica's connection, and a reserve of two batches for each node
//! with an upstream. The rest is shared by the sources in equal parts.

use crate::spec::{NodeKind, NodeSpec};

pub(crate) use crate::read::size_text;

/// Receive window of one connection to a replica, in bytes.
pub const WINDOW_BYTES: u64 = 8 << 20;
/// The smallest default budget, in bytes.
pub const LEAST_DEFAULT_BYTES: u64 = 256 << 20;
/// How many of its largest events a source's share must hold.
const EVENTS_PER_SOURCE: u64 = 4;

impl NodeSpec {
    /// What the node takes off the budget, in bytes.
    pub fn reserved_bytes(&self) -> u64 {
        let windows = match self.kind {
            NodeKind::Run(_) | NodeKind::Connect(_) => u64::from(self.replicas) * WINDOW_BYTES,
            NodeKind::Exec(_) | NodeKind::Use(_) => 0,
        };
        let reserve = if self.is_source() { 0 } else { 2 * self.batch.bytes };
        windows + reserve
    }
}

/// What all nodes take off the budget, in bytes.
pub fn reserved<'a>(nodes: impl IntoIterator<Item = &'a NodeSpec>) -> u64 {
    nodes.into_iter().map(NodeSpec::reserved_bytes).sum()
}

/// The budget where the file says nothing, in bytes: the larger of 256 MiB, twice what is reserved, and the least.
pub fn default<'a>(nodes: impl IntoIterator<Item = &'a NodeSpec> + Clone) -> u64 {
    LEAST_DEFAULT_BYTES.max(2 * reserved(nodes.clone())).max(least(nodes))
}

/// The smallest budget that can be used, in bytes.
pub fn least<'a>(nodes: impl IntoIterator<Item = &'a NodeSpec> + Clone) -> u64 {
    let sources = nodes.clone().into_iter().filter(|node| node.is_source());
    let (count, largest) = sources.fold((0, 0), |(count, largest), node| (count + 1, node.max_event.max(largest)));
    reserved(nodes) + count * EVENTS_PER_SOURCE * largest
}

/// What each source may hold of a budget, in bytes.
pub fn source_share<'a>(budget: u64, nodes: impl IntoIterator<Item = &'a NodeSpec> + Clone) -> u64 {
    let sources = nodes.clone().into_iter().filter(|node| node.is_source()).count().max(1) as u64;
    budget.saturating_sub(reserved(nodes)) / sources
}
