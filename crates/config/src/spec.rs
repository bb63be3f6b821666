//! A pipeline as it is run: everything typed, defaulted and checked.

use std::{
    fmt,
    path::{Path, PathBuf},
    time::Duration,
};

use meshloom_core::{
    graph::{Graph, NodeId, Port},
    machine::{InOutage, OnExhausted},
};

use crate::{connector::ConnectorSpec, exec::ExecSpec, expression::Expression};

/// A whole pipeline.
#[derive(Debug, Clone)]
pub struct Pipeline {
    /// Its name.
    pub name: String,
    /// The file it was read from, as the user named it.
    pub file: PathBuf,
    /// Absolute folder of the file; relative paths start here.
    pub dir: PathBuf,
    /// The nodes in the order of the file; [`NodeId`] is an index into it.
    pub nodes: Vec<NodeSpec>,
    /// The edges between them. The edges into a node are in the order of its [`NodeSpec::from`].
    pub graph: Graph,
    /// How events are chosen for tracing where a source does not say otherwise.
    pub trace: Sampling,
    /// Bytes of payload that the coordinator may hold; `None`: the coordinator computes it.
    pub memory: Option<u64>,
    /// Time to finish queued work after a signal.
    pub drain: Duration,
    /// Largest size of the journal.
    pub journal_bytes: u64,
    /// Largest size of the dead-letter store.
    pub dead_letters_bytes: u64,
}

impl Pipeline {
    /// A node's spec.
    pub fn node(&self, node: NodeId) -> &NodeSpec {
        &self.nodes[node.index()]
    }

    /// How a source samples.
    pub fn sampling(&self, node: NodeId) -> Sampling {
        self.node(node).trace.unwrap_or(self.trace)
    }
}

/// One node.
#[derive(Debug, Clone)]
pub struct NodeSpec {
    /// Its name, `[a-z][a-z0-9_-]*`, unique in the pipeline.
    pub name: String,
    /// What realises it.
    pub kind: NodeKind,
    /// Its upstreams; empty: a source.
    pub from: Vec<EdgeSpec>,
    /// The `with` map as a JSON object, numbers as written; `{}` if there is none. For connectors already in
    /// [`ConnectorSpec`].
    pub config_json: String,
    /// Variables to set for the process, in the order of the file.
    pub env: Vec<(String, String)>,
    /// Whether the process gets only PATH, HOME, USER, LANG, LC_*, TZ, TMPDIR of the coordinator's environment.
    pub env_clear: bool,
    /// Absolute working folder of the process.
    pub dir: PathBuf,
    /// Which of the process's handlers; `None`: the one with the node's name, else the only one.
    pub handler: Option<String>,
    /// Number of processes, at least 1; for `connect` the number of addresses.
    pub replicas: u32,
    /// Most handler calls at once per replica; `None`: the node's own limit.
    pub concurrency: Option<u32>,
    /// What order holds.
    pub ordering: Ordering,
    /// At a source: the ordering key of an event that has none.
    pub key: Option<Expression>,
    /// How events are put together for this node.
    pub batch: BatchSpec,
    /// Bounds of each queue into this node.
    pub queue: QueueSpec,
    /// What happens to events for which an edge into the node has no room.
    pub overflow: Overflow,
    /// How failed events are tried again.
    pub retry: RetrySpec,
    /// What happens when an event's attempts are used up.
    pub on_exhausted: OnExhausted,
    /// What becomes of events that wait while the node is out.
    pub outage: InOutage,
    /// Time of one handler call, above zero.
    pub timeout: Duration,
    /// Time from spawn to ready, above zero.
    pub start_timeout: Duration,
    /// Most events per time at this node.
    pub rate: Option<Rate>,
    /// At a source: largest event accepted, in bytes.
    pub max_event: u64,
    /// At a source: what is durable before an event counts as accepted; `None`: what the source allows.
    pub durability: Option<Durability>,
    /// Routes whose outputs are discarded on purpose.
    pub discards: Vec<String>,
    /// How a process that ended is started again.
    pub restart: Restart,
    /// At a source: its own sampling.
    pub trace: Option<Sampling>,
    /// Run to its end before the first start.
    pub build: Option<Command>,
}

