//! One Process stream: works in, results out, in whatever order they are done.

mod hand;

use std::{panic::AssertUnwindSafe, sync::Arc, time::Duration};

use futures::FutureExt as _;
use meshloom_proto::v1::{
    self, Limits, OpenProcess, Opened, Ordering, ProcessRequest, ProcessResponse, WorkResult, process_request,
    process_response,
};
use prost::Message;
use tokio::{
    runtime::Handle,
    sync::mpsc,
    time::{Instant, MissedTickBehavior, interval, interval_at, sleep_until},
};
use tonic::{Status, Streaming};

use super::{
    describe::Service,
    open::{self, find, negotiate, sdk},
    status::violation,
};
use crate::{
    columns::{ABSENT, Batch, Malformed, u32_at},
    error::{Error, panic_message, reason},
    handler::{Process, Ready, Task},
    running::{CancelSignal, Running},
};
use hand::Hand;

/// How often it is told what runs.
const PROGRESS: Duration = Duration::from_secs(1);
/// How often the transport looks at what runs: the error of a call's age.
const LOOK: Duration = Duration::from_millis(10);
/// Results that wait to be sent on.
const WAITING_RESULTS: usize = 16;

type Responses = mpsc::Sender<Result<ProcessResponse, Status>>;

/// Serves one stream until it ends.
pub(crate) async fn run(service: Service, requests: Streaming<ProcessRequest>, responses: Responses) {
    if let Err(status) = serve(&service, requests, &responses).await {
        // A coordinator that is gone needs no status.
        let _ = responses.send(Err(status)).await;
    }
}

async fn serve(
    service: &Service,
    mut requests: Streaming<ProcessRequest>,
    responses: &Responses,
) -> Result<(), Status> {
    let Some(opened) = open(service, &mut requests, responses).await? else {
        return Ok(());
    };
    let (process, limits) = opened;
    let (results_in, mut results) = mpsc::channel(WAITING_RESULTS);
    let mut hand = Hand::default();
    let mut progress = interval_at(Instant::now() + PROGRESS, PROGRESS);
    progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looks = interval(LOOK);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut reading, mut draining) = (true, false);
    while (reading && !draining) || !hand.is_empty() {
        let overdue = hand.overdue();
        let response = tokio::select! {
            () = responses.closed() => break,
            () = service.draining.cancelled(), if !draining => {
                draining = true;
                continue;
            }
            Some(result) = results.recv() => hand.pass(result),
            _ = progress.tick() => hand.progress(),
            _ = looks.tick(), if !hand.is_empty() => {
                hand.look();
                continue;
            }
            () = async { sleep_until(overdue.unwrap_or_else(Instant::now)).await }, if overdue.is_some() => hand.answer_overdue(),
            request = requests.message(), if reading => match request {
                // It comes again elsewhere; what is in hand may still be taken back.
                Ok(Some(ProcessRequest { request: Some(process_request::Request::Work(_)) })) if draining => None,
                Ok(Some(ProcessRequest { request: Some(process_request::Request::Work(work)) })) => take(service, &process, limits, work, &mut hand, &results_in)?,
                Ok(Some(ProcessRequest { request: Some(process_request::Request::Cancel(cancel)) })) => {
                    tracing::debug!(sequence = cancel.sequence, reason = cancel.reason, "a work was taken back");
                    hand.cancel(cancel.sequence);
                    None
                }
                Ok(Some(ProcessRequest { request: Some(process_request::Request::Open(_)) })) => return Err(violation("a stream is opened once")),
                // A request of a kind that this version does not know is ignored, as unknown fields are.
                Ok(Some(ProcessRequest { request: None })) => None,
                Ok(None) => {
                    reading = false;
                    None
                }
                Err(_) => break,
            },
        };
        if let Some(response) = response
            && responses.send(Ok(ProcessResponse { response: Some(response) })).await.is_err()
        {
            break;
        }
    }
    Ok(())
}

/// Reads the first request and opens the handler; `None` if the coordinator left meanwhile.
async fn open(
    service: &Service,
    requests: &mut Streaming<ProcessRequest>,
    responses: &Responses,
) -> Result<Option<(Arc<dyn Process>, Limits)>, Status> {
    let request = tokio::select! {
        biased;
        () = service.draining.cancelled() => return Err(Status::unavailable("the node is draining")),
        request = requests.message() => request?,
    };
    let Some(request) = request else {
        return Ok(None);
    };
    let Some(process_request::Request::Open(open)) = request.request else {
        return Err(violation("the first request of a stream is `open`"));
    };
    let protocol = negotiate(open.protocol)?;
    let node = find(&service.nodes, &open.handler, false)?;
    let ordering = open.ordering();
    let mut limits = node.limits;
    if ordering == Ordering::All {
        limits.max_in_flight_works = 1;
    }
    let OpenProcess { pipeline, node: name, replica, config_json, concurrency, .. } = open;
    let request = open::Request { pipeline, node: name, replica, config_json, ordering, concurrency };
    let ready = tokio::select! {
        ready = request.open(node, service) => ready?,
        () = responses.closed() => return Ok(None),
    };
    let Ready::Process(process) = ready else { unreachable!("`find` gives no source") };
    let opened = Opened { protocol, sdk: Some(sdk()), capabilities: Vec::new(), limits: Some(limits) };
    let opened = ProcessResponse { response: Some(process_response::Response::Opened(opened)) };
    Ok(responses.send(Ok(opened)).await.is_ok().then_some((process, limits)))
}

