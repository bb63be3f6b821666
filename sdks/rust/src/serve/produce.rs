//! One Produce stream: demand in, frames out.

use std::{collections::HashMap, sync::Arc};

use meshloom_proto::v1::{
    Exhausted, OpenProduce, Opened, Ordering, ProduceRequest, ProduceResponse, produce_request,
    produce_response::Response,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming};

use super::{
    describe::Service,
    open::{self, find, negotiate, sdk},
    status::{because, refuse, violation},
};
use crate::{
    columns::limits::MAX_CHECKPOINT_BYTES,
    config::ConfigError,
    error::{Error, reason},
    handler::{Credit, End, Ready, Settlement, Source, SourceTask},
    record::Receipt,
    trace::Sampler,
};

/// Frames that wait for the transport.
const WAITING_FRAMES: usize = 2;

/// Receipts of the frames that have not settled, by sequence.
type Unsettled = HashMap<u64, Vec<Receipt>>;
type Responses = mpsc::Sender<Result<ProduceResponse, Status>>;

/// Serves one stream until it ends.
pub(crate) async fn run(service: Service, requests: Streaming<ProduceRequest>, responses: Responses) {
    if let Err(status) = serve(&service, requests, &responses).await {
        // A coordinator that is gone needs no status.
        let _ = responses.send(Err(status)).await;
    }
}

/// Stops the source when the stream ends, however it ends.
struct Running {
    task: JoinHandle<Result<End, Error>>,
    stopping: CancellationToken,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stopping.cancel();
    }
}

async fn serve(
    service: &Service,
    mut requests: Streaming<ProduceRequest>,
    responses: &Responses,
) -> Result<(), Status> {
    let Some(Open { source, request, replays, opened }) = open(service, &mut requests, responses).await? else {
        return Ok(());
    };
    let credit = Arc::new(Credit::default());
    let stopping = CancellationToken::new();
    let (frames_in, mut frames) = mpsc::channel(WAITING_FRAMES);
    let (begun_in, begun) = oneshot::channel();
    let task = SourceTask {
        checkpoint: request.checkpoint,
        replays,
        sampling: Sampler::new(request.trace),
        credit: Arc::clone(&credit),
        stopping: stopping.clone(),
        frames: frames_in,
        begun: Some(begun_in),
    };
    let mut running = Running { task: service.app.spawn(Arc::clone(&source).run(task)), stopping };
    // A source that cannot begin, for instance with its checkpoint, refuses to open.
    let begun = tokio::select! {
        begun = begun => begun.is_ok(),
        () = service.draining.cancelled() => return Err(Status::unavailable("the node is draining")),
    };
    if !begun {
        let ended = (&mut running.task).await.map_err(|panic| Status::internal(panic.to_string()))?;
        return ended.map(|_| ()).map_err(|error| source_failed(&error));
    }
    if send(responses, Response::Opened(opened)).await.is_err() {
        return Ok(());
    }
    let settled = spawn_hook(service, source);
    let mut unsettled: Unsettled = HashMap::new();
    let mut reading = true;
    let mut framing = true;
    let mut exhausted = false;
    loop {
        // After its end a source still hears what has settled, until the coordinator has had enough.
        if exhausted && (!reading || running.stopping.is_cancelled()) {
            return Ok(());
        }
        tokio::select! {
            () = responses.closed() => return Ok(()),
            () = service.draining.cancelled(), if !running.stopping.is_cancelled() => running.stopping.cancel(),
            frame = frames.recv(), if framing => match frame {
                Some((produced, receipts)) => {
                    unsettled.insert(produced.sequence, receipts);
                    if send(responses, Response::Produced(produced)).await.is_err() {
                        return Ok(());
                    }
                }
                None => framing = false,
            },
            ended = &mut running.task, if !framing && !exhausted => {
                match ended.map_err(|panic| Status::internal(panic.to_string()))? {
                    Ok(End::Stopped) => return Ok(()),
                    Ok(End::Exhausted) => {
                        // A coordinator that is gone does not miss it.
                        let _ = send(responses, Response::Exhausted(Exhausted {})).await;
                        exhausted = true;
                    }
                    Err(error) => return Err(source_failed(&error)),
                }
            }
            request = requests.message(), if reading => match request {
                Ok(Some(request)) => handle(request, &credit, &running.stopping, &mut unsettled, &settled)?,
                Ok(None) => {
                    reading = false;
                    running.stopping.cancel();
                }
                Err(_) => return Ok(()),
            },
        }
    }
}

