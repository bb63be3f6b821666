//! The transport's own thread: gRPC, health, reflection and Progress, away from every handler.

use std::{env, future::Future, path::PathBuf, thread, time::Duration};

use tokio::{
    runtime::{Builder, Handle},
    sync::oneshot,
};
use tokio_stream::wrappers::UnixListenerStream;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::transport::{Server, server::TcpIncoming};
use tonic_health::server::HealthReporter;

use super::{
    DRAIN, ServeError,
    codec::WideServer,
    describe::Service,
    listen::{Address, Listener, Place, VARIABLE},
};
use crate::{node::Node, trace::Telemetry};

/// Receive window of a stream and of a connection.
const WINDOW_BYTES: u32 = 8 << 20;
/// Largest HTTP/2 frame.
const FRAME_BYTES: u32 = 1 << 20;
/// How long connections may take to close once every stream has ended.
const CLOSE: Duration = Duration::from_secs(1);

/// What the transport needs to start.
pub(super) struct Transport {
    pub(super) nodes: Vec<Node>,
    pub(super) address: Address,
    /// Where handlers run.
    pub(super) app: Handle,
}

/// A transport that runs.
pub(super) struct Serving {
    nodes: Vec<Node>,
    draining: CancellationToken,
    /// Ends the transport's runtime once everything that needs it is done.
    finish: oneshot::Sender<()>,
    drained: oneshot::Receiver<Result<Telemetry, ServeError>>,
}

impl Transport {
    pub(super) fn spawn(self, ready: oneshot::Sender<Result<(), ServeError>>) -> Result<Serving, ServeError> {
        let draining = CancellationToken::new();
        let (finish, finished) = oneshot::channel();
        let (drained_in, drained) = oneshot::channel();
        let serving = Serving { nodes: self.nodes.clone(), draining: draining.clone(), finish, drained };
        let failed = |error: std::io::Error| ServeError::Transport(format!("its thread cannot start: {error}"));
        let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
        thread::Builder::new()
            .name("meshloom-grpc".to_owned())
            .spawn(move || {
                runtime.block_on(async {
                    let ended = self.run(ready, draining).await;
                    // Nobody is left to be told when the application's runtime has gone.
                    let _ = drained_in.send(ended);
                    let _ = finished.await;
                });
            })
            .map_err(failed)?;
        Ok(serving)
    }

