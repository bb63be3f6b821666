//! The reference: a client of our own over one stream to a server that knows no SDK.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use meshloom_bench::{
    FRAME_BYTES, MESSAGE_BYTES, PROCESS_PATH, WINDOW_BYTES,
    codec::BatchCodec,
    frames::{self, PAYLOAD},
};
use meshloom_proto::v1::{self, process_request::Request as Ask, process_response::Response as Answer};
use tokio::{net::UnixStream, sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Request,
    client::Grpc,
    transport::{Channel, Endpoint, Uri},
};
use tower::service_fn;

use crate::{
    cases::Case,
    measured::{Measured, Reading},
    process::{PATIENCE, Program, cpu_time},
    settings::Settings,
};

/// Batches in flight, as in the measurements before the design: more gained nothing.
const IN_FLIGHT: u32 = 8;

/// Measures a case's server with batches of `batch` events.
pub(crate) async fn measure(case: &Case, settings: &Settings, batch: u32) -> anyhow::Result<Measured> {
    let folder = tempfile::Builder::new().prefix("mb").tempdir()?;
    let socket = folder.path().join("s");
    let listen = format!("unix:{}", socket.display());
    let mut server =
        Program::start(&case.bare_command(settings), &[("MESHLOOM_LISTEN", &listen)], &folder.path().join("log"))?;
    server.until("listening", async || UnixStream::connect(&socket).await.ok()).await?;
    let connector = service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { Ok::<_, std::io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
    });
    let channel = Endpoint::from_static("http://node.localhost")
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .connect_with_connector(connector)
        .await?;
    let measured = exchange(channel, server.pid(), case, settings, batch).await?;
    server.kill().await?;
    Ok(measured)
}

async fn exchange(
    channel: Channel,
    server: u32,
    case: &Case,
    settings: &Settings,
    batch: u32,
) -> anyhow::Result<Measured> {
    let frame = frames::batch(batch);
    let work = |sequence| v1::ProcessRequest {
        request: Some(Ask::Work(v1::Work { sequence, batch: Some(frame.clone()), ..v1::Work::default() })),
    };
    let (requests, queue) = mpsc::channel(IN_FLIGHT as usize);
    for sequence in 1..=IN_FLIGHT {
        requests.send(work(sequence.into())).await?;
    }
    let codec = BatchCodec::<v1::ProcessRequest, v1::ProcessResponse>::default();
    let mut grpc = Grpc::new(channel).max_decoding_message_size(MESSAGE_BYTES).max_encoding_message_size(MESSAGE_BYTES);
    grpc.ready().await?;
    let request = Request::new(ReceiverStream::new(queue));
    let mut answers = grpc.streaming(request, PathAndQuery::from_static(PROCESS_PATH), codec).await?.into_inner();

    let begun = Instant::now();
    let (mut sequence, mut events) = (u64::from(IN_FLIGHT), 0);
    let mut first: Option<Reading> = None;
    loop {
        let message = timeout(PATIENCE, answers.message()).await.context("the server stands still")??;
        let Some(Answer::Result(result)) = message.and_then(|message| message.response) else {
            bail!("the server ended the stream, or answered with something else than a result");
        };
        events += check(result, case, batch)?;
        sequence += 1;
        requests.send(work(sequence)).await?;
        let now = Instant::now();
        let due = match &first {
            None => now - begun >= settings.warm_up,
            Some(first) => now - first.at >= settings.span,
        };
        if !due {
            continue;
        }
        let reading =
            Reading { at: now, events, client_cpu: cpu_time(std::process::id())?, node_cpu: cpu_time(server)? };
        match first {
            None => first = Some(reading),
            Some(first) => return Ok(Measured::between(&first, &reading, batch, IN_FLIGHT)),
        }
    }
}

/// The events of an answer that is what the case asks for.
fn check(result: v1::WorkResult, case: &Case, batch: u32) -> anyhow::Result<u64> {
    let outputs = result.outputs.context("a result without outputs")?;
    ensure!(result.last && result.failures.is_empty() && outputs.count == batch, "a work was not answered as a whole");
    let bytes = outputs.payload.map(|payload| (payload.data.len(), payload.ends.len()));
    let expected = case.added_bytes.map(|added| (batch as usize * (PAYLOAD.len() + added), batch as usize * 4));
    ensure!(bytes == expected, "the payloads of an answer have {bytes:?} bytes, expected {expected:?}");
    Ok(outputs.count.into())
}

/// Shortest measurement that says anything.
pub(crate) const SHORTEST: Duration = Duration::from_millis(100);
