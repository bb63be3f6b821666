//! The server: health, reflection, and a stream per publisher.

use std::sync::Arc;

use meshloom_core::limits::MESSAGE_BYTES;
use meshloom_proto::v1::{
    self,
    ingress_service_server::{IngressService, IngressServiceServer},
};
use meshloom_wire::{serve, transport};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, mpsc},
};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::{
    outbox::{Outbox, Receipt},
    publisher,
};
use crate::{NodeError, intake::Door};

/// Publishers at a time.
const PUBLISHERS: usize = 256;
/// Messages between a publisher's task and its connection.
const RESPONSES: usize = 16;

/// What publishers are told and held to.
pub(super) struct Settings {
    pub(super) pipeline: String,
    pub(super) node: String,
    /// Largest event, bytes.
    pub(super) max_event: u64,
}

/// How the source ends.
#[derive(Clone)]
pub(super) struct Stages {
    /// No more is taken; what has been taken may still become durable.
    pub(super) stopping: CancellationToken,
    /// Nothing more will become durable.
    pub(super) over: CancellationToken,
}

/// What every stream needs.
pub(super) struct Shared {
    pub(super) settings: Settings,
    pub(super) door: Door<Receipt>,
    pub(super) stages: Stages,
    places: Arc<Semaphore>,
}

struct Service(Arc<Shared>);

/// Serves until the source is over and every stream has ended.
pub(super) async fn serve(
    listener: TcpListener,
    settings: Settings,
    door: Door<Receipt>,
    stages: Stages,
) -> Result<(), NodeError> {
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<IngressServiceServer<Service>>().await;
    let stopping = stages.stopping.clone();
    let shutdown = async move {
        stopping.cancelled().await;
        health.set_not_serving::<IngressServiceServer<Service>>().await;
        health.set_service_status("", tonic_health::ServingStatus::NotServing).await;
    };
    let places = Arc::new(Semaphore::new(PUBLISHERS));
    let service = IngressServiceServer::new(Service(Arc::new(Shared { settings, door, stages, places })))
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(MESSAGE_BYTES);
    let valid = "the generated descriptors are valid";
    transport::server()
        .add_service(health_service)
        .add_service(serve::reflection().build_v1().expect(valid))
        .add_service(serve::reflection().build_v1alpha().expect(valid))
        .add_service(service)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), shutdown)
        .await
        .map_err(|error| NodeError::new("LISTEN_FAILED", error.to_string(), ""))
}

#[tonic::async_trait]
impl IngressService for Service {
    type PublishStream = ReceiverStream<Result<v1::PublishResponse, Status>>;

    async fn publish(
        &self,
        request: Request<Streaming<v1::PublishRequest>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        let shared = self.0.clone();
        let Ok(place) = shared.places.clone().try_acquire_owned() else {
            return Err(Status::unavailable(format!(
                "{PUBLISHERS} publishers are connected, which is the limit: share a connection, or connect again later"
            )));
        };
        let (responses, received) = mpsc::channel(RESPONSES);
        let outbox = Arc::new(Outbox::default());
        tokio::spawn(async move {
            let reader = publisher::read(request.into_inner(), &shared, &outbox);
            let writer = publisher::write(&responses, &shared, &outbox);
            // The writer knows when the stream is at its end; what is still read then is nobody's.
            tokio::select! {
                () = writer => {}
                () = async { reader.await; std::future::pending().await } => {}
            }
            drop(place);
        });
        Ok(Response::new(ReceiverStream::new(received)))
    }
}
