//! A pipeline as a picture: mermaid, dot, svg.

mod dot;
mod layers;
mod mermaid;
mod svg;

pub use dot::dot;
pub use mermaid::mermaid;
pub use svg::svg;

use meshloom_core::graph::EdgeId;

use crate::spec::{NodeKind, NodeSpec, Pipeline};

/// What is written under a node's name.
fn caption(node: &NodeSpec) -> String {
    match &node.kind {
        NodeKind::Run(command) => {
            let program = command.program.rsplit('/').next().unwrap_or(&command.program);
            shortened(
                &std::iter::once(program).chain(command.args.iter().map(String::as_str)).collect::<Vec<_>>().join(" "),
            )
        }
        NodeKind::Connect(addresses) => match addresses.as_slice() {
            [address] => shortened(&address.to_string()),
            several => format!("{} addresses", several.len()),
        },
        NodeKind::Exec(exec) => {
            let program = exec.command.program.rsplit('/').next().unwrap_or(&exec.command.program);
            let words = std::iter::once(program).chain(exec.command.args.iter().map(String::as_str));
            shortened(&words.collect::<Vec<_>>().join(" "))
        }
        NodeKind::Use(connector) => connector.name().to_owned(),
    }
}

/// What is written at an edge: its port and its condition.
fn label(pipeline: &Pipeline, edge: EdgeId) -> Option<String> {
    let to = pipeline.graph.edge(edge).to;
    let place = pipeline.graph.inputs(to).iter().position(|input| *input == edge)?;
    let spec = &pipeline.node(to).from[place];
    let when = spec.when.as_ref().map(|when| shortened(when.source()));
    match (spec.upstream.port.suffix(), when) {
        (None, when) => when,
        (Some(port), None) => Some(port.to_owned()),
        (Some(port), Some(when)) => Some(format!("{port}: {when}")),
    }
}

/// At most 40 characters, on one line.
fn shortened(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(40) {
        Some(_) => line.chars().take(37).chain("...".chars()).collect(),
        None => line,
    }
}

/// Escapes for XML and HTML.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests;
