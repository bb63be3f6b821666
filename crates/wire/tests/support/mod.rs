//! A served process with three handlers, and a client.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use meshloom_core::{
    batch::{Batch, BatchBuilder, Event},
    exchange::{FromNode, FromSource, Limits, ToNode, ToSource, Work, WorkResult},
    ids::Uid,
    outputs::{OutputEvent, OutputsBuilder},
};
use meshloom_proto::v1::{self, process_request, process_response, produce_request};
use meshloom_wire::{
    Meter, NodeClient,
    serve::{BoxFuture, Handler, NodeServer, ProcessNode, SourceNode, serve},
    session, transport,
};
use tokio::{
    net::UnixListener,
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use tokio_stream::wrappers::{ReceiverStream, UnixListenerStream};
use tonic::{Status, Streaming, transport::Endpoint};
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse, health_client::HealthClient};

const DEADLINE: Duration = Duration::from_secs(20);

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("within the deadline")
}

/// Counts what is charged and not yet returned.
#[derive(Clone)]
struct Counter(Arc<watch::Sender<usize>>);

struct Charge(Counter, usize);

impl Meter for Counter {
    fn charge(&self, bytes: usize) -> Box<dyn Send + Sync> {
        self.0.send_modify(|charged| *charged += bytes);
        Box::new(Charge(self.clone(), bytes))
    }
}

impl Drop for Charge {
    fn drop(&mut self) {
        self.0.0.send_modify(|charged| *charged -= self.1);
    }
}

pub(crate) struct Node {
    endpoint: Endpoint,
    counter: Counter,
    running: watch::Receiver<usize>,
    shutdown: std::sync::Mutex<Option<oneshot::Sender<()>>>,
    served: JoinHandle<Result<(), tonic::transport::Error>>,
    _folder: tempfile::TempDir,
}

