//! The adapter as a handler of a node server.

use std::{path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use meshloom_config::{ExecSpec, exec::ExecMode};
use meshloom_connectors::{Environment, LogLine, NodeError, OpenContext, Opened, TokioSpawner};
use meshloom_proto::v1::{Handler as Description, HandlerRole, OpenProcess, OpenProduce, Replica};
use meshloom_wire::{
    serve::{BoxFuture, Handler, ProcessNode, SourceNode},
    session,
};
use tokio::sync::mpsc;
use tonic::Status;

/// What the coordinator does not say.
pub(super) struct AdapterOptions {
    pub(super) name: String,
    pub(super) exec: ExecSpec,
    /// Time of one call where the coordinator does not say.
    pub(super) timeout: Duration,
    /// Empty: a source.
    pub(super) upstreams: Vec<String>,
    pub(super) dir: PathBuf,
    pub(super) state: PathBuf,
    pub(super) env_clear: bool,
    pub(super) log: mpsc::Sender<LogLine>,
}

/// A program, adapted.
#[derive(Clone)]
pub(super) struct Adapter(pub(super) Arc<AdapterOptions>);

/// What an `open` of either kind says.
struct Opening {
    pipeline: String,
    node: String,
    replica: Option<Replica>,
    config: Bytes,
    concurrency: u32,
    checkpoint: Option<Bytes>,
}

impl Handler for Adapter {
    fn describe(&self) -> Description {
        let options = &self.0;
        let role = match options.exec.mode {
            _ if options.upstreams.is_empty() => HandlerRole::Source,
            ExecMode::Lines => HandlerRole::Map,
            ExecMode::Batch | ExecMode::Files => HandlerRole::Batch,
        };
        Description {
            name: options.name.clone(),
            role: role.into(),
            description: format!("the program {}", options.exec.command),
            ..Description::default()
        }
    }

    fn open_process(&self, open: OpenProcess) -> BoxFuture<Result<ProcessNode, Status>> {
        let opened = self.open(Opening {
            pipeline: open.pipeline,
            node: open.node,
            replica: open.replica,
            config: open.config_json,
            concurrency: open.concurrency,
            checkpoint: None,
        });
        Box::pin(async move {
            let Opened::Node(node) = opened? else { return Err(wrong_role("a source")) };
            let limits = node.limits();
            let run = node_run(move |input, output| node.run(input, output));
            Ok(ProcessNode { limits, run })
        })
    }

    fn open_produce(&self, open: OpenProduce) -> BoxFuture<Result<SourceNode, Status>> {
        let opened = self.open(Opening {
            pipeline: open.pipeline,
            node: open.node,
            replica: open.replica,
            config: open.config_json,
            concurrency: 0,
            checkpoint: open.checkpoint,
        });
        Box::pin(async move {
            let Opened::Source(source) = opened? else { return Err(wrong_role("no source")) };
            Ok(SourceNode { run: node_run(move |input, output| source.run(input, output)) })
        })
    }
}

impl Adapter {
    fn open(&self, opening: Opening) -> Result<Opened, Status> {
        let options = &self.0;
        if !matches!(&opening.config[..], b"" | b"{}") {
            return Err(session::field(
                "config_json",
                "must be empty: a sidecar takes no config; remove `with` and give the program arguments instead",
            ));
        }
        let replica = opening.replica.unwrap_or_default();
        let context = OpenContext {
            pipeline: opening.pipeline,
            node: opening.node,
            replica: replica.index,
            // A sidecar has its folder to itself, whichever replica it is.
            replicas: 1,
            upstreams: options.upstreams.clone(),
            dir: options.dir.clone(),
            state_dir: options.state.clone(),
            config_dir: options.dir.clone(),
            checkpoint: opening.checkpoint,
            max_event: meshloom_config::defaults::MAX_EVENT,
            timeout: options.timeout,
            concurrency: (opening.concurrency > 0).then_some(opening.concurrency),
            environment: Environment { clear: options.env_clear, ..Environment::default() },
            log: options.log.clone(),
            spawner: Arc::new(TokioSpawner),
        };
        meshloom_connectors::open(&options.exec, &context)
            .map_err(|error| Status::failed_precondition(error.to_string()))
    }
}

fn wrong_role(is: &str) -> Status {
    Status::internal(format!("the program was opened as {is}"))
}

/// A connector's loop as the server runs it.
fn node_run<I, O, F>(
    run: impl FnOnce(mpsc::Receiver<I>, mpsc::Sender<O>) -> F + Send + 'static,
) -> meshloom_wire::serve::Run<I, O>
where
    I: Send + 'static,
    O: Send + 'static,
    F: Future<Output = Result<(), NodeError>> + Send + 'static,
{
    Box::new(move |input, output| {
        let ended = run(input, output);
        Box::pin(async move { ended.await.map_err(|error| Status::internal(error.to_string())) })
    })
}
