//! Which keys there are, and to which nodes they apply.

use Role::{Any, Inner, Source};

/// Where a node stands in the graph.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Wherever it stands.
    Any,
    /// Without upstream.
    Source,
    /// With an upstream.
    Inner,
}

/// A key of a node.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) key: &'static str,
    /// The kinds of node that it applies to.
    pub(super) kinds: &'static [&'static str],
    /// The place in the graph that it applies to.
    pub(super) role: Role,
    /// Whether it is known but not built.
    pub(super) not_yet: bool,
}

/// What realises a node: exactly one of these.
pub(crate) const KINDS: [&str; 4] = ["run", "connect", "exec", "use"];
const ALL: &[&str] = &KINDS;
const PROCESS: &[&str] = &["run", "exec"];
const SERVER: &[&str] = &["run", "connect"];
const EXEC: &[&str] = &["exec"];

const fn rule(key: &'static str, kinds: &'static [&'static str], role: Role) -> Rule {
    Rule { key, kinds, role, not_yet: false }
}

const fn not_yet(key: &'static str) -> Rule {
    Rule { key, kinds: ALL, role: Any, not_yet: true }
}

/// All keys of a node.
pub(super) const NODE: &[Rule] = &[
    rule("run", ALL, Any),
    rule("connect", ALL, Any),
    rule("exec", ALL, Any),
    rule("use", ALL, Any),
    rule("build", PROCESS, Any),
    rule("with", &["run", "connect", "use"], Any),
    rule("env", PROCESS, Any),
    rule("env_clear", PROCESS, Any),
    rule("dir", PROCESS, Any),
    rule("from", ALL, Any),
    rule("when", ALL, Inner),
    rule("handler", SERVER, Any),
    rule("replicas", PROCESS, Any),
    rule("concurrency", &["run", "connect", "exec"], Inner),
    rule("ordering", ALL, Any),
    rule("key", ALL, Source),
    rule("batch", ALL, Inner),
    rule("queue", ALL, Inner),
    rule("overflow", ALL, Inner),
    rule("retry", ALL, Inner),
    rule("on_exhausted", ALL, Inner),
    rule("outage", ALL, Inner),
    rule("timeout", ALL, Any),
    rule("start_timeout", &["run", "connect", "exec"], Any),
    rule("rate", ALL, Inner),
    rule("max_event", ALL, Source),
    rule("durability", ALL, Source),
    rule("routes", SERVER, Any),
    rule("restart", PROCESS, Any),
    rule("trace", ALL, Source),
    not_yet("tls"),
    not_yet("watch"),
    rule("mode", EXEC, Any),
    rule("input", EXEC, Inner),
    rule("output", EXEC, Any),
    rule("cwd", EXEC, Any),
    rule("format", EXEC, Any),
    rule("envelope", EXEC, Any),
    rule("every", EXEC, Source),
    rule("keep_failed", EXEC, Any),
];

/// The keys of the file.
pub(crate) const FILE: [&str; 8] =
    ["pipeline", "nodes", "defaults", "trace", "memory", "drain", "journal", "dead_letters"];

/// The names of all keys of a node.
pub(crate) fn node_keys() -> Vec<&'static str> {
    NODE.iter().map(|rule| rule.key).collect()
}

/// Maps of a node whose keys `defaults` may give one by one.
pub(super) const DEEP: [&str; 6] = ["batch", "queue", "retry", "env", "with", "routes"];