/// A stream that can begin.
struct Open {
    source: Arc<dyn Source>,
    request: OpenProduce,
    replays: bool,
    opened: Opened,
}

async fn open(
    service: &Service,
    requests: &mut Streaming<ProduceRequest>,
    responses: &Responses,
) -> Result<Option<Open>, Status> {
    let request = tokio::select! {
        biased;
        () = service.draining.cancelled() => return Err(Status::unavailable("the node is draining")),
        request = requests.message() => request?,
    };
    let Some(request) = request else {
        return Ok(None);
    };
    let Some(produce_request::Request::Open(open)) = request.request else {
        return Err(violation("the first request of a stream is `open`"));
    };
    let protocol = negotiate(open.protocol)?;
    let node = find(&service.nodes, &open.handler, true)?;
    if open.checkpoint.as_ref().is_some_and(|checkpoint| checkpoint.len() > MAX_CHECKPOINT_BYTES) {
        return Err(refuse("checkpoint", format!("a checkpoint has at most {MAX_CHECKPOINT_BYTES} bytes")));
    }
    let request = open::Request {
        pipeline: open.pipeline.clone(),
        node: open.node.clone(),
        replica: open.replica,
        config_json: open.config_json.clone(),
        ordering: Ordering::None,
        concurrency: 0,
    };
    let ready = tokio::select! {
        ready = request.open(node, service) => ready?,
        () = responses.closed() => return Ok(None),
    };
    let Ready::Source(source) = ready else { unreachable!("`find` gives only sources") };
    let opened = Opened { protocol, sdk: Some(sdk()), capabilities: Vec::new(), limits: None };
    Ok(Some(Open { source, request: open, replays: node.replays, opened }))
}

fn handle(
    request: ProduceRequest,
    credit: &Credit,
    stopping: &CancellationToken,
    unsettled: &mut Unsettled,
    settled: &mpsc::UnboundedSender<Settlement>,
) -> Result<(), Status> {
    match request.request {
        Some(produce_request::Request::Demand(demand)) => credit.add(demand.events, demand.bytes),
        Some(produce_request::Request::Settled(frame)) => {
            if let Some(receipts) = unsettled.remove(&frame.sequence) {
                // The task that takes it ends after this stream.
                let _ = settled.send(Settlement { receipts, checkpoint: frame.checkpoint });
            }
        }
        Some(produce_request::Request::Stop(_)) => stopping.cancel(),
        Some(produce_request::Request::Open(_)) => {
            return Err(violation("a stream is opened once"));
        }
        None => {}
    }
    Ok(())
}

/// Tells the source of one settled frame after the other, beside the stream. What waits is bounded by the frames that the
/// coordinator has taken. A drain waits until all was told.
fn spawn_hook(service: &Service, source: Arc<dyn Source>) -> mpsc::UnboundedSender<Settlement> {
    let (settled, mut waiting) = mpsc::unbounded_channel::<Settlement>();
    let told = service.streams.track_future(async move {
        while let Some(frame) = waiting.recv().await {
            for error in frame.tell(&source).await {
                tracing::error!("what was to be done for settled events failed: {}", error.message());
            }
        }
    });
    service.app.spawn(told);
    settled
}

async fn send(responses: &Responses, response: Response) -> Result<(), ()> {
    responses.send(Ok(ProduceResponse { response: Some(response) })).await.map_err(|_| ())
}

/// A refused checkpoint is a matter of configuration; anything else may pass when the source is opened again.
fn source_failed(error: &Error) -> Status {
    if let Some(refused) =
        error.source().and_then(|source| (source as &(dyn std::error::Error + 'static)).downcast_ref::<ConfigError>())
    {
        return refused.to_status();
    }
    let message = format!("the source failed: {}", error.message());
    tracing::error!("{message}");
    let reason = if error.reason() == reason::CHECKPOINT_REPEATED { error.reason() } else { "SOURCE_FAILED" };
    because(Code::Aborted, reason, message, [])
}
