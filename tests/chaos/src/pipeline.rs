//! The pipeline of a round.
//!
//! ```text
//! in ──▶ a ──▶ b ──▶ d ──▶ out      in: a file; count: a source node; web: `http`, journalled; a, b, d, e: filters in
//!        │     ▲                    four languages, d by `connect` through a proxy; c: an adapter of lines;
//!        │   count, web             out: a process per batch; side: a sink node
//!        └──▶ c ──▶ e ──▶ side
//! ```
//!
//! `count` takes its time over each event, so that its frames are small and it is there until the last of them is taken.

use std::path::Path;

use meshloom_e2e::{Project, lines, toolchain::Language};

use crate::plan::Plan;

/// What `out` has recorded, one CloudEvent a line.
pub const OUT: &str = "out.ndjson";
/// What `side` has recorded.
pub const SIDE: &str = "side.ndjson";
/// How many lines `out` may have recorded before it waits.
pub const GATE: &str = "gate";

/// A folder with it. `chaos` is the program of this crate, `dialled` the address of `d`.
pub fn project(plan: &Plan, chaos: &Path, dialled: &str) -> Project {
    let run = |node: &str| plan.language(node).map(Language::test_node).expect("the node has a language");
    let (a, b, e, count) = (run("a"), run("b"), run("e"), run("count"));
    // What the coordinator is forbidden for a while is not meant for its sinks.
    let mut words: Vec<String> = ["sh", "-c", "ulimit -S -f unlimited; exec \"$@\"", "sh"].map(str::to_owned).into();
    words.extend(serde_json::from_str::<Vec<String>>(&run("side")).expect("a list of words"));
    let side = serde_json::json!(words);
    let chaos = serde_json::json!(chaos);
    let text = format!(
        "pipeline: chaos
trace: {{ rate: 0 }}
defaults:
  restart: {{ initial: 10ms, max: 100ms }}
  retry: {{ attempts: 4, initial: 5ms, max: 50ms }}
  batch: {{ events: 32 }}
  queue: {{ events: 64 }}
nodes:
  in: {{ use: file, with: {{ path: in.ndjson }} }}
  count: {{ run: {count}, handler: source, with: {{ label: count, count: {}, pause: 1 }} }}
  web: {{ use: http, with: {{ listen: '127.0.0.1:0', path: /events }} }}
  a: {{ run: {a}, handler: filter, from: in, with: {{ label: a }} }}
  b: {{ run: {b}, handler: filter, from: [a, count, web], with: {{ label: b }} }}
  c: {{ exec: [cat], mode: lines, from: a, retry: {{ attempts: 10, initial: 5ms, max: 50ms }} }}
  d: {{ connect: '{dialled}', handler: filter, from: b, with: {{ label: d }} }}
  e: {{ run: {e}, handler: filter, from: c, with: {{ label: e }} }}
  out:
    exec: [{chaos}, record, '{{dir}}/{OUT}', '{{dir}}/{GATE}']
    mode: batch
    envelope: cloudevents
    concurrency: 1
    from: d
    timeout: 15m
    retry: {{ attempts: 1000, initial: 5ms, max: 50ms }}
    batch: {{ events: 32, latency: 10s }}
  side: {{ run: {side}, handler: sink, from: e, with: {{ label: side, out: '{{dir}}/{SIDE}' }} }}
",
        plan.count
    );
    let project = Project::new(&text);
    lines::write(&project.path("in.ndjson"), plan.events.iter().map(|event| event.payload()));
    project
}