impl Node {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let (running, watched) = watch::channel(0);
        let handlers: Vec<Box<dyn Handler>> =
            vec![Box::new(Upper(Arc::new(running))), Box::new(Broken), Box::new(Count)];
        let nodes = NodeServer::new("test", "0.0.0", handlers);
        let (shutdown, told) = oneshot::channel::<()>();
        let told = async { told.await.unwrap_or_default() };
        let served = tokio::spawn(serve(nodes, UnixListenerStream::new(listener), told));
        let endpoint = transport::tune(Endpoint::try_from(format!("unix:{}", path.display())).unwrap());
        Self {
            endpoint,
            counter: Counter(Arc::new(watch::Sender::new(0))),
            running: watched,
            shutdown: std::sync::Mutex::new(Some(shutdown)),
            served,
            _folder: folder,
        }
    }

    pub(crate) fn client(&self) -> NodeClient {
        NodeClient::new(self.endpoint.connect_lazy(), Arc::new(self.counter.clone()))
    }

    pub(crate) async fn process(
        &self,
        open: v1::OpenProcess,
    ) -> (mpsc::Sender<v1::ProcessRequest>, Streaming<v1::ProcessResponse>) {
        self.process_raw(v1::ProcessRequest { request: Some(process_request::Request::Open(open)) }).await
    }

    pub(crate) async fn process_raw(
        &self,
        first: v1::ProcessRequest,
    ) -> (mpsc::Sender<v1::ProcessRequest>, Streaming<v1::ProcessResponse>) {
        let (requests, stream) = mpsc::channel(4);
        requests.send(first).await.unwrap();
        let responses = within(self.client().process(ReceiverStream::new(stream))).await.unwrap();
        (requests, responses)
    }

    pub(crate) async fn produce(
        &self,
        handler: &str,
    ) -> (mpsc::Sender<v1::ProduceRequest>, Streaming<v1::ProduceResponse>) {
        let (requests, stream) = mpsc::channel(4);
        let open = v1::OpenProduce {
            protocol: Some(session::PROTOCOL),
            handler: handler.to_owned(),
            ..v1::OpenProduce::default()
        };
        let first = v1::ProduceRequest { request: Some(produce_request::Request::Open(open)) };
        requests.send(first).await.unwrap();
        let responses = within(self.client().produce(ReceiverStream::new(stream))).await.unwrap();
        (requests, responses)
    }

    /// Bytes that were received and are held.
    pub(crate) fn charged(&self) -> usize {
        *self.counter.0.borrow()
    }

    /// A first message without the client's own limit.
    pub(crate) async fn process_unlimited(&self, first: v1::ProcessRequest) -> Result<(), Status> {
        let mut client = v1::node_service_client::NodeServiceClient::new(self.endpoint.connect_lazy());
        let mut responses = within(client.process(tokio_stream::once(first))).await?.into_inner();
        within(responses.message()).await.map(|_| ())
    }

    /// Waits until nothing that was received is held any more.
    pub(crate) async fn uncharged(&self) {
        within(self.counter.0.subscribe().wait_for(|charged| *charged == 0)).await.unwrap();
    }

    /// Waits until this many streams of `upper` run.
    pub(crate) async fn running(&self, streams: usize) {
        within(self.running.clone().wait_for(|running| *running == streams)).await.unwrap();
    }

    pub(crate) async fn watch_health(&self, service: &str) -> Streaming<HealthCheckResponse> {
        let mut client = HealthClient::new(self.endpoint.connect_lazy());
        client.watch(HealthCheckRequest { service: service.to_owned() }).await.unwrap().into_inner()
    }

    pub(crate) async fn reflected_services(&self) -> Vec<String> {
        use tonic_reflection::pb::v1::{
            ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
            server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
        };
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let mut client = ServerReflectionClient::new(self.endpoint.connect_lazy());
        let mut responses = client.server_reflection_info(tokio_stream::once(request)).await.unwrap().into_inner();
        match responses.message().await.unwrap().unwrap().message_response {
            Some(MessageResponse::ListServicesResponse(list)) => list.service.into_iter().map(|s| s.name).collect(),
            other => panic!("expected a list of services, not {other:?}"),
        }
    }

    pub(crate) fn shut_down(&self) {
        let shutdown = self.shutdown.lock().unwrap().take().expect("shut down once");
        shutdown.send(()).expect("the server listens");
    }

    pub(crate) async fn ended(self) {
        within(self.served).await.unwrap().unwrap();
    }

    pub(crate) async fn stop(self) {
        self.shut_down();
        self.ended().await;
    }
}

pub(crate) fn open(handler: &str) -> v1::OpenProcess {
    v1::OpenProcess { protocol: Some(session::PROTOCOL), handler: handler.to_owned(), ..v1::OpenProcess::default() }
}

pub(crate) async fn opened(responses: &mut Streaming<v1::ProcessResponse>) -> v1::Opened {
    match within(responses.message()).await.unwrap().unwrap().response {
        Some(process_response::Response::Opened(opened)) => opened,
        other => panic!("expected `opened`, not {other:?}"),
    }
}

pub(crate) async fn result(responses: &mut Streaming<v1::ProcessResponse>) -> v1::WorkResult {
    match within(responses.message()).await.unwrap().unwrap().response {
        Some(process_response::Response::Result(result)) => result,
        other => panic!("expected a result, not {other:?}"),
    }
}

pub(crate) async fn status(health: &mut Streaming<HealthCheckResponse>) -> String {
    format!("{:?}", within(health.message()).await.unwrap().unwrap().status())
}

pub(crate) fn events() -> Batch {
    let mut builder = BatchBuilder::new();
    for (row, payload) in [b"a", b"b", b"c"].into_iter().enumerate() {
        let uid = Some(Uid::from_bytes([row as u8 + 1; 16]));
        builder.push(Event { payload, uid, ..Event::default() }).unwrap();
    }
    builder.finish()
}

pub(crate) fn work(sequence: u64) -> Work {
    Work { sequence, batch: events(), attempts: None, timeout: None }
}

