//! A layered layout: a column per distance from the sources, few crossings.

use meshloom_core::graph::{Graph, NodeId};

/// Passes over the columns; crossings hardly change after these.
const PASSES: usize = 8;

/// The columns from left to right, each from top to bottom.
pub(super) fn layers(graph: &Graph) -> Vec<Vec<NodeId>> {
    let mut depth = vec![0usize; graph.len()];
    for &node in graph.topological() {
        let above = graph.inputs(node).iter().map(|edge| depth[graph.edge(*edge).from.index()] + 1);
        depth[node.index()] = above.max().unwrap_or(0);
    }
    let columns = depth.iter().max().map_or(0, |deepest| deepest + 1);
    let mut layers = vec![Vec::new(); columns];
    for node in graph.nodes() {
        layers[depth[node.index()]].push(node);
    }
    for pass in 0..PASSES {
        let place = places(&layers, graph.len());
        let forward = pass % 2 == 0;
        for layer in &mut layers {
            layer.sort_by(|one, other| {
                barycentre(graph, *one, forward, &place).total_cmp(&barycentre(graph, *other, forward, &place))
            });
        }
    }
    layers
}

/// Each node's place in its column, from 0 to 1.
fn places(layers: &[Vec<NodeId>], nodes: usize) -> Vec<f64> {
    let mut places = vec![0.0; nodes];
    for layer in layers {
        for (index, node) in layer.iter().enumerate() {
            places[node.index()] = (index as f64 + 0.5) / layer.len() as f64;
        }
    }
    places
}

/// The mean place of a node's neighbours on one side; its own if it has none.
fn barycentre(graph: &Graph, node: NodeId, above: bool, places: &[f64]) -> f64 {
    let neighbours: Vec<f64> = match above {
        true => graph.inputs(node).iter().map(|edge| places[graph.edge(*edge).from.index()]).collect(),
        false => graph.outputs(node).iter().map(|edge| places[graph.edge(*edge).to.index()]).collect(),
    };
    match neighbours.len() {
        0 => places[node.index()],
        count => neighbours.iter().sum::<f64>() / count as f64,
    }
}
