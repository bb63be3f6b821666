//! The keys of the file.

use std::collections::BTreeMap;

use schemars::JsonSchema;

use super::{
    node::{Node, Trace},
    scalar::*,
};

/// A Meshloom pipeline.
#[derive(JsonSchema)]
#[schemars(title = "Meshloom pipeline", deny_unknown_fields, extend("patternProperties" = {"^x-": true}))]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) struct File {
    /// Name of the pipeline; it is in traces, metrics and the state folder.
    #[schemars(regex(pattern = r"^[a-z][a-z0-9_-]*$|\$\{"))]
    pipeline: String,
    /// The nodes by name.
    #[schemars(extend("propertyNames" = {"pattern": "^[a-z][a-z0-9_-]*$"}, "minProperties" = 1))]
    nodes: BTreeMap<String, Node>,
    /// Keys for every node that does not say otherwise.
    defaults: Option<Node>,
    /// How events are chosen for tracing; default: 10 per second and source.
    trace: Option<Trace>,
    /// Payload bytes that the coordinator may hold; default: the larger of 256 MiB and twice what is reserved.
    memory: Option<Size>,
    /// Time to finish queued work after a signal; default 30 s.
    drain: Option<Time>,
    /// The journal: holds the events of sources that cannot send them again until they have settled; at least four times
    /// the largest `max_event`.
    journal: Option<Store>,
    /// The dead-letter store.
    dead_letters: Option<Store>,
}

/// A store of bounded size.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "only its schema is used")]
struct Store {
    /// Largest size; default 256 MiB.
    size: Option<Size>,
}
