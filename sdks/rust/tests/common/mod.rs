//! A node behind a real gRPC stream on a Unix socket, and a small coordinator to drive it.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its part")]

use std::{path::PathBuf, time::Duration};

use bytes::Bytes;
use hyper_util::rt::TokioIo;
use meshloom::{Node, ServeError, Server};
use meshloom_proto::v1::{
    Batch, Cancel, Demand, Limits, OpenProcess, OpenProduce, Opened, Outputs, ProcessRequest, ProcessResponse,
    ProduceRequest, ProduceResponse, Progress, ProtocolRange, Strings, Values, Work, WorkResult,
    node_service_client::NodeServiceClient, process_request, process_response, produce_request, produce_response,
};
use tokio::{
    sync::{mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{
    Status, Streaming,
    transport::{Channel, Endpoint},
};

/// Nothing in these tests takes this long.
pub const SOON: Duration = Duration::from_secs(60);
pub const WHOLE: u32 = u32::MAX;

pub async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(SOON, future).await.expect("within the deadline")
}

pub struct Served {
    _folder: tempfile::TempDir,
    pub path: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<Result<(), ServeError>>,
}

pub async fn serve(nodes: impl IntoIterator<Item = Node>) -> Served {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("n.sock");
    let (stop, stopped) = oneshot::channel::<()>();
    let server = Server::new(nodes).listen(format!("unix:{}", path.display()));
    let task = tokio::spawn(server.serve_with_shutdown(async {
        let _ = stopped.await;
    }));
    Served { _folder: folder, path, stop: Some(stop), task }
}

impl Served {
    pub async fn channel(&self) -> Channel {
        let path = self.path.clone();
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { tokio::net::UnixStream::connect(path).await.map(TokioIo::new) }
        });
        soon(async {
            loop {
                match Endpoint::from_static("http://node").connect_with_connector(connector.clone()).await {
                    Ok(channel) => return channel,
                    Err(_) => tokio::time::sleep(Duration::from_millis(5)).await,
                }
            }
        })
        .await
    }

    pub async fn client(&self) -> NodeServiceClient<Channel> {
        NodeServiceClient::new(self.channel().await).max_decoding_message_size(64 << 20)
    }

    pub fn drain(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
    }

    pub async fn ended(mut self) -> Result<(), ServeError> {
        self.drain();
        soon(self.task).await.expect("no panic")
    }
}

pub fn open(config: &str) -> OpenProcess {
    OpenProcess {
        protocol: Some(ProtocolRange { min: 1, max: 1 }),
        pipeline: "p".to_owned(),
        node: "n".to_owned(),
        config_json: Bytes::copy_from_slice(config.as_bytes()),
        ..OpenProcess::default()
    }
}

pub struct Stream {
    requests: Option<mpsc::Sender<ProcessRequest>>,
    pub responses: Streaming<ProcessResponse>,
    pub opened: Opened,
    pub progress: Vec<Progress>,
    sequence: u64,
}

pub async fn try_open(served: &Served, open: OpenProcess) -> Result<Stream, Status> {
    open_channel(served.channel().await, open).await
}

pub async fn open_channel(channel: Channel, open: OpenProcess) -> Result<Stream, Status> {
    let (requests, stream) = mpsc::channel(64);
    let send = |request| ProcessRequest { request: Some(request) };
    requests.send(send(process_request::Request::Open(open))).await.expect("open");
    let mut responses = NodeServiceClient::new(channel)
        .max_decoding_message_size(64 << 20)
        .process(ReceiverStream::new(stream))
        .await?
        .into_inner();
    let first = soon(responses.message()).await?.expect("an answer").response;
    let Some(process_response::Response::Opened(opened)) = first else { panic!("{first:?} is not Opened") };
    Ok(Stream { requests: Some(requests), responses, opened, progress: Vec::new(), sequence: 0 })
}

pub async fn start(node: Node, config: &str) -> (Served, Stream) {
    let served = serve([node]).await;
    let stream = try_open(&served, open(config)).await.expect("opened");
    (served, stream)
}

impl Stream {
    pub async fn request(&self, request: process_request::Request) {
        self.requests.as_ref().expect("open").send(ProcessRequest { request: Some(request) }).await.expect("sent");
    }

    pub async fn send(&mut self, batch: Batch) -> u64 {
        self.send_work(Work { batch: Some(batch), ..Work::default() }).await
    }

    pub async fn send_work(&mut self, work: Work) -> u64 {
        self.sequence += 1;
        let sequence = self.sequence;
        self.request(process_request::Request::Work(Work { sequence, ..work })).await;
        sequence
    }

    pub async fn cancel(&self, sequence: u64) {
        self.request(process_request::Request::Cancel(Cancel { sequence, reason: "test".to_owned() })).await;
    }

    pub fn half_close(&mut self) {
        self.requests = None;
    }

    /// The next result; Progress is put aside.
    pub async fn result(&mut self) -> WorkResult {
        loop {
            match soon(self.responses.message()).await.expect("no error").expect("no end").response {
                Some(process_response::Response::Result(result)) => return result,
                Some(process_response::Response::Progress(progress)) => self.progress.push(progress),
                other => panic!("{other:?}"),
            }
        }
    }

