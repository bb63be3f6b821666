//! Produce streams.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use meshloom_proto::v1::{self, produce_request::Request, produce_response::Response};
use prost::Message as _;
use serde_json::Value as Json;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Code, Status, transport::Endpoint};

use super::{codec::call, process::describe};
use crate::{
    context::Context,
    event::Event,
    fault::{Fault, Outcome},
    node::causes,
    read,
};

const PATH: &str = "/meshloom.v1.NodeService/Produce";
const CHECKPOINT_BYTES: usize = 64 << 10;

/// A source that is to be opened.
pub(crate) struct OpenSource<'a> {
    context: &'a Context,
    pub(crate) message: v1::OpenProduce,
}

impl<'a> OpenSource<'a> {
    pub(crate) fn new(context: &'a Context, handler: &str) -> Self {
        let message = v1::OpenProduce {
            protocol: Some(v1::ProtocolRange { min: 1, max: 1 }),
            pipeline: "conformance".into(),
            node: "interpreter".into(),
            handler: handler.to_owned(),
            replica: Some(v1::Replica { index: 0, of: 1 }),
            ..v1::OpenProduce::default()
        };
        Self { context, message }
    }

    pub(crate) fn config(mut self, config: &Json) -> Self {
        self.message.config_json = config.to_string().into();
        self
    }

    pub(crate) fn checkpoint(mut self, checkpoint: Option<Bytes>) -> Self {
        self.message.checkpoint = checkpoint;
        self
    }

    pub(crate) fn with(mut self, change: impl FnOnce(&mut v1::OpenProduce)) -> Self {
        change(&mut self.message);
        self
    }

    /// Opens it and waits for `opened`.
    pub(crate) async fn start(self) -> Outcome<Produce> {
        let context = self.context;
        let stream = Produce::raw(context, self.request());
        stream.wait("`opened`", |record| record.opened.clone()).await?;
        Ok(stream)
    }

    /// Opens it and waits for the refusal.
    pub(crate) async fn refused(self) -> Outcome<Status> {
        let context = self.context;
        Produce::raw(context, self.request()).refused().await
    }

    fn request(self) -> Bytes {
        v1::ProduceRequest { request: Some(Request::Open(self.message)) }.encode_to_vec().into()
    }
}

/// A frame of a source.
#[derive(Debug, Clone)]
pub(crate) struct Frame {
    pub(crate) sequence: u64,
    pub(crate) events: Vec<Event>,
    pub(crate) checkpoint: Option<Bytes>,
}

/// What a source has said.
#[derive(Debug, Default)]
pub(crate) struct Record {
    pub(crate) opened: Option<v1::Opened>,
    pub(crate) frames: Vec<Frame>,
    pub(crate) exhausted: bool,
    pub(crate) ended: Option<Status>,
    pub(crate) broken: Option<Fault>,
    /// Events and bytes that it may send.
    credit: (u64, u64),
}

impl Record {
    /// All events so far.
    pub(crate) fn events(&self) -> impl Iterator<Item = &Event> {
        self.frames.iter().flat_map(|frame| &frame.events)
    }

    fn take(&mut self, response: v1::ProduceResponse) {
        if let Err(fault) = self.check(response) {
            self.broken.get_or_insert(fault);
        }
    }

    fn check(&mut self, response: v1::ProduceResponse) -> Result<(), Fault> {
        match response.response {
            Some(Response::Opened(opened)) if self.opened.is_none() => self.opened = Some(opened),
            Some(Response::Opened(_)) => return Err(Fault::of_rule("O1", "`opened` once", "a second `opened`")),
            other if self.opened.is_none() => {
                return Err(Fault::of_rule("O1", "`opened` as the first response", format!("{other:?}")));
            }
            _ if self.exhausted => return Err(Fault::of_rule("S8", "nothing after `exhausted`", "more")),
            Some(Response::Produced(frame)) => return self.frame(frame),
            Some(Response::Exhausted(_)) => self.exhausted = true,
            None => return Err(Fault::of_rule("V2", "a response that the protocol knows", "one with no known member")),
        }
        Ok(())
    }

    fn frame(&mut self, frame: v1::Produced) -> Result<(), Fault> {
        let sequence = self.frames.len() as u64 + 1;
        if frame.sequence != sequence {
            return Err(Fault::of_rule("S2", format!("frame {sequence}"), format!("frame {}", frame.sequence)));
        }
        let batch = frame.batch.unwrap_or_default();
        if !batch.uid.is_empty() {
            return Err(Fault::of_rule("S2", "no `uid`", format!("{} bytes of `uid`", batch.uid.len())));
        }
        let events = read::batch(&batch).map_err(|got| Fault::of_rule("B2", "a well-formed batch", got))?;
        let (last, before) = events.split_last().expect("a batch has an event");
        let before_bytes: u64 = before.iter().map(|event| event.payload.len() as u64).sum();
        let (credit_events, credit_bytes) = self.credit;
        let events_left = credit_events.checked_sub(events.len() as u64);
        let admitted = credit_bytes > before_bytes;
        let (Some(events_left), true) = (events_left, admitted) else {
            let expected = format!("a frame within {credit_events} events and {credit_bytes} bytes");
            let got = format!("{} events, {before_bytes} bytes before the last", events.len());
            return Err(Fault::of_rule("S1", expected, got));
        };
        self.credit = (events_left, credit_bytes.saturating_sub(before_bytes + last.payload.len() as u64));
        let previous = self.frames.last().and_then(|frame| frame.checkpoint.clone());
        match &frame.checkpoint {
            None if previous.is_some() => {
                return Err(Fault::of_rule("S4", format!("the checkpoint {previous:?} or a later one"), "none"));
            }
            Some(checkpoint) if checkpoint.len() > CHECKPOINT_BYTES => {
                let got = format!("{} bytes", checkpoint.len());
                return Err(Fault::of_rule("S4", "a checkpoint of at most 64 KiB", got));
            }
            _ => {}
        }
        self.frames.push(Frame { sequence, events, checkpoint: frame.checkpoint });
        Ok(())
    }
}

