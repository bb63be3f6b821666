//! The worker: one connection after the other, for as long as the publisher lives.

use std::{pin::pin, sync::Arc, time::Instant};

use meshloom_proto::v1::{
    self, ingress_service_client::IngressServiceClient, publish_request::Request, publish_response::Response,
};
use tokio::{
    sync::mpsc,
    time::{sleep, sleep_until},
};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, transport::Endpoint};

use super::{
    PublishError,
    error::is_transient,
    shared::{Entry, Shared},
    waiting::{Waiting, backoff},
};

/// Batches between the worker and the connection.
const REQUESTS: usize = 4;

pub(super) struct Worker {
    endpoint: Endpoint,
    open: v1::OpenPublish,
    queued: mpsc::UnboundedReceiver<Entry>,
    shared: Arc<Shared>,
    waiting: Waiting,
    /// Connections in a row that failed before they were open.
    failures: u32,
}

impl Worker {
    pub(super) fn new(
        endpoint: Endpoint,
        pipeline: String,
        node: String,
        queued: mpsc::UnboundedReceiver<Entry>,
        shared: Arc<Shared>,
    ) -> Self {
        let open = v1::OpenPublish { pipeline, node, protocol: Some(v1::ProtocolRange { min: 1, max: 1 }) };
        Self { endpoint, open, queued, shared, waiting: Waiting::default(), failures: 0 }
    }

    /// Runs until the publisher is gone or refused.
    pub(super) async fn run(mut self) {
        loop {
            let status = match self.stream().await {
                Ok(()) => return,
                Err(status) => status,
            };
            self.waiting.disconnected(Instant::now());
            if !is_transient(&status) {
                let message = status.message().to_owned();
                let why = PublishError::Rejected { address: self.shared.address.clone(), message };
                self.shared.reject(why.clone());
                self.waiting.close_all(&why);
                self.queued.close();
                while let Some(entry) = self.queued.recv().await {
                    entry.close(Err(why.clone()));
                }
                return;
            }
            self.shared.set_cause(Some(status.message().to_owned()));
            let wait = backoff(self.failures);
            self.failures = self.failures.saturating_add(1);
            sleep(wait).await;
        }
    }

    /// One connection, to its end; `Ok`: the publisher is gone.
    async fn stream(&mut self) -> Result<(), Status> {
        let channel = self.endpoint.connect().await.map_err(|error| {
            let mut why = error.to_string();
            let mut source = std::error::Error::source(&error);
            while let Some(cause) = source {
                why = format!("{why}: {cause}");
                source = cause.source();
            }
            Status::unavailable(format!("no connection to {}: {why}", self.shared.address))
        })?;
        let (requests, outgoing) = mpsc::channel(REQUESTS);
        let request = |request| v1::PublishRequest { request: Some(request) };
        let gone = || Status::unavailable("the connection has ended");
        requests.send(request(Request::Open(self.open.clone()))).await.map_err(|_| gone())?;
        let mut client = IngressServiceClient::new(channel);
        let mut responses = client.publish(ReceiverStream::new(outgoing)).await?.into_inner();
        loop {
            let now = Instant::now();
            // All that is queued, so that batches are as large as they can be.
            while let Ok(entry) = self.queued.try_recv() {
                self.waiting.push(entry, now);
            }
            let when = self.waiting.when(now);
            let ready = when.is_some_and(|when| when <= now);
            let due = pin!(async {
                match when {
                    Some(when) if !ready => sleep_until(when.into()).await,
                    _ => std::future::pending().await,
                }
            });
            tokio::select! {
                response = responses.message() => match response? {
                    Some(response) => self.take(response),
                    None => return Err(gone()),
                },
                place = requests.reserve(), if ready => {
                    let place = place.map_err(|_| gone())?;
                    if let Some(publication) = self.waiting.next(Instant::now()) {
                        place.send(request(Request::Publication(publication)));
                    }
                }
                entry = self.queued.recv() => match entry {
                    Some(entry) => self.waiting.push(entry, now),
                    None => return Ok(()),
                },
                () = due => {}
            }
        }
    }

    fn take(&mut self, response: v1::PublishResponse) {
        match response.response {
            Some(Response::Opened(_)) => {
                self.failures = 0;
                self.shared.set_cause(None);
            }
            Some(Response::Credit(credit)) => self.waiting.grant(credit),
            Some(Response::Acknowledged(acknowledged)) => self.waiting.acknowledged(acknowledged.sequence),
            Some(Response::Refused(refused)) => self.waiting.refused(refused, Instant::now()),
            // A kind of a later protocol.
            None => {}
        }
    }
}
