use std::{net::SocketAddr, time::Duration};

use meshloom_config::connector::{ConnectorSpec, HttpSource};
use meshloom_core::exchange::NotAccepted;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};

use crate::support::{Bench, SourceRun, within};

const JSON: (&str, &str) = ("content-type", "application/json");

struct Http {
    source: SourceRun,
    address: SocketAddr,
    _bench: Bench,
}

async fn start(change: impl FnOnce(&mut Bench)) -> Http {
    let mut bench = Bench::new(&[]);
    change(&mut bench);
    let spec = HttpSource { listen: "127.0.0.1:0".parse().unwrap(), path: "/events".into() };
    let source = bench.source(&ConnectorSpec::HttpSource(spec));
    let line = bench.logged("listening on").await.line;
    let address = line.split("http://").nth(1).unwrap().split('/').next().unwrap().parse().unwrap();
    assert!(!source.replays);
    Http { source, address, _bench: bench }
}

/// Status, headers and body of an answer.
struct Reply {
    status: u16,
    head: String,
    body: String,
}

/// Sends bytes as they are, and reads to the end of the connection.
async fn raw(address: SocketAddr, request: Vec<u8>, close: bool) -> Reply {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(&request).await.unwrap();
    if close {
        stream.shutdown().await.unwrap();
    }
    let mut bytes = Vec::new();
    within(stream.read_to_end(&mut bytes)).await.unwrap();
    let text = String::from_utf8(bytes).unwrap();
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Reply { status, head: head.to_lowercase(), body: body.into() }
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Vec<u8> {
    let mut text =
        format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        text += &format!("{name}: {value}\r\n");
    }
    (text + "\r\n" + body).into_bytes()
}

impl Http {
    fn post(&self, headers: &[(&str, &str)], body: &str) -> JoinHandle<Reply> {
        tokio::spawn(raw(self.address, request("POST", "/events", headers, body), false))
    }

    async fn refused(&self, headers: &[(&str, &str)], body: &str) -> (u16, String) {
        let reply = within(self.post(headers, body)).await.unwrap();
        let error: serde_json::Value = serde_json::from_str(&reply.body).unwrap_or_else(|_| panic!("{}", reply.body));
        assert!(error["message"].as_str().is_some_and(|message| message.len() > 10), "{error}");
        (reply.status, error["code"].as_str().unwrap().to_owned())
    }

    /// Posts, settles, and gives what was produced.
    async fn accepted(&mut self, headers: &[(&str, &str)], body: &str) -> crate::support::Frame {
        let reply = self.post(headers, body);
        let frame = self.source.frame().await.unwrap();
        self.source.settle(frame.sequence).await;
        let reply = within(reply).await.unwrap();
        assert_eq!((reply.status, reply.body), (202, format!("{{\"accepted\":{}}}", frame.batch.len())));
        frame
    }
}

#[tokio::test]
async fn every_form_of_events_is_taken() {
    let mut http = start(|_| {}).await;
    http.source.demand(1000, 1 << 20).await;
    let frame = http.accepted(&[JSON], "{\n  \"n\": 1.50\n}").await;
    assert_eq!(frame.payloads(), ["{\"n\":1.50}"]);
    assert_eq!(frame.batch.content_type(0), Some("application/json"));
    let frame = http.accepted(&[JSON], " [1, [2], {\"a\": null}] ").await;
    assert_eq!(frame.payloads(), ["1", "[2]", "{\"a\":null}"]);
    let frame = http.accepted(&[("content-type", "application/x-ndjson; charset=utf-8")], "1\n\n{\"b\":2}").await;
    assert_eq!(frame.payloads(), ["1", "{\"b\":2}"]);
    let envelope = "{\"specversion\":\"1.0\",\"id\":\"7\",\"source\":\"/s\",\"type\":\"t\",\"time\":\"2026-01-02T03:04:05.5+01:00\",\"partitionkey\":\"k\",\"ext\":true,\"data\":{\"x\": 1}}";
    let frame = http.accepted(&[("content-type", "application/cloudevents+json")], envelope).await;
    let event = &frame.batch;
    assert_eq!(
        (event.id(0), event.source(0), event.type_(0), event.key(0)),
        (Some("7"), Some("/s"), Some("t"), Some("k"))
    );
    assert_eq!((event.time_ns(0), event.payload(0)), (Some(1_767_319_445_500_000_000), &b"{\"x\":1}"[..]));
    assert_eq!(event.extensions(0).count(), 1);
    let many = format!("[{envelope},{}]", envelope.replace("\"7\"", "\"8\""));
    let frame = http.accepted(&[("content-type", "application/cloudevents-batch+json")], &many).await;
    assert_eq!(frame.ids(), ["7", "8"]);
    let headers = [
        ("ce-specversion", "1.0"),
        ("ce-id", "9"),
        ("ce-source", "/b"),
        ("ce-type", "bin"),
        ("ce-subject", "caf%C3%A9"),
        ("ce-mine", "x"),
        ("content-type", "image/png"),
    ];
    let frame = http.accepted(&headers, "not json").await;
    let event = &frame.batch;
    assert_eq!((event.id(0), event.subject(0), event.content_type(0)), (Some("9"), Some("café"), Some("image/png")));
    assert_eq!(frame.payloads(), ["not json"]);
    // Nothing is nothing.
    assert_eq!(within(http.post(&[JSON], "[]")).await.unwrap().status, 202);
}

