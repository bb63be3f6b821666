//! The admin service on a Unix socket that the state directory records.

use std::{io, path::Path, pin::Pin, sync::Arc, time::Duration};

use futures::{Stream, StreamExt as _};
use hyper_util::rt::TokioIo;
use meshloom_proto::v1::{
    self,
    coordinator_service_client::CoordinatorServiceClient,
    coordinator_service_server::{CoordinatorService, CoordinatorServiceServer},
    trace_request::Which,
};
use meshloom_telemetry::{Trace, TraceId};
use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinHandle,
};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tokio_util::sync::CancellationToken;
use tonic::{
    Request, Response, Status,
    transport::{Channel, Endpoint, Server, Uri},
};
use tower::service_fn;

use crate::{
    restart::restart,
    resume::resume,
    service::Shared,
    state::{LetterFilter, LetterRecord, Page, StateDir, timestamp},
};

/// Pause between two states of a watch.
const WATCH: Duration = Duration::from_millis(100);
/// Letters in one message of a list.
const LETTERS: usize = 256;
/// Bytes of letters in one message of a list, if there are several.
const LETTERS_BYTES: u64 = 4 << 20;

/// Why a coordinator cannot be reached.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    /// No coordinator runs on this state directory.
    #[error(
        "no coordinator runs on {state}: {source}; start it with `meshloom run`, or name its state with `--state DIR`"
    )]
    NotRunning {
        /// The state directory.
        state: String,
        /// What the system said.
        source: io::Error,
    },
    /// It does not answer.
    #[error("the coordinator of {state} does not answer: {source}")]
    NoAnswer {
        /// The state directory.
        state: String,
        /// What went wrong.
        source: tonic::transport::Error,
    },
}

/// Connects to the coordinator that runs on a state directory.
pub async fn connect(state: &Path) -> Result<CoordinatorServiceClient<Channel>, AdminError> {
    let not_running = |source| AdminError::NotRunning { state: state.display().to_string(), source };
    let socket = std::fs::read_to_string(StateDir::admin_record(state)).map_err(not_running)?;
    let socket = std::path::PathBuf::from(socket.trim());
    // Looked at first, since the transport's error does not say what it looked for.
    UnixStream::connect(&socket).await.map_err(not_running)?;
    let connector = service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { Ok::<_, io::Error>(TokioIo::new(UnixStream::connect(socket).await?)) }
    });
    let channel = Endpoint::from_static("http://coordinator.localhost").connect_with_connector(connector).await;
    let channel = channel.map_err(|source| AdminError::NoAnswer { state: state.display().to_string(), source })?;
    Ok(CoordinatorServiceClient::new(channel).max_decoding_message_size(64 << 20))
}

/// Serves until `stop`.
pub(crate) fn serve(shared: Arc<Shared>, folder: &Path, stop: CancellationToken) -> io::Result<JoinHandle<()>> {
    let socket = folder.join("admin");
    let listener = UnixListener::bind(&socket)?;
    let record = StateDir::admin_record(&shared.state_dir);
    std::fs::write(&record, socket.as_os_str().as_encoded_bytes())?;
    let reflection = || {
        tonic_reflection::server::Builder::configure().register_encoded_file_descriptor_set(meshloom_proto::DESCRIPTORS)
    };
    let v1 = reflection().build_v1().map_err(io::Error::other)?;
    let v1alpha = reflection().build_v1alpha().map_err(io::Error::other)?;
    Ok(tokio::spawn(async move {
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_serving::<CoordinatorServiceServer<Admin>>().await;
        let served = Server::builder()
            .add_service(CoordinatorServiceServer::new(Admin { shared }))
            .add_service(health_service)
            .add_service(v1)
            .add_service(v1alpha)
            .serve_with_incoming_shutdown(UnixListenerStream::new(listener), stop.cancelled_owned())
            .await;
        if let Err(error) = served {
            tracing::error!("the admin service ended: {error}");
        }
        // Nobody must look for a socket that is gone.
        let _ = std::fs::remove_file(record);
    }))
}

struct Admin {
    shared: Arc<Shared>,
}

