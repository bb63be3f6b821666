//! The pipeline of a round.
//!
//! ```text
//! in ──▶ a ──▶ b ──▶ d ──▶ out      in: a file; count, queue: source nodes; web: `http`; the last two are journalled;
//!        │     ▲                    a, b, d, e: filters in four languages, d by `connect` through a proxy;
//!        │   count, queue, web      c: an adapter of lines; out: a process per batch; side: a sink node
//!        └──▶ c ──▶ e ──▶ side
//! ```
//!
//! `count` and `queue` take their time over each event, so that their frames are small and `count` is there until the last of
//! them is taken. `queue` gives nothing again that it was told to forget, and does not end. Where the plan asks for order both sinks do, and
//! every source has [`model::KEYS`] keys.

use std::{ops::Range, path::Path};

use meshloom_e2e::{Project, lines, toolchain::Language};

use crate::{
    model,
    plan::{Ground, Plan},
    storage,
};

/// What `out` has recorded, one CloudEvent a line.
pub const OUT: &str = "out.ndjson";
/// What `side` has recorded.
pub const SIDE: &str = "side.ndjson";
/// The numbers that `queue` was told to forget.
pub const FORGOTTEN: &str = "forgotten";
/// How many lines `out` may have recorded before it waits.
pub const GATE: &str = "gate";

/// What the round tells the storage that fails.
pub const STORAGE: &str = "storage";
/// Events of `queue` for one of `count`, in so many.
const QUEUE_PART: u64 = 8;

/// The numbers of the events of `queue`.
pub fn queued(plan: &Plan) -> Range<u64> {
    model::QUEUED..model::QUEUED + plan.count / QUEUE_PART
}

/// A folder with it. `chaos` is the program of this crate, `dialled` the address of `d`.
pub fn project(plan: &Plan, chaos: &Path, dialled: &str) -> Project {
    let run = |node: &str| plan.language(node).map(Language::test_node).expect("the node has a language");
    let (a, b, e, count) = (run("a"), run("b"), run("e"), run("count"));
    // What the coordinator is forbidden for a while is not meant for its sinks.
    let mut words: Vec<String> = ["sh", "-c", "ulimit -S -f unlimited; exec \"$@\"", "sh"].map(str::to_owned).into();
    words.extend(serde_json::from_str::<Vec<String>>(&run("side")).expect("a list of words"));
    let side = serde_json::json!(words);
    let (queue, queued, faulty) = (run("queue"), queued(plan), chaos.with_file_name("meshloom-faulty"));
    let (key, ordering) = match plan.ordered {
        true => (format!(", key: data.n % {}", model::KEYS), ", ordering: key"),
        false => (String::new(), ""),
    };
    let of_out = if plan.ordered { "\n    ordering: key" } else { "" };
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
  in: {{ use: file, with: {{ path: in.ndjson }}{key} }}
  count: {{ run: {count}, handler: source, with: {{ label: count, count: {}, pause: 1 }}{key} }}
  queue: {{ run: {queue}, handler: queue, with: {{ label: queue, first: {}, count: {}, pause: {QUEUE_PART}, out: '{{dir}}/{FORGOTTEN}' }}{key} }}
  web: {{ use: http, with: {{ listen: '127.0.0.1:0', path: /events }}{key} }}
  a: {{ run: {a}, handler: filter, from: in, with: {{ label: a }} }}
  b: {{ run: {b}, handler: filter, from: [a, count, queue, web], with: {{ label: b }} }}
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
    batch: {{ events: 32, latency: 10s }}{of_out}
  side: {{ run: {side}, handler: sink, from: e{ordering}, with: {{ label: side, out: '{{dir}}/{SIDE}' }} }}
",
        plan.count,
        queued.start,
        queued.end - queued.start,
    );
    let mut project = Project::new(&text);
    if plan.ground == Ground::Faulty {
        let control = project.path(STORAGE);
        project = project.program(faulty).env(storage::VARIABLE, control.to_str().expect("a path of text"));
    }
    lines::write(&project.path("in.ndjson"), plan.events.iter().map(|event| event.payload()));
    project
}
