//! A drawing that needs no other program.

use std::fmt::Write;

use meshloom_core::graph::EdgeId;

use super::{caption, escaped, label, layers::layers};
use crate::spec::Pipeline;

const WIDTH: f64 = 180.0;
const HEIGHT: f64 = 48.0;
const ACROSS: f64 = 140.0;
const DOWN: f64 = 36.0;
const MARGIN: f64 = 24.0;
const STYLE: &str = "text{font-family:system-ui,sans-serif;font-size:14px;text-anchor:middle;fill:#1f2430}\
.c{font-size:11px;fill:#6b7280}.l{font-size:11px;fill:#374151;paint-order:stroke;stroke:#fff;stroke-width:4px}\
rect{fill:#fff;stroke:#4b5563;stroke-width:1.5}.s{fill:#ecfdf5;stroke:#059669}.e{fill:#eff6ff;stroke:#2563eb}\
path{fill:none;stroke:#9ca3af;stroke-width:1.5}";

/// The graph as an SVG document.
pub fn svg(pipeline: &Pipeline) -> String {
    let graph = &pipeline.graph;
    let layers = layers(graph);
    let tallest = layers.iter().map(Vec::len).max().unwrap_or(0);
    let height = 2.0 * MARGIN + extent(tallest, HEIGHT, DOWN);
    let width = 2.0 * MARGIN + extent(layers.len(), WIDTH, ACROSS);
    let mut corner = vec![(0.0, 0.0); graph.len()];
    for (column, layer) in layers.iter().enumerate() {
        let top = (height - extent(layer.len(), HEIGHT, DOWN)) / 2.0;
        for (row, node) in layer.iter().enumerate() {
            corner[node.index()] = (MARGIN + column as f64 * (WIDTH + ACROSS), top + row as f64 * (HEIGHT + DOWN));
        }
    }
    let mut out = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" width=\"{width}\" height=\"{height}\" role=\"img\">\n<title>{}</title>\n<style>{STYLE}</style>\n<defs><marker id=\"a\" viewBox=\"0 0 8 8\" refX=\"8\" refY=\"4\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto\"><path d=\"M0 0L8 4L0 8z\" style=\"fill:#9ca3af;stroke:none\"/></marker></defs>\n",
        escaped(&pipeline.name)
    );
    let mut labels = String::new();
    for (index, edge) in graph.edges().iter().enumerate() {
        let ((from_x, from_y), (to_x, to_y)) = (corner[edge.from.index()], corner[edge.to.index()]);
        let (x1, y1, x2, y2) = (from_x + WIDTH, from_y + HEIGHT / 2.0, to_x, to_y + HEIGHT / 2.0);
        let bend = ((x2 - x1) / 2.0).max(ACROSS / 2.0);
        let _ = writeln!(
            out,
            "<path d=\"M{x1} {y1}C{} {y1} {} {y2} {x2} {y2}\" marker-end=\"url(#a)\"/>",
            x1 + bend,
            x2 - bend
        );
        if let Some(label) = label(pipeline, EdgeId(index as u32)) {
            let (x, y) = ((x1 + x2) / 2.0, (y1 + y2) / 2.0 - 4.0);
            let _ = writeln!(labels, "<text class=\"l\" x=\"{x}\" y=\"{y}\">{}</text>", escaped(&label));
        }
    }
    for node in graph.nodes() {
        let (spec, (x, y)) = (pipeline.node(node), corner[node.index()]);
        let class = match (graph.is_source(node), graph.outputs(node).is_empty()) {
            (true, _) => " class=\"s\"",
            (false, true) => " class=\"e\"",
            (false, false) => "",
        };
        let middle = x + WIDTH / 2.0;
        let _ = writeln!(
            out,
            "<rect{class} x=\"{x}\" y=\"{y}\" width=\"{WIDTH}\" height=\"{HEIGHT}\" rx=\"8\"/>\n<text x=\"{middle}\" y=\"{}\">{}</text>\n<text class=\"c\" x=\"{middle}\" y=\"{}\">{}</text>",
            y + 20.0,
            escaped(&fitting(&spec.name, 22)),
            y + 37.0,
            escaped(&fitting(&caption(spec), 28))
        );
    }
    out.push_str(&labels);
    out.push_str("</svg>\n");
    out
}

/// The length of so many boxes with gaps between them.
fn extent(count: usize, size: f64, gap: f64) -> f64 {
    count as f64 * size + count.saturating_sub(1) as f64 * gap
}

/// Text cut to what a box holds.
fn fitting(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some(_) => text.chars().take(most - 1).chain(['…']).collect(),
        None => text.to_owned(),
    }
}
