//! Handlers that block: told of by name, while all other events go on.

use std::time::Duration;

use meshloom_e2e::{
    Project, lines, processes,
    toolchain::{self, Language},
    wait,
};
use serde_json::json;

/// Events beside the one that blocks.
const EVENTS: u64 = 200;
/// Milliseconds; far longer than the test, which ends the run with two signals.
const FOR_EVER: u64 = 600_000;

/// A node in each language with two replicas, of which one meets an event that never lets go of its thread; and one in
/// Python whose event holds the lock of the interpreter, so that its replica cannot say a word.
#[test]
fn a_blocked_handler_is_told_of_by_name_and_everything_else_flows() {
    let node = |name: &str, language: Language| {
        format!(
            "  {name}: {{ run: {}, handler: map, from: {name}-in, replicas: 2, batch: {{ events: 1 }}, timeout: 900s }}
  {name}-in: {{ use: file, with: {{ path: '{{dir}}/{name}.ndjson' }} }}
  {name}-out: {{ use: 'null', from: {name} }}\n",
            toolchain::list(language.interpreter())
        )
    };
    let nodes: Vec<(&str, Language, &str)> = vec![
        ("rust", Language::Rust, "block"),
        ("go", Language::Go, "block"),
        ("python", Language::Python, "block"),
        ("node", Language::Node, "block"),
        ("lock", Language::Python, "hold"),
    ];
    let text: String = nodes.iter().map(|(name, language, _)| node(name, *language)).collect();
    let project = Project::new(&format!("pipeline: stall\nnodes:\n{text}"));
    for (name, _, how) in &nodes {
        let blocked = json!({"do": how, "ms": FOR_EVER});
        let passing = (0..EVENTS).map(|_| json!({"do": "pass"}));
        lines::write(&project.path(&format!("{name}.ndjson")), std::iter::once(blocked).chain(passing));
    }
    let mut run = project.start();
    for (name, _, how) in &nodes {
        let said = if *how == "hold" { "it has said nothing for" } else { "a handler call has been running for" };
        wait::holds(Duration::from_secs(120), &format!("a word about {name}"), || {
            assert!(run.ended().is_none(), "it ended early");
            run.log().lines().any(|line| line.contains(&format!("{name}[")) && line.contains(said))
        });
    }
    let books = run.until("the other events to be through", |books| {
        nodes.iter().all(|(name, ..)| books.node(name).answered >= EVENTS / 2)
    });
    for (name, _, how) in &nodes {
        let node = books.node(name);
        assert_eq!((node.restarts, node.dead_lettered, node.retried), (0, 0, 0), "{name}: {node:?}");
        let oldest = node.replicas.iter().filter_map(|replica| replica.oldest_call_seconds).reduce(f64::max);
        assert!(*how == "hold" || oldest.is_some_and(|seconds| seconds >= 5.0), "{name}: {node:?}");
    }
    run.signal("TERM");
    run.until_log("draining:");
    processes::signal(run.pid(), "TERM");
    run.finish().assert_code(130);
}