impl Admin {
    /// Dead letters behind a generation, oldest first.
    async fn letters(&self, after: u64, count: usize, filter: &LetterFilter) -> Result<Page, Status> {
        let (letters, filter) = (self.shared.letters.clone(), filter.clone());
        let page = tokio::task::spawn_blocking(move || letters.page(after, count, LETTERS_BYTES, &filter));
        let page = page.await.map_err(|error| Status::internal(error.to_string()))?;
        page.map_err(|error| Status::internal(format!("the dead letters cannot be read: {error}")))
    }
}

type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl CoordinatorService for Admin {
    type WatchStream = BoxStream<v1::WatchResponse>;
    type TapStream = BoxStream<v1::TapResponse>;
    type ListDeadLettersStream = BoxStream<v1::ListDeadLettersResponse>;
    type ReplayDeadLettersStream = BoxStream<v1::ReplayDeadLettersResponse>;

    async fn status(&self, _: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        Ok(Response::new(v1::StatusResponse { status: Some(self.shared.status()) }))
    }

    async fn watch(&self, _: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let shared = self.shared.clone();
        let ticks = futures::stream::unfold((shared, None), |(shared, last)| async move {
            loop {
                let status = shared.status();
                if last.as_ref() != Some(&status) {
                    let response = v1::WatchResponse { status: Some(status.clone()) };
                    tokio::time::sleep(WATCH).await;
                    return Some((Ok(response), (shared, Some(status))));
                }
                tokio::time::sleep(WATCH).await;
            }
        });
        Ok(Response::new(ticks.boxed()))
    }

    async fn tap(&self, _: Request<v1::TapRequest>) -> Result<Response<Self::TapStream>, Status> {
        Err(not_yet("Tap"))
    }

    async fn trace(&self, request: Request<v1::TraceRequest>) -> Result<Response<v1::TraceResponse>, Status> {
        let traces = &self.shared.traces;
        let malformed = |what| Status::invalid_argument(format!("{what} has 16 bytes"));
        let found = match request.into_inner().which {
            Some(Which::Uid(uid)) => {
                let uid: [u8; 16] = uid[..].try_into().map_err(|_| malformed("a uid"))?;
                traces.by_uid(uid).into_iter().next()
            }
            Some(Which::TraceId(id)) => traces.trace(TraceId::from_slice(&id).ok_or_else(|| malformed("a trace id"))?),
            Some(Which::Last(_)) | None => traces.newest(1).into_iter().next(),
        };
        let trace = found.ok_or_else(|| {
            Status::not_found(
                "no such trace is in memory: the event was not sampled, or its trace has made room for newer ones",
            )
        })?;
        Ok(Response::new(trace_response(&trace)))
    }

    async fn list_dead_letters(
        &self,
        request: Request<v1::ListDeadLettersRequest>,
    ) -> Result<Response<Self::ListDeadLettersStream>, Status> {
        let request = request.into_inner();
        let filter = decode_filter(request.filter)?;
        let limit = if request.limit == 0 { usize::MAX } else { request.limit as usize };
        let admin = Self { shared: self.shared.clone() };
        let pages = futures::stream::try_unfold(Some((0, limit)), move |at| {
            let (admin, filter) = (Self { shared: admin.shared.clone() }, filter.clone());
            async move {
                let Some((after, left)) = at.filter(|(_, left)| *left > 0) else { return Ok(None) };
                let page = admin.letters(after, LETTERS.min(left), &filter).await?;
                let next = page.next.map(|next| (next, left - page.letters.len()));
                let letters = page.letters.iter().map(to_wire).collect();
                Ok(Some((v1::ListDeadLettersResponse { letters }, next)))
            }
        });
        Ok(Response::new(pages.boxed()))
    }

    async fn show_dead_letter(
        &self,
        request: Request<v1::ShowDeadLetterRequest>,
    ) -> Result<Response<v1::ShowDeadLetterResponse>, Status> {
        let v1::ShowDeadLetterRequest { node, uid } = request.into_inner();
        if node.is_empty() || uid.is_empty() {
            return Err(Status::invalid_argument("a dead letter is named by its node and the uid of its event"));
        }
        let filter = decode_filter(Some(v1::DeadLetterFilter { node, uid, ..Default::default() }))?;
        // An event that came from several upstreams may have several: the newest tells most.
        let (mut newest, mut after) = (None, Some(0));
        while let Some(from) = after {
            let mut page = self.letters(from, usize::MAX, &filter).await?;
            newest = page.letters.pop().or(newest);
            after = page.next;
        }
        let newest = newest.ok_or_else(|| Status::not_found("that event has no dead letter at that node"))?;
        Ok(Response::new(v1::ShowDeadLetterResponse { letter: Some(to_wire(&newest)) }))
    }

    async fn replay_dead_letters(
        &self,
        request: Request<v1::ReplayDeadLettersRequest>,
    ) -> Result<Response<Self::ReplayDeadLettersStream>, Status> {
        let progress = self.shared.replayer.begin(decode_filter(request.into_inner().filter)?)?;
        Ok(Response::new(ReceiverStream::new(progress).boxed()))
    }

    async fn discard_dead_letters(
        &self,
        request: Request<v1::DiscardDeadLettersRequest>,
    ) -> Result<Response<v1::DiscardDeadLettersResponse>, Status> {
        let filter = decode_filter(request.into_inner().filter)?;
        let letters = self.shared.letters.clone();
        let discarded = tokio::task::spawn_blocking(move || letters.discard(&filter)).await;
        let discarded = discarded.map_err(|error| Status::internal(error.to_string()))?;
        let discarded =
            discarded.map_err(|error| Status::internal(format!("the dead letters cannot be discarded: {error}")))?;
        Ok(Response::new(v1::DiscardDeadLettersResponse { discarded }))
    }

    async fn restart(&self, request: Request<v1::RestartRequest>) -> Result<Response<v1::RestartResponse>, Status> {
        let restarted = restart(&self.shared, &request.into_inner().node).await?;
        Ok(Response::new(v1::RestartResponse { restarted }))
    }

    async fn resume(&self, request: Request<v1::ResumeRequest>) -> Result<Response<v1::ResumeResponse>, Status> {
        let resumed = resume(&self.shared, &request.into_inner().node).await?;
        Ok(Response::new(v1::ResumeResponse { resumed }))
    }

    async fn drain(&self, _: Request<v1::DrainRequest>) -> Result<Response<v1::DrainResponse>, Status> {
        self.shared.drain();
        Ok(Response::new(v1::DrainResponse {}))
    }
}

