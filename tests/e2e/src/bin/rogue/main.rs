//! A node that misbehaves as its first argument says, and where that is not enough, as the payloads say.
//!
//! - `never-listens`: makes no socket.
//! - `silent`: makes a socket and answers nothing on it.
//! - `newer`: says in Describe that it speaks protocol 2 to 3. `newer-open`: says 1 and refuses at Open.
//! - `chooses-9`: opens with protocol 9, which nobody offered.
//! - `refuses`: refuses its config, field `limit`.
//! - `hangs`: takes a work and never answers; from its second life on (file `lived` in its folder) it passes all.
//! - `obeys`: see `process.rs`. `source:WHAT`: see `produce.rs`.

mod malformed;
mod process;
mod produce;

use std::{env, fs, future::pending, path::PathBuf};

use meshloom_proto::v1::{
    self, HandlerRole,
    node_service_server::{NodeService, NodeServiceServer},
};
use tokio::net::UnixListener;
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};
use tonic_types::{ErrorDetails, StatusExt as _};

/// Limit of one message, as the protocol has it.
const MESSAGE_BYTES: usize = 64 << 20;

type Answers<T> = ReceiverStream<Result<T, Status>>;

#[derive(Clone)]
struct Rogue {
    how: String,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let how = env::args().nth(1).ok_or("say how to misbehave")?;
    if how == "never-listens" {
        pending::<()>().await;
    }
    let listen = env::var("MESHLOOM_LISTEN")?;
    let path = PathBuf::from(listen.strip_prefix("unix:").ok_or("expected a Unix socket")?);
    let listener = UnixListener::bind(path)?;
    if how == "silent" {
        // Held open, so that callers connect and wait.
        let mut held = Vec::new();
        loop {
            held.push(listener.accept().await?);
        }
    }
    let (health, health_service) = tonic_health::server::health_reporter();
    health.set_serving::<NodeServiceServer<Rogue>>().await;
    let service = NodeServiceServer::new(Rogue { how })
        .max_decoding_message_size(MESSAGE_BYTES)
        .max_encoding_message_size(usize::MAX);
    Server::builder()
        .initial_stream_window_size(8 << 20)
        .initial_connection_window_size(8 << 20)
        .add_service(health_service)
        .add_service(service)
        .serve_with_incoming(UnixListenerStream::new(listener))
        .await?;
    Ok(())
}

#[tonic::async_trait]
impl NodeService for Rogue {
    type ProcessStream = Answers<v1::ProcessResponse>;
    type ProduceStream = Answers<v1::ProduceResponse>;

    async fn describe(&self, _: Request<v1::DescribeRequest>) -> Result<Response<v1::DescribeResponse>, Status> {
        let (min, max) = if self.how == "newer" { (2, 3) } else { (1, 1) };
        let role = if self.how.starts_with("source:") { HandlerRole::Source } else { HandlerRole::FlatMap };
        let handler = v1::Handler {
            name: "rogue".into(),
            role: role.into(),
            routes: vec!["side".into()],
            replays: true,
            ..v1::Handler::default()
        };
        Ok(Response::new(v1::DescribeResponse {
            sdk: Some(sdk()),
            protocol: Some(v1::ProtocolRange { min, max }),
            handlers: vec![handler],
            ..v1::DescribeResponse::default()
        }))
    }

    async fn process(
        &self,
        request: Request<Streaming<v1::ProcessRequest>>,
    ) -> Result<Response<Self::ProcessStream>, Status> {
        let requests = request.into_inner();
        match self.how.as_str() {
            "newer-open" => {
                let metadata = [("upgrade", "coordinator"), ("to", "2")].map(|(key, value)| (key.into(), value.into()));
                let details = ErrorDetails::with_error_info("PROTOCOL_UNSUPPORTED", "meshloom", metadata);
                let message = "this node speaks protocol 2 to 3, the coordinator 1 to 1";
                Err(Status::with_error_details(tonic::Code::FailedPrecondition, message, details))
            }
            "refuses" => {
                let details = ErrorDetails::with_bad_request_violation("limit", "must be below 10");
                Err(Status::with_error_details(tonic::Code::InvalidArgument, "bad config", details))
            }
            _ => Ok(Response::new(process::answer(self.mood(), requests))),
        }
    }

    async fn produce(
        &self,
        request: Request<Streaming<v1::ProduceRequest>>,
    ) -> Result<Response<Self::ProduceStream>, Status> {
        let what = self.how.strip_prefix("source:").unwrap_or_default().to_owned();
        Ok(Response::new(produce::answer(what, request.into_inner())))
    }
}

impl Rogue {
    fn mood(&self) -> process::Mood {
        match self.how.as_str() {
            "hangs" if fs::exists("lived").is_ok_and(|lived| !lived) => {
                fs::write("lived", "once").expect("its folder can be written");
                process::Mood { hangs: true, protocol: 1 }
            }
            "chooses-9" => process::Mood { hangs: false, protocol: 9 },
            _ => process::Mood { hangs: false, protocol: 1 },
        }
    }
}

fn sdk() -> v1::Sdk {
    v1::Sdk { language: "rogue".into(), version: "0.0.0".into() }
}

fn opened(protocol: u32) -> v1::Opened {
    v1::Opened { protocol, sdk: Some(sdk()), ..v1::Opened::default() }
}
