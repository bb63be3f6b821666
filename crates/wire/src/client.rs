//! A client of nodes.

use std::sync::Arc;

use futures::Stream;
use http::uri::PathAndQuery;
use meshloom_core::limits::MESSAGE_BYTES;
use meshloom_proto::v1;
use tonic::{Request, Response, Status, Streaming, client::Grpc, transport::Channel};

use crate::{ChargedCodec, Meter};

/// Path of `NodeService.Process`.
pub const PROCESS_PATH: &str = "/meshloom.v1.NodeService/Process";

/// Path of `NodeService.Produce`.
pub const PRODUCE_PATH: &str = "/meshloom.v1.NodeService/Produce";

/// Calls a node over a connection. Give every stream a connection of its own: streams that share a flow-control
/// window can deadlock each other.
#[derive(Clone)]
pub struct NodeClient {
    channel: Channel,
    meter: Arc<dyn Meter>,
}

impl NodeClient {
    /// A client whose streams charge what they receive to `meter`.
    #[must_use]
    pub fn new(channel: Channel, meter: Arc<dyn Meter>) -> Self {
        Self { channel, meter }
    }

    /// Asks what the process is.
    ///
    /// # Errors
    /// The node's status, or UNAVAILABLE.
    pub async fn describe(&self) -> Result<v1::DescribeResponse, Status> {
        let mut client = v1::node_service_client::NodeServiceClient::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES);
        Ok(client.describe(v1::DescribeRequest {}).await?.into_inner())
    }

    /// Runs a transform or a sink. The first request must be `open`.
    ///
    /// # Errors
    /// The node's status, or UNAVAILABLE.
    pub async fn process(
        &self,
        requests: impl Stream<Item = v1::ProcessRequest> + Send + 'static,
    ) -> Result<Streaming<v1::ProcessResponse>, Status> {
        self.stream(PROCESS_PATH, requests).await
    }

    /// Runs a source. The first request must be `open`.
    ///
    /// # Errors
    /// The node's status, or UNAVAILABLE.
    pub async fn produce(
        &self,
        requests: impl Stream<Item = v1::ProduceRequest> + Send + 'static,
    ) -> Result<Streaming<v1::ProduceResponse>, Status> {
        self.stream(PRODUCE_PATH, requests).await
    }

    async fn stream<E, D>(
        &self,
        path: &'static str,
        requests: impl Stream<Item = E> + Send + 'static,
    ) -> Result<Streaming<D>, Status>
    where
        E: prost::Message + 'static,
        D: prost::Message + Default + 'static,
    {
        let mut grpc = Grpc::new(self.channel.clone())
            .max_decoding_message_size(MESSAGE_BYTES)
            .max_encoding_message_size(MESSAGE_BYTES);
        grpc.ready().await.map_err(|error| Status::unavailable(format!("no connection to the node: {error}")))?;
        let codec = ChargedCodec::<E, D>::new(self.meter.clone());
        let path = PathAndQuery::from_static(path);
        grpc.streaming(Request::new(requests), path, codec).await.map(Response::into_inner)
    }
}
