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
        let for_all = fields.value("when").and_then(|value| self.expression(value));
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
                    .add(&codes::DUPLICATE_UPSTREAM, &span, format!("`{upstream}` is named twice"))
                    .label(&spans[first], "first here");
                continue;
            }
            let when = self.both(when, for_all.as_ref(), &span);
            edges.push(EdgeSpec { upstream, when });
            spans.push(span);
        }
        (edges, spans)
    }

    /// An edge's own condition and the node's.
    fn both(&mut self, own: Option<Expression>, node: Option<&Expression>, span: &Span) -> Option<Expression> {
        let (Some(own), Some(node)) = (&own, node) else {
            return own.or_else(|| node.cloned());
        };
        // A line each: an expression may end in a comment.
        match Expression::compile(&format!("({}\n) && ({}\n)", own.source(), node.source())) {
            Ok(both) => Some(both),
            Err(error) => {
                let message = format!("the edge's `when` and the node's cannot be joined: {error}");
                self.report.add(&codes::BAD_EXPRESSION, span, message).help("write one shorter condition at the edge");
                None
            }
        }
    }

    fn edge(&mut self, item: &Node) -> Option<(Upstream, Option<Expression>, Span)> {
        let Value::Map(entries) = &item.value else {
            let name = read::text(item, NEEDED, &mut self.report)?;
            return Some((upstream(name), None, item.span.clone()));
        };
        let fields = Fields { span: &item.span, entries };
        fields.only(&["node", "when"], "an entry of `from`", &mut self.report);
        let when = fields.value("when").and_then(|value| self.expression(value));
        let Some(node) = fields.value("node") else {
            self.report
                .add(&codes::MISSING_KEY, &item.span, "this entry of `from` has no `node`")
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
    Upstream { node: node.to_owned(), port }
}
