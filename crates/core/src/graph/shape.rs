//! What follows from the shape of a graph: neighbours, order, sources.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{Edge, EdgeId, NodeId};

/// Edges into and out of each node.
pub(super) fn adjacency(nodes: usize, edges: &[Edge]) -> (Vec<Vec<EdgeId>>, Vec<Vec<EdgeId>>) {
    let (mut inputs, mut outputs) = (vec![Vec::new(); nodes], vec![Vec::new(); nodes]);
    for (index, edge) in edges.iter().enumerate() {
        let id = EdgeId(index as u32);
        inputs[edge.to.index()].push(id);
        outputs[edge.from.index()].push(id);
    }
    (inputs, outputs)
}

/// Kahn's algorithm, the earliest in the file first; `None` if there is a cycle.
pub(super) fn topological(edges: &[Edge], inputs: &[Vec<EdgeId>], outputs: &[Vec<EdgeId>]) -> Option<Vec<NodeId>> {
    let mut open: Vec<usize> = inputs.iter().map(Vec::len).collect();
    let free = open.iter().enumerate().filter(|(_, count)| **count == 0);
    let mut ready: BinaryHeap<Reverse<u32>> = free.map(|(node, _)| Reverse(node as u32)).collect();
    let mut order = Vec::with_capacity(inputs.len());
    while let Some(Reverse(node)) = ready.pop() {
        order.push(NodeId(node));
        for edge in &outputs[node as usize] {
            let to = edges[edge.index()].to;
            open[to.index()] -= 1;
            if open[to.index()] == 0 {
                ready.push(Reverse(to.0));
            }
        }
    }
    (order.len() == inputs.len()).then_some(order)
}

/// For each node the sources whose events can reach it, ascending.
pub(super) fn sources_of(edges: &[Edge], inputs: &[Vec<EdgeId>], order: &[NodeId]) -> Vec<Vec<NodeId>> {
    let mut sources = vec![Vec::new(); inputs.len()];
    for &node in order {
        let mut own: Vec<NodeId> =
            inputs[node.index()].iter().flat_map(|edge| sources[edges[edge.index()].from.index()].clone()).collect();
        if own.is_empty() {
            own.push(node);
        }
        own.sort_unstable();
        own.dedup();
        sources[node.index()] = own;
    }
    sources
}

/// For each node whether two of its edges can carry events of one source.
pub(super) fn shared_source(edges: &[Edge], inputs: &[Vec<EdgeId>], sources_of: &[Vec<NodeId>]) -> Vec<bool> {
    let shared = |inputs: &Vec<EdgeId>| {
        let per_edge = inputs.iter().map(|edge| &sources_of[edges[edge.index()].from.index()]);
        let mut all: Vec<NodeId> = per_edge.flatten().copied().collect();
        let before = all.len();
        all.sort_unstable();
        all.dedup();
        all.len() < before
    };
    inputs.iter().map(shared).collect()
}

/// Everything reachable from `start` by `next`, ascending, without `start`.
pub(super) fn closure(nodes: usize, start: NodeId, next: impl Fn(NodeId) -> Vec<NodeId>) -> Vec<NodeId> {
    let mut seen = vec![false; nodes];
    let mut open = next(start);
    while let Some(node) = open.pop() {
        if !std::mem::replace(&mut seen[node.index()], true) {
            open.extend(next(node));
        }
    }
    (0..nodes as u32).map(NodeId).filter(|node| seen[node.index()] && *node != start).collect()
}
