//! Process streams.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use meshloom_proto::v1::{self, HandlerRole, Ordering, process_request::Request};
use prost::Message as _;
use serde_json::Value as Json;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Status, Streaming, transport::Endpoint};

use super::{
    codec::call,
    record::{Answer, Record},
};
use crate::{
    columns::{Style, u32s},
    context::Context,
    event::{self, Event},
    fault::{Fault, Outcome},
    node::causes,
};

const PATH: &str = "/meshloom.v1.NodeService/Process";

/// A stream that is to be opened.
pub(crate) struct Open<'a> {
    context: &'a Context,
    pub(crate) message: v1::OpenProcess,
}

impl<'a> Open<'a> {
    pub(crate) fn new(context: &'a Context, handler: &str) -> Self {
        let message = v1::OpenProcess {
            protocol: Some(v1::ProtocolRange { min: 1, max: 1 }),
            pipeline: "conformance".into(),
            node: "interpreter".into(),
            handler: handler.to_owned(),
            replica: Some(v1::Replica { index: 0, of: 1 }),
            ..v1::OpenProcess::default()
        };
        Self { context, message }
    }

    pub(crate) fn config(mut self, config: &Json) -> Self {
        self.message.config_json = config.to_string().into();
        self
    }

    pub(crate) fn ordering(mut self, ordering: Ordering) -> Self {
        self.message.ordering = ordering.into();
        self
    }

    pub(crate) fn concurrency(mut self, calls: u32) -> Self {
        self.message.concurrency = calls;
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut v1::OpenProcess)) -> Self {
        change(&mut self.message);
        self
    }

    fn request(self) -> (&'a Context, Bytes, String) {
        let handler = self.message.handler.clone();
        let request = v1::ProcessRequest { request: Some(Request::Open(self.message)) };
        (self.context, request.encode_to_vec().into(), handler)
    }

    /// Opens it and waits for `opened`.
    pub(crate) async fn start(self) -> Outcome<Process> {
        let (context, request, handler) = self.request();
        let stream = Process::raw(context, &handler, request);
        stream.opened().await?;
        Ok(stream)
    }

    /// Opens it and waits for the refusal.
    pub(crate) async fn refused(self) -> Outcome<Status> {
        let (context, request, handler) = self.request();
        Process::raw(context, &handler, request).refused().await
    }
}

/// A work to send.
#[derive(Debug, Clone, Default)]
pub(crate) struct Work {
    pub(crate) events: Vec<Event>,
    /// Empty: all 1.
    pub(crate) attempts: Vec<u32>,
    pub(crate) timeout: Option<Duration>,
    pub(crate) style: Style,
}

impl Work {
    pub(crate) fn new(events: impl IntoIterator<Item = Event>) -> Self {
        Self { events: events.into_iter().collect(), ..Self::default() }
    }

    /// Of the interpreter's commands.
    pub(crate) fn commands(commands: &[Json]) -> Self {
        Self::new(commands.iter().map(Event::command))
    }

    pub(crate) fn timeout(self, timeout: Duration) -> Self {
        Self { timeout: Some(timeout), ..self }
    }
}

/// An open stream.
pub(crate) struct Process {
    requests: Option<mpsc::UnboundedSender<Bytes>>,
    shared: Arc<Shared>,
    patience: Duration,
    sequence: u64,
    reader: JoinHandle<()>,
}

/// What the task that reads shares with the check.
pub(crate) struct Shared {
    record: Mutex<Record>,
    changed: watch::Sender<()>,
    /// Whether responses are left unread.
    paused: watch::Sender<bool>,
}

impl Shared {
    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(self: Arc<Self>, endpoint: Endpoint, requests: mpsc::UnboundedReceiver<Bytes>) {
        let ended = match endpoint.connect().await {
            Ok(channel) => match call(channel, PATH, UnboundedReceiverStream::new(requests)).await {
                Ok(responses) => self.responses(responses).await,
                Err(status) => status,
            },
            Err(error) => Status::unavailable(format!("no connection: {}", causes(&error))),
        };
        self.record().ended = Some(ended);
        self.changed.send_replace(());
    }

    async fn responses(&self, mut responses: Streaming<v1::ProcessResponse>) -> Status {
        let mut paused = self.paused.subscribe();
        loop {
            // The sender lives as long as this.
            if paused.wait_for(|paused| !paused).await.is_err() {
                return Status::cancelled("the kit left");
            }
            match responses.message().await {
                Ok(Some(response)) => {
                    self.record().take(response);
                    self.changed.send_replace(());
                }
                Ok(None) => return Status::ok(""),
                Err(status) => return status,
            }
        }
    }
}

impl Process {
    /// A stream with this first request.
    pub(crate) fn raw(context: &Context, handler: &str, first: Bytes) -> Self {
        let described = context.described.handlers.iter().find(|described| described.name == handler);
        let mut record = Record::default();
        if let Some(handler) = described {
            record.role = HandlerRole::try_from(handler.role).unwrap_or_default();
            record.routes = handler.routes.clone();
        }
        let shared = Arc::new(Shared {
            record: Mutex::new(record),
            changed: watch::Sender::new(()),
            paused: watch::Sender::new(false),
        });
        context.watch(shared.clone());
        let (requests, queue) = mpsc::unbounded_channel();
        // The other end of the queue is there.
        let _ = requests.send(first);
        let reader = tokio::spawn(shared.clone().read(context.node.endpoint(), queue));
        Self { requests: Some(requests), shared, patience: context.patience, sequence: 0, reader }
    }