fn not_yet(method: &str) -> Status {
    Status::unimplemented(format!("this version of the coordinator does not serve {method}"))
}

fn decode_filter(filter: Option<v1::DeadLetterFilter>) -> Result<LetterFilter, Status> {
    LetterFilter::decode(filter.unwrap_or_default()).map_err(Status::invalid_argument)
}

fn to_wire(letter: &LetterRecord) -> v1::DeadLetter {
    v1::DeadLetter {
        node: letter.node.clone(),
        from: letter.from.clone().unwrap_or_default(),
        uid: letter.uid().map(|uid| uid.as_bytes().to_vec()).unwrap_or_default().into(),
        reason: letter.reason.clone(),
        message: letter.message.clone(),
        attempts: letter.attempts,
        time: Some(timestamp(letter.time)),
        event: letter.batch().map(|batch| meshloom_wire::batch::encode(&batch)),
        route: letter.route.clone().unwrap_or_default(),
        repeats: letter.repeats,
        history: letter
            .history
            .iter()
            .map(|earlier| v1::EarlierFailure {
                time: Some(timestamp(earlier.time)),
                reason: earlier.reason.clone(),
                message: earlier.message.clone(),
                attempts: earlier.attempts,
            })
            .collect(),
    }
}

fn trace_response(trace: &Trace) -> v1::TraceResponse {
    let spans = trace.spans.iter().map(|span| v1::TraceSpan {
        span_id: span.span_id.to_bytes().to_vec().into(),
        parent_span_id: span.parent.map(|parent| parent.to_bytes().to_vec()).unwrap_or_default().into(),
        name: span.name.to_string(),
        service: span.service.name.clone(),
        kind: format!("{:?}", span.kind).to_lowercase(),
        start: Some(timestamp(span.start)),
        duration: Duration::from_nanos(span.duration()).try_into().ok(),
        attributes: span.attributes.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect(),
        events: span
            .events
            .iter()
            .map(|event| v1::TraceSpanEvent { name: event.name.to_string(), time: Some(timestamp(event.time)) })
            .collect(),
        error: matches!(span.status, meshloom_telemetry::Status::Error(_)),
        error_message: match &span.status {
            meshloom_telemetry::Status::Error(message) => message.clone(),
            _ => String::new(),
        },
    });
    v1::TraceResponse { trace_id: trace.id.to_bytes().to_vec().into(), spans: spans.collect() }
}
