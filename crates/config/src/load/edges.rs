//! `from` and `when`.

use meshloom_core::graph::Port;

use super::Load;
use crate::{
    diagnostic::{Span, codes},
    expression::Expression,
    read::{self, Fields},
    spec::{EdgeSpec, Upstream},
    yaml::{Node, Value},
};

const NEEDED: &str = "the name of a node, or a list of names and `{node, when}`";

impl Load<'_> {
    /// The edges into a node, and the place of each upstream's name.
    pub(super) fn edges(&mut self, fields: &Fields<'_>) -> (Vec<EdgeSpec>, Vec<Span>) {
        let for_all = fields
            .value("when")
            .and_then(|value| self.expression(value));
        let Some(from) = fields.value("from") else {
            return Default::default();
        };
        let items = match &from.value {
            Value::List(items) => items.as_slice(),
            _ => std::slice::from_ref(from),
        };
        if items.is_empty() {
            self.report
                .add(&codes::EMPTY, &from.span, "`from` is an empty list")
                .help("name an upstream, or remove `from` to make the node a source");
        }
        let (mut edges, mut spans): (Vec<EdgeSpec>, Vec<Span>) = Default::default();
        for item in items {
            let Some((upstream, when, span)) = self.edge(item) else {
                continue;
            };
            if let Some(first) = edges.iter().position(|edge| edge.upstream == upstream) {
                self.report
                    .add(
                        &codes::DUPLICATE_UPSTREAM,
                        &span,
                        format!("`{upstream}` is named twice"),
                    )
                    .label(&spans[first], "first here");
                continue;
            }
            edges.push(EdgeSpec {
                upstream,
                when: both(when, for_all.as_ref()),
            });
            spans.push(span);
        }
        (edges, spans)
    }

    fn edge(&mut self, item: &Node) -> Option<(Upstream, Option<Expression>, Span)> {
        let Value::Map(entries) = &item.value else {
            let name = read::text(item, NEEDED, &mut self.report)?;
            return Some((upstream(name), None, item.span.clone()));
        };
        let fields = Fields {
            span: &item.span,
            entries,
        };
        fields.only(&["node", "when"], "an entry of `from`", &mut self.report);
        let when = fields
            .value("when")
            .and_then(|value| self.expression(value));
        let Some(node) = fields.value("node") else {
            self.report
                .add(
                    &codes::MISSING_KEY,
                    &item.span,
                    "this entry of `from` has no `node`",
                )
                .help("write `{node: NAME, when: CONDITION}`");
            return None;
        };
        let name = read::text(node, "the name of a node", &mut self.report)?;
        Some((upstream(name), when, node.span.clone()))
    }
}

/// `NODE` or `NODE.PORT`.
fn upstream(name: &str) -> Upstream {
    let (node, port) = match name.split_once('.') {
        None => (name, Port::Main),
        Some((node, "unmatched")) => (node, Port::Unmatched),
        Some((node, "rejected")) => (node, Port::Rejected),
        Some((node, route)) => (node, Port::Route(route.to_owned())),
    };
    Upstream {
        node: node.to_owned(),
        port,
    }
}

/// An edge's own condition and the node's.
fn both(own: Option<Expression>, node: Option<&Expression>) -> Option<Expression> {
    match (own, node) {
        (Some(own), Some(node)) => {
            let joined = format!("({}) && ({})", own.source(), node.source());
            Some(
                Expression::compile(&joined)
                    .expect("two expressions that compile make one that does"),
            )
        }
        (own, node) => own.or_else(|| node.cloned()),
    }
}
