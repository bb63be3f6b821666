//! Graphviz.

use std::fmt::Write;

use meshloom_core::graph::EdgeId;

use super::{caption, label};
use crate::spec::Pipeline;

/// The graph in Graphviz's dot language.
pub fn dot(pipeline: &Pipeline) -> String {
    let graph = &pipeline.graph;
    let mut out = format!(
        "digraph {} {{\n  rankdir=LR;\n  node [shape=box, style=rounded, fontname=\"sans-serif\"];\n",
        quoted(&pipeline.name)
    );
    for node in graph.nodes() {
        let spec = pipeline.node(node);
        let text = quoted(&format!("{}\n{}", spec.name, caption(spec)));
        writeln!(out, "  {} [label={text}];", quoted(&spec.name)).expect("writing to a string cannot fail");
    }
    for (index, edge) in graph.edges().iter().enumerate() {
        let label =
            label(pipeline, EdgeId(index as u32)).map_or(String::new(), |label| format!(" [label={}]", quoted(&label)));
        let (from, to) = (quoted(graph.name(edge.from)), quoted(graph.name(edge.to)));
        writeln!(out, "  {from} -> {to}{label};").expect("writing to a string cannot fail");
    }
    out.push_str("}\n");
    out
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}