    async fn run(
        self,
        ready: oneshot::Sender<Result<(), ServeError>>,
        draining: CancellationToken,
    ) -> Result<Telemetry, ServeError> {
        let started = async {
            let builder = builder(&self.address)?;
            Ok::<_, ServeError>((builder, self.address.bind().await?))
        };
        let (mut builder, listener) = match started.await {
            Ok(started) => started,
            Err(error) => {
                let _ = ready.send(Err(error));
                return Ok(Telemetry::default());
            }
        };
        let names: Vec<String> = self.nodes.iter().map(|node| node.name.clone()).collect();
        let telemetry = Telemetry::start(&names);
        let (health, health_service) = tonic_health::server::health_reporter();
        let streams = TaskTracker::new();
        let service =
            Service { nodes: self.nodes.into(), app: self.app, draining: draining.clone(), streams: streams.clone() };
        set_serving(&health, true).await;
        let reflection = |error: tonic_reflection::server::Error| ServeError::Transport(format!("reflection: {error}"));
        let described = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(meshloom_proto::DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let routes = builder
            .add_service(health_service)
            .add_service(described().build_v1().map_err(reflection)?)
            .add_service(described().build_v1alpha().map_err(reflection)?)
            .add_service(WideServer::new(service));
        let place = announce(&self.address, &listener, &names);
        let socket = Socket(place);
        let _ = ready.send(Ok(()));
        let gone = streams.clone();
        let drain = drain(draining.clone(), health, streams);
        // Idle connections, such as a health probe's, may stay open: they do not hold the process.
        let closed = async {
            draining.cancelled().await;
            let finished = tokio::time::timeout(DRAIN, gone.wait()).await.is_ok();
            tokio::time::sleep(CLOSE).await;
            finished
        };
        let served = async {
            match listener {
                Listener::Unix(listener, _) => {
                    routes.serve_with_incoming_shutdown(UnixListenerStream::new(listener), drain).await
                }
                Listener::Tcp(listener) => {
                    routes
                        .serve_with_incoming_shutdown(TcpIncoming::from(listener).with_nodelay(Some(true)), drain)
                        .await
                }
            }
        };
        tokio::select! {
            served = served => served.map_err(|error| ServeError::Transport(error.to_string()))?,
            finished = closed => if !finished { tracing::warn!("works were still in hand after {} s; they will come again", DRAIN.as_secs()) },
        }
        drop(socket);
        Ok(telemetry)
    }
}

fn builder(address: &Address) -> Result<Server, ServeError> {
    let builder = Server::builder()
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .tcp_nodelay(true);
    let (builder, is_mutual) = secure(builder, address)?;
    if let (false, Place::Tcp(place)) = (is_mutual, &address.place)
        && !address.is_local()
        && env::var("MESHLOOM_INSECURE").as_deref() != Ok("1")
    {
        return Err(ServeError::Environment {
            variable: VARIABLE,
            message: format!(
                "{place} can be reached from other machines, and there is no mutual TLS; set MESHLOOM_TLS_CERT, MESHLOOM_TLS_KEY and MESHLOOM_TLS_CLIENT_CA, or MESHLOOM_INSECURE=1 if the network itself is safe"
            ),
        });
    }
    Ok(builder)
}

#[cfg(feature = "tls")]
fn secure(builder: Server, address: &Address) -> Result<(Server, bool), ServeError> {
    match super::tls::from_environment()? {
        Some((config, is_mutual)) if matches!(address.place, Place::Tcp(_)) => {
            let refused = |error: tonic::transport::Error| ServeError::Environment {
                variable: "MESHLOOM_TLS_CERT",
                message: format!("the certificate and key cannot be used: {}", crate::error::chain(&error)),
            };
            Ok((builder.tls_config(config).map_err(refused)?, is_mutual))
        }
        _ => Ok((builder, false)),
    }
}

#[cfg(not(feature = "tls"))]
fn secure(builder: Server, _: &Address) -> Result<(Server, bool), ServeError> {
    if env::var("MESHLOOM_TLS_CERT").is_ok() {
        return Err(ServeError::Environment {
            variable: "MESHLOOM_TLS_CERT",
            message: "this node was built without the feature `tls` of the crate `meshloom`".to_owned(),
        });
    }
    Ok((builder, false))
}

/// Waits for the drain to begin, says so to health probes, and completes when no stream is left.
async fn drain(draining: CancellationToken, health: HealthReporter, streams: TaskTracker) {
    draining.cancelled().await;
    set_serving(&health, false).await;
    streams.close();
    streams.wait().await;
}

async fn set_serving(health: &HealthReporter, serving: bool) {
    let status = if serving { tonic_health::ServingStatus::Serving } else { tonic_health::ServingStatus::NotServing };
    for service in ["", "meshloom.v1.NodeService"] {
        health.set_service_status(service, status).await;
    }
}

/// Says how to use a node that was started by hand; returns the socket's path, if it has one.
#[allow(clippy::print_stderr)]
fn announce(address: &Address, listener: &Listener, names: &[String]) -> Option<PathBuf> {
    match listener {
        Listener::Unix(_, path) => Some(path.clone()),
        Listener::Tcp(listener) => {
            let chosen = matches!(address.place, Place::Tcp(place) if place.port() == 0);
            if let (true, Ok(place)) = (address.by_hand || chosen, listener.local_addr()) {
                eprintln!(
                    "meshloom node {} listens on {place}: write `connect: {place}` in a pipeline file, or `meshloom run --attach {}={place}`.",
                    names.join(", "),
                    names.first().map_or("NODE", String::as_str)
                );
            }
            None
        }
    }
}

/// Removes the socket's file at the end.
struct Socket(Option<PathBuf>);

impl Drop for Socket {
    fn drop(&mut self) {
        if let Some(path) = &self.0 {
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Serving {
    /// Serves until `shutdown`, then drains, tears down and flushes.
    pub(super) async fn until(self, shutdown: impl Future<Output = ()>) -> Result<(), ServeError> {
        let mut drained = self.drained;
        let ended = tokio::select! {
            () = shutdown => {
                self.draining.cancel();
                drained.await
            }
            ended = &mut drained => ended,
        };
        let telemetry = ended.unwrap_or_else(|_| Err(ServeError::Transport("its thread panicked".to_owned())))?;
        for node in &self.nodes {
            node.handler.close().await;
        }
        // Flushing blocks, and needs the transport's runtime to go on.
        let _ = tokio::task::spawn_blocking(move || telemetry.shutdown()).await;
        let _ = self.finish.send(());
        Ok(())
    }
}
