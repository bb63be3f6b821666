//! Publishing events into a pipeline from a program that is no node of it.

mod error;
mod shared;
mod stream;
mod waiting;

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;
use uuid::Uuid;

pub use error::PublishError;
use shared::{Entry, Shared};
use stream::Worker;

use crate::{
    handler::frame::check_output,
    output::Payload,
    record::{IntoRecord, Record},
};

/// Receive window of the stream and of its connection.
const WINDOW_BYTES: u32 = 8 << 20;
/// Time between pings of a silent connection, and for the answer to one.
const KEEPALIVE: Duration = Duration::from_secs(20);
/// Time to connect.
const CONNECT: Duration = Duration::from_secs(5);

/// Publishes events to a source with `use: grpc`, and says when each is durable.
///
/// Events are gathered into batches for at most 5 ms and sent as the pipeline gives credit. When the connection breaks it
/// is made again, and what was not acknowledged is sent again under the same ids, so that it is the same event to every
/// sink that keys by `uid`. What is not acknowledged is held in memory, up to a bound at which [`publish`](Self::publish)
/// waits. Dropping the publisher gives up what was not acknowledged; [`close`](Self::close) says what that is.
///
/// ```no_run
/// # async fn run() -> Result<(), meshloom::PublishError> {
/// use std::time::Duration;
/// use meshloom::{Output, Publisher};
///
/// let publisher = Publisher::connect("127.0.0.1:7490")?;
/// let reading = Output::json(serde_json::json!({ "degrees": 21.5 })).key("sensor-7");
/// publisher.publish(reading).await?.await?; // in the queue, then durable
/// publisher.close(Duration::from_secs(10)).await
/// # }
/// ```
#[derive(Debug)]
pub struct Publisher {
    shared: Arc<Shared>,
    entries: mpsc::UnboundedSender<Entry>,
    stop: CancellationToken,
    worker: JoinHandle<()>,
}

/// Settings of a [`Publisher`].
#[derive(Debug, Clone)]
#[must_use = "nothing connects until `connect` is called"]
pub struct PublisherBuilder {
    address: String,
    pipeline: String,
    node: String,
    queue_events: usize,
    queue_bytes: usize,
}

impl Publisher {
    /// A publisher to the source at `HOST:PORT`, its `listen`. It returns at once and connects in the background, for as
    /// long as it takes. Needs a Tokio runtime.
    ///
    /// # Errors
    /// [`PublishError::Address`].
    pub fn connect(address: impl Into<String>) -> Result<Self, PublishError> {
        Self::builder(address).connect()
    }

    /// As [`connect`](Self::connect), with settings.
    pub fn builder(address: impl Into<String>) -> PublisherBuilder {
        PublisherBuilder {
            address: address.into(),
            pipeline: String::new(),
            node: String::new(),
            queue_events: 16 * 1024,
            queue_bytes: 16 << 20,
        }
    }

    /// Queues an event, and gives what resolves once it is durable. Waits while the queue is full. An event without an id
    /// gets a UUIDv7, before it is first sent.
    ///
    /// # Errors
    /// [`PublishError::Invalid`] for an event that cannot be sent, [`PublishError::Rejected`] once the source has refused
    /// the publisher, [`PublishError::Closed`] after [`close`](Self::close).
    pub async fn publish(&self, event: impl IntoRecord) -> Result<Acknowledgement, PublishError> {
        let invalid = |why: String| PublishError::Invalid { why };
        let Record { mut output, checkpoint, settled } =
            event.into_record().map_err(|error| invalid(error.to_string()))?;
        if checkpoint.is_some() {
            return Err(invalid("a publisher has no checkpoints: remove `checkpoint`".to_owned()));
        }
        if settled.is_some() {
            return Err(invalid(
                "a publisher's events settle with their `Acknowledgement`: remove `on_settled`".to_owned(),
            ));
        }
        check_output(&output).map_err(|error| invalid(error.to_string()))?;
        if output.attributes.as_ref().is_some_and(|attributes| attributes.route.is_some()) {
            return Err(invalid("a published event takes no route: remove `route`".to_owned()));
        }
        // Shared, so that to send it again copies nothing before it must.
        if let Payload::Owned(data) = output.payload {
            output.payload = Payload::Shared(data.into());
        }
        let id = output.own_id().map_or_else(|| Uuid::now_v7().to_string(), str::to_owned);
        let (acknowledge, acknowledged) = oneshot::channel();
        let entry = self.shared.enter(output, id, acknowledge).await?;
        self.entries.send(entry).map_err(|_| self.shared.end())?;
        Ok(Acknowledgement { acknowledged, shared: self.shared.clone() })
    }

