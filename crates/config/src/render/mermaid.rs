//! Mermaid, as code hosts and editors show it.

use std::fmt::Write;

use super::{caption, escaped, label};
use crate::spec::Pipeline;

/// The graph as a mermaid flowchart.
pub fn mermaid(pipeline: &Pipeline) -> String {
    let graph = &pipeline.graph;
    let mut out = String::from("flowchart LR\n");
    for node in graph.nodes() {
        let spec = pipeline.node(node);
        let (open, close) = match (graph.is_source(node), graph.outputs(node).is_empty()) {
            (true, _) => ("([", "])"),
            (false, true) => ("[[", "]]"),
            (false, false) => ("[", "]"),
        };
        let text = format!("{}<br/><small>{}</small>", spec.name, entities(&caption(spec)));
        writeln!(out, "  n{}{open}\"{text}\"{close}", node.0).expect("writing to a string cannot fail");
    }
    for (index, edge) in graph.edges().iter().enumerate() {
        let label = label(pipeline, meshloom_core::graph::EdgeId(index as u32));
        let label = label.map_or(String::new(), |label| format!("|\"{}\"|", entities(&label)));
        writeln!(out, "  n{} -->{label} n{}", edge.from.0, edge.to.0).expect("writing to a string cannot fail");
    }
    out
}

/// Mermaid reads HTML entities written with `#`.
fn entities(text: &str) -> String {
    escaped(text)
        .replace('#', "#35;")
        .replace("&amp;", "#amp;")
        .replace("&lt;", "#lt;")
        .replace("&gt;", "#gt;")
        .replace("&quot;", "#quot;")
}
