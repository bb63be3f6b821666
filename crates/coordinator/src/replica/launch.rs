//! From a node of the file to a process that listens.

use std::{
    ffi::OsString,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use meshloom_config::{
    NodeKind, NodeSpec, Pipeline,
    spec::{Address, Command},
};
use meshloom_proto::v1::DescribeResponse;
use meshloom_telemetry::node as telemetry;
use meshloom_wire::{NodeClient, Unmetered};
use tokio::time::{Instant, timeout_at};
use tokio_util::sync::CancellationToken;

use super::dial::dial;
use crate::{
    clock::Clock,
    error::RunError,
    flow::Budget,
    process::{
        DEFAULT_GRACE, Environment, LogSender, Process, ProcessName, ProcessSpec, Processes, Stderr, Stdin, Stdout,
    },
};

/// Pause between looks at a socket that is not there yet.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What every driver shares.
pub(crate) struct Host {
    pub(crate) pipeline: Arc<Pipeline>,
    pub(crate) processes: Processes,
    pub(crate) logs: LogSender,
    /// Short folder for sockets, mode 0700.
    pub(crate) sockets: PathBuf,
    pub(crate) state_dir: PathBuf,
    /// Where spawned nodes send their spans.
    pub(crate) otlp: SocketAddr,
    pub(crate) budget: Budget,
    pub(crate) clock: Clock,
    /// Sources have been told to stop.
    pub(crate) draining: CancellationToken,
    /// Everything ends now.
    pub(crate) stop: CancellationToken,
}

/// Where a replica runs.
#[derive(Debug, Clone)]
pub(crate) enum Placement {
    /// We spawn it.
    Spawn(Command),
    /// It runs elsewhere.
    Dial(Address),
}

impl Placement {
    /// The placement of a replica of a `run` or `connect` node.
    pub(crate) fn of(spec: &NodeSpec, replica: u32, attached: Option<&Address>) -> Option<Self> {
        match (&spec.kind, attached) {
            (_, Some(address)) => Some(Self::Dial(address.clone())),
            (NodeKind::Run(command), None) => Some(Self::Spawn(command.clone())),
            (NodeKind::Connect(addresses), None) => Some(Self::Dial(addresses.get(replica as usize)?.clone())),
            _ => None,
        }
    }
}

/// A process that listens and has said what it is.
pub(super) struct Launched {
    pub(super) process: Option<Process>,
    pub(super) address: Address,
    pub(super) described: DescribeResponse,
}

impl Launched {
    /// Ends the process, if it is ours, and waits until nothing of it is left.
    pub(super) async fn end(self) {
        if let Some(process) = self.process {
            process.terminate(DEFAULT_GRACE);
            process.gone().await;
        }
    }
}

impl Host {
    /// Starts or dials a replica and asks what it is, within the node's `start_timeout`.
    pub(super) async fn launch(&self, spec: &NodeSpec, replica: u32, place: &Placement) -> Result<Launched, RunError> {
        let until = Instant::now() + spec.start_timeout;
        match place {
            Placement::Dial(address) => {
                let described = match timeout_at(until, describe(address, spec.timeout)).await {
                    Ok(described) => described,
                    Err(_) => Err("no answer".to_owned()),
                };
                let described = described.map_err(|why| {
                    RunError::node(&spec.name, "NODE_UNREACHABLE", format!("nothing answers at {address}: {why}"))
                        .with_remedy("start the node there, or correct the address")
                })?;
                Ok(Launched { process: None, address: address.clone(), described })
            }
            Placement::Spawn(command) => self.spawn(spec, replica, command, until).await,
        }
    }

    async fn spawn(
        &self,
        spec: &NodeSpec,
        replica: u32,
        command: &Command,
        until: Instant,
    ) -> Result<Launched, RunError> {
        let socket = self.sockets.join(format!("{}.{replica}", spec.name));
        // Of an earlier run of this replica, which is gone.
        let _ = std::fs::remove_file(&socket);
        let process = self
            .processes
            .spawn(ProcessSpec {
                name: ProcessName::new(spec.name.as_str(), replica),
                program: command.program.clone().into(),
                args: command.args.iter().map(OsString::from).collect(),
                dir: spec.dir.clone(),
                env: self.environment(spec, replica, &socket),
                stdin: Stdin::Null,
                stdout: Stdout::Log,
                stderr: Stderr::Log,
            })
            .await
            .map_err(|error| RunError::spawn(&spec.name, &error))?;
        let address = Address::Unix(socket.clone());
        let last = Mutex::new("it has made no socket there".to_owned());
        let listening = async {
            loop {
                if socket.exists() {
                    match describe(&address, spec.timeout).await {
                        Ok(described) => return described,
                        Err(why) => *last.lock().unwrap_or_else(PoisonError::into_inner) = why,
                    }
                }
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        };
        let outcome = tokio::select! {
            described = listening => Ok(described),
            exit = process.exited() => Err(RunError::node(
                &spec.name,
                "START_FAILED",
                format!("`{command}` ended before it listened: {}", crate::process_words(&exit)),
            )
            .with_remedy("run the command by hand in the node's folder to see why")),
            () = tokio::time::sleep_until(until) => Err(RunError::node(
                &spec.name,
                "START_TIMEOUT",
                format!(
                    "`{command}` runs, but does not answer at MESHLOOM_LISTEN within {:?}: {}",
                    spec.start_timeout,
                    last.lock().unwrap_or_else(PoisonError::into_inner)
                ),
            )
            .with_remedy("serve the node with the SDK's `serve`, or raise `start_timeout`")),
            () = self.stop.cancelled() => Err(RunError::node(&spec.name, "STOPPED", "the pipeline is ending")),
        };
        match outcome {
            Ok(described) => Ok(Launched { process: Some(process), address, described }),
            Err(error) => {
                process.terminate(DEFAULT_GRACE);
                process.gone().await;
                Err(error)
            }
        }
    }

    fn environment(&self, spec: &NodeSpec, replica: u32, socket: &Path) -> Environment {
        let mut env = Environment::inherit(std::env::vars_os(), spec.env_clear);
        env.set("MESHLOOM_LISTEN", format!("unix:{}", socket.display()));
        self.set_telemetry(&mut env, spec, replica);
        env.with(spec.env.iter().map(|(name, value)| (name, value)))
    }

    /// What points a child's OpenTelemetry to us.
    pub(super) fn set_telemetry(&self, env: &mut Environment, spec: &NodeSpec, replica: u32) {
        let variable = |name: &str| std::env::var(name).ok();
        let ours = telemetry::environment(self.otlp, &self.pipeline.name, &spec.name, replica, &variable);
        // What the environment says of OpenTelemetry was checked when the exporter was set up.
        for (name, value) in ours.unwrap_or_default() {
            env.set(name, value);
        }
    }
}

async fn describe(address: &Address, timeout: Duration) -> Result<DescribeResponse, String> {
    let channel = dial(address, timeout).await.map_err(|error| chain(&error))?;
    match NodeClient::new(channel, Arc::new(Unmetered)).describe().await {
        Ok(response) => Ok(response),
        Err(status) if status.code() == tonic::Code::Unimplemented => {
            Err("it is a gRPC server, but no Meshloom node (no meshloom.v1.NodeService)".into())
        }
        Err(status) => Err(format!("{:?}: {}", status.code(), status.message())),
    }
}

/// An error with its causes, since the outermost says only "transport error".
pub(super) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
