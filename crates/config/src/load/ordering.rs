//! `ordering`: from the node that asks for it up to its sources, or why it cannot hold.

use std::collections::HashSet;

use meshloom_core::graph::{Graph, NodeId};

use super::{Load, node::Draft};
use crate::{
    connector::ConnectorSpec,
    diagnostic::{Span, codes},
    exec::{Envelope, ExecMode},
    spec::{NodeKind, Ordering},
};

/// A node that asks for an order.
#[derive(Clone, Copy)]
struct Asks {
    node: NodeId,
    ordering: Ordering,
}

impl Load<'_> {
    /// Spreads each order over the nodes that have to keep it, and checks that they can.
    pub(super) fn orders(&mut self, drafts: &mut [Draft], graph: &Graph) {
        let ids = (0..drafts.len() as u32).map(NodeId);
        let asks = ids.map(|node| Asks { node, ordering: drafts[node.index()].spec.ordering });
        let asks: Vec<Asks> = asks.filter(|asks| asks.ordering != Ordering::None).collect();
        let mut checked = HashSet::new();
        for ask in &asks {
            let mut nodes = graph.ancestors(ask.node);
            for node in &nodes {
                self.no_conflict(drafts, *node, ask);
            }
            nodes.push(ask.node);
            for node in nodes {
                if checked.insert((node, ask.ordering == Ordering::Key, node == ask.node)) {
                    self.can_keep(drafts, graph, node, ask);
                }
            }
        }
        for ask in asks {
            let above = graph.ancestors(ask.node);
            for node in above.iter().chain([&ask.node]) {
                let spec = &mut drafts[node.index()].spec;
                // A total order is one by any key as well.
                if !spec.is_source() && spec.ordering != Ordering::All {
                    spec.ordering = ask.ordering;
                }
            }
            if ask.ordering == Ordering::Key {
                above.iter().for_each(|node| drafts[node.index()].spec.keys_go_on = true);
            }
        }
    }

    /// Whether what a node above says of itself goes with the order.
    fn no_conflict(&mut self, drafts: &[Draft], node: NodeId, ask: &Asks) {
        let (above, below) = (&drafts[node.index()], &drafts[ask.node.index()]);
        let (Some(place), Some(wanted)) = (&above.ordering_span, &below.ordering_span) else { return };
        if [ask.ordering, Ordering::All].contains(&above.spec.ordering) || above.ordering_inherited {
            return;
        }
        let (name, word) = (&above.spec.name, above.spec.ordering.as_str());
        let message = format!(
            "`{name}` is ordered `{word}`, but it lies above `{}`, which is ordered `{}`",
            below.spec.name,
            ask.ordering.as_str()
        );
        let remedy = format!("remove it: `{name}` takes the order from `{}`", below.spec.name);
        self.report.add(&codes::ORDER_CONFLICT, place, message).help(remedy).label(wanted, "this order");
    }

    /// Whether a node at or above the one that asks can keep the order.
    fn can_keep(&mut self, drafts: &[Draft], graph: &Graph, node: NodeId, ask: &Asks) {
        let (draft, asking) = (&drafts[node.index()], &drafts[ask.node.index()]);
        let Some(wanted) = asking.ordering_span.clone() else { return };
        let name = &draft.spec.name;
        let word = ask.ordering.as_str();
        if graph.shared_source(node) {
            let place = draft.from_spans.first().unwrap_or(&draft.name_span);
            let message = format!("events of one source reach `{name}` on several ways, which overtake each other");
            let remedy = "let it take them from one node, or remove `ordering`";
            self.cannot_hold(place, message, remedy, &wanted);
        }
        if ask.ordering == Ordering::All {
            if draft.spec.replicas > 1 {
                let place = draft.replicas_span.as_ref().unwrap_or(&draft.name_span);
                let message = format!("`{name}` has {} replicas, and `ordering: all` one", draft.spec.replicas);
                let remedy = "remove `replicas`, or order by `key`, which spreads the keys over the replicas";
                self.cannot_hold(place, message, remedy, &wanted);
            }
            return;
        }
        if draft.spec.is_source() && draft.kind_known && draft.spec.key.is_none() && has_no_keys(&draft.spec.kind) {
            let message = format!("the events of `{name}` have no key");
            let remedy = format!("add `key` to `{name}`, for example `key: data.id`, or use `ordering: all`");
            self.cannot_hold(&draft.name_span, message, &remedy, &wanted);
        }
        let whole = matches!(&draft.spec.kind, NodeKind::Exec(exec) if exec.mode != ExecMode::Lines);
        if whole && !draft.spec.is_source() && node != ask.node {
            let message = format!("what comes out of `{name}` belongs to a whole batch and has no key");
            let remedy = format!("use `mode: lines` at `{name}`, or remove `ordering: {word}` below it");
            self.cannot_hold(&draft.name_span, message, &remedy, &wanted);
        }
    }

    fn cannot_hold(&mut self, place: &Span, message: String, remedy: &str, wanted: &Span) {
        self.report.add(&codes::ORDER_CANNOT_HOLD, place, message).help(remedy).label(wanted, "for this order");
    }
}

/// Whether no event of such a source can have a key of its own.
fn has_no_keys(kind: &NodeKind) -> bool {
    match kind {
        NodeKind::Exec(exec) => exec.envelope == Envelope::Data,
        NodeKind::Use(connector) => {
            use ConnectorSpec::{FileSource, Generate, Stdin, TcpSource};
            matches!(connector, FileSource(_) | Stdin(_) | Generate(_) | TcpSource(_))
        }
        NodeKind::Run(_) | NodeKind::Connect(_) => false,
    }
}
