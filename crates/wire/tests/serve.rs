//! In-process nodes behind a Unix socket, called as a coordinator would.

#![allow(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod support;

use std::time::Duration;

use meshloom_core::{exchange::ToNode, limits};
use meshloom_proto::v1::{self, process_request, process_response, produce_response};
use meshloom_wire::{process, produce};
use support::{Node, events, open, work};
use tonic::Code;
use tonic_types::StatusExt;

#[tokio::test]
async fn describe_names_every_handler() {
    let node = Node::start().await;
    let described = node.client().describe().await.unwrap();
    let names: Vec<_> = described.handlers.iter().map(|handler| handler.name.as_str()).collect();
    assert_eq!(names, ["upper", "broken", "count"]);
    assert_eq!(described.protocol, Some(v1::ProtocolRange { min: 1, max: 1 }));
    node.stop().await;
}

#[tokio::test]
async fn works_are_answered_until_half_close() {
    let node = Node::start().await;
    let (requests, mut responses) = node.process(open("upper")).await;
    let opened = support::opened(&mut responses).await;
    assert_eq!((opened.protocol, opened.limits.unwrap().max_in_flight_works), (1, 2));
    for sequence in 1..=20 {
        requests.send(process::encode_request(&ToNode::Work(work(sequence)))).await.unwrap();
        let result = support::result(&mut responses).await;
        let result = process::decode_result(result, 3).unwrap();
        let answer = result
            .outputs
            .unwrap()
            .apply(&events(), &meshloom_core::outputs::NodeIdentity::new("p", "n", false), Default::default())
            .unwrap();
        assert_eq!((result.sequence, result.last), (sequence, true));
        assert_eq!((0..3).map(|row| answer.batch.payload(row)).collect::<Vec<_>>(), [b"A", b"B", b"C"]);
    }
    requests.send(process::encode_request(&ToNode::Work(work(21)))).await.unwrap();
    let held = process::decode_result(support::result(&mut responses).await, 3).unwrap().outputs.unwrap();
    drop(requests);
    assert!(responses.message().await.unwrap().is_none(), "half-close ends the stream with OK");
    assert!(node.charged() >= held.bytes(), "outputs keep their frame and its charge");
    drop(held);
    node.uncharged().await;
    node.stop().await;
}

#[tokio::test]
async fn a_malformed_work_is_answered_and_the_stream_goes_on() {
    let node = Node::start().await;
    let (requests, mut responses) = node.process(open("upper")).await;
    support::opened(&mut responses).await;
    let mut malformed = process::encode_work(&work(1));
    malformed.batch.as_mut().unwrap().count = 9;
    let request = v1::ProcessRequest { request: Some(process_request::Request::Work(malformed)) };
    requests.send(request).await.unwrap();
    let refused = support::result(&mut responses).await;
    assert_eq!((refused.sequence, refused.last), (1, true));
    let failure = &refused.failures[0];
    assert_eq!((failure.index, failure.reason.as_str()), (u32::MAX, "BATCH_MALFORMED"));
    assert!(failure.message.contains("3 entries for 9 rows"), "{}", failure.message);
    requests.send(process::encode_request(&ToNode::Work(work(2)))).await.unwrap();
    assert_eq!(support::result(&mut responses).await.sequence, 2);
    node.stop().await;
}

#[tokio::test]
async fn what_cannot_be_opened_says_why() {
    let node = Node::start().await;
    let refused = async |open: v1::OpenProcess| {
        let (_requests, mut responses) = node.process(open).await;
        responses.message().await.unwrap_err()
    };
    let violation = |status: &tonic::Status| status.get_details_bad_request().unwrap().field_violations[0].clone();
    let reason = |status: &tonic::Status| status.get_details_error_info().unwrap().reason;

    let unknown = refused(open("nothing")).await;
    assert_eq!((unknown.code(), reason(&unknown).as_str()), (Code::NotFound, "HANDLER_UNKNOWN"));
    assert!(unknown.message().contains("`nothing`; name one of upper, broken, count"), "{}", unknown.message());
    assert_eq!(reason(&refused(open("")).await), "HANDLER_UNKNOWN", "which of several is not said");
    let source = refused(open("count")).await;
    assert_eq!((source.code(), reason(&source).as_str()), (Code::FailedPrecondition, "HANDLER_ROLE_MISMATCH"));
    assert_eq!(source.message(), "`count` is a source; open it with Produce");
    let broken = refused(open("broken")).await;
    assert_eq!(violation(&broken).field, "config.label");
    let range = Some(v1::ProtocolRange { min: 5, max: 6 });
    let version = refused(v1::OpenProcess { protocol: range, ..open("upper") }).await;
    assert_eq!((version.code(), reason(&version).as_str()), (Code::FailedPrecondition, "PROTOCOL_UNSUPPORTED"));
    node.stop().await;
}

