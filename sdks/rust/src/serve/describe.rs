//! The service itself.

use meshloom_proto::v1::{
    DescribeRequest, DescribeResponse, ProcessRequest, ProcessResponse, ProduceRequest, ProduceResponse,
    node_service_server::NodeService,
};
use tokio::{runtime::Handle, sync::mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Request, Response, Status, Streaming};

use super::{
    open::{PROTOCOL, sdk},
    process, produce,
};
use crate::node::Node;

/// Responses that wait for the transport; more would only be memory.
const WAITING_RESPONSES: usize = 4;

/// What every stream of the process shares.
#[derive(Clone)]
pub(crate) struct Service {
    pub(crate) nodes: std::sync::Arc<[Node]>,
    /// Where handlers run.
    pub(crate) app: Handle,
    pub(crate) draining: CancellationToken,
    pub(crate) streams: TaskTracker,
}

#[tonic::async_trait]
impl NodeService for Service {
    type ProcessStream = ReceiverStream<Result<ProcessResponse, Status>>;
    type ProduceStream = ReceiverStream<Result<ProduceResponse, Status>>;

    async fn describe(&self, _: Request<DescribeRequest>) -> Result<Response<DescribeResponse>, Status> {
        Ok(Response::new(DescribeResponse {
            sdk: Some(sdk()),
            protocol: Some(PROTOCOL),
            capabilities: Vec::new(),
            handlers: self.nodes.iter().map(Node::describe).collect(),
        }))
    }

    async fn process(
        &self,
        request: Request<Streaming<ProcessRequest>>,
    ) -> Result<Response<Self::ProcessStream>, Status> {
        let (responses, stream) = mpsc::channel(WAITING_RESPONSES);
        self.streams.spawn(process::run(self.clone(), request.into_inner(), responses));
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn produce(
        &self,
        request: Request<Streaming<ProduceRequest>>,
    ) -> Result<Response<Self::ProduceStream>, Status> {
        let (responses, stream) = mpsc::channel(WAITING_RESPONSES);
        self.streams.spawn(produce::run(self.clone(), request.into_inner(), responses));
        Ok(Response::new(ReceiverStream::new(stream)))
    }
}
