//! One Produce stream, from Open to its end.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt as _;
use meshloom_config::{NodeSpec, Sampling};
use meshloom_core::exchange::{FromSource, ToSource};
use meshloom_proto::v1::{self, produce_request::Request, produce_response::Response, trace_sampling::Rule};
use meshloom_wire::{self as wire, NodeClient};
use tokio::{sync::mpsc, time::timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

use super::{check::PROTOCOL, launch::Host, process_stream::StreamEnd, refusal::refusal};
use crate::{error::RunError, flow::Budget, source::FromStream};

/// Commands that may wait for a slow stream.
pub(super) const COMMANDS: usize = 64;

/// An open stream.
pub(super) struct ProduceStream {
    responses: Streaming<v1::ProduceResponse>,
    pub(super) opened: v1::Opened,
    pub(super) commands: mpsc::Sender<ToSource>,
}

impl ProduceStream {
    /// Opens a source and waits until it is ready. Its frames are charged to `budget`.
    pub(super) async fn open(
        host: &Host,
        spec: &NodeSpec,
        handler: &str,
        checkpoint: Option<Bytes>,
        sampling: Sampling,
        budget: Budget,
        channel: Channel,
    ) -> Result<Self, RunError> {
        let (commands, queue) = mpsc::channel(COMMANDS);
        let rule = match sampling {
            Sampling::Rate(rate) => Rule::Rate(rate),
            Sampling::Ratio(ratio) => Rule::Ratio(ratio),
        };
        let open = v1::OpenProduce {
            protocol: Some(v1::ProtocolRange { min: PROTOCOL.0, max: PROTOCOL.1 }),
            pipeline: host.pipeline.name.clone(),
            node: spec.name.clone(),
            handler: handler.to_owned(),
            replica: Some(v1::Replica { index: 0, of: spec.replicas }),
            capabilities: Vec::new(),
            config_json: spec.config_json.clone().into_bytes().into(),
            checkpoint,
            trace: Some(v1::TraceSampling { rule: Some(rule) }),
        };
        let first = v1::ProduceRequest { request: Some(Request::Open(open)) };
        let rest = ReceiverStream::new(queue)
            .filter_map(|command| futures::future::ready(wire::produce::encode_request(&command)));
        let requests = futures::stream::iter([first]).chain(rest);
        let opening = async {
            let mut responses = NodeClient::new(channel, Arc::new(budget)).produce(requests).await?;
            let first = responses.message().await?;
            Ok::<_, tonic::Status>((responses, first))
        };
        let (responses, first) = match timeout(spec.start_timeout, opening).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(status)) => return Err(refusal(&spec.name, &status)),
            Err(_) => {
                let message = format!("it did not open source `{handler}` within {:?}", spec.start_timeout);
                return Err(RunError::node(&spec.name, "START_TIMEOUT", message)
                    .with_remedy("make its set-up faster, or raise `start_timeout`"));
            }
        };
        match first.and_then(|message| message.response) {
            Some(Response::Opened(opened)) => Ok(Self { responses, opened, commands }),
            _ => Err(RunError::node(&spec.name, "PROTOCOL_BROKEN", "the first message of its stream was not `opened`")),
        }
    }

    /// Passes on what the source says until the stream ends. Also says whether the source was exhausted.
    pub(super) async fn read(self, actor: &mpsc::Sender<FromStream>) -> (StreamEnd, bool) {
        let Self { mut responses, commands, .. } = self;
        drop(commands);
        let mut exhausted = false;
        loop {
            let response = match responses.message().await {
                Ok(Some(message)) => message.response,
                Ok(None) => return (StreamEnd::Closed, exhausted),
                Err(status) => {
                    return (StreamEnd::Broken(format!("{:?}: {}", status.code(), status.message())), exhausted);
                }
            };
            let said = match response {
                Some(Response::Produced(produced)) => match wire::produce::decode_produced(produced) {
                    Ok(produced) => FromStream::Said(produced),
                    Err(error) => FromStream::Malformed(error.to_string()),
                },
                Some(Response::Exhausted(_)) => {
                    exhausted = true;
                    FromStream::Said(FromSource::Exhausted)
                }
                Some(Response::Opened(_)) => return (StreamEnd::Broken("it said `opened` twice".into()), exhausted),
                // A kind of message that a newer SDK knows and we do not.
                None => continue,
            };
            if actor.send(said).await.is_err() {
                return (StreamEnd::Closed, exhausted);
            }
        }
    }
}