struct Shared {
    record: Mutex<Record>,
    changed: watch::Sender<()>,
}

impl Shared {
    fn record(&self) -> MutexGuard<'_, Record> {
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(self: Arc<Self>, endpoint: Endpoint, requests: mpsc::UnboundedReceiver<Bytes>) {
        let ended = match endpoint.connect().await {
            Ok(channel) => match call(channel, PATH, UnboundedReceiverStream::new(requests)).await {
                Ok(mut responses) => loop {
                    match responses.message().await {
                        Ok(Some(response)) => {
                            self.record().take(response);
                            self.changed.send_replace(());
                        }
                        Ok(None) => break Status::ok(""),
                        Err(status) => break status,
                    }
                },
                Err(status) => status,
            },
            Err(error) => Status::unavailable(format!("no connection: {}", causes(&error))),
        };
        self.record().ended = Some(ended);
        self.changed.send_replace(());
    }
}

/// An open source.
pub(crate) struct Produce {
    requests: Option<mpsc::UnboundedSender<Bytes>>,
    shared: Arc<Shared>,
    patience: Duration,
    reader: JoinHandle<()>,
}

impl Produce {
    /// A stream with this first request.
    pub(crate) fn raw(context: &Context, first: Bytes) -> Self {
        let shared = Arc::new(Shared { record: Mutex::default(), changed: watch::Sender::new(()) });
        let (requests, queue) = mpsc::unbounded_channel();
        // The other end of the queue is there.
        let _ = requests.send(first);
        let reader = tokio::spawn(shared.clone().read(context.node.endpoint(), queue));
        Self { requests: Some(requests), shared, patience: context.patience, reader }
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
            Err(_) => {
                let record = self.shared.record();
                let got = format!("{} events, exhausted {}", record.events().count(), record.exhausted);
                Err(Fault::new(what, format!("{got} within {:?}", self.patience)))
            }
        }
    }

    pub(crate) fn record(&self) -> MutexGuard<'_, Record> {
        self.shared.record()
    }

    /// Sends bytes as a request.
    pub(crate) fn send_bytes(&self, request: impl Into<Bytes>) {
        if let Some(requests) = &self.requests {
            // A stream that has ended is seen where its answer is waited for.
            let _ = requests.send(request.into());
        }
    }

    pub(crate) fn send_request(&self, request: Request) {
        self.send_bytes(v1::ProduceRequest { request: Some(request) }.encode_to_vec());
    }

    /// Gives credit.
    pub(crate) fn demand(&self, events: u64, bytes: u64) {
        {
            let mut record = self.shared.record();
            record.credit = (record.credit.0 + events, record.credit.1 + bytes);
        }
        self.send_request(Request::Demand(v1::Demand { events, bytes }));
    }

    pub(crate) fn settled(&self, frame: &Frame) {
        let settled = v1::Settled { sequence: frame.sequence, checkpoint: frame.checkpoint.clone() };
        self.send_request(Request::Settled(settled));
    }

    pub(crate) fn stop(&self) {
        self.send_request(Request::Stop(v1::Stop {}));
    }

    pub(crate) fn half_close(&mut self) {
        self.requests = None;
    }

    /// Waits for so many events, all told.
    pub(crate) async fn events(&self, count: usize) -> Outcome<Vec<Event>> {
        let what = format!("{count} events");
        self.wait(&what, |record| {
            (record.events().count() >= count).then(|| record.events().take(count).cloned().collect())
        })
        .await
    }

    /// Waits for `exhausted`, settles everything and half-closes, as a coordinator does; the stream ends OK.
    pub(crate) async fn exhausts(&mut self) -> Outcome {
        self.wait("`exhausted`", |record| record.exhausted.then_some(())).await?;
        let frames = self.record().frames.clone();
        frames.iter().for_each(|frame| self.settled(frame));
        self.half_close();
        self.ends_ok("S8").await
    }

    /// How the stream ends.
    pub(crate) async fn ended(&self) -> Outcome<Status> {
        self.wait("the end of the stream", |record| record.ended.clone()).await
    }

    /// The stream ends OK.
    pub(crate) async fn ends_ok(&self, rule: &'static str) -> Outcome {
        let status = self.ended().await?;
        match status.code() {
            Code::Ok => Ok(()),
            _ => Err(Fault::of_rule(rule, "the stream ends OK", describe(&status))),
        }
    }

    /// How the stream ends that must not open.
    pub(crate) async fn refused(&self) -> Outcome<Status> {
        let status = self.ended().await?;
        match self.shared.record().opened {
            None => Ok(status),
            Some(_) => Err(Fault::new("a refusal", "`opened`")),
        }
    }
}

impl Drop for Produce {
    fn drop(&mut self) {
        // Left open it is reset, as by a coordinator that is gone.
        self.reader.abort();
    }
}
