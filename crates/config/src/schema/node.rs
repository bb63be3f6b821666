//! The keys of a node.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::scalar::*;

/// A node: exactly one of `run`, `connect`, `exec` and `use`.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("patternProperties" = {"^x-": true}))]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) struct Node {
    /// Command of a node server to spawn and supervise.
    run: Option<Words>,
    /// Addresses of node servers that run elsewhere: `host:port`, `dns:host:port`, `unix:/path`.
    connect: Option<Texts>,
    /// Command of a program without an SDK; needs `mode`.
    exec: Option<Words>,
    /// A built-in connector.
    #[schemars(rename = "use")]
    connector: Option<Connector>,
    /// Command to run to its end before the node is started.
    build: Option<Words>,
    /// The node's own config, validated by the node or connector.
    with: Option<Anything>,
    /// Variables for the process.
    env: Option<Variables>,
    /// Pass only PATH, HOME, USER, LANG, LC_*, TZ, TMPDIR of the coordinator's environment.
    env_clear: Option<Switch>,
    /// Working folder, relative to the pipeline file; default: its folder.
    dir: Option<String>,
    /// Upstreams: `NODE`, `NODE.ROUTE`, `NODE.unmatched`, `NODE.rejected`. None: the node is a source.
    from: Option<From>,
    /// CEL condition on every edge into the node.
    when: Option<String>,
    /// Which of the process's handlers; default: the one with the node's name, else the only one.
    handler: Option<String>,
    /// Number of processes; default 1.
    replicas: Option<Count>,
    /// Most handler calls at once per replica.
    concurrency: Option<Count>,
    /// What order holds; only `none` in this version.
    ordering: Option<Ordering>,
    /// At a source: CEL for the ordering key of an event that has none.
    key: Option<String>,
    /// How events are put together.
    batch: Option<Batch>,
    /// Bounds of each queue into the node; at least one batch, by default four.
    queue: Option<Queue>,
    /// What happens to events for which a queue into the node has no room: `block` (default), they wait, and with
    /// them what is above; `drop_newest`, they are dropped and counted.
    overflow: Option<Overflow>,
    /// How failed events are tried again.
    retry: Option<Retry>,
    /// What happens when an event's attempts are used up: `dead_letter` (default), or `pause`: the node waits for
    /// `meshloom resume NODE`, and its sources with it.
    on_exhausted: Option<OnExhausted>,
    /// What becomes of events while the node is out (everything fails for 10 s, and then three different events one after
    /// the other): `hold` (default), they wait and lose no attempt; `dead_letter`.
    outage: Option<Outage>,
    /// Time of one handler call; default 30 s.
    timeout: Option<Time>,
    /// Time from spawn to ready; default 60 s.
    start_timeout: Option<Time>,
    /// Most events per time at this node.
    rate: Option<PerTime>,
    /// At a source: largest event accepted; default 8 MiB, at most 16 MiB.
    max_event: Option<Size>,
    /// At a source that cannot send events again: `journal` (default), the event itself is durable before it counts as
    /// accepted; `memory`, a crash of the coordinator loses what is on its way.
    durability: Option<Durability>,
    /// Routes that are discarded on purpose.
    routes: Option<Discards>,
    /// How a process that ended is started again.
    restart: Option<Restart>,
    /// At a source: how events are chosen for tracing.
    trace: Option<Trace>,
    /// TLS towards `connect`; not in this version.
    tls: Option<Anything>,
    /// Files that `meshloom dev` watches; not in this version.
    watch: Option<Texts>,
    /// How events reach an exec program.
    mode: Option<Mode>,
    /// In `mode: files`: names of the input files.
    input: Option<Input>,
    /// In `mode: files`: the file that is read back.
    output: Option<String>,
    /// In `mode: files`: where the program runs; default `dir`.
    cwd: Option<Cwd>,
    /// In `mode: files`: how events are written; default `ndjson`.
    format: Option<Format>,
    /// What of an event an exec program sees; default `data`.
    envelope: Option<Envelope>,
    /// Run an exec source again this often.
    every: Option<Time>,
    /// Keep the scratch folder of a failed batch.
    keep_failed: Option<Switch>,
}

/// Upstreams of a node.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum From {
    /// One.
    One(Upstream),
    /// Several.
    Several(#[schemars(length(min = 1))] Vec<Upstream>),
}

/// An upstream.
#[derive(JsonSchema)]
#[schemars(untagged, deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
enum Upstream {
    /// By name.
    Name(String),
    /// With a condition.
    When {
        /// Its name.
        node: String,
        /// CEL condition on this edge.
        when: Option<String>,
    },
}

/// Names of the input files of an exec node.
#[derive(JsonSchema)]
#[schemars(untagged)]
#[expect(dead_code, reason = "only its schema is used")]
enum Input {
    /// Of the only upstream.
    One(String),
    /// By upstream.
    Several(BTreeMap<String, String>),
}

/// How a process that ended is started again.
#[derive(JsonSchema)]
#[schemars(untagged, deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
enum Restart {
    /// Not at all.
    Never(Never),
    /// After a wait that doubles; default 100 ms to 30 s.
    Backoff {
        /// First wait.
        initial: Option<Time>,
        /// Longest wait.
        max: Option<Time>,
    },
}

/// How events are chosen for tracing: one of the two.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields, extend("minProperties" = 1, "maxProperties" = 1))]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) struct Trace {
    /// Traces per second.
    rate: Option<Number>,
    /// A share of the events, 0 to 1.
    ratio: Option<Number>,
}

/// How events are put together.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Batch {
    /// Most events; default 4096, at most 65536.
    events: Option<Count>,
    /// Most payload bytes; default 4 MiB, at most 32 MiB.
    bytes: Option<Size>,
    /// How long a partial batch always waits.
    linger: Option<Time>,
    /// Batches grow while they take less time than this; default 50 ms.
    latency: Option<Time>,
}

/// Bounds of a queue.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Queue {
    /// Events.
    events: Option<Count>,
    /// Bytes.
    bytes: Option<Size>,
}

/// How failed events are tried again.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Retry {
    /// Attempts in all; default 10.
    attempts: Option<Count>,
    /// Wait before the second; default 100 ms, doubles.
    initial: Option<Time>,
    /// Longest wait; default 30 s.
    max: Option<Time>,
}

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident: $($variant:ident = $word:literal),*;)*) => {
        $(
            $(#[$doc])*
            #[derive(JsonSchema)]
            #[schemars(inline)]
            #[expect(dead_code, reason = "only its schema is used")]
            enum $name {
                $(#[schemars(rename = $word)] $variant),*
            }
        )*
    };
}

words! {
    /// What order holds.
    Ordering: None = "none", Key = "key", All = "all";
    /// What happens when a queue is full.
    Overflow: Block = "block", DropNewest = "drop_newest";
    /// What happens when attempts run out.
    OnExhausted: DeadLetter = "dead_letter", Pause = "pause";
    /// What happens while a node is out.
    Outage: Hold = "hold", DeadLetter = "dead_letter";
    /// What is durable.
    Durability: Journal = "journal", Memory = "memory";
    /// The word for no restart.
    Never: Never = "never";
    /// How events reach a program.
    Mode: Lines = "lines", Batch = "batch", Files = "files";
    /// Where a program runs.
    Cwd: Dir = "dir", Scratch = "scratch";
    /// How events are written.
    Format: Ndjson = "ndjson", Json = "json";
    /// What of an event a program sees.
    Envelope: Data = "data", CloudEvents = "cloudevents";
}
