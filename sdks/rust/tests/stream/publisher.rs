//! The publisher against a small ingress server of the test's own.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::{net::SocketAddr, time::Duration};

use meshloom::{Output, PublishError, Publisher};
use meshloom_proto::v1::{
    self,
    ingress_service_server::{IngressService, IngressServiceServer},
    publish_request::Request as Said,
    publish_response::Response as Told,
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinHandle};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming, transport::Server};

/// Nothing in these tests takes this long.
const SOON: Duration = Duration::from_secs(60);

async fn soon<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(SOON, future).await.expect("within the deadline")
}

/// One publisher's stream, as the test sees it.
struct Stream {
    open: v1::OpenPublish,
    requests: Streaming<v1::PublishRequest>,
    responses: mpsc::Sender<Result<v1::PublishResponse, Status>>,
}

impl Stream {
    async fn say(&self, response: Told) {
        self.responses.send(Ok(v1::PublishResponse { response: Some(response) })).await.unwrap();
    }

    async fn credit(&self, events: u64, bytes: u64) {
        self.say(Told::Credit(v1::PublishCredit { events, bytes })).await;
    }

    async fn acknowledge(&self, sequence: u64) {
        self.say(Told::Acknowledged(v1::Acknowledged { sequence })).await;
    }

    async fn fail(self, status: Status) {
        self.responses.send(Err(status)).await.unwrap();
    }

    /// The next publication: its sequence and the ids in it.
    async fn publication(&mut self) -> (u64, Vec<String>) {
        let request = soon(self.requests.message()).await.unwrap().expect("the stream goes on").request;
        let Some(Said::Publication(v1::Publication { sequence, batch: Some(batch) })) = request else {
            panic!("{request:?}");
        };
        assert!(batch.uid.is_empty());
        let v1::Strings { values, index } = batch.id.expect("every event has an id");
        let values = values.unwrap();
        let mut start = 0;
        let texts: Vec<String> = numbers(&values.ends)
            .map(|end| String::from_utf8(values.data[std::mem::replace(&mut start, end)..end].to_vec()).unwrap())
            .collect();
        let ids: Vec<String> = match index.is_empty() {
            true => texts,
            false => numbers(&index).map(|slot| texts[slot].clone()).collect(),
        };
        assert_eq!(ids.len(), batch.count as usize);
        (sequence, ids)
    }
}

fn numbers(bytes: &[u8]) -> impl Iterator<Item = usize> {
    bytes.chunks_exact(4).map(|bytes| u32::from_le_bytes(bytes.try_into().unwrap()) as usize)
}

struct Service(mpsc::Sender<Stream>);

#[tonic::async_trait]
impl IngressService for Service {
    type PublishStream = ReceiverStream<Result<v1::PublishResponse, Status>>;

    async fn publish(
        &self,
        request: Request<Streaming<v1::PublishRequest>>,
    ) -> Result<Response<Self::PublishStream>, Status> {
        let (responses, told) = mpsc::channel(100);
        let streams = self.0.clone();
        let mut requests = request.into_inner();
        tokio::spawn(async move {
            let Some(Said::Open(open)) = requests.message().await.unwrap().unwrap().request else { panic!("no open") };
            let stream = Stream { open, requests, responses };
            stream.say(Told::Opened(v1::OpenedPublish { protocol: 1, max_event_bytes: 1 << 20 })).await;
            // The test may be over.
            let _ = streams.send(stream).await;
        });
        Ok(Response::new(ReceiverStream::new(told)))
    }
}

/// A real server whose streams the test drives. Dropped, it cuts its connections.
struct Ingress {
    address: SocketAddr,
    streams: mpsc::Receiver<Stream>,
    task: JoinHandle<()>,
}

impl Drop for Ingress {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Ingress {
    async fn start() -> Self {
        Self::on(TcpListener::bind("127.0.0.1:0").await.unwrap())
    }

    fn on(listener: TcpListener) -> Self {
        let address = listener.local_addr().unwrap();
        let (opened, streams) = mpsc::channel(10);
        let task = tokio::spawn(async move {
            let server = Server::builder().add_service(IngressServiceServer::new(Service(opened)));
            server.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap();
        });
        Self { address, streams, task }
    }

    fn publisher(&self) -> Publisher {
        Publisher::connect(self.address.to_string()).unwrap()
    }

