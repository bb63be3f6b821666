//! One stream: frames in, frames out, the node between them.

use std::future::Future;

use meshloom_core::exchange::{FromNode, FromSource, ToNode, ToSource, WorkResult};
use meshloom_proto::v1::{self, process_request, process_response, produce_request, produce_response};
use tokio::{sync::mpsc, task::JoinHandle};
use tonic::{Status, Streaming};

use super::{NodeServer, Run};
use crate::{
    batch::BATCH_MALFORMED,
    process, produce,
    session::{self, PROTOCOL},
};

type Responses<T> = mpsc::Sender<Result<T, Status>>;

/// Messages towards and from a source; a frame each at most.
const SOURCE_MESSAGES: usize = 4;

/// Results that wait for the connection.
const RESULTS: usize = 4;

/// Messages towards a node besides the works that its limits allow: cancels.
const CANCELS: usize = 64;

pub(super) async fn process(
    server: NodeServer,
    mut requests: Streaming<v1::ProcessRequest>,
    responses: Responses<v1::ProcessResponse>,
) -> Result<(), Status> {
    let Some(open) = requests.message().await? else {
        return Ok(());
    };
    let Some(process_request::Request::Open(open)) = open.request else {
        return Err(not_open());
    };
    let protocol = session::choose_protocol(open.protocol.as_ref(), &PROTOCOL)?;
    let node = server.handler(&open.handler, false)?.open_process(open).await?;
    let opened = server.opened(protocol, Some(process::encode_limits(&node.limits)));
    let opened = v1::ProcessResponse { response: Some(process_response::Response::Opened(opened)) };
    if responses.send(Ok(opened)).await.is_err() {
        return Ok(());
    }
    let (input, output, ended) = start(node.run, node.limits.works as usize + CANCELS, RESULTS);
    let reader = read_works(requests, input, responses.clone());
    let writer = write(output, responses, |message: &FromNode| process::encode_response(message));
    join(&server, reader, writer, ended).await
}

pub(super) async fn produce(
    server: NodeServer,
    mut requests: Streaming<v1::ProduceRequest>,
    responses: Responses<v1::ProduceResponse>,
) -> Result<(), Status> {
    let Some(open) = requests.message().await? else {
        return Ok(());
    };
    let Some(produce_request::Request::Open(open)) = open.request else {
        return Err(not_open());
    };
    let protocol = session::choose_protocol(open.protocol.as_ref(), &PROTOCOL)?;
    let node = server.handler(&open.handler, true)?.open_produce(open).await?;
    let opened = server.opened(protocol, None);
    let opened = v1::ProduceResponse { response: Some(produce_response::Response::Opened(opened)) };
    if responses.send(Ok(opened)).await.is_err() {
        return Ok(());
    }
    let (input, output, ended) = start(node.run, SOURCE_MESSAGES, SOURCE_MESSAGES);
    let reader = read_demands(requests, input);
    let writer = write(output, responses, |message: &FromSource| produce::encode_response(message));
    join(&server, reader, writer, ended).await
}

fn not_open() -> Status {
    Status::invalid_argument("the first message of a stream must be `open`")
}

fn opened_twice() -> Status {
    Status::invalid_argument("a stream is opened once")
}

/// The node runs in a task of its own, so that it can end in good order when its stream breaks.
fn start<I, O>(
    run: Run<I, O>,
    inputs: usize,
    outputs: usize,
) -> (mpsc::Sender<I>, mpsc::Receiver<O>, JoinHandle<Result<(), Status>>) {
    let (input, node_input) = mpsc::channel(inputs);
    let (node_output, output) = mpsc::channel(outputs);
    (input, output, tokio::spawn(run(node_input, node_output)))
}

/// Reads until half-close or drain, writes until the node has ended. A reader that fails takes the writer with it,
/// which closes the node's output and thereby ends the node.
async fn join(
    server: &NodeServer,
    reader: impl Future<Output = Result<(), Status>>,
    writer: impl Future<Output = ()>,
    ended: JoinHandle<Result<(), Status>>,
) -> Result<(), Status> {
    let drained = server.drain();
    let reader = async {
        tokio::select! {
            read = reader => read,
            () = drained.cancelled() => Ok(()),
        }
    };
    let read = {
        tokio::pin!(writer);
        tokio::select! {
            () = &mut writer => Ok(()),
            read = reader => {
                if read.is_ok() {
                    writer.await;
                }
                read
            }
        }
    };
    let node = ended.await.map_err(|panic| Status::internal(format!("the node itself failed: {panic}")))?;
    read.and(node)
}

async fn read_works(
    mut requests: Streaming<v1::ProcessRequest>,
    input: mpsc::Sender<ToNode>,
    responses: Responses<v1::ProcessResponse>,
) -> Result<(), Status> {
    while let Some(message) = requests.message().await? {
        let message = match message.request {
            Some(process_request::Request::Work(work)) => {
                let sequence = work.sequence;
                match process::decode_work(work) {
                    Ok(work) => ToNode::Work(work),
                    Err(error) => {
                        let failures = vec![process::whole_work(BATCH_MALFORMED, &error)];
                        let refused = WorkResult { sequence, failures, last: true, ..WorkResult::default() };
                        let refused = process::encode_response(&FromNode::Result(refused));
                        if responses.send(Ok(refused)).await.is_err() {
                            return Ok(());
                        }
                        continue;
                    }
                }
            }
            Some(process_request::Request::Cancel(v1::Cancel { sequence, reason })) => {
                ToNode::Cancel { sequence, reason }
            }
            Some(process_request::Request::Open(_)) => {
                return Err(opened_twice());
            }
            // A message of a later protocol.
            None => continue,
        };
        if input.send(message).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn read_demands(
    mut requests: Streaming<v1::ProduceRequest>,
    input: mpsc::Sender<ToSource>,
) -> Result<(), Status> {
    while let Some(message) = requests.message().await? {
        let Some(request) = message.request else {
            continue;
        };
        let message = produce::decode_request(request)
            .map_err(|error| Status::invalid_argument(error.to_string()))?
            .ok_or_else(opened_twice)?;
        if input.send(message).await.is_err() {
            break;
        }
    }
    Ok(())
}

async fn write<M, W>(mut output: mpsc::Receiver<M>, responses: Responses<W>, encode: impl Fn(&M) -> W) {
    while let Some(message) = output.recv().await {
        if responses.send(Ok(encode(&message))).await.is_err() {
            return;
        }
    }
}
