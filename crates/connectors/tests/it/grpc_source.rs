use std::net::SocketAddr;

use meshloom_config::connector::{ConnectorSpec, GrpcSource};
use meshloom_core::batch::{BatchBuilder, Event};
use meshloom_proto::v1::{
    self, ingress_service_client::IngressServiceClient, publish_request::Request, publish_response::Response,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};
use tonic_types::StatusExt;

use crate::support::{Bench, SourceRun, within};

struct Grpc {
    source: SourceRun,
    address: SocketAddr,
    _bench: Bench,
}

async fn start(change: impl FnOnce(&mut Bench)) -> Grpc {
    let mut bench = Bench::new(&[]);
    change(&mut bench);
    let spec = GrpcSource { listen: "127.0.0.1:0".parse().unwrap() };
    let source = bench.source(&ConnectorSpec::GrpcSource(spec));
    let line = bench.logged("listening on").await.line;
    let address = line.split(' ').find_map(|word| word.parse().ok()).unwrap();
    assert!(!source.replays);
    Grpc { source, address, _bench: bench }
}

/// A publisher's stream.
struct Publisher {
    requests: Option<mpsc::Sender<v1::PublishRequest>>,
    responses: Streaming<v1::PublishResponse>,
}

fn events(ids: &[&str]) -> v1::Batch {
    let mut builder = BatchBuilder::new();
    for id in ids {
        let event =
            Event { payload: id.as_bytes(), id: Some(id), content_type: Some("text/plain"), ..Event::default() };
        builder.push(event).unwrap();
    }
    meshloom_wire::batch::encode(&builder.finish())
}

impl Publisher {
    async fn connect(address: SocketAddr) -> Self {
        let mut client = IngressServiceClient::connect(format!("http://{address}")).await.unwrap();
        let (requests, outgoing) = mpsc::channel(64);
        let responses = within(client.publish(ReceiverStream::new(outgoing))).await.unwrap().into_inner();
        Self { requests: Some(requests), responses }
    }

    async fn opened(address: SocketAddr) -> Self {
        let mut publisher = Self::connect(address).await;
        publisher.say(Request::Open(v1::OpenPublish::default())).await;
        let Response::Opened(opened) = publisher.hear().await else { panic!("not opened") };
        assert_eq!(opened.protocol, 1);
        publisher
    }

    async fn say(&self, request: Request) {
        let request = v1::PublishRequest { request: Some(request) };
        self.requests.as_ref().unwrap().send(request).await.unwrap();
    }

    async fn publish(&self, sequence: u64, batch: v1::Batch) {
        self.say(Request::Publication(v1::Publication { sequence, batch: Some(batch) })).await;
    }

    async fn hear(&mut self) -> Response {
        within(self.responses.message()).await.unwrap().expect("the stream has ended").response.unwrap()
    }

    async fn credit(&mut self) -> v1::PublishCredit {
        match self.hear().await {
            Response::Credit(credit) => credit,
            other => panic!("{other:?}"),
        }
    }

