//! The typed configs of the built-in connectors, checked with the pipeline file.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::{expression::Template, spec::Rate};

/// A built-in connector and its config.
#[derive(Debug, Clone)]
pub enum ConnectorSpec {
    /// `file` without upstream.
    FileSource(FileSource),
    /// `file` with an upstream.
    FileSink(FileSink),
    /// `stdin`: a source.
    Stdin(StdinSource),
    /// `stdout`: a sink.
    Stdout(StdoutSink),
    /// `generate`: a source.
    Generate(Generate),
    /// `null`: a sink that consumes everything.
    Null,
    /// `http`: a source.
    HttpSource(HttpSource),
    /// `grpc`: a source.
    GrpcSource(GrpcSource),
    /// `tcp`: a source.
    TcpSource(TcpSource),
    /// `webhook`: a sink.
    Webhook(Webhook),
}

impl ConnectorSpec {
    /// The name in `use`.
    pub fn name(&self) -> &'static str {
        match self {
            Self::FileSource(_) | Self::FileSink(_) => "file",
            Self::Stdin(_) => "stdin",
            Self::Stdout(_) => "stdout",
            Self::Generate(_) => "generate",
            Self::Null => "null",
            Self::HttpSource(_) => "http",
            Self::GrpcSource(_) => "grpc",
            Self::TcpSource(_) => "tcp",
            Self::Webhook(_) => "webhook",
        }
    }

    /// Whether it takes no input.
    pub fn is_source(&self) -> bool {
        matches!(self, Self::FileSource(_) | Self::Stdin(_) | Self::Generate(_)) || self.listen().is_some()
    }

    /// Where it listens.
    pub fn listen(&self) -> Option<SocketAddr> {
        match self {
            Self::HttpSource(http) => Some(http.listen),
            Self::GrpcSource(grpc) => Some(grpc.listen),
            Self::TcpSource(tcp) => Some(tcp.listen),
            _ => None,
        }
    }
}

/// Reads files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSource {
    /// Absolute paths or glob patterns, at least one.
    pub paths: Vec<String>,
    /// How events are cut out of a file.
    pub format: ReadFormat,
    /// Whether to wait for more at the end.
    pub follow: bool,
}

/// How events are cut out of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ReadFormat {
    /// One JSON value per line.
    #[default]
    Ndjson,
    /// JSON values one after the other, or one array of them.
    Json,
    /// Each line is an event.
    Text,
    /// A header, then a JSON object of strings per row.
    Csv,
}

/// Appends to a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSink {
    /// The absolute path.
    pub path: PathBuf,
    /// How an event is written.
    pub format: WriteFormat,
    /// When to move the file aside; `None`: never.
    pub rotate: Option<Rotate>,
}

/// How an event is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WriteFormat {
    /// The payload must be JSON; one line each.
    #[default]
    Ndjson,
    /// The payload as it is, then a newline; a payload with a newline is rejected.
    Text,
}

/// When a sink's file is moved aside and a new one begun; at least one is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rotate {
    /// Before it would grow past this size.
    pub bytes: Option<u64>,
    /// When it is this old.
    pub every: Option<Duration>,
}

/// Reads standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StdinSource {
    /// How events are cut out of it.
    pub format: ReadFormat,
}

/// Writes to standard output.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StdoutSink {
    /// How an event is written.
    pub format: WriteFormat,
}

/// Makes events up.
#[derive(Debug, Clone)]
pub struct Generate {
    /// How many; `None`: without end.
    pub count: Option<u64>,
    /// How fast; `None`: as fast as they are taken.
    pub rate: Option<Rate>,
    /// The payload. `data.n` is the number of the event from 1.
    pub template: Template,
}

/// Receives events by POST.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpSource {
    /// Where to listen; port 0: any free one.
    pub listen: SocketAddr,
    /// The path that takes events, with the leading slash.
    pub path: String,
}

/// Receives events over `IngressService.Publish`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GrpcSource {
    /// Where to listen; port 0: any free one.
    pub listen: SocketAddr,
}

/// Receives events over plain TCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TcpSource {
    /// Where to listen; port 0: any free one.
    pub listen: SocketAddr,
    /// Where records end.
    pub framing: Framing,
    /// What a record is.
    pub format: ReadFormat,
}

/// Where the records of a connection end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Framing {
    /// At `\n`.
    #[default]
    Lines,
    /// After as many bytes as the four before the record say, big-endian.
    Length,
}

/// Sends each event as a request.
#[derive(Debug, Clone)]
pub struct Webhook {
    /// Absolute `http` or `https` URL.
    pub url: String,
    /// The method, upper case.
    pub method: String,
    /// Headers beside those that the connector sets; names in lower case.
    pub headers: Vec<(String, Template)>,
    /// The body; `None`: the payload as it is.
    pub body: Option<Template>,
    /// Longest wait for an answer.
    pub timeout: Duration,
}