    /// Waits until nothing is unacknowledged.
    ///
    /// # Errors
    /// [`PublishError::Unacknowledged`] after `within`, [`PublishError::Rejected`] once the source has refused the
    /// publisher.
    pub async fn flush(&self, within: Duration) -> Result<(), PublishError> {
        match tokio::time::timeout(within, self.shared.all_closed()).await {
            Ok(()) => self.shared.rejection().map_or(Ok(()), Err),
            Err(_elapsed) => {
                Err(PublishError::Unacknowledged { ids: self.shared.open_ids(), within, cause: self.shared.cause() })
            }
        }
    }

    /// Takes no more events, waits as [`flush`](Self::flush) does, and ends the connection. What was not acknowledged by
    /// then is given up.
    ///
    /// # Errors
    /// As [`flush`](Self::flush).
    pub async fn close(self, within: Duration) -> Result<(), PublishError> {
        self.shared.refuse_more();
        let flushed = self.flush(within).await;
        self.stop.cancel();
        flushed
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        self.shared.refuse_more();
        self.stop.cancel();
        if !self.worker.is_finished() && tokio::runtime::Handle::try_current().is_err() {
            // Outside of a runtime nothing runs the worker's own end.
            self.worker.abort();
        }
    }
}

impl PublisherBuilder {
    /// The pipeline that is meant, so that no other takes the events by mistake.
    pub fn pipeline(mut self, pipeline: impl Into<String>) -> Self {
        self.pipeline = pipeline.into();
        self
    }

    /// The source node that is meant, so that no other takes the events by mistake.
    pub fn node(mut self, node: impl Into<String>) -> Self {
        self.node = node.into();
        self
    }

    /// Most events that are not acknowledged; default 16,384.
    pub fn queue_events(mut self, events: usize) -> Self {
        self.queue_events = events.max(1);
        self
    }

    /// Most payload bytes that are not acknowledged; default 16 MiB. A larger event goes alone.
    pub fn queue_bytes(mut self, bytes: usize) -> Self {
        self.queue_bytes = bytes.max(1);
        self
    }

    /// See [`Publisher::connect`].
    ///
    /// # Errors
    /// [`PublishError::Address`].
    pub fn connect(self) -> Result<Publisher, PublishError> {
        let Self { address, pipeline, node, queue_events, queue_bytes } = self;
        let bad = |why: String| PublishError::Address { address: address.clone(), why };
        let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| bad(error.to_string()))?;
        if endpoint.uri().port().is_none() {
            return Err(bad("it has no port".to_owned()));
        }
        let endpoint = endpoint
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .http2_keep_alive_interval(KEEPALIVE)
            .keep_alive_timeout(KEEPALIVE)
            .keep_alive_while_idle(true)
            .connect_timeout(CONNECT)
            .tcp_nodelay(true);
        let shared = Arc::new(Shared::new(address, queue_events, queue_bytes));
        // Bounded by the places that each entry holds.
        let (entries, queued) = mpsc::unbounded_channel();
        let stop = CancellationToken::new();
        let worker = Worker::new(endpoint, pipeline, node, queued, shared.clone());
        let stopped = stop.clone();
        let worker = tokio::spawn(async move {
            stopped.run_until_cancelled_owned(worker.run()).await;
        });
        Ok(Publisher { shared, entries, stop, worker })
    }
}

/// Resolves once the event is durable.
///
/// # Errors
/// [`PublishError::Refused`], [`PublishError::Rejected`], or [`PublishError::Closed`].
#[derive(Debug)]
#[must_use = "an event may still be refused: await it, or call `flush` and `close`"]
pub struct Acknowledgement {
    acknowledged: oneshot::Receiver<Result<(), PublishError>>,
    shared: Arc<Shared>,
}

impl Future for Acknowledgement {
    type Output = Result<(), PublishError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let answer = std::task::ready!(Pin::new(&mut self.acknowledged).poll(context));
        Poll::Ready(answer.unwrap_or_else(|_| Err(self.shared.end())))
    }
}