    /// Waits until the record shows something, or a broken rule.
    pub(crate) async fn wait<T>(&self, what: &str, mut look: impl FnMut(&Record) -> Option<T>) -> Outcome<T> {
        let mut changed = self.shared.changed.subscribe();
        let found = async {
            loop {
                changed.mark_unchanged();
                {
                    let record = self.shared.record();
                    if let Some(fault) = &record.broken {
                        return Err(fault.clone());
                    }
                    if let Some(found) = look(&record) {
                        return Ok(found);
                    }
                    if let Some(status) = &record.ended {
                        return Err(Fault::new(what, format!("the stream ended: {}", describe(status))));
                    }
                }
                if changed.changed().await.is_err() {
                    return Err(Fault::new(what, "nothing more"));
                }
            }
        };
        match tokio::time::timeout(self.patience, found).await {
            Ok(found) => found,
            Err(_) => Err(Fault::new(what, format!("nothing of that within {:?}", self.patience))),
        }
    }

    pub(crate) async fn opened(&self) -> Outcome<v1::Opened> {
        self.wait("`opened`", |record| record.opened.clone()).await
    }

    /// How the stream ends.
    pub(crate) async fn ended(&self) -> Outcome<Status> {
        self.wait("the end of the stream", |record| record.ended.clone()).await
    }

    /// How the stream ends that must not open.
    pub(crate) async fn refused(&self) -> Outcome<Status> {
        let status = self.ended().await?;
        match self.shared.record().opened {
            None => Ok(status),
            Some(_) => Err(Fault::new("a refusal", "`opened`")),
        }
    }

    /// Sends bytes as a request.
    pub(crate) fn send_bytes(&self, request: impl Into<Bytes>) {
        if let Some(requests) = &self.requests {
            // A stream that has ended is seen where its answer is waited for.
            let _ = requests.send(request.into());
        }
    }

    pub(crate) fn send_request(&self, request: Request) {
        self.send_bytes(v1::ProcessRequest { request: Some(request) }.encode_to_vec());
    }

    /// Sends a work; its sequence.
    pub(crate) fn send(&mut self, work: Work) -> u64 {
        let batch = event::batch(&work.events, work.style);
        let timeout = work.timeout.map(|timeout| prost_types::Duration {
            seconds: timeout.as_secs() as i64,
            nanos: timeout.subsec_nanos() as i32,
        });
        let message = v1::Work { sequence: 0, attempts: u32s(work.attempts), timeout, batch: Some(batch) };
        self.send_work(message, work.events)
    }

    /// Sends a work as it is under a sequence of its own. `events`: what it says, as far as the kit knows.
    pub(crate) fn send_work(&mut self, work: v1::Work, events: Vec<Event>) -> u64 {
        self.sequence += 1;
        let count = work.batch.as_ref().map_or(0, |batch| batch.count);
        self.shared.record().sent(self.sequence, events, count);
        self.send_request(Request::Work(v1::Work { sequence: self.sequence, ..work }));
        self.sequence
    }

    /// Tells the record of a work whose request is sent as bytes.
    pub(crate) fn expect(&mut self, events: Vec<Event>) -> u64 {
        self.sequence += 1;
        let count = events.len() as u32;
        self.shared.record().sent(self.sequence, events, count);
        self.sequence
    }

    /// Waits for the last result of a work.
    pub(crate) async fn answer(&self, sequence: u64) -> Outcome<Answer> {
        let what = format!("the answer to work {sequence}");
        let answer = self.wait(&what, |record| record.answer(sequence)).await?;
        self.shared.record().forget(sequence);
        Ok(answer)
    }

    /// Sends a work and waits for its answer.
    pub(crate) async fn work(&mut self, work: Work) -> Outcome<Answer> {
        let sequence = self.send(work);
        self.answer(sequence).await
    }

    pub(crate) fn cancel(&self, sequence: u64) {
        self.send_request(Request::Cancel(v1::Cancel { sequence, reason: "the kit takes it back".into() }));
    }

    /// Half-closes the stream.
    pub(crate) fn half_close(&mut self) {
        self.requests = None;
    }

    /// Half-closes the stream, which must end OK.
    pub(crate) async fn finish(mut self) -> Outcome {
        self.half_close();
        let status = self.ended().await?;
        match status.code() {
            Code::Ok => Ok(()),
            _ => Err(Fault::of_rule("W16", "OK after half-close", describe(&status))),
        }
    }

    /// Stops reading, or goes on.
    pub(crate) fn pause(&self, paused: bool) {
        self.shared.paused.send_replace(paused);
    }

    /// What has been said so far.
    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        self.shared.record()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Left open it is reset, as by a coordinator that is gone.
        self.reader.abort();
    }
}

/// A status for a message.
pub(crate) fn describe(status: &Status) -> String {
    format!("{:?}: {}", status.code(), status.message())
}
