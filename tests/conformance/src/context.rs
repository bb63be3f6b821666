//! What a check works with.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use meshloom_proto::v1::{self, node_service_client::NodeServiceClient};
use serde_json::{Value as Json, json};
use tonic::transport::Channel;

use crate::{
    Options, Target,
    client::{Open, OpenSource, Shared, Work, describe},
    fault::{Fault, Outcome},
    node::{Node, Process},
    spans::Spans,
};

/// A node, and what is known of it.
pub(crate) struct Context {
    pub(crate) node: Node,
    pub(crate) described: v1::DescribeResponse,
    /// What it has exported.
    pub(crate) spans: Arc<Spans>,
    target: Target,
    /// Where spans go.
    exporter: String,
    /// Time for any one thing that is waited for.
    pub(crate) patience: Duration,
    /// Of what is random.
    pub(crate) seed: u64,
    /// Random cases of a check.
    pub(crate) cases: u32,
    streams: Mutex<Vec<Arc<Shared>>>,
}

impl Context {
    pub(crate) async fn new(options: &Options, node: Node, spans: Arc<Spans>, exporter: &str) -> Result<Self, Fault> {
        let Options { target, patience, seed, cases, .. } = options.clone();
        let described = v1::DescribeResponse::default();
        let exporter = exporter.to_owned();
        let mut context =
            Self { node, described, spans, target, exporter, patience, seed, cases, streams: Mutex::default() };
        context.described = context.describe().await?;
        Ok(context)
    }

    /// A connection of its own.
    pub(crate) async fn connect(&self) -> Outcome<Channel> {
        let connected = tokio::time::timeout(self.patience, self.node.connect()).await;
        connected.unwrap_or_else(|_| Err("it takes too long".into())).map_err(|why| Fault::new("a connection", why))
    }

    /// Asks what it is.
    pub(crate) async fn describe(&self) -> Outcome<v1::DescribeResponse> {
        let mut client = NodeServiceClient::new(self.connect().await?).max_decoding_message_size(64 << 20);
        let answer = tokio::time::timeout(self.patience, client.describe(v1::DescribeRequest {})).await;
        let answer = answer.map_err(|_| Fault::of_rule("D1", "an answer to Describe", "none in time"))?;
        let answer = answer.map_err(|status| Fault::of_rule("D1", "an answer to Describe", describe(&status)))?;
        Ok(answer.into_inner())
    }

    /// A handler by its name.
    pub(crate) fn handler(&self, name: &str) -> Outcome<&v1::Handler> {
        let handlers = &self.described.handlers;
        handlers.iter().find(|handler| handler.name == name).ok_or_else(|| {
            let names: Vec<_> = handlers.iter().map(|handler| handler.name.as_str()).collect();
            Fault::new(format!("the interpreter's handler `{name}`"), names.join(", "))
        })
    }

    /// Opens a Process stream.
    pub(crate) fn open(&self, handler: &str) -> Open<'_> {
        Open::new(self, handler)
    }

    /// Opens a Produce stream.
    pub(crate) fn produce(&self, handler: &str) -> OpenSource<'_> {
        OpenSource::new(self, handler)
    }

    /// What has happened in the process since the last report; empties cancellations and notes.
    pub(crate) async fn report(&self) -> Outcome<Json> {
        let mut stream = self.open("map").start().await?;
        let answer = stream.work(Work::commands(&[json!({"do": "report"})])).await?;
        let row = answer.rows.first().ok_or_else(|| Fault::new("a report", format!("{:?}", answer.failures)))?;
        let report = serde_json::from_slice(&row.event.payload);
        let report = report.map_err(|error| Fault::new("a report in JSON", error.to_string()))?;
        stream.finish().await?;
        Ok(report)
    }

    /// Waits until no call runs that an earlier stream has left behind, and empties the report.
    pub(crate) async fn quiet(&self) -> Outcome {
        let deadline = tokio::time::Instant::now() + self.patience;
        // The report is a call itself.
        while self.report().await?["most"].as_u64() != Some(1) {
            if tokio::time::Instant::now() > deadline {
                return Err(Fault::new("no calls but the report's own once all streams have ended", "others run on"));
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// The process, where the kit has started it.
    pub(crate) fn process(&self) -> Outcome<&Process> {
        let process = self.node.process();
        process.ok_or_else(|| Fault::NotCheckable("the kit must start the node itself: --run COMMAND".into()))
    }

    /// Another process of the node.
    pub(crate) async fn another(&self) -> Outcome<Self> {
        self.other(None, &self.exporter).await
    }

    /// Another process of the node, whose spans go elsewhere.
    pub(crate) async fn again(&self, exporter: &str) -> Outcome<Self> {
        self.other(None, exporter).await
    }

    /// Another process of the node, which listens at an address.
    pub(crate) async fn elsewhere(&self, listen: &str) -> Outcome<Self> {
        self.other(Some(listen), &self.exporter).await
    }

    async fn other(&self, listen: Option<&str>, exporter: &str) -> Outcome<Self> {
        let node = Node::start(&self.target, listen, exporter, self.patience).await;
        let node = node.map_err(|error| Fault::new("another process of the node", error.to_string()))?;
        let mut other = Self {
            node,
            described: v1::DescribeResponse::default(),
            spans: self.spans.clone(),
            target: self.target.clone(),
            exporter: exporter.to_owned(),
            patience: self.patience,
            seed: self.seed,
            cases: self.cases,
            streams: Mutex::default(),
        };
        other.described = other.describe().await?;
        Ok(other)
    }

    /// Keeps an eye on a stream.
    pub(crate) fn watch(&self, stream: Arc<Shared>) {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner).push(stream);
    }

    /// Rules that streams have broken since the last call, whatever the check looked at.
    pub(crate) fn broken(&self) -> Option<Fault> {
        let streams = std::mem::take(&mut *self.streams.lock().unwrap_or_else(PoisonError::into_inner));
        streams.iter().find_map(|stream| stream.record().broken.clone())
    }
}
