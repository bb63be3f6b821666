use proptest::prelude::*;

use super::*;

fn graph(names: &[&str], edges: &[(&str, Port, &str)]) -> Result<Graph, GraphError> {
    let id = |name: &str| NodeId(names.iter().position(|known| *known == name).expect("a known name") as u32);
    let edges = edges.iter().map(|(from, port, to)| Edge { from: id(from), port: port.clone(), to: id(to) });
    Graph::build(names.iter().map(ToString::to_string).collect(), edges.collect())
}

fn names(graph: &Graph, nodes: &[NodeId]) -> Vec<String> {
    nodes.iter().map(|node| graph.name(*node).to_owned()).collect()
}

#[test]
fn order_follows_edges_and_else_the_file() {
    let graph = graph(
        &["sink", "b", "source", "a"],
        &[
            ("a", Port::Main, "sink"),
            ("b", Port::Main, "sink"),
            ("source", Port::Main, "a"),
            ("source", Port::Main, "b"),
        ],
    )
    .unwrap();
    assert_eq!(names(&graph, graph.topological()), ["source", "b", "a", "sink"]);
    assert_eq!(names(&graph, &graph.sources().collect::<Vec<_>>()), ["source"]);
}

#[test]
fn neighbours_by_port() {
    let route = Port::Route("side".into());
    let graph = graph(
        &["s", "x", "y", "z"],
        &[("s", Port::Main, "x"), ("s", route.clone(), "y"), ("s", Port::Rejected, "z"), ("s", Port::Unmatched, "z")],
    )
    .unwrap();
    let s = graph.find("s").unwrap();
    let below = |port: &Port| graph.outputs_of(s, port).map(|edge| graph.edge(edge).to).collect::<Vec<_>>();
    assert_eq!(names(&graph, &below(&Port::Main)), ["x"]);
    assert_eq!(names(&graph, &below(&route)), ["y"]);
    assert_eq!(names(&graph, &below(&Port::Rejected)), ["z"]);
    let upstreams: Vec<String> =
        graph.inputs(graph.find("z").unwrap()).iter().map(|edge| graph.upstream(*edge)).collect();
    assert_eq!(upstreams, ["s.rejected", "s.unmatched"]);
    assert_eq!(graph.upstream(EdgeId(1)), "s.side");
    assert_eq!(graph.upstream(EdgeId(0)), "s");
    assert_eq!(graph.find("nobody"), None);
}

#[test]
fn every_cycle_is_named_once() {
    let error = graph(
        &["s", "a", "b", "c", "x", "y", "below", "fed"],
        &[
            ("c", Port::Main, "a"),
            ("a", Port::Main, "b"),
            ("b", Port::Main, "c"),
            ("x", Port::Main, "y"),
            ("y", Port::Main, "x"),
            ("y", Port::Main, "below"),
            ("s", Port::Main, "fed"),
            ("y", Port::Main, "fed"),
        ],
    )
    .unwrap_err();
    assert_eq!(error.to_string(), "the graph has a cycle: a -> b -> c -> a; x -> y -> x");
    let GraphError::Cyclic(cyclic) = error else { panic!("expected a cycle") };
    assert_eq!(cyclic.unreachable, [NodeId(6)]);
}

#[test]
fn a_node_that_feeds_itself_is_a_cycle() {
    let error = graph(&["a"], &[("a", Port::Main, "a")]).unwrap_err();
    assert_eq!(error.to_string(), "the graph has a cycle: a -> a");
}

#[test]
fn unknown_nodes_are_refused() {
    let edge = Edge { from: NodeId(0), port: Port::Main, to: NodeId(7) };
    let error = Graph::build(vec!["a".into()], vec![edge]).unwrap_err();
    assert_eq!(error.to_string(), "edge 0 names node 7, but there are 1 nodes");
}

#[test]
fn shared_sources_are_found() {
    // The archive of the main example: raw and classified events meet.
    let shared = graph(
        &["ingest", "filter", "archive"],
        &[("ingest", Port::Main, "filter"), ("ingest", Port::Main, "archive"), ("filter", Port::Main, "archive")],
    )
    .unwrap();
    assert!(shared.shared_source(NodeId(2)));
    assert!(!shared.shared_source(NodeId(1)));
    let apart = graph(&["s", "t", "join"], &[("s", Port::Main, "join"), ("t", Port::Main, "join")]).unwrap();
    assert!(!apart.shared_source(NodeId(2)));
    assert_eq!(apart.sources_of(NodeId(2)), [NodeId(0), NodeId(1)]);
}

#[test]
fn closures() {
    let graph = graph(&["s", "a", "b", "c"], &[("s", Port::Main, "a"), ("a", Port::Main, "b"), ("s", Port::Main, "c")])
        .unwrap();
    assert_eq!(names(&graph, &graph.descendants(NodeId(0))), ["a", "b", "c"]);
    assert_eq!(names(&graph, &graph.ancestors(NodeId(2))), ["s", "a"]);
    assert!(graph.descendants(NodeId(3)).is_empty());
}

proptest! {
    /// Whatever the edges: either an order that respects all of them, or cycles that are real.
    #[test]
    fn order_or_cycle(edges in proptest::collection::vec((0u32..8, 0u32..8), 0..20)) {
        let edges: Vec<Edge> =
            edges.into_iter().map(|(from, to)| Edge { from: NodeId(from), port: Port::Main, to: NodeId(to) }).collect();
        let names = (0..8).map(|n| format!("n{n}")).collect();
        match Graph::build(names, edges.clone()) {
            Ok(graph) => {
                let place = |node: NodeId| graph.topological().iter().position(|at| *at == node);
                for edge in &edges {
                    prop_assert!(place(edge.from) < place(edge.to));
                }
                for node in graph.nodes() {
                    for source in graph.sources_of(node) {
                        prop_assert!(*source == node || graph.descendants(*source).contains(&node));
                    }
                }
            }
            Err(GraphError::Cyclic(cyclic)) => {
                prop_assert!(!cyclic.cycles.is_empty());
                for cycle in &cyclic.cycles {
                    for (at, from) in cycle.iter().enumerate() {
                        let to = cycle[(at + 1) % cycle.len()];
                        prop_assert!(edges.iter().any(|edge| edge.from == *from && edge.to == to));
                    }
                }
            }
            Err(other) => prop_assert!(false, "{other}"),
        }
    }
}