pub(crate) fn large_work(sequence: u64, bytes: usize) -> Work {
    let mut builder = BatchBuilder::new();
    let uid = Some(Uid::from_bytes([1; 16]));
    builder.push(Event { payload: &vec![b'x'; bytes], uid, ..Event::default() }).unwrap();
    Work { sequence, batch: builder.finish(), attempts: None, timeout: None }
}

/// Answers every payload in upper case; told to cancel for the reason "fail" it fails.
struct Upper(Arc<watch::Sender<usize>>);

impl Handler for Upper {
    fn describe(&self) -> v1::Handler {
        let role = v1::HandlerRole::Map.into();
        v1::Handler { name: "upper".to_owned(), role, ..v1::Handler::default() }
    }

    fn open_process(&self, _: v1::OpenProcess) -> BoxFuture<Result<ProcessNode, Status>> {
        let running = self.0.clone();
        let limits = Limits { works: 2, events: 100, bytes: 20 << 20 };
        Box::pin(async move {
            Ok(ProcessNode {
                limits,
                run: Box::new(|input, output| {
                    Box::pin(async move {
                        running.send_modify(|running| *running += 1);
                        let ended = upper(input, output).await;
                        running.send_modify(|running| *running -= 1);
                        ended
                    })
                }),
            })
        })
    }
}

async fn upper(mut input: mpsc::Receiver<ToNode>, output: mpsc::Sender<FromNode>) -> Result<(), Status> {
    loop {
        let word = tokio::select! {
            word = input.recv() => word,
            () = output.closed() => return Ok(()),
        };
        match word {
            None => return Ok(()),
            Some(ToNode::Cancel { .. }) => return Err(Status::aborted("told to fail")),
            Some(ToNode::Work(work)) => {
                let mut outputs = OutputsBuilder::new(&work.batch);
                for row in 0..work.batch.len() {
                    let payload = work.batch.payload(row).to_ascii_uppercase();
                    outputs.emit(Some(row as u32), Some(&payload), OutputEvent::default()).unwrap();
                }
                let outputs = outputs.finish(false);
                let result = WorkResult { sequence: work.sequence, outputs, last: true, ..WorkResult::default() };
                if output.send(FromNode::Result(result)).await.is_err() {
                    return Ok(());
                }
            }
        }
    }
}

/// Refuses its config.
struct Broken;

impl Handler for Broken {
    fn describe(&self) -> v1::Handler {
        let role = v1::HandlerRole::Sink.into();
        v1::Handler { name: "broken".to_owned(), role, ..v1::Handler::default() }
    }

    fn open_process(&self, _: v1::OpenProcess) -> BoxFuture<Result<ProcessNode, Status>> {
        Box::pin(async { Err(session::field("config.label", "is required")) })
    }
}

/// Produces one event per event of the first demand, then is exhausted.
struct Count;

impl Handler for Count {
    fn describe(&self) -> v1::Handler {
        let role = v1::HandlerRole::Source.into();
        v1::Handler { name: "count".to_owned(), role, ..v1::Handler::default() }
    }

    fn open_produce(&self, _: v1::OpenProduce) -> BoxFuture<Result<SourceNode, Status>> {
        Box::pin(async { Ok(SourceNode { run: Box::new(|input, output| Box::pin(count(input, output))) }) })
    }
}

async fn count(mut input: mpsc::Receiver<ToSource>, output: mpsc::Sender<FromSource>) -> Result<(), Status> {
    while let Some(word) = input.recv().await {
        let ToSource::Demand { events, .. } = word else {
            return Ok(());
        };
        for sequence in 1..=events {
            let mut builder = BatchBuilder::new();
            builder.push(Event { payload: b"x", ..Event::default() }).unwrap();
            let checkpoint = Some(Bytes::from(sequence.to_string()));
            let frame = FromSource::Produced { sequence, batch: builder.finish(), checkpoint };
            output.send(frame).await.map_err(|_| Status::cancelled("the coordinator has gone"))?;
        }
        output.send(FromSource::Exhausted).await.map_err(|_| Status::cancelled("the coordinator has gone"))?;
    }
    Ok(())
}