impl NodeSpec {
    /// Whether it has no upstream.
    pub fn is_source(&self) -> bool {
        self.from.is_empty()
    }
}

/// What realises a node.
#[derive(Debug, Clone)]
pub enum NodeKind {
    /// A node server that is spawned and supervised.
    Run(Command),
    /// Node servers that run elsewhere, one replica each.
    Connect(Vec<Address>),
    /// A program without an SDK.
    Exec(ExecSpec),
    /// A built-in connector.
    Use(ConnectorSpec),
}

impl NodeKind {
    /// The key of the pipeline file.
    pub fn key(&self) -> &'static str {
        match self {
            Self::Run(_) => "run",
            Self::Connect(_) => "connect",
            Self::Exec(_) => "exec",
            Self::Use(_) => "use",
        }
    }
}

/// A program and its arguments; no shell is involved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// A name to look up in PATH, or, if it was written with a slash, an absolute path.
    pub program: String,
    /// The arguments.
    pub args: Vec<String>,
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.program)?;
        self.args.iter().try_for_each(|arg| write!(f, " {arg}"))
    }
}

/// Where a node server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A Unix socket, absolute.
    Unix(PathBuf),
    /// Host (name or IP address, without brackets) and port.
    Tcp {
        /// Name or IP address.
        host: String,
        /// Port.
        port: u16,
    },
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
        }
    }
}

/// One edge into a node.
#[derive(Debug, Clone)]
pub struct EdgeSpec {
    /// Where its events come from.
    pub upstream: Upstream,
    /// Which of them pass; `None`: all.
    pub when: Option<Expression>,
}

/// An output of a node. Displays as the pipeline file writes it: `NODE` or `NODE.PORT`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Upstream {
    /// The node's name.
    pub node: String,
    /// Which of its outputs.
    pub port: Port,
}

impl fmt::Display for Upstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.node)?;
        self.port.suffix().map_or(Ok(()), |suffix| write!(f, ".{suffix}"))
    }
}

/// What order holds at a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ordering {
    /// None.
    #[default]
    None,
    /// Of the events of one key.
    Key,
    /// Of all events.
    All,
}

/// How events are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchSpec {
    /// Most events in a batch, 1 to 65,536.
    pub events: u32,
    /// Most payload bytes in a batch (a larger event goes alone), up to 32 MiB.
    pub bytes: u64,
    /// How long a partial batch always waits; `None`: not while a replica is idle, else 5 ms.
    pub linger: Option<Duration>,
    /// Batches grow while they take less time than this.
    pub latency: Duration,
}

/// Bounds of a queue. At least twice the batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueSpec {
    /// Events.
    pub events: u32,
    /// Bytes.
    pub bytes: u64,
}

/// What an edge does with events for which it has no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// They wait, and with them what is above.
    #[default]
    Block,
    /// They are dropped, settled and counted; what is in the queue already stays.
    DropNewest,
}

/// How failed events are tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetrySpec {
    /// Attempts in all, at least 1.
    pub attempts: u32,
    /// Wait before the second attempt; doubles.
    pub initial: Duration,
    /// Longest wait.
    pub max: Duration,
}

/// How a process that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Not at all: the pipeline fails.
    Never,
    /// After a wait that doubles from `initial` to `max`.
    Backoff {
        /// First wait.
        initial: Duration,
        /// Longest wait.
        max: Duration,
    },
}

/// So many per so much time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// How many, above zero.
    pub count: f64,
    /// In which time: a second, a minute, an hour or a day.
    pub per: Duration,
}

impl Rate {
    /// As a number per second.
    pub fn per_second(&self) -> f64 {
        self.count / self.per.as_secs_f64()
    }
}

/// What is durable before an event of a source counts as accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The event itself, in the coordinator's journal.
    Journal,
    /// Nothing: a crash loses what is in memory.
    Memory,
}

/// How events are chosen for tracing.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Sampling {
    /// At most so many new traces per second, 0 or more.
    Rate(f64),
    /// So large a share of the events, 0 to 1.
    Ratio(f64),
}

/// Resolves a path against a folder, without touching the disk.
pub(crate) fn resolve(dir: &Path, path: &str) -> PathBuf {
    dir.join(path).components().collect()
}
