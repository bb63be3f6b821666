//! The server: connections, limits, time limits; what a request holds is `parse`'s business.

use std::{convert::Infallible, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, StatusCode, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use meshloom_core::{exchange::NotAccepted, limits};
use tokio::{
    net::TcpListener,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot},
    task::JoinSet,
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::{
    answer::{Refusal, accepted},
    connections::{Connections, Seat},
    parse,
    source::{Admission, Outcome},
};
use crate::listen::{ACCEPT_PAUSE, FAREWELL};

/// Connections at a time. About 16 KiB each while they are idle.
const CONNECTIONS: usize = 1024;
/// Time between two words about connections that had to make way.
const SAY_AGAIN: Duration = Duration::from_secs(60);
/// Bytes of bodies held at a time, of all requests that have not been admitted.
const BODIES_BYTES: usize = 64 << 20;
/// Largest body.
const BODY_BYTES: usize = limits::BATCH_BYTES;
/// Time for the head of a request to arrive.
const HEAD_TIME: Duration = Duration::from_secs(10);

/// What the user says.
pub(super) struct Settings {
    /// The path that takes events.
    pub(super) path: String,
    /// Largest event, bytes.
    pub(super) max_event: usize,
    /// Time for a body to arrive, and time for its events to become durable.
    pub(super) timeout: Duration,
}

struct Service {
    settings: Arc<Settings>,
    admissions: mpsc::Sender<Admission>,
    bodies: Arc<Semaphore>,
    stop: CancellationToken,
}

/// Serves until `stop`, then answers what is open. What the operator should know goes to `notices`.
pub(super) async fn serve(
    listener: TcpListener,
    settings: Arc<Settings>,
    admissions: mpsc::Sender<Admission>,
    notices: mpsc::Sender<String>,
    stop: CancellationToken,
) {
    let bodies = Arc::new(Semaphore::new(BODIES_BYTES));
    let service = Arc::new(Service { settings, admissions, bodies, stop: stop.clone() });
    let connections = Connections::new(CONNECTIONS);
    let mut tasks = JoinSet::new();
    let mut said: Option<Instant> = None;
    loop {
        let accepted = tokio::select! {
            accepted = async { connections.room().await; listener.accept().await } => accepted,
            Some(_) = tasks.join_next() => continue,
            () = stop.cancelled() => break,
        };
        let trouble = match accepted {
            Ok((stream, _)) => {
                let (seat, evicted) = connections.seat();
                tasks.spawn(connection(stream, seat, service.clone()));
                evicted.then(|| format!("{CONNECTIONS} connections are open"))
            }
            Err(error) => {
                if !connections.evict() {
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
                Some(format!("a connection could not be accepted ({error})"))
            }
        };
        if let Some(trouble) = trouble
            && said.is_none_or(|said| said.elapsed() >= SAY_AGAIN)
            // Who does not read notices now hears of the next.
            && notices.try_send(format!("{trouble}; those that are idle make way for new ones")).is_ok()
        {
            said = Some(Instant::now());
        }
    }
    drop(listener);
    let all_done = async { while tasks.join_next().await.is_some() {} };
    if tokio::time::timeout(FAREWELL, all_done).await.is_err() {
        tasks.shutdown().await;
    }
}

async fn connection(stream: tokio::net::TcpStream, seat: Seat, service: Arc<Service>) {
    let stop = service.stop.clone();
    let seat = Arc::new(seat);
    let handler = service_fn(|request| {
        let (service, seat) = (service.clone(), seat.clone());
        async move {
            let _busy = seat.busy();
            Ok::<_, Infallible>(service.handle(request).await.unwrap_or_else(Refusal::into_response))
        }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIME).half_close(true);
    let mut connection = std::pin::pin!(http.serve_connection(TokioIo::new(stream), handler));
    // A connection that breaks concerns nobody but its client.
    let _ = tokio::select! {
        ended = connection.as_mut() => ended,
        () = seat.evicted() => Ok(()),
        () = stop.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
}

impl Service {
    async fn handle(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Refusal> {
        self.check(&request)?;
        let kind = parse::kind(request.headers()).map_err(Refusal::and_close)?;
        let (head, body) = request.into_parts();
        let read = tokio::time::timeout(self.settings.timeout, self.read(body)).await;
        let (body, room) = read.map_err(|_elapsed| {
            let message = format!("the body did not arrive within {:?}", self.settings.timeout);
            Refusal::new(StatusCode::REQUEST_TIMEOUT, "BODY_TIMEOUT", message).and_close()
        })??;
        let batch = parse::events(kind, &head.headers, &body, self.settings.max_event)?;
        drop((body, room));
        let events = batch.len();
        if events == 0 {
            return Ok(accepted(0));
        }
        let (reply, outcome) = oneshot::channel();
        let stopping = || Refusal::unavailable("STOPPING", "the pipeline is stopping; the events were not delivered");
        let durable = async {
            self.admissions.send(Admission { batch, reply, since: Instant::now() }).await.map_err(|_| stopping())?;
            outcome.await.map_err(|_| stopping())
        };
        let outcome = tokio::time::timeout(self.settings.timeout, durable).await.map_err(|_elapsed| {
            let message = format!(
                "the events were not accepted within {:?}; they may still be, so send them with the same ids again",
                self.settings.timeout
            );
            Refusal::unavailable("NOT_SETTLED", message)
        })??;
        match outcome {
            Outcome::Accepted => Ok(accepted(events)),
            Outcome::Busy => Err(Refusal::busy("the pipeline has no room now: send the request again later")),
            Outcome::Refused(NotAccepted::Full) => {
                Err(Refusal::busy("the journal is full of events that have not settled: send the request again later"))
            }
            Outcome::Refused(NotAccepted::Failed) => Err(Refusal::unavailable(
                "JOURNAL_FAILED",
                "the journal cannot be written, so none of the events was accepted: send the request again later; the \
                 log of the coordinator says what to do",
            )),
            Outcome::Refused(NotAccepted::TooLarge) => Err(Refusal::too_large(
                "more than the journal takes at once: send less per request, or raise `journal: { size }`",
            )),
            Outcome::TooMany { events, bytes } => Err(Refusal::too_large(format!(
                "more than the pipeline takes at once, {events} events and {bytes} bytes: send less per request, or \
                 raise `queue` of the node below"
            ))),
            Outcome::Stopping => Err(stopping()),
        }
    }

    fn check(&self, request: &Request<Incoming>) -> Result<(), Refusal> {
        if self.stop.is_cancelled() {
            return Err(Refusal::unavailable("STOPPING", "the pipeline is stopping").and_close());
        }
        if request.uri().path() != self.settings.path {
            let message = format!("events are taken at {}", self.settings.path);
            return Err(Refusal::new(StatusCode::NOT_FOUND, "NOT_FOUND", message).and_close());
        }
        if request.method() != Method::POST {
            let message = format!("{} is not allowed: POST events", request.method());
            return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "METHOD_NOT_ALLOWED", message).and_close());
        }
        match hyper::body::Body::size_hint(request.body()).lower() {
            announced if announced > BODY_BYTES as u64 => Err(body_too_large()),
            _ => Ok(()),
        }
    }

    /// The whole body, and its place in the bound of all bodies.
    async fn read(&self, mut body: Incoming) -> Result<(Bytes, Option<OwnedSemaphorePermit>), Refusal> {
        let mut bytes = BytesMut::new();
        let mut room: Option<OwnedSemaphorePermit> = None;
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| {
                Refusal::bad_request("BODY_BROKEN", format!("the body ended early: {error}")).and_close()
            })?;
            let Ok(chunk) = frame.into_data() else {
                continue;
            };
            if bytes.len() + chunk.len() > BODY_BYTES {
                return Err(body_too_large());
            }
            let size = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
            let more = self.bodies.clone().try_acquire_many_owned(size);
            let more =
                more.map_err(|_| Refusal::busy("too many requests at once: send the request again later").and_close())?;
            match &mut room {
                Some(room) => room.merge(more),
                none => *none = Some(more),
            }
            bytes.extend_from_slice(&chunk);
        }
        Ok((bytes.freeze(), room))
    }
}

fn body_too_large() -> Refusal {
    Refusal::too_large(format!("a body of more than {BODY_BYTES} bytes: send fewer events per request")).and_close()
}