    pub async fn progress(&mut self) -> Progress {
        loop {
            match soon(self.responses.message()).await.expect("no error").expect("no end").response {
                Some(process_response::Response::Progress(progress)) => return progress,
                Some(process_response::Response::Limits(Limits { .. })) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// All results of one work.
    pub async fn answer(&mut self, sequence: u64) -> Answer {
        let mut answer = Answer::default();
        loop {
            let result = self.result().await;
            assert_eq!(result.sequence, sequence);
            answer.take(result);
            if answer.last {
                return answer;
            }
        }
    }

    pub async fn run(&mut self, batch: Batch) -> Answer {
        let sequence = self.send(batch).await;
        self.answer(sequence).await
    }

    pub async fn end(&mut self) -> Result<(), Status> {
        loop {
            match soon(self.responses.message()).await? {
                None => return Ok(()),
                Some(ProcessResponse { response: Some(process_response::Response::Progress(_)) }) => {}
                Some(other) => panic!("{other:?}"),
            }
        }
    }
}

#[derive(Debug, Default)]
pub struct Answer {
    /// Parent and payload; `None`: the parent's payload.
    pub outputs: Vec<(u32, Option<String>)>,
    pub parts: Vec<Outputs>,
    /// Index, reason, whether it is a reject.
    pub failures: Vec<(u32, String, bool)>,
    pub messages: Vec<String>,
    pub retry_after: Vec<Option<Duration>>,
    pub consumed: u32,
    pub last: bool,
    pub busy: Duration,
}

impl Answer {
    fn take(&mut self, result: WorkResult) {
        for failure in result.failures {
            self.failures.push((failure.index, failure.reason, failure.action == 2));
            self.messages.push(failure.message);
            self.retry_after.push(failure.retry_after.map(|after| after.try_into().expect("positive")));
        }
        if let Some(outputs) = result.outputs {
            for i in 0..outputs.count as usize {
                let parent = if outputs.parent.is_empty() { i as u32 } else { at(&outputs.parent, i) };
                let payload =
                    outputs.payload.as_ref().map(|values| String::from_utf8_lossy(value(values, i)).into_owned());
                self.outputs.push((parent, payload));
            }
            self.parts.push(outputs);
        }
        self.consumed = result.consumed;
        self.last = result.last;
        self.busy = result.busy.map(|busy| busy.try_into().expect("positive")).unwrap_or_default();
    }

    pub fn reasons(&self) -> Vec<(u32, &str)> {
        let mut reasons: Vec<(u32, &str)> =
            self.failures.iter().map(|(index, reason, _)| (*index, reason.as_str())).collect();
        reasons.sort_unstable();
        reasons
    }
}

pub fn at(column: &[u8], i: usize) -> u32 {
    u32::from_le_bytes(column[i * 4..i * 4 + 4].try_into().expect("four bytes"))
}

pub fn value(values: &Values, i: usize) -> &[u8] {
    if values.ends.is_empty() {
        return &values.data;
    }
    let start = if i == 0 { 0 } else { at(&values.ends, i - 1) as usize };
    &values.data[start..at(&values.ends, i) as usize]
}

/// A string column of an answer, row by row.
pub fn texts(column: Option<&Strings>, count: usize) -> Vec<Option<String>> {
    let Some(Strings { values: Some(values), index }) = column else { return vec![None; count] };
    let text = |i: usize| Some(String::from_utf8_lossy(value(values, i)).into_owned());
    if index.is_empty() {
        return (0..count).map(|_| text(0)).collect();
    }
    (0..count).map(|row| if at(index, row) == u32::MAX { None } else { text(at(index, row) as usize) }).collect()
}

pub fn values(payloads: &[&str]) -> Values {
    let mut end = 0u32;
    let mut ends = Vec::new();
    for payload in payloads {
        end += payload.len() as u32;
        ends.extend_from_slice(&end.to_le_bytes());
    }
    Values { data: payloads.concat().into_bytes().into(), ends: ends.into() }
}

pub fn batch(payloads: &[&str]) -> Batch {
    let uid: Vec<u8> = (0..payloads.len()).flat_map(|row| (row as u128 + 1).to_be_bytes()).collect();
    Batch { count: payloads.len() as u32, payload: Some(values(payloads)), uid: uid.into(), ..Batch::default() }
}

/// A positional column.
pub fn column(each: &[&str]) -> Strings {
    Strings { values: Some(values(each)), index: Bytes::new() }
}

pub fn attempts(attempts: &[u32]) -> Bytes {
    attempts.iter().flat_map(|attempt| attempt.to_le_bytes()).collect()
}

pub struct SourceStream {
    requests: mpsc::Sender<ProduceRequest>,
    pub responses: Streaming<ProduceResponse>,
}

pub async fn open_source(served: &Served, open: OpenProduce) -> Result<SourceStream, Status> {
    let (requests, stream) = mpsc::channel(64);
    requests.send(ProduceRequest { request: Some(produce_request::Request::Open(open)) }).await.expect("open");
    let mut responses = served.client().await.produce(ReceiverStream::new(stream)).await?.into_inner();
    let first = soon(responses.message()).await?.expect("an answer").response;
    assert!(matches!(first, Some(produce_response::Response::Opened(_))), "{first:?}");
    Ok(SourceStream { requests, responses })
}

pub fn produce() -> OpenProduce {
    OpenProduce {
        protocol: Some(ProtocolRange { min: 1, max: 1 }),
        pipeline: "p".to_owned(),
        node: "n".to_owned(),
        ..OpenProduce::default()
    }
}

impl SourceStream {
    pub async fn send(&self, request: produce_request::Request) {
        self.requests.send(ProduceRequest { request: Some(request) }).await.expect("sent");
    }

    pub async fn demand(&self, events: u64, bytes: u64) {
        self.send(produce_request::Request::Demand(Demand { events, bytes })).await;
    }

    pub async fn next(&mut self) -> Result<Option<produce_response::Response>, Status> {
        Ok(soon(self.responses.message()).await?.map(|response| response.response.expect("a kind")))
    }

    pub async fn frame(&mut self) -> meshloom_proto::v1::Produced {
        match self.next().await.expect("no error") {
            Some(produce_response::Response::Produced(produced)) => produced,
            other => panic!("{other:?}"),
        }
    }
}
