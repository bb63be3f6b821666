use std::path::Path;

use super::*;
use crate::{Environment, parse};

fn pipeline() -> Pipeline {
    let source = r#"
pipeline: demo
nodes:
  in: { use: generate }
  work: { run: python map.py "a \"b\"", from: in }
  hot: { use: stdout, from: { node: work, when: data.n > 1 && data.s == "<x>" } }
  rest: { use: "null", from: [work.unmatched, work.side] }
"#;
    parse(Path::new("p.yaml"), Path::new("/"), source, &Environment::from_fn(|_| None)).unwrap()
}

#[test]
fn mermaid_text() {
    assert_eq!(
        mermaid(&pipeline()),
        r#"flowchart LR
  n0(["in<br/><small>generate</small>"])
  n1["work<br/><small>python map.py a #quot;b#quot;</small>"]
  n2[["hot<br/><small>stdout</small>"]]
  n3[["rest<br/><small>null</small>"]]
  n0 --> n1
  n1 -->|"data.n #gt; 1 #amp;#amp; data.s == #quot;#lt;x#gt;#quot;"| n2
  n1 -->|"unmatched"| n3
  n1 -->|"side"| n3
"#
    );
}

#[test]
fn dot_text() {
    assert_eq!(
        dot(&pipeline()),
        r#"digraph "demo" {
  rankdir=LR;
  node [shape=box, style=rounded, fontname="sans-serif"];
  "in" [label="in\ngenerate"];
  "work" [label="work\npython map.py a \"b\""];
  "hot" [label="hot\nstdout"];
  "rest" [label="rest\nnull"];
  "in" -> "work";
  "work" -> "hot" [label="data.n > 1 && data.s == \"<x>\""];
  "work" -> "rest" [label="unmatched"];
  "work" -> "rest" [label="side"];
}
"#
    );
}

#[test]
fn svg_has_every_node_and_edge_and_nothing_overlaps() {
    let svg = svg(&pipeline());
    assert_eq!(svg.matches("<rect").count(), 4);
    assert_eq!(svg.matches("marker-end").count(), 4);
    assert!(svg.contains("data.n &gt; 1 &amp;&amp; data.s == &quot;&lt;x&gt;&quot;"), "{svg}");
    assert!(!svg.contains("NaN"));
    let number = |rect: &str, key: &str| -> f64 {
        let start = rect.find(&format!(" {key}=\"")).unwrap() + key.len() + 3;
        rect[start..].split('"').next().unwrap().parse().unwrap()
    };
    let corners: Vec<(f64, f64)> =
        svg.split("<rect").skip(1).map(|rect| (number(rect, "x"), number(rect, "y"))).collect();
    for (index, one) in corners.iter().enumerate() {
        for other in &corners[..index] {
            assert!((one.0 - other.0).abs() >= 180.0 || (one.1 - other.1).abs() >= 48.0);
        }
    }
}
