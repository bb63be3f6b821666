//! Finding the cycles of a graph that has some, so that each can be named.

use std::collections::VecDeque;

use super::{Edge, EdgeId, NodeId, shape::closure};

/// One shortest cycle per strongly connected part, and the nodes that only cycles feed.
pub(super) fn find(edges: &[Edge], inputs: &[Vec<EdgeId>], outputs: &[Vec<EdgeId>]) -> (Vec<Vec<NodeId>>, Vec<NodeId>) {
    let nodes = inputs.len();
    let next = |node: NodeId| outputs[node.index()].iter().map(|edge| edges[edge.index()].to).collect::<Vec<_>>();
    let mut on_cycle = vec![false; nodes];
    let mut named = vec![false; nodes];
    let mut cycles = Vec::new();
    for start in (0..nodes as u32).map(NodeId) {
        let Some(cycle) = shortest(nodes, start, next) else {
            continue;
        };
        on_cycle[start.index()] = true;
        if named[start.index()] {
            continue;
        }
        for node in part(nodes, start, next) {
            named[node.index()] = true;
        }
        cycles.push(cycle);
    }
    let mut fed = vec![false; nodes];
    for source in (0..nodes as u32).map(NodeId).filter(|node| inputs[node.index()].is_empty()) {
        fed[source.index()] = true;
        for node in closure(nodes, source, next) {
            fed[node.index()] = true;
        }
    }
    let unreachable = (0..nodes as u32).map(NodeId).filter(|node| !fed[node.index()] && !on_cycle[node.index()]);
    (cycles, unreachable.collect())
}

/// The nodes that `start` reaches and that reach `start`.
fn part(nodes: usize, start: NodeId, next: impl Fn(NodeId) -> Vec<NodeId> + Copy) -> Vec<NodeId> {
    let mut part = closure(nodes, start, next);
    part.retain(|node| closure(nodes, *node, next).contains(&start));
    part.push(start);
    part
}

/// The shortest way from `start` back to it, by breadth-first search.
fn shortest(nodes: usize, start: NodeId, next: impl Fn(NodeId) -> Vec<NodeId>) -> Option<Vec<NodeId>> {
    let mut came_from: Vec<Option<NodeId>> = vec![None; nodes];
    let mut open = VecDeque::from([start]);
    while let Some(node) = open.pop_front() {
        for to in next(node) {
            if to == start {
                let mut path = vec![node];
                while path[path.len() - 1] != start {
                    let last = path[path.len() - 1];
                    path.push(came_from[last.index()].expect("every visited node but the start has a predecessor"));
                }
                path.reverse();
                return Some(path);
            }
            if came_from[to.index()].is_none() {
                came_from[to.index()] = Some(node);
                open.push_back(to);
            }
        }
    }
    None
}