fn take(
    service: &Service,
    process: &Arc<dyn Process>,
    limits: Limits,
    work: v1::Work,
    hand: &mut Hand,
    results: &mpsc::Sender<WorkResult>,
) -> Result<Option<process_response::Response>, Status> {
    let sequence = work.sequence;
    if hand.has(sequence) {
        return Err(violation(format!("work {sequence} is still in hand; a sequence is used once")));
    }
    if let Some(error) = exceeded(limits, hand, &work) {
        return Ok(Some(process_response::Response::Result(whole(sequence, error))));
    }
    let (signal, running) = (Arc::new(CancelSignal::default()), Arc::new(Running::new()));
    hand.take(&work, Arc::clone(&signal), Arc::clone(&running));
    spawn_work(&service.app, Arc::clone(process), work, signal, running, results.clone());
    Ok(None)
}

/// What a work is refused for before it is looked at.
fn exceeded(limits: Limits, hand: &Hand, work: &v1::Work) -> Option<Error> {
    let batch = work.batch.as_ref();
    let (events, bytes) = (batch.map_or(0, |batch| batch.count), batch.map_or(0, Message::encoded_len) as u64);
    if hand.len() >= limits.max_in_flight_works as usize {
        let message = format!("{} works are in hand; the node takes {}", hand.len(), limits.max_in_flight_works);
        Some(Error::retry("LIMITS_EXCEEDED", message))
    } else if events > limits.max_batch_events {
        let message = format!("the work has {events} events; the node takes {}", limits.max_batch_events);
        Some(Error::retry("BATCH_TOO_LARGE", message))
    } else if bytes > limits.max_batch_bytes {
        let message = format!("the work has {bytes} bytes; the node takes {}", limits.max_batch_bytes);
        Some(Error::retry("BATCH_TOO_LARGE", message))
    } else {
        None
    }
}

/// Decodes and answers a work on the application's runtime.
pub(crate) fn spawn_work(
    app: &Handle,
    process: Arc<dyn Process>,
    work: v1::Work,
    signal: Arc<CancelSignal>,
    running: Arc<Running>,
    results: mpsc::Sender<WorkResult>,
) {
    app.spawn(async move {
        let sequence = work.sequence;
        let failed = match decode(work, signal, running, results.clone()) {
            Ok(task) => AssertUnwindSafe(process.run(task))
                .catch_unwind()
                .await
                .err()
                .map(|panic| Error::retry(reason::PANIC, panic_message(&*panic))),
            Err(malformed) => Some(Error::retry(malformed.reason, malformed.message)),
        };
        if let Some(error) = failed {
            // Without its stream nobody waits for the answer.
            let _ = results.send(whole(sequence, error)).await;
        }
    });
}

fn decode(
    work: v1::Work,
    signal: Arc<CancelSignal>,
    running: Arc<Running>,
    results: mpsc::Sender<WorkResult>,
) -> Result<Task, Malformed> {
    let v1::Work { sequence, attempts, timeout, batch } = work;
    let batch = Batch::decode(batch.unwrap_or_default())?;
    if !attempts.is_empty() && attempts.len() != batch.len() * 4 {
        return Err(Malformed::batch(format!(
            "`attempts` has {} bytes; {} events need {}",
            attempts.len(),
            batch.len(),
            batch.len() * 4
        )));
    }
    if let Some(row) = (0..attempts.len() / 4).find(|&row| u32_at(&attempts, row) == 0) {
        return Err(Malformed::batch(format!("`attempts` counts from 1, but event {row} has 0")));
    }
    let timeout = timeout
        .map(Duration::try_from)
        .transpose()
        .map_err(|error| Malformed::batch(format!("`timeout` is no duration: {error}")))?;
    Ok(Task { sequence, batch, attempts, timeout, signal, running, results })
}

/// The answer to a work of which no event can be named.
fn whole(sequence: u64, error: Error) -> WorkResult {
    WorkResult { sequence, failures: vec![error.into_failure(ABSENT)], last: true, ..WorkResult::default() }
}
