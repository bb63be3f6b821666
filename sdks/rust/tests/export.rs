//! Spans reach a collector with no code by the user, and the last of them before the process ends.

mod common;

use std::{process::Command, sync::Arc, time::Duration};

use common::{batch, open, open_channel, soon};
use meshloom::{Event, node};
use meshloom_proto::v1::SpanContext;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value,
};
use tokio::{net::TcpListener, sync::mpsc};
use tonic::{Request, Response, Status, transport::server::TcpIncoming};

#[tokio::test]
async fn child() {
    async fn pass(event: Event) -> Event {
        tracing::info_span!("user-work").in_scope(|| tracing::warn!("about this event"));
        event
    }
    if std::env::var("MESHLOOM_TEST_CHILD").is_ok() {
        node("child").map(pass).serve().await.expect("served");
    }
}

struct Collector(mpsc::Sender<ExportTraceServiceRequest>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.0.send(request.into_inner()).await.map_err(|_| Status::unavailable("gone"))?;
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

#[tokio::test]
async fn spans_are_exported_and_flushed() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bound");
    let collector = listener.local_addr().expect("an address");
    let (told, mut exported) = mpsc::channel(8);
    let server = tonic::transport::Server::builder().add_service(TraceServiceServer::new(Collector(told)));
    let server = tokio::spawn(server.serve_with_incoming(TcpIncoming::from(listener)));

    let folder = tempfile::tempdir().expect("a folder");
    let path = Arc::new(folder.path().join("n.sock"));
    let log = folder.path().join("log");
    let mut child = Command::new(std::env::current_exe().expect("this program"))
        .args(["child", "--exact", "--nocapture"])
        .env("MESHLOOM_TEST_CHILD", "1")
        .env("MESHLOOM_LISTEN", format!("unix:{}", path.display()))
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{collector}"))
        .env("OTEL_SERVICE_NAME", "p/child")
        // Longer than the test: what arrives was flushed at the end.
        .env("OTEL_BSP_SCHEDULE_DELAY", "600000")
        .stderr(std::fs::File::create(&log).expect("a file"))
        .stdout(std::process::Stdio::null())
        .spawn()
        .expect("spawned");
    let connector = tower::service_fn(move |_| {
        let path = Arc::clone(&path);
        async move { tokio::net::UnixStream::connect(path.as_path()).await.map(hyper_util::rt::TokioIo::new) }
    });
    let channel = soon(async {
        loop {
            match tonic::transport::Endpoint::from_static("http://node").connect_with_connector(connector.clone()).await
            {
                Ok(channel) => return channel,
                Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    })
    .await;
    let mut stream = open_channel(channel, open("")).await.expect("opened");
    let mut events = batch(&["a", "b", "c"]);
    events.spans = vec![SpanContext {
        index: 1,
        trace_id: vec![5; 16].into(),
        span_id: vec![6; 8].into(),
        flags: 1,
        trace_state: String::new(),
    }];
    assert_eq!(stream.run(events).await.outputs.len(), 3);
    assert!(Command::new("kill").arg(child.id().to_string()).status().expect("kill").success());
    let request = soon(exported.recv()).await.expect("exported");
    let ended = soon(tokio::task::spawn_blocking(move || child.wait())).await.expect("waited").expect("ended");
    assert_eq!(ended.code(), Some(0));
    server.abort();

    let resource = request.resource_spans[0].resource.as_ref().expect("a resource");
    let name = resource
        .attributes
        .iter()
        .find(|attribute| attribute.key == "service.name")
        .and_then(|attribute| attribute.value.clone()?.value);
    assert_eq!(name, Some(Value::StringValue("p/child".to_owned())));
    let spans: Vec<_> = request
        .resource_spans
        .iter()
        .flat_map(|resource| &resource.scope_spans)
        .flat_map(|scope| &scope.spans)
        .collect();
    let mut names: Vec<&str> = spans.iter().map(|span| span.name.as_str()).collect();
    names.sort_unstable();
    // One of each: what the user opens for the two events that are not sampled begins no trace.
    assert_eq!(names, ["process n", "user-work"]);
    assert!(spans.iter().all(|span| span.trace_id == [5; 16]));
    let process = spans.iter().find(|span| span.name == "process n").expect("found");
    assert_eq!(process.parent_span_id, [6; 8]);
    assert_eq!(spans.iter().find(|span| span.name == "user-work").expect("found").parent_span_id, process.span_id);

    let log = std::fs::read_to_string(log).expect("read");
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("about this event")).collect();
    assert_eq!(lines.len(), 3, "{log}");
    assert!(lines.iter().all(|line| line.contains("node=child") && line.contains("uid=0000")), "{log}");
    assert_eq!(lines.iter().filter(|line| line.contains(&format!("trace_id={}", "05".repeat(16)))).count(), 1, "{log}");
}
