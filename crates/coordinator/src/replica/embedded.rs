//! Nodes inside the coordinator: connectors and adapted programs.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use meshloom_config::{NodeKind, NodeSpec};
use meshloom_connectors::{self as connectors, Environment, OpenContext, Opened, ProcessNode, SourceNode};
use tokio::sync::mpsc;

use super::{launch::Host, spawner::GuardedSpawner};
use crate::{
    error::RunError,
    process::{LogLine, Stream},
};

/// Lines of a connector's log that may wait.
const LOG_LINES: usize = 256;

pub(super) async fn open_node(host: &Host, spec: &NodeSpec, replica: u32) -> Result<Box<dyn ProcessNode>, RunError> {
    match open(host, spec, replica, None).await? {
        Opened::Node(node) => Ok(node),
        Opened::Source(_) => {
            Err(RunError::node(&spec.name, "ROLE_MISMATCH", "this connector is a source, but the node has `from`"))
        }
    }
}

pub(super) async fn open_source(
    host: &Host,
    spec: &NodeSpec,
    checkpoint: Option<Bytes>,
) -> Result<Box<dyn SourceNode>, RunError> {
    match open(host, spec, 0, checkpoint).await? {
        Opened::Source(source) => Ok(source),
        Opened::Node(_) => {
            Err(RunError::node(&spec.name, "ROLE_MISMATCH", "this connector is no source, but the node has no `from`"))
        }
    }
}

async fn open(host: &Host, spec: &NodeSpec, replica: u32, checkpoint: Option<Bytes>) -> Result<Opened, RunError> {
    let context = OpenContext {
        pipeline: host.pipeline.name.clone(),
        node: spec.name.clone(),
        replica,
        replicas: spec.replicas,
        upstreams: spec.from.iter().map(|edge| edge.upstream.to_string()).collect(),
        dir: spec.dir.clone(),
        state_dir: host.state_dir.clone(),
        config_dir: host.pipeline.dir.clone(),
        checkpoint,
        max_event: spec.max_event,
        timeout: spec.timeout,
        concurrency: spec.concurrency,
        environment: Environment { clear: spec.env_clear, set: spec.env.iter().cloned().collect::<BTreeMap<_, _>>() },
        log: log_of(host, spec, replica),
        spawner: Arc::new(GuardedSpawner::new(host, spec, replica)),
    };
    let opened = match &spec.kind {
        NodeKind::Exec(exec) => connectors::open(exec, &context),
        NodeKind::Use(connector) => connectors::open(connector, &context),
        NodeKind::Run(_) | NodeKind::Connect(_) => unreachable!("a spawned or dialled node has a placement"),
    };
    opened.map_err(|error| RunError::node(&spec.name, error.code, error.message).with_remedy(error.remedy))
}

/// Passes a connector's log lines on as the node's.
fn log_of(host: &Host, spec: &NodeSpec, replica: u32) -> mpsc::Sender<connectors::LogLine> {
    let (sender, mut lines) = mpsc::channel::<connectors::LogLine>(LOG_LINES);
    let logs = host.logs.clone();
    let node: Arc<str> = spec.name.as_str().into();
    tokio::spawn(async move {
        while let Some(line) = lines.recv().await {
            let stream = match line.stream {
                connectors::LogStream::Stdout => Stream::Stdout,
                connectors::LogStream::Stderr | connectors::LogStream::Node => Stream::Stderr,
            };
            logs.send(LogLine { node: node.clone(), replica, stream, text: line.line, dropped: 0 }).await;
        }
    });
    sender
}