    async fn stream(&mut self) -> Stream {
        soon(self.streams.recv()).await.unwrap()
    }
}

#[tokio::test]
async fn acknowledgements_may_come_in_any_order() {
    let mut ingress = Ingress::start().await;
    let publisher = Publisher::builder(ingress.address.to_string()).pipeline("p").node("n").connect().unwrap();
    let mut stream = ingress.stream().await;
    assert_eq!((stream.open.pipeline.as_str(), stream.open.node.as_str()), ("p", "n"));
    assert_eq!(stream.open.protocol, Some(v1::ProtocolRange { min: 1, max: 1 }));
    stream.credit(10, 1000).await;
    let first = publisher.publish(Output::json(1).id("a").key("k")).await.unwrap();
    let (one, ids) = stream.publication().await;
    assert_eq!(ids, ["a"]);
    let second = publisher.publish(Output::text("text")).await.unwrap();
    let (two, ids) = stream.publication().await;
    assert_eq!(uuid::Uuid::parse_str(&ids[0]).unwrap().get_version_num(), 7);
    stream.acknowledge(two).await;
    soon(second).await.unwrap();
    let mut first = seen_pending(first);
    stream.acknowledge(one).await;
    soon(&mut first).await.unwrap();
    publisher.close(SOON).await.unwrap();
}

/// The future, which is seen not to be ready.
fn seen_pending<F: Future + Unpin>(mut future: F) -> F {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    assert!(std::pin::Pin::new(&mut future).poll(&mut context).is_pending());
    future
}

#[tokio::test]
async fn a_batch_is_what_the_credit_admits() {
    let mut ingress = Ingress::start().await;
    let publisher = ingress.publisher();
    for _ in 0..5 {
        drop(publisher.publish(Output::bytes(vec![b'x'; 10])).await.unwrap());
    }
    let mut stream = ingress.stream().await;
    let silent = tokio::time::timeout(Duration::from_millis(200), stream.requests.message()).await;
    assert!(silent.is_err(), "no credit, no events: {silent:?}");
    for ((events, bytes), expected) in [((10, 20), 2), ((10, 1), 1), ((10, 1000), 2)] {
        // Any credit admits one event, whatever its size.
        stream.credit(events, bytes).await;
        let (sequence, ids) = stream.publication().await;
        assert_eq!(ids.len(), expected);
        stream.acknowledge(sequence).await;
    }
    publisher.flush(SOON).await.unwrap();
}

#[tokio::test]
async fn what_was_not_acknowledged_is_sent_again_with_the_same_ids() {
    let mut ingress = Ingress::start().await;
    let publisher = ingress.publisher();
    let mut published = Vec::new();
    for n in 0..3 {
        published.push(publisher.publish(Output::json(n)).await.unwrap());
    }
    let mut stream = ingress.stream().await;
    stream.credit(2, 1000).await;
    let (_, ids) = stream.publication().await;
    assert_eq!(ids.len(), 2);
    // Once in order, once by a cut connection.
    stream.fail(Status::unavailable("the pipeline is stopping")).await;
    let mut stream = ingress.stream().await;
    stream.credit(2, 1000).await;
    assert_eq!(stream.publication().await.1, ids);
    let address = ingress.address;
    drop((stream, ingress));
    let listener = soon(async {
        loop {
            match TcpListener::bind(address).await {
                Ok(listener) => return listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            }
        }
    })
    .await;
    let mut ingress = Ingress::on(listener);
    let mut stream = ingress.stream().await;
    stream.credit(3, 1000).await;
    let (sequence, again) = stream.publication().await;
    assert_eq!((again.len(), &again[..2]), (3, &ids[..]));
    stream.acknowledge(sequence).await;
    for acknowledgement in published {
        soon(acknowledgement).await.unwrap();
    }
}

#[tokio::test]
async fn a_refused_event_fails_alone() {
    let mut ingress = Ingress::start().await;
    let publisher = ingress.publisher();
    let mut published = Vec::new();
    for n in 0..3 {
        published.push(publisher.publish(Output::json(n).id(n.to_string())).await.unwrap());
    }
    let mut stream = ingress.stream().await;
    stream.credit(6, 1000).await;
    let (sequence, ids) = stream.publication().await;
    assert_eq!(ids, ["0", "1", "2"]);
    let (reason, message) = ("EVENT_TOO_LARGE".to_owned(), "raise it at the source".to_owned());
    let failure =
        v1::EventFailure { index: 1, reason: reason.clone(), message: message.clone(), ..v1::EventFailure::default() };
    stream.say(Told::Refused(v1::Refused { sequence, failures: vec![failure] })).await;
    assert_eq!(soon(published.remove(1)).await, Err(PublishError::Refused { reason, message }));
    let (sequence, ids) = stream.publication().await;
    assert_eq!(ids, ["0", "2"]);
    stream.acknowledge(sequence).await;
    for acknowledgement in published {
        soon(acknowledgement).await.unwrap();
    }
}

#[tokio::test]
async fn close_says_what_was_not_acknowledged() {
    let mut ingress = Ingress::start().await;
    let publisher = ingress.publisher();
    let first = publisher.publish(Output::json(1).id("e1")).await.unwrap();
    let second = publisher.publish(Output::json(2).id("e2")).await.unwrap();
    let _stream = ingress.stream().await;
    let error = publisher.close(Duration::from_millis(100)).await.unwrap_err();
    assert!(error.to_string().contains("2 events were not acknowledged within 100ms"), "{error}");
    let PublishError::Unacknowledged { ids, .. } = error else { panic!("{error}") };
    assert_eq!(ids, ["e1", "e2"]);
    assert_eq!(soon(first).await, Err(PublishError::Closed));
    assert_eq!(soon(second).await, Err(PublishError::Closed));
}

#[tokio::test]
async fn a_publisher_that_is_refused_says_why_and_stops() {
    let mut ingress = Ingress::start().await;
    let publisher = ingress.publisher();
    let acknowledgement = publisher.publish(Output::json(1)).await.unwrap();
    ingress.stream().await.fail(Status::not_found("there is no node `other` here")).await;
    let error = soon(acknowledgement).await.unwrap_err();
    let words = "refused this publisher: there is no node `other` here";
    assert!(error.to_string().contains(words), "{error}");
    assert_eq!(soon(publisher.publish(Output::json(2))).await.unwrap_err(), error);
    assert_eq!(publisher.flush(SOON).await, Err(error));
}

#[tokio::test]
async fn a_full_queue_waits_until_something_is_acknowledged() {
    let mut ingress = Ingress::start().await;
    let publisher = Publisher::builder(ingress.address.to_string()).queue_events(2).connect().unwrap();
    let first = publisher.publish(Output::json(1)).await.unwrap();
    let second = publisher.publish(Output::json(2)).await.unwrap();
    let mut third = seen_pending(Box::pin(publisher.publish(Output::json(3))));
    let mut stream = ingress.stream().await;
    stream.credit(3, 1000).await;
    let (sequence, ids) = stream.publication().await;
    assert_eq!(ids.len(), 2);
    stream.acknowledge(sequence).await;
    let third = soon(&mut third).await.unwrap();
    soon(first).await.unwrap();
    soon(second).await.unwrap();
    let (sequence, _) = stream.publication().await;
    stream.acknowledge(sequence).await;
    soon(third).await.unwrap();
}

#[tokio::test]
async fn a_source_that_is_not_there_is_named_as_the_cause() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let publisher = Publisher::connect(address.to_string()).unwrap();
    let _open = publisher.publish(Output::json(1)).await.unwrap();
    // Refused at once on loopback; how soon that is noticed is the machine's affair.
    soon(async {
        loop {
            match publisher.flush(Duration::from_millis(50)).await {
                Err(PublishError::Unacknowledged { cause: Some(cause), .. }) => {
                    assert!(cause.contains(&format!("no connection to {address}")), "{cause}");
                    return;
                }
                other => assert!(other.is_err(), "acknowledged by nobody"),
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_at_once() {
    for address in ["", "localhost", "not an address:1"] {
        let error = Publisher::connect(address).unwrap_err();
        assert!(error.to_string().contains("write HOST:PORT"), "{error}");
    }
    let ingress = Ingress::start().await;
    let publisher = ingress.publisher();
    for (event, words) in [
        (Output::json(1).checkpoint(1), "no checkpoints"),
        (Output::json(1).route("hot").into(), "no route"),
        (Output::bytes(vec![0; (16 << 20) + 1]).into(), "at most"),
        (Output::unchanged().into(), "no parent"),
    ] {
        let error = publisher.publish(event).await.unwrap_err();
        assert!(matches!(error, PublishError::Invalid { .. }) && error.to_string().contains(words), "{error}");
    }
    publisher.close(SOON).await.unwrap();
}
