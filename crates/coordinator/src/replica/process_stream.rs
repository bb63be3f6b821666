//! One Process stream, from Open to its end: translates and validates, holds no policy.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::StreamExt as _;
use meshloom_config::{NodeSpec, spec::Ordering};
use meshloom_core::exchange::{FromNode, ToNode};
use meshloom_proto::v1::{self, process_request::Request, process_response::Response};
use meshloom_wire::{self as wire, NodeClient};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

use super::{check::PROTOCOL, launch::Host, refusal::refusal};
use crate::{error::RunError, node::FromReplica};

/// Messages that wait between an actor and a stream. More than any limit, so that only a stuck writer fills it.
pub(super) const CHANNEL: usize = 1024;
/// Most works a replica may have in hand, whatever it asks for.
pub(super) const MAX_WORKS: u32 = 256;

/// Where what a replica says goes.
pub(super) struct Voice {
    pub(super) replica: u32,
    pub(super) actor: mpsc::Sender<(u32, FromReplica)>,
}

impl Voice {
    /// Says something; `false`: the actor is gone.
    pub(super) async fn say(&self, said: FromReplica) -> bool {
        self.actor.send((self.replica, said)).await.is_ok()
    }
}

/// An open stream.
pub(super) struct ProcessStream {
    responses: Streaming<v1::ProcessResponse>,
    inputs: Inputs,
    pub(super) opened: v1::Opened,
    pub(super) works: mpsc::Sender<ToNode>,
}

/// The number of inputs of each work in hand, which its answer is checked against.
type Inputs = Arc<Mutex<HashMap<u64, u32>>>;

/// How a stream ended.
#[derive(Debug)]
pub(super) enum StreamEnd {
    /// With OK.
    Closed,
    /// With an error, or by breaking the protocol.
    Broken(String),
}

impl ProcessStream {
    /// Opens a handler and waits until it is ready.
    pub(super) async fn open(
        host: &Host,
        spec: &NodeSpec,
        replica: u32,
        handler: &str,
        channel: Channel,
    ) -> Result<Self, RunError> {
        let (works, queue) = mpsc::channel(CHANNEL);
        let inputs = Inputs::default();
        let open = v1::OpenProcess {
            protocol: Some(v1::ProtocolRange { min: PROTOCOL.0, max: PROTOCOL.1 }),
            pipeline: host.pipeline.name.clone(),
            node: spec.name.clone(),
            handler: handler.to_owned(),
            replica: Some(v1::Replica { index: replica, of: spec.replicas }),
            capabilities: Vec::new(),
            config_json: spec.config_json.clone().into_bytes().into(),
            ordering: match spec.ordering {
                Ordering::None => v1::Ordering::None,
                Ordering::Key => v1::Ordering::Key,
                Ordering::All => v1::Ordering::All,
            }
            .into(),
            concurrency: spec.concurrency.unwrap_or(0),
        };
        let first = v1::ProcessRequest { request: Some(Request::Open(open)) };
        let counted = inputs.clone();
        let rest = ReceiverStream::new(queue).map(move |message| to_wire(&message, &counted));
        let requests = futures::stream::iter([first]).chain(rest);
        let opening = async {
            let mut responses = NodeClient::new(channel, Arc::new(host.budget.clone())).process(requests).await?;
            let first = responses.message().await?;
            Ok::<_, tonic::Status>((responses, first))
        };
        let (responses, first) = match timeout(spec.start_timeout, opening).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(status)) => return Err(refusal(&spec.name, &status)),
            Err(_) => {
                let message = format!("it did not open handler `{handler}` within {:?}", spec.start_timeout);
                return Err(RunError::node(&spec.name, "START_TIMEOUT", message)
                    .with_remedy("make its set-up faster, or raise `start_timeout`"));
            }
        };
        match first.and_then(|message| message.response) {
            Some(Response::Opened(opened)) if opened.protocol >= PROTOCOL.0 && opened.protocol <= PROTOCOL.1 => {
                Ok(Self { responses, inputs, opened, works })
            }
            Some(Response::Opened(opened)) => {
                let message = format!("it chose protocol {}, which was not offered", opened.protocol);
                Err(RunError::node(&spec.name, "PROTOCOL_UNSUPPORTED", message).with_remedy("upgrade the node's SDK"))
            }
            _ => Err(RunError::node(&spec.name, "PROTOCOL_BROKEN", "the first message of its stream was not `opened`")),
        }
    }

    /// Passes on what the node says until the stream ends.
    pub(super) async fn read(self, voice: &Voice) -> StreamEnd {
        let Self { mut responses, inputs, works, .. } = self;
        // From here only the actor holds the sending end: when it lets go, the stream is half-closed.
        drop(works);
        loop {
            let response = match responses.message().await {
                Ok(Some(message)) => message.response,
                Ok(None) => return StreamEnd::Closed,
                Err(status) => return StreamEnd::Broken(format!("{:?}: {}", status.code(), status.message())),
            };
            let said = match response {
                Some(Response::Result(result)) => checked(result, &inputs),
                Some(Response::Limits(limits)) => {
                    FromReplica::Said(FromNode::Limits(capped(wire::process::decode_limits(limits))))
                }
                Some(Response::Progress(progress)) => match wire::process::decode_progress(progress) {
                    Ok(calls) => FromReplica::Said(FromNode::Progress(calls)),
                    Err(error) => return StreamEnd::Broken(format!("its progress is malformed: {error}")),
                },
                Some(Response::Opened(_)) => return StreamEnd::Broken("it said `opened` twice".into()),
                // A kind of message that a newer SDK knows and we do not.
                None => continue,
            };
            if !voice.say(said).await {
                return StreamEnd::Closed;
            }
        }
    }
}

fn checked(result: v1::WorkResult, inputs: &Inputs) -> FromReplica {
    let (sequence, last) = (result.sequence, result.last);
    let mut inputs = inputs.lock().unwrap_or_else(PoisonError::into_inner);
    let count = if last { inputs.remove(&sequence) } else { inputs.get(&sequence).copied() };
    drop(inputs);
    // The machine knows what to do with an answer to a work that was never sent.
    match wire::process::decode_result(result, count.unwrap_or(u32::MAX)) {
        Ok(result) => FromReplica::Said(FromNode::Result(result)),
        Err(error) => FromReplica::Malformed { sequence, last, message: error.to_string() },
    }
}

fn to_wire(message: &ToNode, inputs: &Inputs) -> v1::ProcessRequest {
    if let ToNode::Work(work) = message {
        let count = work.batch.len() as u32;
        inputs.lock().unwrap_or_else(PoisonError::into_inner).insert(work.sequence, count);
    }
    wire::process::encode_request(message)
}

/// Limits, kept below what a channel holds.
pub(super) fn capped(limits: meshloom_core::exchange::Limits) -> meshloom_core::exchange::Limits {
    meshloom_core::exchange::Limits { works: limits.works.min(MAX_WORKS), ..limits }
}
