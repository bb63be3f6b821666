//! In-process nodes as an ordinary node server: Describe, Process, Produce, health, reflection.

mod service;
mod stream;

use std::{future::Future, io, pin::Pin};

use futures::Stream;
use meshloom_core::exchange::{FromNode, FromSource, Limits, ToNode, ToSource};
use meshloom_proto::v1::{self, node_service_server::NodeServiceServer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::mpsc,
};
use tonic::{Status, transport::server::Connected};

pub use service::NodeServer;

use crate::transport;

/// A boxed future that can move between threads.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// A node's own loop. It ends when its input has ended and all is answered, or soon after its output is closed.
pub type Run<I, O> = Box<dyn FnOnce(mpsc::Receiver<I>, mpsc::Sender<O>) -> BoxFuture<Result<(), Status>> + Send>;

/// A transform or sink that is ready.
pub struct ProcessNode {
    /// How much may be in hand.
    pub limits: Limits,
    /// Its loop.
    pub run: Run<ToNode, FromNode>,
}

/// A source that is ready.
pub struct SourceNode {
    /// Its loop.
    pub run: Run<ToSource, FromSource>,
}

/// One handler of a served process. Of the two ways to open it only the one for its role is ever called.
pub trait Handler: Send + Sync + 'static {
    /// What the handler is.
    fn describe(&self) -> v1::Handler;

    /// Opens a transform or sink; ready when it resolves.
    fn open_process(&self, open: v1::OpenProcess) -> BoxFuture<Result<ProcessNode, Status>> {
        let name = open.handler;
        Box::pin(async move { Err(Status::unimplemented(format!("handler `{name}` is no transform or sink"))) })
    }

    /// Opens a source; ready when it resolves.
    fn open_produce(&self, open: v1::OpenProduce) -> BoxFuture<Result<SourceNode, Status>> {
        let name = open.handler;
        Box::pin(async move { Err(Status::unimplemented(format!("handler `{name}` is no source"))) })
    }
}

/// Serves nodes until `shutdown` resolves; then health is NOT_SERVING, streams answer what they hold and end.
///
/// # Errors
/// When the listener fails.
pub async fn serve<IO>(
    nodes: NodeServer,
    incoming: impl Stream<Item = io::Result<IO>>,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error>
where
    IO: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<NodeServiceServer<NodeServer>>().await;
    let drain = nodes.drain();
    let shutdown = async move {
        shutdown.await;
        health.set_not_serving::<NodeServiceServer<NodeServer>>().await;
        health.set_service_status("", tonic_health::ServingStatus::NotServing).await;
        drain.cancel();
    };
    transport::server()
        .add_service(health_service)
        .add_service(reflection().build_v1().expect(VALID))
        .add_service(reflection().build_v1alpha().expect(VALID))
        .add_service(nodes.into_service())
        .serve_with_incoming_shutdown(incoming, shutdown)
        .await
}

const VALID: &str = "the generated descriptors are valid";

/// Reflection of `meshloom.v1` and of health, to be built for the version that is served.
#[must_use]
pub fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(meshloom_proto::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
}
