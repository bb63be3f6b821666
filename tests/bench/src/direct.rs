//! A client of our own over one stream, without a coordinator: to a server that knows no SDK, or to a node written with one.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

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

/// Shortest measurement that says anything.
pub(crate) const SHORTEST: Duration = Duration::from_millis(100);

/// Measures a case's bare server with batches of `batch` events.
pub(crate) async fn bare(case: &Case, settings: &Settings, batch: u32) -> anyhow::Result<Measured> {
    measure(&case.bare_command(settings), None, case, settings, batch).await
}

/// Measures a case's node with batches of `batch` events.
pub(crate) async fn node(case: &Case, settings: &Settings, batch: u32) -> anyhow::Result<Measured> {
    let open = v1::OpenProcess {
        protocol: Some(v1::ProtocolRange { min: 1, max: 1 }),
        pipeline: "bench".into(),
        node: case.handler.into(),
        handler: case.handler.into(),
        ..v1::OpenProcess::default()
    };
    measure(&case.sdk_command(settings), Some(open), case, settings, batch).await
}

async fn measure(
    command: &[String],
    open: Option<v1::OpenProcess>,
    case: &Case,
    settings: &Settings,
    batch: u32,
) -> anyhow::Result<Measured> {
    let folder = tempfile::Builder::new().prefix("mb").tempdir()?;
    let socket = folder.path().join("s");
    let listen = format!("unix:{}", socket.display());
    let mut server = Program::start(command, &[("MESHLOOM_LISTEN", &listen)], &folder.path().join("log"))?;
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
    let measured = exchange(channel, server.pid(), open, case, settings, batch).await?;
    server.kill().await?;
    Ok(measured)
}

async fn exchange(
    channel: Channel,
    server: u32,
    open: Option<v1::OpenProcess>,
    case: &Case,
    settings: &Settings,
    batch: u32,
) -> anyhow::Result<Measured> {
    let (requests, queue) = mpsc::channel(IN_FLIGHT as usize);
    let mut works = Works { requests, frame: frames::batch(batch), in_flight: 0, sequence: 0, owed: HashMap::new() };
    match open {
        // A node says how many works it takes.
        Some(open) => works.ask(Ask::Open(open)).await?,
        None => works.fill(IN_FLIGHT).await?,
    }
    let codec = BatchCodec::<v1::ProcessRequest, v1::ProcessResponse>::default();
    let mut grpc = Grpc::new(channel).max_decoding_message_size(MESSAGE_BYTES).max_encoding_message_size(MESSAGE_BYTES);
    grpc.ready().await?;
    let request = Request::new(ReceiverStream::new(queue));
    let mut answers = grpc.streaming(request, PathAndQuery::from_static(PROCESS_PATH), codec).await?.into_inner();

    let begun = Instant::now();
    let mut events = 0;
    let mut first: Option<Reading> = None;
    loop {
        let message = timeout(PATIENCE, answers.message()).await.context("the server stands still")??;
        let result = match message.and_then(|message| message.response) {
            Some(Answer::Result(result)) => result,
            Some(Answer::Opened(opened)) => {
                works.fill(opened.limits.unwrap_or_default().max_in_flight_works.clamp(1, IN_FLIGHT)).await?;
                continue;
            }
            Some(Answer::Progress(_)) => continue,
            _ => bail!("the server ended the stream, or answered with something else than a result"),
        };
        events += works.settle(&result, case)?;
        if result.last {
            works.send().await?;
        }
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
            Some(first) => return Ok(Measured::between(&first, &reading, batch, works.in_flight)),
        }
    }
}

/// What is sent, and what must come back.
struct Works {
    requests: mpsc::Sender<v1::ProcessRequest>,
    /// The batch of each work.
    frame: v1::Batch,
    in_flight: u32,
    /// Of the last work.
    sequence: u64,
    /// Outputs that each work has still to give; a node may give them in parts.
    owed: HashMap<u64, u32>,
}

impl Works {
    async fn ask(&self, request: Ask) -> anyhow::Result<()> {
        Ok(self.requests.send(v1::ProcessRequest { request: Some(request) }).await?)
    }

    async fn fill(&mut self, in_flight: u32) -> anyhow::Result<()> {
        self.in_flight = in_flight;
        for _ in 0..in_flight {
            self.send().await?;
        }
        Ok(())
    }

    async fn send(&mut self) -> anyhow::Result<()> {
        self.sequence += 1;
        self.owed.insert(self.sequence, self.frame.count);
        let batch = Some(self.frame.clone());
        self.ask(Ask::Work(v1::Work { sequence: self.sequence, batch, ..v1::Work::default() })).await
    }

    /// The events of an answer that is what the case asks for.
    fn settle(&mut self, result: &v1::WorkResult, case: &Case) -> anyhow::Result<u64> {
        let empty = v1::Outputs::default();
        let outputs = result.outputs.as_ref().unwrap_or(&empty);
        let owed = self.owed.get_mut(&result.sequence).context("a work that is not in flight was answered")?;
        *owed = owed.checked_sub(outputs.count).context("a work has more outputs than inputs")?;
        let whole = !result.last || *owed == 0;
        ensure!(result.failures.is_empty() && whole, "a work was not answered as a whole: {:?}", result.failures);
        if result.last {
            self.owed.remove(&result.sequence);
        }
        let count = outputs.count as usize;
        let bytes = outputs.payload.as_ref().map(|payload| (payload.data.len(), payload.ends.len()));
        let expected = case.added_bytes.map(|added| (count * (PAYLOAD.len() + added), count * 4));
        ensure!(
            count == 0 || bytes == expected,
            "the payloads of an answer have {bytes:?} bytes, expected {expected:?}"
        );
        Ok(outputs.count.into())
    }
}