#[tokio::test]
async fn an_answer_comes_only_once_all_may_be_forgotten() {
    let mut http = start(|_| {}).await;
    http.source.demand(1000, 1 << 20).await;
    let first = http.post(&[JSON], "[1, 2]");
    let frame = http.source.frame().await.unwrap();
    let second = http.post(&[JSON], "3");
    let later = http.source.frame().await.unwrap();
    http.source.settle(later.sequence).await;
    assert_eq!(within(second).await.unwrap().status, 202);
    assert!(!first.is_finished());
    http.source.settle(frame.sequence).await;
    assert_eq!(within(first).await.unwrap().status, 202);
}

#[tokio::test]
async fn what_does_not_settle_in_time_is_unavailable() {
    let mut http = start(|bench| bench.context.timeout = Duration::from_millis(300)).await;
    http.source.demand(1000, 1 << 20).await;
    let reply = http.post(&[JSON], "1");
    http.source.frame().await.unwrap();
    let reply = within(reply).await.unwrap();
    assert_eq!(reply.status, 503);
    assert!(reply.head.contains("retry-after: ") && reply.body.contains("NOT_SETTLED"), "{}", reply.body);
}

#[tokio::test]
async fn what_the_journal_does_not_take_is_refused_with_the_reason() {
    let mut http = start(|_| {}).await;
    http.source.demand(1000, 1 << 20).await;
    for (why, status, code) in [
        (NotAccepted::Full, 429, "BUSY"),
        (NotAccepted::Failed, 503, "JOURNAL_FAILED"),
        (NotAccepted::TooLarge, 413, "TOO_LARGE"),
    ] {
        let reply = http.post(&[JSON], "[1, 2]");
        let frame = http.source.frame().await.unwrap();
        http.source.refuse(frame.sequence, why).await;
        let reply = within(reply).await.unwrap();
        assert_eq!(reply.status, status, "{}", reply.body);
        assert!(reply.body.contains(code) && reply.body.contains("journal"), "{}", reply.body);
        assert_eq!(reply.head.contains("retry-after: "), status != 413, "{}", reply.head);
    }
    // And the next is taken as before.
    http.accepted(&[JSON], "1").await;
}

#[tokio::test]
async fn a_request_is_admitted_whole_or_not_at_all() {
    let mut http = start(|_| {}).await;
    let reply = within(http.post(&[JSON], "1")).await.unwrap();
    assert_eq!(reply.status, 429);
    assert!(reply.head.contains("retry-after: "), "{}", reply.head);
    http.source.demand(3, 1 << 20).await;
    // More than there is room for even when nothing is under way.
    assert_eq!(http.refused(&[JSON], "[1, 2, 3, 4]").await, (413, "TOO_LARGE".into()));
    let open = http.post(&[JSON], "1");
    let frame = http.source.frame().await.unwrap();
    assert_eq!(http.refused(&[JSON], "[1, 2, 3]").await, (429, "BUSY".into()));
    assert!(http.source.is_silent().await);
    let two = http.post(&[JSON], "[2, 3]");
    let more = http.source.frame().await.unwrap();
    assert_eq!(more.payloads(), ["2", "3"]);
    http.source.settle(frame.sequence).await;
    http.source.settle(more.sequence).await;
    assert_eq!((within(open).await.unwrap().status, within(two).await.unwrap().status), (202, 202));
    // One event goes with any credit.
    http.source.demand(1, 1).await;
    http.accepted(&[JSON], "\"longer than one byte\"").await;
}

