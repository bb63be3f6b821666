//! The books of a run, and the rules that they must keep at rest.

use serde::Deserialize;

/// What `status` and the final summary say in JSON.
#[derive(Debug, Clone, Deserialize)]
pub struct Books {
    /// The nodes in the order of the file.
    pub nodes: Vec<Node>,
    /// The edges.
    #[serde(default)]
    pub edges: Vec<Edge>,
    /// What the pipeline does.
    #[serde(default)]
    pub phase: String,
    /// How the run ended: `done`, `stopped` or `failed`; only in a summary.
    #[serde(default)]
    pub outcome: String,
    /// The store of dead letters.
    #[serde(default)]
    pub dead_letter_store: LetterStore,
    /// Bytes of payload that may be in memory.
    #[serde(default)]
    pub memory_budget_bytes: u64,
    /// The journal; `None`: there is none.
    #[serde(default)]
    pub journal: Option<Journal>,
}

/// The journal.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the words of proto/meshloom/v1/coordinator.proto")]
pub struct Journal {
    pub bytes: u64,
    pub limit_bytes: u64,
    pub open_frames: u64,
    pub commits: u64,
    pub commit_seconds: Option<f64>,
    pub problems: Vec<String>,
}

/// The store of dead letters.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the words of proto/meshloom/v1/coordinator.proto")]
pub struct LetterStore {
    pub letters: u64,
    pub bytes: u64,
    pub waiting: u64,
    pub full: bool,
}

/// One node.
#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
#[derive(Default)]
#[allow(missing_docs, reason = "the words of proto/meshloom/v1/coordinator.proto")]
pub struct Node {
    #[serde(rename = "node")]
    pub name: String,
    #[serde(alias = "accepted")]
    pub received: u64,
    pub answered: u64,
    pub consumed: u64,
    pub retried: u64,
    pub dead_lettered: u64,
    pub in_hand: u64,
    pub waiting: u64,
    pub produced: u64,
    pub settled: u64,
    pub restarts: u64,
    pub exhausted: bool,
    pub replicas: Vec<Replica>,
    pub condition: Option<Condition>,
}

/// One replica.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the words of proto/meshloom/v1/coordinator.proto")]
pub struct Replica {
    #[serde(rename = "replica")]
    pub index: u32,
    pub state: String,
    pub pid: Option<u32>,
    pub last_error: String,
    pub breaker: Option<String>,
    pub oldest_call_seconds: Option<f64>,
}

/// What keeps a node from its work.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the words of proto/meshloom/v1/coordinator.proto")]
pub struct Condition {
    pub standstill: String,
    pub since_unix_seconds: f64,
    pub reason: String,
    pub message: String,
    pub uid: Option<String>,
}

/// One edge.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
#[allow(missing_docs, reason = "the words of proto/meshloom/v1/coordinator.proto")]
pub struct Edge {
    pub from: String,
    pub to: String,
    pub produced: u64,
    pub skipped: u64,
    pub dropped: u64,
    pub queued: u64,
    pub received: u64,
}

impl Node {
    /// What keeps it from its work, in one word; empty: nothing does.
    pub fn standstill(&self) -> &str {
        self.condition.as_ref().map_or("", |condition| &condition.standstill)
    }
}

impl Books {
    /// The node of this name.
    #[track_caller]
    pub fn node(&self, name: &str) -> &Node {
        self.nodes.iter().find(|node| node.name == name).unwrap_or_else(|| panic!("no node {name} in {self:#?}"))
    }

    /// The edge between two nodes.
    #[track_caller]
    pub fn edge(&self, from: &str, to: &str) -> &Edge {
        let found = self.edges.iter().find(|edge| edge.from == from && edge.to == to);
        found.unwrap_or_else(|| panic!("no edge {from} -> {to} in {self:#?}"))
    }

    /// Whether `node` is fed by an edge.
    fn is_source(&self, node: &Node) -> bool {
        !self.edges.iter().any(|edge| edge.to == node.name)
    }

    /// That the books balance, at an end that may have left events unfinished.
    #[track_caller]
    pub fn assert_true(&self) {
        for node in self.nodes.iter().filter(|node| !self.is_source(node)) {
            let known = node.answered + node.consumed + node.dead_lettered + node.in_hand + node.waiting;
            assert_eq!(node.received, known, "{}: received = closed + open in {self:#?}", node.name);
            let came: u64 = self.edges.iter().filter(|edge| edge.to == node.name).map(|edge| edge.received).sum();
            assert_eq!(node.received, came, "{}: received what its edges brought in {self:#?}", node.name);
        }
        for edge in &self.edges {
            let passed = edge.skipped + edge.dropped + edge.queued + edge.received;
            assert_eq!(edge.produced, passed, "{} -> {} in {self:#?}", edge.from, edge.to);
        }
        if self.outcome == "done" {
            self.assert_balanced();
        }
    }

    /// That the books balance and nothing is under way.
    #[track_caller]
    pub fn assert_balanced(&self) {
        assert!(!self.edges.is_empty() || self.nodes.len() < 2, "no edges in {self:#?}");
        for node in &self.nodes {
            assert_eq!((node.in_hand, node.waiting), (0, 0), "{} at rest in {self:#?}", node.name);
            if self.is_source(node) {
                assert_eq!(node.received, node.settled, "{}: accepted = settled in {self:#?}", node.name);
            } else {
                let closed = node.answered + node.consumed + node.dead_lettered;
                assert_eq!(node.received, closed, "{}: received = closed in {self:#?}", node.name);
            }
        }
        for edge in &self.edges {
            let passed = edge.skipped + edge.dropped + edge.queued + edge.received;
            assert_eq!(edge.produced, passed, "{} -> {} in {self:#?}", edge.from, edge.to);
            assert_eq!(edge.queued, 0, "{} -> {} at rest in {self:#?}", edge.from, edge.to);
        }
    }
}
