//! The graph of a pipeline: nodes, the edges between them, and what follows from their shape alone.
//!
//! A [`Graph`] is acyclic by construction; [`Graph::build`] names every cycle instead of building one.

mod cycles;
mod shape;

use std::fmt;

use serde::{Deserialize, Serialize};

/// A node, by its place in the pipeline file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct NodeId(pub u32);

impl NodeId {
    /// As an index into tables of nodes.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// An edge, by its place in [`Graph::edges`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EdgeId(pub u32);

impl EdgeId {
    /// As an index into tables of edges.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// Which of a node's outputs an edge takes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Port {
    /// Outputs without a route.
    Main,
    /// Outputs with this route.
    Route(String),
    /// Outputs without a route that no conditional edge took.
    Unmatched,
    /// Inputs that would have been dead-lettered at the node.
    Rejected,
}

impl Port {
    /// The part behind the dot, as the pipeline file writes it; `None` for [`Port::Main`].
    pub fn suffix(&self) -> Option<&str> {
        match self {
            Self::Main => None,
            Self::Route(route) => Some(route),
            Self::Unmatched => Some("unmatched"),
            Self::Rejected => Some("rejected"),
        }
    }
}

/// One edge: from an output of a node to another node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// The upstream node.
    pub from: NodeId,
    /// Which of its outputs.
    pub port: Port,
    /// The downstream node.
    pub to: NodeId,
}

/// An acyclic graph of named nodes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Graph {
    names: Vec<String>,
    edges: Vec<Edge>,
    inputs: Vec<Vec<EdgeId>>,
    outputs: Vec<Vec<EdgeId>>,
    order: Vec<NodeId>,
    sources_of: Vec<Vec<NodeId>>,
    shared_source: Vec<bool>,
}

/// Why no graph was built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GraphError {
    /// An edge names a node that is not there.
    #[error("edge {edge} names node {node}, but there are {nodes} nodes")]
    UnknownNode {
        /// The edge, by its place in the list.
        edge: usize,
        /// The node it names.
        node: u32,
        /// How many nodes there are.
        nodes: usize,
    },
    /// Events would go round for ever.
    #[error("the graph has a cycle: {}", .0.describe())]
    Cyclic(Cyclic),
}

/// The cycles of a graph that cannot be built.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cyclic {
    /// Names of all nodes.
    names: Vec<String>,
    /// One shortest cycle of each strongly connected part, in the direction of the events; the first node is not repeated.
    pub cycles: Vec<Vec<NodeId>>,
    /// Nodes on no cycle that no source feeds, since every path to them starts in a cycle.
    pub unreachable: Vec<NodeId>,
}

impl Cyclic {
    /// A cycle as `a -> b -> a`.
    pub fn path(&self, cycle: &[NodeId]) -> String {
        let names = cycle.iter().chain(cycle.first());
        names.map(|node| self.names[node.index()].as_str()).collect::<Vec<_>>().join(" -> ")
    }

    fn describe(&self) -> String {
        self.cycles.iter().map(|cycle| self.path(cycle)).collect::<Vec<_>>().join("; ")
    }
}

impl Graph {
    /// Builds the graph of `names` and `edges`; the order of both is kept.
    ///
    /// # Errors
    /// [`GraphError::UnknownNode`] and [`GraphError::Cyclic`], which names every cycle.
    pub fn build(names: Vec<String>, edges: Vec<Edge>) -> Result<Self, GraphError> {
        let nodes = names.len();
        for (edge, ends) in edges.iter().enumerate() {
            if let Some(node) = [ends.from, ends.to].into_iter().find(|node| node.index() >= nodes) {
                return Err(GraphError::UnknownNode { edge, node: node.0, nodes });
            }
        }
        let (inputs, outputs) = shape::adjacency(nodes, &edges);
        let Some(order) = shape::topological(&edges, &inputs, &outputs) else {
            let (cycles, unreachable) = cycles::find(&edges, &inputs, &outputs);
            return Err(GraphError::Cyclic(Cyclic { names, cycles, unreachable }));
        };
        let sources_of = shape::sources_of(&edges, &inputs, &order);
        let shared_source = shape::shared_source(&edges, &inputs, &sources_of);
        Ok(Self { names, edges, inputs, outputs, order, sources_of, shared_source })
    }

    /// Number of nodes.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Whether there is no node.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// The nodes in the order of the file.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = NodeId> + use<> {
        (0..self.names.len() as u32).map(NodeId)
    }

    /// A node's name.
    pub fn name(&self, node: NodeId) -> &str {
        &self.names[node.index()]
    }

    /// The node of that name.
    pub fn find(&self, name: &str) -> Option<NodeId> {
        self.names.iter().position(|known| known == name).map(|index| NodeId(index as u32))
    }

    /// All edges: grouped by downstream node, in the order of the file.
    pub fn edges(&self) -> &[Edge] {
        &self.edges
    }

    /// One edge.
    pub fn edge(&self, edge: EdgeId) -> &Edge {
        &self.edges[edge.index()]
    }

    /// The upstream of an edge as the pipeline file writes it: `NODE` or `NODE.PORT`.
    pub fn upstream(&self, edge: EdgeId) -> String {
        let edge = self.edge(edge);
        UpstreamName(self.name(edge.from), &edge.port).to_string()
    }

    /// Edges into a node, in the order of its `from`.
    pub fn inputs(&self, node: NodeId) -> &[EdgeId] {
        &self.inputs[node.index()]
    }

    /// Edges out of a node, whatever their port.
    pub fn outputs(&self, node: NodeId) -> &[EdgeId] {
        &self.outputs[node.index()]
    }

    /// Edges out of one port of a node.
    pub fn outputs_of<'a>(&'a self, node: NodeId, port: &'a Port) -> impl Iterator<Item = EdgeId> + 'a {
        self.outputs(node).iter().copied().filter(move |edge| self.edge(*edge).port == *port)
    }

    /// Whether a node has no upstream.
    pub fn is_source(&self, node: NodeId) -> bool {
        self.inputs(node).is_empty()
    }

    /// The nodes without an upstream, in the order of the file.
    pub fn sources(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes().filter(|node| self.is_source(*node))
    }

    /// The nodes with upstreams first; equals keep the order of the file.
    pub fn topological(&self) -> &[NodeId] {
        &self.order
    }

    /// The sources whose events can reach a node, ascending; for a source itself alone.
    pub fn sources_of(&self, node: NodeId) -> &[NodeId] {
        &self.sources_of[node.index()]
    }

    /// Whether several upstreams of a node share a source, so that the same uid can come to it twice.
    /// An input's identity there is (from, uid).
    pub fn shared_source(&self, node: NodeId) -> bool {
        self.shared_source[node.index()]
    }

    /// All nodes below a node, ascending, without itself.
    pub fn descendants(&self, node: NodeId) -> Vec<NodeId> {
        shape::closure(self.len(), node, |at| self.outputs(at).iter().map(|edge| self.edge(*edge).to).collect())
    }

    /// All nodes above a node, ascending, without itself.
    pub fn ancestors(&self, node: NodeId) -> Vec<NodeId> {
        shape::closure(self.len(), node, |at| self.inputs(at).iter().map(|edge| self.edge(*edge).from).collect())
    }
}

/// Displays an upstream as the pipeline file writes it.
struct UpstreamName<'a>(&'a str, &'a Port);

impl fmt::Display for UpstreamName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.1.suffix() {
            None => f.write_str(self.0),
            Some(suffix) => write!(f, "{}.{suffix}", self.0),
        }
    }
}

#[cfg(test)]
mod tests;