    async fn acknowledged(&mut self) -> u64 {
        loop {
            match self.hear().await {
                Response::Acknowledged(acknowledged) => return acknowledged.sequence,
                Response::Credit(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// How the stream ends; what comes before is passed over.
    async fn ended(mut self) -> Status {
        within(async {
            loop {
                match self.responses.message().await {
                    Ok(Some(_)) => {}
                    Ok(None) => return Status::ok(""),
                    Err(status) => return status,
                }
            }
        })
        .await
    }
}

#[tokio::test]
async fn events_are_taken_and_acknowledged_once_settled_in_whatever_order() {
    let mut grpc = start(|_| {}).await;
    grpc.source.demand(1000, 1 << 20).await;
    let mut publisher = Publisher::opened(grpc.address).await;
    let credit = publisher.credit().await;
    assert!(credit.events >= 2 && credit.bytes > 0);
    publisher.publish(7, events(&["a", "b"])).await;
    publisher.publish(8, events(&["c"])).await;
    let first = grpc.source.frame().await.unwrap();
    assert_eq!((first.ids(), first.payloads()), (vec!["a".into(), "b".into()], vec!["a".into(), "b".into()]));
    assert_eq!(first.batch.content_type(1), Some("text/plain"));
    let second = grpc.source.frame().await.unwrap();
    grpc.source.settle(second.sequence).await;
    assert_eq!(publisher.acknowledged().await, 8);
    grpc.source.settle(first.sequence).await;
    assert_eq!(publisher.acknowledged().await, 7);
    publisher.requests = None;
    assert_eq!(publisher.ended().await.code(), Code::Ok);
}

#[tokio::test]
async fn a_publisher_that_half_closes_is_acknowledged_before_its_stream_ends() {
    let mut grpc = start(|_| {}).await;
    grpc.source.demand(1000, 1 << 20).await;
    let mut publisher = Publisher::opened(grpc.address).await;
    publisher.credit().await;
    publisher.publish(1, events(&["a"])).await;
    publisher.requests = None;
    let frame = grpc.source.frame().await.unwrap();
    grpc.source.settle(frame.sequence).await;
    assert_eq!(publisher.acknowledged().await, 1);
    assert_eq!(publisher.ended().await.code(), Code::Ok);
}

#[tokio::test]
async fn there_is_no_credit_while_the_pipeline_is_full() {
    let mut grpc = start(|_| {}).await;
    let mut publisher = Publisher::opened(grpc.address).await;
    let silent = tokio::time::timeout(std::time::Duration::from_millis(300), publisher.responses.message()).await;
    assert!(silent.is_err(), "{silent:?}");
    grpc.source.demand(2, 1 << 20).await;
    let window = publisher.credit().await;
    // More than the pipeline takes at once goes in parts, and is acknowledged when the last has settled.
    publisher.publish(1, events(&["a", "b", "c"])).await;
    let first = grpc.source.frame().await.unwrap();
    assert_eq!(first.ids(), ["a", "b"]);
    grpc.source.settle(first.sequence).await;
    assert!(grpc.source.is_silent().await);
    grpc.source.demand(5, 1 << 20).await;
    let second = grpc.source.frame().await.unwrap();
    assert_eq!(second.ids(), ["c"]);
    grpc.source.settle(second.sequence).await;
    assert_eq!(publisher.acknowledged().await, 1);
    // The window is no larger than it was.
    let ids: Vec<String> = (0..=window.events).map(|n| n.to_string()).collect();
    publisher.publish(2, events(&ids.iter().map(String::as_str).collect::<Vec<_>>())).await;
    let status = publisher.ended().await;
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert!(status.message().contains("CREDIT_EXCEEDED: publication 2 has 4097 events"), "{}", status.message());
    assert!(grpc.source.is_silent().await);
}

#[tokio::test]
async fn a_bad_publication_ends_its_stream_with_the_row_and_the_rule_and_nothing_of_it_is_accepted() {
    let mut grpc = start(|_| {}).await;
    grpc.source.demand(1000, 1 << 20).await;
    let no_id = v1::Batch { id: None, ..events(&["a", "b"]) };
    let uid = v1::Batch { uid: vec![1; 32].into(), ..events(&["a", "b"]) };
    let ends = v1::Values { data: "ab".into(), ends: [2u32, 1].iter().flat_map(|end| end.to_le_bytes()).collect() };
    let falling = v1::Batch { payload: Some(ends), ..events(&["a", "b"]) };
    let short = v1::Batch { time: vec![0; 8].into(), ..events(&["a", "b"]) };
    for (batch, words) in [
        (no_id, "event 0 of the publication has no `id`"),
        (uid, "only the coordinator makes identities"),
        (falling, "column `payload`: value 1 ends at 1"),
        (short, "column `time`: 1 entries for 2 rows"),
        (v1::Batch::default(), "0 rows, allowed are 1 to 65536"),
    ] {
        let mut publisher = Publisher::opened(grpc.address).await;
        publisher.credit().await;
        publisher.publish(5, batch).await;
        let status = publisher.ended().await;
        assert_eq!(status.code(), Code::InvalidArgument);
        let message = status.message();
        assert!(message.contains(words) && message.contains("publication 5 is refused"), "{message}");
    }
    assert!(grpc.source.is_silent().await);
}

#[tokio::test]
async fn an_event_that_is_too_large_is_named_and_its_publication_refused_while_the_stream_goes_on() {
    let mut grpc = start(|bench| bench.context.max_event = 200).await;
    grpc.source.demand(1000, 1 << 20).await;
    let mut publisher = Publisher::opened(grpc.address).await;
    publisher.credit().await;
    let large = "x".repeat(300);
    publisher.publish(1, events(&["a", &large, "c"])).await;
    let Response::Refused(refused) = publisher.hear().await else { panic!("not refused") };
    assert_eq!((refused.sequence, refused.failures.len(), refused.failures[0].index), (1, 1, 1));
    assert_eq!(refused.failures[0].reason, "EVENT_TOO_LARGE");
    assert!(refused.failures[0].message.contains("`max_event` allows 200: raise it"), "{refused:?}");
    publisher.publish(2, events(&["a", "c"])).await;
    let frame = grpc.source.frame().await.unwrap();
    assert_eq!(frame.ids(), ["a", "c"]);
    grpc.source.settle(frame.sequence).await;
    assert_eq!(publisher.acknowledged().await, 2);
}

#[tokio::test]
async fn a_stream_that_opens_wrongly_is_told_what_to_do() {
    let grpc = start(|_| {}).await;
    let open = |pipeline: &str, node: &str, protocol| {
        Request::Open(v1::OpenPublish { pipeline: pipeline.into(), node: node.into(), protocol })
    };
    let later = Some(v1::ProtocolRange { min: 2, max: 3 });
    for (request, code, words) in [
        (open("q", "", None), Code::NotFound, "no pipeline `q` here: this port belongs to node `n` of pipeline `p`"),
        (open("p", "m", None), Code::NotFound, "no node `m` here"),
        (open("p", "n", later), Code::FailedPrecondition, "upgrade the coordinator to one that speaks 2"),
        (
            Request::Publication(v1::Publication { sequence: 1, batch: Some(events(&["a"])) }),
            Code::InvalidArgument,
            "the first message of a Publish stream must be `open`",
        ),
    ] {
        let publisher = Publisher::connect(grpc.address).await;
        publisher.say(request).await;
        let status = publisher.ended().await;
        assert_eq!(status.code(), code);
        assert!(status.message().contains(words), "{}", status.message());
        if code == Code::FailedPrecondition {
            assert_eq!(status.get_details_error_info().unwrap().metadata["upgrade"], "coordinator");
        }
    }
    let twice = Publisher::opened(grpc.address).await;
    twice.say(Request::Open(v1::OpenPublish::default())).await;
    assert_eq!(twice.ended().await.code(), Code::InvalidArgument);
}

#[tokio::test]
async fn on_stop_no_more_is_taken_and_what_becomes_durable_is_acknowledged() {
    let mut grpc = start(|_| {}).await;
    grpc.source.demand(1000, 1 << 20).await;
    let mut publisher = Publisher::opened(grpc.address).await;
    publisher.credit().await;
    publisher.publish(1, events(&["a"])).await;
    publisher.publish(2, events(&["b"])).await;
    let mut idle = Publisher::opened(grpc.address).await;
    idle.credit().await;
    let (first, _second) = (grpc.source.frame().await.unwrap(), grpc.source.frame().await.unwrap());
    grpc.source.stop().await;
    // Who has nothing open is told at once.
    let status = idle.ended().await;
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("the pipeline is stopping"), "{}", status.message());
    grpc.source.settle(first.sequence).await;
    assert_eq!(publisher.acknowledged().await, 1);
    grpc.source.close();
    let status = publisher.ended().await;
    assert_eq!(status.code(), Code::Unavailable);
    assert!(status.message().contains("publish it again with the same ids"), "{}", status.message());
    grpc.source.end().await.unwrap();
    assert!(tokio::net::TcpStream::connect(grpc.address).await.is_err());
}

#[tokio::test]
async fn a_publisher_that_sends_nothing_keeps_no_other_from_publishing() {
    let mut grpc = start(|_| {}).await;
    grpc.source.demand(1, 1 << 20).await;
    let mut idle = Publisher::opened(grpc.address).await;
    idle.credit().await;
    let mut busy = Publisher::opened(grpc.address).await;
    busy.credit().await;
    busy.publish(1, events(&["a"])).await;
    let frame = grpc.source.frame().await.unwrap();
    grpc.source.settle(frame.sequence).await;
    assert_eq!(busy.acknowledged().await, 1);
}

#[tokio::test]
async fn a_port_that_is_taken_is_refused() {
    let bench = Bench::new(&[]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let spec = GrpcSource { listen: taken.local_addr().unwrap() };
    let error = bench.refused(&ConnectorSpec::GrpcSource(spec));
    assert_eq!(error.code, "LISTEN_FAILED");
}
