//! The Rust side of the bench: the node written with the SDK (`sdk`), the server without it (`bare`), and the typed JSON map
//! without Meshloom (`loop`).

use std::{
    convert::Infallible,
    path::PathBuf,
    pin::Pin,
    task::{Context, Poll},
};

use anyhow::{Context as _, bail};
use meshloom::Json;
use meshloom_bench::{FRAME_BYTES, MESSAGE_BYTES, PROCESS_PATH, WINDOW_BYTES, codec::BatchCodec};
use meshloom_proto::v1::{self, process_request::Request as Asked, process_response::Response as Answered};
use serde::{Deserialize, Serialize};
use tokio_stream::{Stream, StreamExt as _, wrappers::UnixListenerStream};
use tonic::{
    Request, Response, Status, Streaming,
    body::Body,
    server::{Grpc, NamedService, StreamingService},
    transport::Server,
};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["sdk"] => {
            let nodes = [meshloom::node("echo").map(echo), meshloom::node("json-map").map(json_map)];
            Ok(meshloom::Server::new(nodes).serve().await?)
        }
        ["bare", "echo"] => bare().await,
        ["loop", payload, events] => plain(payload.as_bytes(), events.parse()?),
        _ => bail!("usage: bench-rust sdk | bare echo, with MESHLOOM_LISTEN=unix:/path | loop PAYLOAD EVENTS"),
    }
}

async fn echo(payload: meshloom::Bytes) -> meshloom::Bytes {
    payload
}

/// The payload of every event of the typed JSON map.
#[derive(Debug, Deserialize)]
struct Reading {
    sensor: String,
    celsius: f64,
    time: String,
    site: String,
    note: String,
}

/// What becomes of it.
#[derive(Debug, Serialize)]
struct Scored {
    sensor: String,
    celsius: f64,
    time: String,
    site: String,
    note: String,
    hot: bool,
}

fn score(reading: Reading) -> Scored {
    let Reading { sensor, celsius, time, site, note } = reading;
    Scored { sensor, celsius, time, site, note, hot: celsius > 30.0 }
}

async fn json_map(Json(reading): Json<Reading>) -> Json<Scored> {
    Json(score(reading))
}

/// The typed JSON map without Meshloom; says after every so many events how many it has done.
fn plain(payload: &[u8], events: usize) -> anyhow::Result<()> {
    let mut done = 0;
    loop {
        let mut encoded = Vec::with_capacity(events);
        for _ in 0..events {
            encoded.push(serde_json::to_vec(&score(serde_json::from_slice(payload)?))?);
        }
        done += encoded.len();
        println!("{done}");
    }
}

async fn bare() -> anyhow::Result<()> {
    let listen = std::env::var("MESHLOOM_LISTEN").context("MESHLOOM_LISTEN is not set")?;
    let path = PathBuf::from(listen.strip_prefix("unix:").context("MESHLOOM_LISTEN is no unix: address")?);
    let listener = tokio::net::UnixListener::bind(path)?;
    let server = Server::builder()
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES);
    Ok({ server }.add_service(Bare).serve_with_incoming(UnixListenerStream::new(listener)).await?)
}

/// Answers every batch with its own payload column.
#[derive(Clone)]
struct Bare;

impl NamedService for Bare {
    const NAME: &'static str = "meshloom.v1.NodeService";
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

impl tower::Service<http::Request<Body>> for Bare {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Result<Self::Response, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        debug_assert_eq!(request.uri().path(), PROCESS_PATH);
        Box::pin(async move {
            let codec = BatchCodec::<v1::ProcessResponse, v1::ProcessRequest>::default();
            let mut grpc =
                Grpc::new(codec).max_decoding_message_size(MESSAGE_BYTES).max_encoding_message_size(MESSAGE_BYTES);
            Ok(grpc.streaming(Bare, request).await)
        })
    }
}

impl StreamingService<v1::ProcessRequest> for Bare {
    type Response = v1::ProcessResponse;
    type ResponseStream = Pin<Box<dyn Stream<Item = Result<v1::ProcessResponse, Status>> + Send>>;
    type Future = BoxFuture<Result<Response<Self::ResponseStream>, Status>>;

    fn call(&mut self, request: Request<Streaming<v1::ProcessRequest>>) -> Self::Future {
        Box::pin(async move {
            let answers = request.into_inner().map(|asked| answer(asked?));
            Ok(Response::new(Box::pin(answers) as Self::ResponseStream))
        })
    }
}

fn answer(asked: v1::ProcessRequest) -> Result<v1::ProcessResponse, Status> {
    let Some(Asked::Work(work)) = asked.request else {
        return Err(Status::invalid_argument("only works are answered"));
    };
    let batch = work.batch.ok_or_else(|| Status::invalid_argument("a work without a batch"))?;
    let outputs = v1::Outputs { count: batch.count, payload: batch.payload, ..v1::Outputs::default() };
    let result =
        v1::WorkResult { sequence: work.sequence, outputs: Some(outputs), last: true, ..v1::WorkResult::default() };
    Ok(v1::ProcessResponse { response: Some(Answered::Result(result)) })
}
