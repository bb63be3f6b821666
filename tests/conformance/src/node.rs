//! The node that is looked at: one that runs somewhere, or one that the kit starts.

use std::{
    collections::VecDeque,
    os::unix::fs::PermissionsExt as _,
    process::{ExitStatus, Stdio},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use meshloom_wire::transport;
use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use tokio::{
    io::{AsyncBufReadExt as _, AsyncRead, BufReader},
    process::{Child, Command},
    sync::Mutex as AsyncMutex,
    time::Instant,
};
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::{HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient};

use crate::Target;

/// Lines of what a process says that are kept.
const LINES: usize = 40;

/// Time between two looks at a node that starts.
const LOOK: Duration = Duration::from_millis(20);

/// Why a node cannot be had.
#[derive(Debug, Clone, thiserror::Error)]
pub enum NodeError {
    /// The address is none.
    #[error("{address:?} is no address: write HOST:PORT, dns:HOST:PORT or unix:/path ({why})")]
    Address {
        /// As given.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// Nothing answers at the address.
    #[error("nothing serves at {address}: {why}; start the node, or let the kit start it with --run COMMAND")]
    Unreachable {
        /// As given.
        address: String,
        /// The last failure.
        why: String,
    },
    /// The command cannot be started.
    #[error("{command} cannot be started: {why}")]
    Spawn {
        /// The program.
        command: String,
        /// The system's reason.
        why: String,
    },
    /// The process ended before it served.
    #[error("{command} ended ({status}) before it served at MESHLOOM_LISTEN={listen}{said}")]
    Ended {
        /// The program.
        command: String,
        /// How it ended.
        status: String,
        /// Where it was to listen.
        listen: String,
        /// Its last words.
        said: String,
    },
    /// The process lives and does not serve.
    #[error("{command} does not serve at MESHLOOM_LISTEN={listen} within {patience:?}: {why}{said}")]
    Silent {
        /// The program.
        command: String,
        /// Where it was to listen.
        listen: String,
        /// How long was waited.
        patience: Duration,
        /// The last failure.
        why: String,
        /// Its last words.
        said: String,
    },
}

/// A node and, where the kit has started it, its process.
pub(crate) struct Node {
    endpoint: Endpoint,
    address: String,
    process: Option<Process>,
}

/// A process that the kit has started, in a group of its own that ends with this.
pub(crate) struct Process {
    pid: Pid,
    child: AsyncMutex<Child>,
    said: Arc<Mutex<VecDeque<String>>>,
    _folder: tempfile::TempDir,
}

impl Node {
    /// Reaches it, or starts it: on a socket of its own, or at `listen`.
    pub(crate) async fn start(
        target: &Target,
        listen: Option<&str>,
        exporter: &str,
        patience: Duration,
    ) -> Result<Self, NodeError> {
        match target {
            Target::Address(address) => {
                let node = Self { endpoint: endpoint(address)?, address: address.clone(), process: None };
                match node.serving(patience.min(Duration::from_secs(5))).await {
                    Ok(()) => Ok(node),
                    Err(why) => Err(NodeError::Unreachable { address: address.clone(), why }),
                }
            }
            Target::Command(command) => Self::spawn(command, listen, exporter, patience).await,
        }
    }

    async fn spawn(
        command: &[String],
        listen: Option<&str>,
        exporter: &str,
        patience: Duration,
    ) -> Result<Self, NodeError> {
        let shown = command.join(" ");
        let failed = |why: std::io::Error| NodeError::Spawn { command: shown.clone(), why: why.to_string() };
        let folder = tempfile::Builder::new().prefix("conform").tempdir().map_err(failed)?;
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o700)).map_err(failed)?;
        let socket = || format!("unix:{}", folder.path().join("node.sock").display());
        let listen = listen.map_or_else(socket, str::to_owned);
        let mut process = Command::new(&command[0]);
        process.args(&command[1..]).env("MESHLOOM_LISTEN", &listen).env("OTEL_EXPORTER_OTLP_ENDPOINT", exporter);
        process.env("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc").env("OTEL_BSP_SCHEDULE_DELAY", "200");
        process.process_group(0).kill_on_drop(true);
        process.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = process.spawn().map_err(failed)?;
        let said = Arc::default();
        let readers = [
            tokio::spawn(keep(child.stdout.take(), Arc::clone(&said))),
            tokio::spawn(keep(child.stderr.take(), Arc::clone(&said))),
        ];
        let pid =
            child.id().and_then(|pid| Pid::from_raw(pid as i32)).expect("a child that was not waited for has a pid");
        let process = Process { pid, child: AsyncMutex::new(child), said, _folder: folder };
        let node = Self { endpoint: endpoint(&listen)?, address: listen.clone(), process: Some(process) };
        let process = node.process.as_ref().expect("set above");
        let ended = tokio::select! {
            serving = node.serving(patience) => match serving {
                Ok(()) => None,
                Err(why) => {
                    let said = process.said();
                    return Err(NodeError::Silent { command: shown, listen, patience, why, said });
                }
            },
            status = process.wait() => Some(status),
        };
        match ended {
            None => Ok(node),
            Some(status) => {
                // What it has started may hold its outputs open; all that it said is to be told.
                process.end();
                for reader in readers {
                    let _ = tokio::time::timeout(patience, reader).await;
                }
                Err(NodeError::Ended { command: shown, status, listen, said: process.said() })
            }
        }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// To connect to.
    pub(crate) fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// A connection of its own.
    pub(crate) async fn connect(&self) -> Result<Channel, String> {
        self.endpoint.connect().await.map_err(|error| causes(&error))
    }

    /// Its process, where the kit has started it.
    pub(crate) fn process(&self) -> Option<&Process> {
        self.process.as_ref()
    }

    /// Waits until it says SERVING.
    async fn serving(&self, patience: Duration) -> Result<(), String> {
        let deadline = Instant::now() + patience;
        loop {
            let why = match tokio::time::timeout_at(deadline, self.health("")).await {
                Ok(Ok(ServingStatus::Serving)) => return Ok(()),
                Ok(Ok(status)) => format!("its health is {}", status.as_str_name()),
                Ok(Err(why)) => why,
                Err(_) => return Err("its health is not told in time".into()),
            };
            if Instant::now() > deadline {
                return Err(why);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What it says of a service's health.
    pub(crate) async fn health(&self, service: &str) -> Result<ServingStatus, String> {
        let mut client = HealthClient::new(self.connect().await?);
        let request = HealthCheckRequest { service: service.to_owned() };
        let answer = client.check(request).await.map_err(|status| super::client::describe(&status))?;
        Ok(answer.into_inner().status())
    }
}

fn endpoint(address: &str) -> Result<Endpoint, NodeError> {
    let uri = match address.strip_prefix("dns:") {
        _ if address.starts_with("unix:") => address.to_owned(),
        Some(rest) => format!("http://{}", rest.trim_start_matches('/')),
        None => format!("http://{address}"),
    };
    let endpoint = Endpoint::try_from(uri);
    let endpoint = endpoint.map_err(|error| NodeError::Address { address: address.to_owned(), why: causes(&error) })?;
    Ok(transport::tune(endpoint))
}

/// An error with what it came from.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

async fn keep(from: Option<impl AsyncRead + Unpin>, lines: Arc<Mutex<VecDeque<String>>>) {
    let Some(from) = from else { return };
    let mut from = BufReader::new(from);
    let mut line = Vec::new();
    while matches!(from.read_until(b'\n', &mut line).await, Ok(bytes) if bytes > 0) {
        let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
        lines.push_back(String::from_utf8_lossy(&line).trim_end().to_owned());
        if lines.len() > LINES {
            lines.pop_front();
        }
        line.clear();
    }
}

impl Process {
    pub(crate) fn id(&self) -> u32 {
        self.pid.as_raw_pid() as u32
    }

    /// What it has said last, below a line of its own; empty if nothing.
    pub(crate) fn said(&self) -> String {
        let lines = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        match lines.is_empty() {
            true => String::new(),
            false => lines.iter().fold("; it said:".to_owned(), |text, line| text + "\n    " + line),
        }
    }

    /// Sends a signal to the process itself.
    pub(crate) fn signal(&self, signal: Signal) {
        // One that is gone needs none.
        let _ = kill_process(self.pid, signal);
    }

    /// Ends its group.
    fn end(&self) {
        // A group that is gone needs no signal.
        let _ = kill_process_group(self.pid, Signal::KILL);
    }

    /// Waits for its end.
    pub(crate) async fn wait(&self) -> String {
        match self.child.lock().await.wait().await {
            Ok(status) => describe(status),
            Err(error) => format!("unknown: {error}"),
        }
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&self) -> Option<String> {
        self.child.try_lock().ok()?.try_wait().ok()?.map(describe)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

fn describe(status: ExitStatus) -> String {
    status.to_string()
}
