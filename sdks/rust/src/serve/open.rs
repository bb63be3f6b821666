//! Opening a stream: protocol range, handler, config.

use std::sync::Arc;

use bytes::Bytes;
use meshloom_proto::v1::{self, Ordering, ProtocolRange, Replica};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::{
    context::Opening,
    handler::{OpenError, Ready},
    node::Node,
};

/// The protocol versions that this SDK speaks.
pub(crate) const PROTOCOL: ProtocolRange = ProtocolRange { min: 1, max: 1 };

pub(crate) fn sdk() -> v1::Sdk {
    v1::Sdk { language: "rust".to_owned(), version: env!("CARGO_PKG_VERSION").to_owned() }
}

/// What Process and Produce are opened with.
pub(crate) struct Request {
    pub(crate) pipeline: String,
    pub(crate) node: String,
    pub(crate) replica: Option<Replica>,
    pub(crate) config_json: Bytes,
    pub(crate) ordering: Ordering,
    pub(crate) concurrency: u32,
}

/// The highest version that both sides speak.
pub(crate) fn negotiate(theirs: Option<ProtocolRange>) -> Result<u32, Status> {
    let theirs = theirs.unwrap_or_default();
    let chosen = theirs.max.min(PROTOCOL.max);
    if chosen >= theirs.min.max(PROTOCOL.min) {
        return Ok(chosen);
    }
    let (side, remedy) = if theirs.max < PROTOCOL.min {
        ("coordinator", format!("upgrade the coordinator to one that speaks protocol {} or higher", PROTOCOL.min))
    } else {
        (
            "node",
            format!("upgrade the `meshloom` crate of this node to one that speaks protocol {} or higher", theirs.min),
        )
    };
    let spoken = |range: ProtocolRange| format!("{}-{}", range.min, range.max);
    let message =
        format!("this node speaks protocol {}, the coordinator {}: {remedy}", spoken(PROTOCOL), spoken(theirs));
    let metadata = [("side", side.to_owned()), ("node", spoken(PROTOCOL)), ("coordinator", spoken(theirs))];
    let details = ErrorDetails::with_error_info(
        "PROTOCOL_UNSUPPORTED",
        "meshloom.dev",
        metadata.map(|(key, value)| (key.to_owned(), value)),
    );
    Err(Status::with_error_details(Code::FailedPrecondition, message, details))
}

/// The handler that a stream asks for; an empty name means the only one.
pub(crate) fn find<'a>(nodes: &'a [Node], name: &str) -> Result<&'a Node, Status> {
    let known = || nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(", ");
    match (name, nodes) {
        ("", [only]) => Ok(only),
        ("", _) => Err(refuse("handler", format!("this process serves several handlers ({}); name one", known()))),
        (name, _) => nodes.iter().find(|node| node.name == name).ok_or_else(|| {
            refuse("handler", format!("this process serves no handler `{name}`; it serves {}", known()))
        }),
    }
}

/// Refuses a field of the open request.
pub(crate) fn refuse(field: &str, message: String) -> Status {
    Status::with_error_details(
        Code::InvalidArgument,
        message.clone(),
        ErrorDetails::with_bad_request_violation(field, message),
    )
}

impl Request {
    pub(crate) fn opening(&self, node: &Node) -> Opening {
        let replica = self.replica.unwrap_or(Replica { index: 0, of: 1 });
        Opening {
            pipeline: self.pipeline.clone(),
            node: if self.node.is_empty() { node.name.clone() } else { self.node.clone() },
            replica: replica.index,
            replicas: replica.of.max(1),
            config_json: self.config_json.clone(),
            ordering: self.ordering,
            concurrency: if self.concurrency == 0 { node.concurrency } else { self.concurrency as usize },
        }
    }

    /// Opens the handler on the application's runtime, so that set-up cannot stall the transport.
    pub(crate) async fn open(&self, node: &Node, app: &tokio::runtime::Handle) -> Result<Ready, Status> {
        if std::str::from_utf8(&self.config_json).is_err() {
            return Err(refuse("config_json", "the config is not UTF-8".to_owned()));
        }
        let handler = Arc::clone(&node.handler);
        let opening = Arc::new(self.opening(node));
        match app.spawn(async move { handler.open(opening).await }).await {
            Ok(Ok(ready)) => Ok(ready),
            Ok(Err(OpenError::Config(error))) => Err(error.to_status()),
            Ok(Err(error @ OpenError::Setup(_))) => {
                let message = format!("node `{}`: {error}", node.name);
                tracing::error!("{message}");
                let details = ErrorDetails::with_error_info(
                    "SETUP_FAILED",
                    "meshloom.dev",
                    [("node".to_owned(), node.name.clone())],
                );
                Err(Status::with_error_details(Code::Unavailable, message, details))
            }
            Err(_) => Err(Status::unavailable("the node's runtime has ended")),
        }
    }
}

/// An opening as tests make it: no ordering, one replica.
pub(crate) fn opening_for_tests(node: &Node, config_json: Bytes, ordering: Ordering) -> Opening {
    Request {
        pipeline: "test".to_owned(),
        node: node.name.clone(),
        replica: None,
        config_json,
        ordering,
        concurrency: 0,
    }
    .opening(node)
}