#[tokio::test]
async fn a_bad_request_is_refused_with_its_reason_and_nothing_of_it_accepted() {
    let mut http = start(|bench| bench.context.max_event = 100).await;
    http.source.demand(1000, 1 << 20).await;
    let ndjson = ("content-type", "application/x-ndjson");
    let structured = ("content-type", "application/cloudevents+json");
    let large = format!("[1, \"{}\"]", "x".repeat(200));
    for (headers, body, expected) in [
        (&[JSON][..], "{\"a\":", (400, "NOT_JSON")),
        (&[JSON], "1 2", (400, "NOT_JSON")),
        (&[JSON], "", (400, "NOT_JSON")),
        (&[ndjson], "1\noops\n3", (400, "NOT_JSON")),
        (&[structured], "{\"specversion\":\"1.0\",\"id\":\"1\",\"type\":\"t\"}", (400, "BAD_ENVELOPE")),
        (&[structured], "{\"specversion\":\"0.3\"}", (400, "BAD_ENVELOPE")),
        (&[structured], "[]", (400, "BAD_ENVELOPE")),
        (&[("content-type", "application/cloudevents-batch+json")], "{}", (400, "BAD_ENVELOPE")),
        (&[("ce-specversion", "1.0"), ("ce-id", "1")], "x", (400, "BAD_ENVELOPE")),
        (&[JSON], &large, (413, "TOO_LARGE")),
        (&[], "1", (415, "UNSUPPORTED_MEDIA_TYPE")),
        (&[("content-type", "application/x-www-form-urlencoded")], "a=1", (415, "UNSUPPORTED_MEDIA_TYPE")),
        (&[JSON, ("content-encoding", "gzip")], "1", (415, "UNSUPPORTED_MEDIA_TYPE")),
    ] {
        let (status, code) = http.refused(headers, body).await;
        assert_eq!((status, code.as_str()), expected, "{headers:?} {body}");
    }
    for (method, path, status) in [("POST", "/elsewhere", 404), ("GET", "/events", 405), ("PUT", "/events", 405)] {
        let reply = raw(http.address, request(method, path, &[JSON], "1"), false).await;
        assert_eq!(reply.status, status);
        assert_eq!(reply.head.contains("allow: post"), status == 405);
    }
    assert!(http.source.is_silent().await);
}

#[tokio::test]
async fn bodies_that_lie_or_dawdle_or_are_too_large_are_not_waited_for() {
    let mut http = start(|bench| bench.context.timeout = Duration::from_millis(400)).await;
    http.source.demand(1000, 1 << 20).await;
    let head = |length: u64| {
        format!(
            "POST /events HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        )
    };
    // Larger than allowed, by its own words: refused before it is sent.
    let reply = raw(http.address, head(1 << 40).into_bytes(), false).await;
    assert_eq!(reply.status, 413);
    // Shorter than announced.
    let reply = raw(http.address, (head(100) + "[1, 2]").into_bytes(), true).await;
    assert!(reply.status == 400 || reply.status == 0, "{}", reply.status);
    // Never complete.
    let reply = raw(http.address, (head(100) + "[1, ").into_bytes(), false).await;
    assert_eq!(reply.status, 408);
    // Longer than announced: the rest is no request.
    let longer = tokio::spawn(raw(http.address, (head(1) + "1garbage\r\n\r\n").into_bytes(), false));
    let frame = http.source.frame().await.unwrap();
    assert_eq!(frame.payloads(), ["1"]);
    http.source.settle(frame.sequence).await;
    assert_eq!(within(longer).await.unwrap().status, 202);
    assert!(http.source.is_silent().await);
}

#[tokio::test]
async fn a_sampled_trace_context_goes_with_the_events() {
    let mut http = start(|_| {}).await;
    http.source.demand(1000, 1 << 20).await;
    let sampled = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let frame = http.accepted(&[JSON, ("traceparent", sampled), ("tracestate", "a=b")], "[1, 2]").await;
    let span = frame.batch.span(1).unwrap();
    assert_eq!((span.trace_id[0], span.span_id[7], span.flags), (0x0a, 0x31, 1));
    assert_eq!(span.trace_state.as_deref(), Some("a=b"));
    for unusable in [
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "nonsense",
    ] {
        let frame = http.accepted(&[JSON, ("traceparent", unusable)], "1").await;
        assert!(!frame.batch.has_spans(), "{unusable}");
    }
}

#[tokio::test]
async fn on_stop_no_more_is_taken_and_what_is_under_way_is_answered() {
    let mut http = start(|_| {}).await;
    http.source.demand(1000, 1 << 20).await;
    let settles = http.post(&[JSON], "1");
    let first = http.source.frame().await.unwrap();
    let does_not = http.post(&[JSON], "2");
    http.source.frame().await.unwrap();
    http.source.stop().await;
    http.source.settle(first.sequence).await;
    assert_eq!(within(settles).await.unwrap().status, 202);
    http.source.close();
    let reply = within(does_not).await.unwrap();
    assert_eq!(reply.status, 503);
    http.source.end().await.unwrap();
    assert!(TcpStream::connect(http.address).await.is_err());
}

#[tokio::test]
async fn a_port_that_is_taken_is_refused() {
    let bench = Bench::new(&[]);
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let spec = HttpSource { listen: taken.local_addr().unwrap(), path: "/".into() };
    let error = bench.refused(&ConnectorSpec::HttpSource(spec));
    assert_eq!(error.code, "LISTEN_FAILED");
}
