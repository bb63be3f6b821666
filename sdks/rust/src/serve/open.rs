//! Opening a stream: protocol range, handler, config.

use std::{sync::Arc, thread};

use bytes::Bytes;
use meshloom_proto::v1::{self, HandlerRole, Ordering, ProtocolRange, Replica};
use tokio::sync::oneshot;
use tonic::{Code, Status};

use super::{
    describe::Service,
    status::{because, refuse},
};
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
    if theirs.min == 0 || theirs.max < theirs.min {
        let message = format!("`protocol` is no range of versions: {} to {}", theirs.min, theirs.max);
        return Err(refuse("protocol", message));
    }
    let chosen = theirs.max.min(PROTOCOL.max);
    if chosen >= theirs.min.max(PROTOCOL.min) {
        return Ok(chosen);
    }
    let (side, to, what) = if theirs.max < PROTOCOL.min {
        ("coordinator", PROTOCOL.min, "the coordinator")
    } else {
        ("node", theirs.min, "the crate `meshloom` of this node")
    };
    let message = format!(
        "this node speaks protocol {} to {}, the coordinator {} to {}: upgrade {what} to a version that speaks {to}",
        PROTOCOL.min, PROTOCOL.max, theirs.min, theirs.max
    );
    let metadata = [("upgrade", side.to_owned()), ("to", to.to_string())];
    Err(because(Code::FailedPrecondition, "PROTOCOL_UNSUPPORTED", message, metadata))
}

/// The handler that a stream asks for; an empty name means the only one.
pub(crate) fn find<'a>(nodes: &'a [Node], name: &str, is_source: bool) -> Result<&'a Node, Status> {
    let known = || nodes.iter().map(|node| node.name.as_str()).collect::<Vec<_>>().join(", ");
    let unknown = |message: String| because(Code::NotFound, "HANDLER_UNKNOWN", message, []);
    let node = match (name, nodes) {
        ("", [only]) => only,
        ("", _) => {
            return Err(unknown(format!(
                "this process serves several handlers ({}); name one with `handler`",
                known()
            )));
        }
        (name, _) => nodes.iter().find(|node| node.name == name).ok_or_else(|| {
            unknown(format!("this process serves no handler `{}`; it serves {}", name.escape_debug(), known()))
        })?,
    };
    let message = match (node.role == HandlerRole::Source, is_source) {
        (true, false) => format!("`{}` is a source; open it with Produce", node.name),
        (false, true) => format!("`{}` is no source; open it with Process", node.name),
        _ => return Ok(node),
    };
    Err(because(Code::FailedPrecondition, "HANDLER_ROLE_MISMATCH", message, []))
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

    /// Opens the handler in the application's runtime, but on a thread of its own: set-up may block, and threads that
    /// handlers block keep no stream from opening. A drain does not wait for it.
    pub(crate) async fn open(&self, node: &Node, service: &Service) -> Result<Ready, Status> {
        let (handler, opening) = (Arc::clone(&node.handler), Arc::new(self.opening(node)));
        let (runtime, draining) = (service.app.clone(), service.draining.clone());
        let (tell, opened) = oneshot::channel();
        let open = move || {
            // Dropped when the node drains, lest it lives on in a runtime that ends.
            let opened = runtime.block_on(async { draining.run_until_cancelled(handler.open(opening)).await });
            // The stream may be gone; what was set up serves the next one.
            let _ = tell.send(opened);
        };
        let no_thread = |error| Status::unavailable(format!("there is no thread for set-up: {error}"));
        thread::Builder::new().name("meshloom-setup".to_owned()).spawn(open).map_err(no_thread)?;
        let opened = tokio::select! {
            opened = opened => opened.ok().flatten(),
            () = service.draining.cancelled() => None,
        };
        match opened {
            Some(Ok(ready)) => Ok(ready),
            Some(Err(OpenError::Config(error))) => Err(error.to_status()),
            Some(Err(error @ OpenError::Setup(_))) => {
                let message = format!("node `{}`: {error}", node.name);
                tracing::error!("{message}");
                Err(because(Code::Unavailable, "SETUP_FAILED", message, []))
            }
            None => Err(Status::unavailable("the node is draining")),
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