#[tokio::test]
async fn the_first_message_must_open() {
    let node = Node::start().await;
    let (_requests, mut responses) = node.process_raw(process::encode_request(&ToNode::Work(work(1)))).await;
    let status = responses.message().await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    node.stop().await;
}

#[tokio::test]
async fn a_node_that_fails_ends_its_stream_with_its_error() {
    let node = Node::start().await;
    let (requests, mut responses) = node.process(open("upper")).await;
    support::opened(&mut responses).await;
    let fatal = ToNode::Cancel { sequence: 0, reason: "fail".to_owned() };
    requests.send(process::encode_request(&fatal)).await.unwrap();
    let status = responses.message().await.unwrap_err();
    assert_eq!((status.code(), status.message()), (Code::Aborted, "told to fail"));
    node.stop().await;
}

#[tokio::test]
async fn sources_are_served_too() {
    let node = Node::start().await;
    let (requests, mut responses) = node.produce("count").await;
    let opened = support::within(responses.message()).await.unwrap().unwrap();
    assert!(matches!(opened.response, Some(produce_response::Response::Opened(_))));
    let demand = meshloom_core::exchange::ToSource::Demand { events: 2, bytes: 100 };
    requests.send(produce::encode_request(&demand).unwrap()).await.unwrap();
    for expected in 1..=2 {
        match support::within(responses.message()).await.unwrap().unwrap().response {
            Some(produce_response::Response::Produced(frame)) => {
                assert_eq!(frame.sequence, expected);
                produce::decode_produced(frame).unwrap();
            }
            other => panic!("expected a frame, not {other:?}"),
        }
    }
    let last = support::within(responses.message()).await.unwrap().unwrap();
    assert!(matches!(last.response, Some(produce_response::Response::Exhausted(_))));
    requests.send(produce::encode_request(&meshloom_core::exchange::ToSource::Stop).unwrap()).await.unwrap();
    assert!(support::within(responses.message()).await.unwrap().is_none());
    node.stop().await;
}

#[tokio::test]
async fn shutdown_answers_what_is_in_hand_and_says_not_serving() {
    let node = Node::start().await;
    let (requests, mut responses) = node.process(open("upper")).await;
    support::opened(&mut responses).await;
    requests.send(process::encode_request(&ToNode::Work(work(1)))).await.unwrap();
    assert_eq!(support::result(&mut responses).await.sequence, 1);
    let mut health = node.watch_health("meshloom.v1.NodeService").await;
    assert_eq!(support::status(&mut health).await, "Serving");
    node.shut_down();
    assert_eq!(support::status(&mut health).await, "NotServing");
    assert!(support::within(responses.message()).await.unwrap().is_none(), "streams end with OK");
    drop((health, requests, responses));
    node.ended().await;
}

#[tokio::test]
async fn a_stream_that_breaks_ends_its_node() {
    let node = Node::start().await;
    let (requests, mut responses) = node.process(open("upper")).await;
    support::opened(&mut responses).await;
    node.running(1).await;
    drop((requests, responses));
    node.running(0).await;
    node.stop().await;
}

#[tokio::test]
async fn reflection_lists_the_services() {
    let node = Node::start().await;
    let services = node.reflected_services().await;
    for service in ["meshloom.v1.NodeService", "grpc.health.v1.Health"] {
        assert!(services.iter().any(|name| name == service), "{services:?}");
    }
    node.stop().await;
}

#[tokio::test]
async fn a_message_beyond_the_limit_is_refused_at_both_ends() {
    let node = Node::start().await;
    let config_json = vec![b' '; limits::MESSAGE_BYTES].into();
    let open = v1::OpenProcess { config_json, ..open("upper") };
    let first = v1::ProcessRequest { request: Some(process_request::Request::Open(open)) };
    let received = node.process_unlimited(first.clone()).await.unwrap_err();
    assert_eq!(received.code(), Code::OutOfRange, "{received}");
    assert!(node.client().process(tokio_stream::once(first)).await.is_err());
    node.stop().await;
}

#[tokio::test]
async fn a_large_frame_passes_both_ways() {
    let node = Node::start().await;
    let (requests, mut responses) = node.process(open("upper")).await;
    support::opened(&mut responses).await;
    let large = support::large_work(9, 15 << 20);
    requests.send(process::encode_request(&ToNode::Work(large))).await.unwrap();
    let response = tokio::time::timeout(Duration::from_secs(30), responses.message()).await.unwrap().unwrap().unwrap();
    let Some(process_response::Response::Result(result)) = response.response else { panic!("a result") };
    let result = process::decode_result(result, 1).unwrap();
    assert!(result.outputs.unwrap().bytes() > 15 << 20);
    node.stop().await;
}
