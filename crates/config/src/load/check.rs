//! What can only be seen with all nodes at hand.

use std::net::SocketAddr;

use meshloom_core::graph::{Cyclic, Edge, Graph, GraphError, NodeId, Port};

use super::{Load, node::Draft, top::Top};
use crate::{
    diagnostic::{Span, codes},
    exec::ExecMode,
    spec::{EdgeSpec, NodeKind},
    suggest::did_you_mean,
};

impl Load<'_> {
    /// Checks the nodes against each other; `None` if there is no graph.
    pub(super) fn check(&mut self, drafts: &[Draft], top: &Top<'_>) -> Option<Graph> {
        self.memory(drafts, top);
        self.journal(drafts, top);
        self.ports(drafts);
        let mut complete = true;
        let mut edges = Vec::new();
        let mut places = Vec::new();
        for (to, draft) in drafts.iter().enumerate() {
            for (edge, span) in draft.spec.from.iter().zip(&draft.from_spans) {
                let Some(from) = self.upstream(drafts, edge, span) else {
                    complete = false;
                    continue;
                };
                self.port(&drafts[from], drafts, edge, span);
                edges.push(Edge { from: NodeId(from as u32), port: edge.upstream.port.clone(), to: NodeId(to as u32) });
                places.push(span.clone());
            }
        }
        let names = drafts.iter().map(|draft| draft.spec.name.clone()).collect();
        match Graph::build(names, edges.clone()) {
            Ok(graph) => complete.then_some(graph),
            Err(GraphError::Cyclic(cyclic)) => {
                self.cycles(drafts, &cyclic, &edges, &places);
                None
            }
            Err(GraphError::UnknownNode { .. }) => {
                unreachable!("edges were made from nodes that are there")
            }
        }
    }

    /// The upstream node of an edge.
    fn upstream(&mut self, drafts: &[Draft], edge: &EdgeSpec, span: &Span) -> Option<usize> {
        let name = edge.upstream.node.as_str();
        let found = drafts.iter().position(|draft| draft.spec.name == name);
        if found.is_none() {
            let names = drafts.iter().map(|draft| draft.spec.name.as_str());
            let remedy = did_you_mean(name, names.clone())
                .unwrap_or_else(|| format!("the nodes are {}", names.collect::<Vec<_>>().join(", ")));
            self.report.add(&codes::UNKNOWN_NODE, span, format!("there is no node `{name}`")).help(remedy);
        }
        found
    }

    /// Whether the upstream has that output.
    fn port(&mut self, from: &Draft, drafts: &[Draft], edge: &EdgeSpec, span: &Span) {
        let name = &from.spec.name;
        match &edge.upstream.port {
            Port::Rejected => {}
            Port::Route(route) => {
                self.check_name(route, span, "a route");
                if let Some(index) = from.spec.discards.iter().position(|discarded| discarded == route) {
                    self.report
                        .add(&codes::ROUTE_CONFLICT, span, format!("`{name}` discards its route `{route}`"))
                        .label(&from.discard_spans[index], "discarded here");
                }
                if from.kind_known && matches!(from.spec.kind, NodeKind::Exec(_) | NodeKind::Use(_)) {
                    let message = format!("`{name}` has no routes: only nodes with an SDK have them");
                    self.report.add(&codes::WRONG_ROLE, span, message).help(format!("use `{name}` alone"));
                }
            }
            Port::Unmatched => {
                let conditional = |other: &EdgeSpec| {
                    other.upstream.node == *name && other.upstream.port == Port::Main && other.when.is_some()
                };
                if !drafts.iter().flat_map(|draft| &draft.spec.from).any(conditional) {
                    let message = format!("no edge of `{name}` has a condition, so nothing can be unmatched");
                    self.report
                        .add(&codes::UNMATCHED_WITHOUT_WHEN, span, message)
                        .help(format!("use `{name}` alone, or add `when` to another edge of it"));
                }
            }
            Port::Main => {}
        }
        if !matches!(edge.upstream.port, Port::Rejected) && from.kind_known {
            self.has_output(from, span);
        }
    }

    /// Whether a node can have outputs at all.
    fn has_output(&mut self, from: &Draft, span: &Span) {
        let name = &from.spec.name;
        let (message, remedy) = match &from.spec.kind {
            NodeKind::Use(connector) if !connector.is_source() => {
                (format!("`{name}` is a sink: nothing comes out of it"), "name the node before it".to_owned())
            }
            NodeKind::Exec(exec) if exec.mode == ExecMode::Files && exec.output.is_none() => (
                format!("nothing comes out of `{name}`: it has no `output`"),
                format!("add `output: NAME` to `{name}`, the file that its program writes"),
            ),
            _ => return,
        };
        self.report.add(&codes::WRONG_ROLE, span, message).help(remedy).label(&from.name_span, "this node");
    }

    /// Reports each cycle at the edge that closes it, and what only cycles feed.
    fn cycles(&mut self, drafts: &[Draft], cyclic: &Cyclic, edges: &[Edge], places: &[Span]) {
        for cycle in &cyclic.cycles {
            let (first, last) = (cycle[0], cycle[cycle.len() - 1]);
            let closing = edges.iter().position(|edge| edge.from == last && edge.to == first);
            let place = closing.map_or(&drafts[first.index()].name_span, |edge| &places[edge]);
            let message = format!("the nodes form a cycle: {}", cyclic.path(cycle));
            self.report.add(&codes::CYCLE, place, message);
        }
        for node in &cyclic.unreachable {
            let draft = &drafts[node.index()];
            let message = format!("no event can reach `{}`: it is fed by a cycle alone", draft.spec.name);
            self.report.add(&codes::UNREACHABLE, &draft.name_span, message);
        }
    }

    /// Reports sources that listen on one port.
    fn ports(&mut self, drafts: &[Draft]) {
        let mut taken: Vec<(SocketAddr, &Draft, &Span)> = Vec::new();
        for draft in drafts {
            let (NodeKind::Use(connector), Some(span)) = (&draft.spec.kind, &draft.listen_span) else {
                continue;
            };
            let Some(listen) = connector.listen() else {
                continue;
            };
            if let Some((_, other, place)) = taken.iter().find(|(known, ..)| clash(*known, listen)) {
                let message =
                    format!("`{}` and `{}` both listen on port {}", other.spec.name, draft.spec.name, listen.port());
                self.report.add(&codes::PORT_TAKEN, span, message).label(place, "taken here");
            }
            taken.push((listen, draft, span));
        }
    }
}

/// Whether two addresses cannot be listened on at once.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let same_host = one.ip() == other.ip() || one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() != 0 && one.port() == other.port() && same_host
}
