//! Spans over real connections on loopback: to a collector, from nodes, and when the collector is slow, down or strict.

#![allow(clippy::unwrap_used)]

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use meshloom_telemetry::{
    Event, Kind, Link, Service, Span, SpanRef, Stats, Status, Traces, Value, export::ExportOptions, names, receiver,
    traces::Options,
};
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_client::TraceServiceClient,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    trace::v1::span::SpanKind,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, codec::CompressionEncoding, metadata::MetadataMap, transport::Server};

const SOON: Duration = Duration::from_secs(20);

type Requests = Arc<Mutex<Vec<(MetadataMap, ExportTraceServiceRequest)>>>;

/// A collector that answers as it is told.
#[derive(Clone, Default)]
struct Collector {
    requests: Requests,
    /// Calls to fail before the first success.
    failures: Arc<AtomicUsize>,
    failure: Option<Code>,
    rejects: i64,
    hangs: bool,
}

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, tonic::Status> {
        if self.hangs {
            std::future::pending::<()>().await;
        }
        if let Some(code) = self.failure
            && self.failures.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok()
        {
            return Err(tonic::Status::new(code, "as told"));
        }
        let metadata = request.metadata().clone();
        self.requests.lock().unwrap().push((metadata, request.into_inner()));
        let partial = ExportTracePartialSuccess { rejected_spans: self.rejects, error_message: "too old".into() };
        Ok(Response::new(ExportTraceServiceResponse { partial_success: (self.rejects > 0).then_some(partial) }))
    }
}

impl Collector {
    async fn start(self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = TraceServiceServer::new(self).accept_compressed(CompressionEncoding::Gzip);
        tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
        address
    }
}

fn traces(collector: SocketAddr, env: &[(&str, &str)]) -> Traces {
    let env = |name: &str| env.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
    let export = ExportOptions::resolve(Some(&collector.to_string()), &env).unwrap();
    Traces::start(Options { export, ..Options::default() })
}

