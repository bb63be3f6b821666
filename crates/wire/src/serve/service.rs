//! `NodeService` over in-process nodes.

use std::{future::Future, sync::Arc};

use meshloom_core::limits::MESSAGE_BYTES;
use meshloom_proto::v1::{
    self,
    node_service_server::{NodeService, NodeServiceServer},
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Request, Response, Status, Streaming};

use super::{Handler, stream};
use crate::session::{self, HANDLER_ROLE_MISMATCH, HANDLER_UNKNOWN, PROTOCOL};

/// Messages between a stream's task and its connection.
const RESPONSES: usize = 16;

/// The handlers of a process, served as `NodeService`.
#[derive(Clone)]
pub struct NodeServer {
    shared: Arc<Shared>,
    drain: CancellationToken,
}

struct Shared {
    sdk: v1::Sdk,
    handlers: Vec<Box<dyn Handler>>,
}

impl NodeServer {
    /// A process with these handlers. `language` and `version` say what serves them.
    #[must_use]
    pub fn new(language: &str, version: &str, handlers: Vec<Box<dyn Handler>>) -> Self {
        let sdk = v1::Sdk { language: language.to_owned(), version: version.to_owned() };
        Self { shared: Arc::new(Shared { sdk, handlers }), drain: CancellationToken::new() }
    }

    /// Cancel it, and every stream answers what it holds and ends.
    pub(super) fn drain(&self) -> CancellationToken {
        self.drain.clone()
    }

    pub(super) fn into_service(self) -> NodeServiceServer<Self> {
        NodeServiceServer::new(self).max_decoding_message_size(MESSAGE_BYTES).max_encoding_message_size(MESSAGE_BYTES)
    }

    /// The handler of this name, or the only one. `source`: whether the stream is for a source.
    pub(super) fn handler(&self, name: &str, source: bool) -> Result<&dyn Handler, Status> {
        let handlers = &self.shared.handlers;
        let found = match (name, handlers.as_slice()) {
            ("", [only]) => Some(only),
            (name, handlers) => handlers.iter().find(|handler| handler.describe().name == name),
        };
        let Some(found) = found else {
            let names: Vec<_> = handlers.iter().map(|handler| handler.describe().name).collect();
            let (name, names) = (name.escape_debug(), names.join(", "));
            let message = format!("this process serves no handler `{name}`; name one of {names} with `handler`");
            return Err(session::because(Code::NotFound, HANDLER_UNKNOWN, message, []));
        };
        let description = found.describe();
        if (description.role() == v1::HandlerRole::Source) != source {
            let (is, call) = if source { ("no source", "Process") } else { ("a source", "Produce") };
            let message = format!("`{}` is {is}; open it with {call}", description.name);
            return Err(session::because(Code::FailedPrecondition, HANDLER_ROLE_MISMATCH, message, []));
        }
        Ok(found.as_ref())
    }

    pub(super) fn opened(&self, protocol: u32, limits: Option<v1::Limits>) -> v1::Opened {
        v1::Opened { protocol, sdk: Some(self.shared.sdk.clone()), capabilities: Vec::new(), limits }
    }
}

/// Runs a stream in a task of its own; an error ends it with its status.
fn run<T, F>(stream: impl FnOnce(mpsc::Sender<Result<T, Status>>) -> F) -> Response<ReceiverStream<Result<T, Status>>>
where
    T: Send + 'static,
    F: Future<Output = Result<(), Status>> + Send + 'static,
{
    let (responses, received) = mpsc::channel(RESPONSES);
    let ended = stream(responses.clone());
    tokio::spawn(async move {
        if let Err(status) = ended.await {
            // Whoever has gone needs no status.
            let _ = responses.send(Err(status)).await;
        }
    });
    Response::new(ReceiverStream::new(received))
}

#[tonic::async_trait]
impl NodeService for NodeServer {
    type ProcessStream = ReceiverStream<Result<v1::ProcessResponse, Status>>;
    type ProduceStream = ReceiverStream<Result<v1::ProduceResponse, Status>>;

    async fn describe(&self, _: Request<v1::DescribeRequest>) -> Result<Response<v1::DescribeResponse>, Status> {
        Ok(Response::new(v1::DescribeResponse {
            sdk: Some(self.shared.sdk.clone()),
            protocol: Some(PROTOCOL),
            capabilities: Vec::new(),
            handlers: self.shared.handlers.iter().map(|handler| handler.describe()).collect(),
        }))
    }

    async fn process(
        &self,
        request: Request<Streaming<v1::ProcessRequest>>,
    ) -> Result<Response<Self::ProcessStream>, Status> {
        Ok(run(|responses| stream::process(self.clone(), request.into_inner(), responses)))
    }

    async fn produce(
        &self,
        request: Request<Streaming<v1::ProduceRequest>>,
    ) -> Result<Response<Self::ProduceStream>, Status> {
        Ok(run(|responses| stream::produce(self.clone(), request.into_inner(), responses)))
    }
}
