//! What the coordinator tells a connector besides its own spec.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::sync::mpsc;

use crate::{Environment, Spawner};

/// Which stream of a program, or of the connector itself, a log line is from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogStream {
    /// Standard output, where it is not the data.
    Stdout,
    /// Standard error.
    Stderr,
    /// The connector's own words.
    Node,
}

/// One line of a node's log, without its line end; at most 64 KiB.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// Where it is from.
    pub stream: LogStream,
    /// The text; bytes that are not UTF-8 are replaced.
    pub line: String,
}

/// Everything around a connector.
#[derive(Clone)]
pub struct OpenContext {
    /// Name of the pipeline.
    pub pipeline: String,
    /// Name of the node.
    pub node: String,
    /// Which replica this is, from 0.
    pub replica: u32,
    /// How many replicas the node has.
    pub replicas: u32,
    /// The upstreams as the pipeline file writes them; empty for a source.
    pub upstreams: Vec<String>,
    /// The node's folder (`dir`), absolute.
    pub dir: PathBuf,
    /// The pipeline's state directory, absolute; the connector makes what it needs below it.
    pub state_dir: PathBuf,
    /// Folder of the pipeline file, absolute: connector paths are relative to it.
    pub config_dir: PathBuf,
    /// A source's position to resume from.
    pub checkpoint: Option<Bytes>,
    /// Largest event that a source accepts, bytes.
    pub max_event: u64,
    /// The node's `timeout` for one call; a work's own timeout comes first.
    pub timeout: Duration,
    /// The node's `concurrency`: calls at a time; `None`: the connector's default.
    pub concurrency: Option<u32>,
    /// The user's environment for programs.
    pub environment: Environment,
    /// Takes the node's log. When it is full the node waits; when it is closed lines are dropped.
    pub log: mpsc::Sender<LogLine>,
    /// Starts programs.
    pub spawner: Arc<dyn Spawner>,
}

impl OpenContext {
    /// Writes a line of the connector's own to the node's log.
    pub(crate) async fn say(&self, line: impl Into<String>) {
        // A log that nobody reads any more is no reason to stop.
        let _ = self.log.send(LogLine { stream: LogStream::Node, line: line.into() }).await;
    }
}