fn span(name: &'static str) -> Span {
    let service = Service::of_coordinator("demo", "filter");
    let mut span = Span::new(SpanRef::new_root(), None, service, Kind::Client, name);
    (span.start, span.end) = (1_000, 5_000);
    span
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not in {} s", SOON.as_secs());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_span_goes_out_with_all_that_it_holds() {
    let collector = Collector::default();
    let requests = collector.requests.clone();
    let env = [
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20t"),
        ("OTEL_RESOURCE_ATTRIBUTES", "host.name=h,service.name=wrong"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
    ];
    let traces = traces(collector.start().await, &env);
    let other = SpanRef::new_root();
    let mut made = span("receive filter");
    made.set(names::MESSAGE_ID, "ab".repeat(16));
    made.set(names::QUEUE_MS, 1.5);
    made.set(names::ATTEMPT, 2_i64);
    made.events.push(Event::new(2_000, names::event::DISPATCH));
    made.links.push(Link { to: other, attributes: vec![("why".into(), Value::Bool(true))] });
    made.status = Status::Error("late".into());
    traces.record(made.clone());
    assert!(traces.flush(SOON).await);

    let sent = requests.lock().unwrap().remove(0);
    assert_eq!(sent.0.get("authorization").unwrap(), "Bearer t");
    let resource = &sent.1.resource_spans[0];
    let attributes: Vec<String> = resource
        .resource
        .iter()
        .flat_map(|resource| &resource.attributes)
        .map(|attribute| format!("{}={:?}", attribute.key, attribute.value.as_ref().unwrap().value.as_ref().unwrap()))
        .collect();
    assert_eq!(
        attributes,
        [
            "service.name=StringValue(\"demo/filter\")",
            "service.instance.id=StringValue(\"coordinator\")",
            "host.name=StringValue(\"h\")"
        ]
    );
    let sent = &resource.scope_spans[0].spans[0];
    assert_eq!((sent.name.as_str(), sent.kind()), ("receive filter", SpanKind::Client));
    assert_eq!((sent.start_time_unix_nano, sent.end_time_unix_nano), (1_000, 5_000));
    assert_eq!(sent.links[0].span_id, other.span_id.to_bytes());

    // What is kept is what was made, and finds itself again.
    assert_eq!(*traces.by_uid([0xab; 16])[0].spans[0], made);
    assert_eq!(traces.trace(made.trace_id).unwrap().spans.len(), 1);
    let stats = traces.stats();
    assert_eq!((stats.recorded, stats.exported, stats.traces), (1, 1, 1));
}

#[tokio::test]
async fn a_nodes_spans_are_kept_and_forwarded_unchanged() {
    let collector = Collector::default();
    let requests = collector.requests.clone();
    let traces = traces(collector.start().await, &[]);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = tokio::spawn(receiver::serve(listener, traces.clone(), async move { drop(stopped.await) }));

    // What a node would send, with things that our own spans do not have.
    let upstream = Collector::default();
    let upstreams = upstream.requests.clone();
    let node = self::traces(upstream.start().await, &[]);
    let made = span("process filter");
    node.record(made.clone());
    assert!(node.flush(SOON).await);
    let (_, mut request) = upstreams.lock().unwrap().remove(0);
    request.resource_spans[0].schema_url = "https://opentelemetry.io/schemas/1.37.0".into();
    let mut without_identity = request.resource_spans[0].scope_spans[0].spans[0].clone();
    without_identity.dropped_events_count = 3;
    without_identity.trace_id = vec![1, 2];
    request.resource_spans[0].scope_spans[0].spans.push(without_identity);
    let mut client = TraceServiceClient::connect(format!("http://{address}"))
        .await
        .unwrap()
        .send_compressed(CompressionEncoding::Gzip);
    client.export(request.clone()).await.unwrap();
    assert!(traces.flush(SOON).await);

    assert_eq!(requests.lock().unwrap().remove(0).1, request);
    let kept = traces.trace(made.trace_id).unwrap();
    assert_eq!(*kept.spans[0], made);
    let stats = traces.stats();
    assert_eq!((stats.received, stats.exported, stats.traces), (2, 2, 1));

    drop(client);
    stop.send(()).unwrap();
    tokio::time::timeout(SOON, server).await.expect("it ends").unwrap().unwrap();
}

#[tokio::test]
async fn many_spans_travel_together() {
    let collector = Collector::default();
    let requests = collector.requests.clone();
    let traces = traces(collector.start().await, &[]);
    for _ in 0..2000 {
        traces.record(span("receive filter"));
    }
    assert!(traces.flush(SOON).await);
    let sent: Vec<usize> = requests
        .lock()
        .unwrap()
        .iter()
        .map(|(_, request)| request.resource_spans[0].scope_spans[0].spans.len())
        .collect();
    assert_eq!(sent.iter().sum::<usize>(), 2000);
    assert!(sent.len() <= 8, "{sent:?}");
}

#[tokio::test]
async fn a_hanging_collector_costs_spans_and_no_time() {
    let address = Collector { hangs: true, ..Collector::default() }.start().await;
    let traces = traces(address, &[("OTEL_EXPORTER_OTLP_TIMEOUT", "60000")]);
    let mut large = span("receive filter");
    large.set(names::ERROR_TYPE, "x".repeat(64 << 10));
    let started = Instant::now();
    let mut recorded = 0;
    // More than the exporter's queue holds, in steps that the store's queue can take.
    while recorded < 1000 {
        for _ in 0..100 {
            traces.record(large.clone());
            recorded += 1;
        }
        until("the store has them", || traces.stats().recorded == recorded && traces.stats().bytes > 0).await;
        tokio::task::yield_now().await;
    }
    assert!(started.elapsed() < Duration::from_secs(10), "recording took {:?}", started.elapsed());
    until("drops are counted", || traces.stats().export_dropped > 500).await;
    let flushing = Instant::now();
    assert!(!traces.flush(Duration::from_millis(300)).await);
    assert!(flushing.elapsed() < Duration::from_secs(5));
    // The newest are here all the same.
    assert!(!traces.newest(1).is_empty());
    assert_eq!(traces.stats().exported, 0);
}

#[tokio::test]
async fn recording_never_waits_even_if_nothing_is_stored() {
    // On this one thread nothing else runs while the loop does.
    let traces = Traces::start(Options::default());
    for _ in 0..100_000 {
        traces.record(span("receive filter"));
    }
    let Stats { recorded, dropped, .. } = traces.stats();
    assert_eq!(recorded + dropped, 100_000);
    assert!(dropped > 0 && recorded >= 65_536, "{recorded} recorded, {dropped} dropped");
}

#[tokio::test]
async fn a_collector_that_comes_late_gets_what_waited() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let traces = traces(address, &[]);
    traces.record(span("receive filter"));
    assert!(!traces.flush(Duration::from_millis(200)).await);
    let collector = Collector::default();
    let requests = collector.requests.clone();
    let listener = TcpListener::bind(address).await.unwrap();
    let service = TraceServiceServer::new(collector);
    tokio::spawn(Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener)));
    until("it is sent", || requests.lock().unwrap().len() == 1).await;
    assert!(traces.flush(SOON).await);
    assert_eq!(traces.stats().export_dropped, 0);
}

#[tokio::test]
async fn a_failing_collector_is_tried_again_and_a_refusing_one_is_not() {
    let failing =
        Collector { failures: Arc::new(AtomicUsize::new(2)), failure: Some(Code::Unavailable), ..Collector::default() };
    let patient = traces(failing.clone().start().await, &[]);
    patient.record(span("receive filter"));
    assert!(patient.flush(SOON).await);
    assert_eq!(patient.stats().exported, 1);

    let refusing = Collector {
        failures: Arc::new(AtomicUsize::new(1)),
        failure: Some(Code::Unauthenticated),
        ..Collector::default()
    };
    let refused = traces(refusing.start().await, &[]);
    refused.record(span("receive filter"));
    assert!(!refused.flush(SOON).await);
    assert_eq!((refused.stats().exported, refused.stats().export_dropped), (0, 1));
}

#[tokio::test]
async fn a_partial_refusal_is_counted() {
    let traces = traces(Collector { rejects: 1, ..Collector::default() }.start().await, &[]);
    traces.record(span("receive filter"));
    traces.record(span("receive filter"));
    assert!(traces.flush(SOON).await);
    assert_eq!((traces.stats().exported, traces.stats().export_rejected), (1, 1));
}

#[tokio::test]
async fn without_a_collector_spans_are_only_kept() {
    let traces = Traces::start(Options::default());
    traces.record(span("receive filter"));
    assert!(traces.flush(SOON).await);
    assert_eq!(traces.stats(), Stats { recorded: 1, traces: 1, bytes: traces.stats().bytes, ..Stats::default() });
}
