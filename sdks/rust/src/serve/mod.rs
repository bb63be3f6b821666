//! Serving nodes: a gRPC server on a thread and runtime of its own, so that no handler can stall it.

mod codec;
mod describe;
mod listen;
mod open;
mod process;
mod produce;
mod status;
#[cfg(feature = "tls")]
mod tls;
mod transport;

use std::{fmt, future::Future, time::Duration};

use meshloom_proto::v1::HandlerRole;
use tokio::sync::oneshot;

pub(crate) use open::opening_for_tests;
pub(crate) use process::spawn_work;

use crate::node::Node;
use listen::Address;
use transport::{Serving, Transport};

/// How long works in hand may take to finish once the node drains.
const DRAIN: Duration = Duration::from_secs(30);

/// Why nodes could not be served, with what to do about it.
#[derive(thiserror::Error)]
pub enum ServeError {
    /// The nodes themselves are not right: a name is missing, illegal or used twice.
    #[error("{0}")]
    Nodes(String),
    /// An environment variable cannot be used.
    #[error("{variable}: {message}")]
    Environment {
        /// Its name.
        variable: &'static str,
        /// What is wrong with it, and what to write instead.
        message: String,
    },
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {message}")]
    Listen {
        /// The address.
        address: String,
        /// Why not, and what to do.
        message: String,
        /// Whether something else listens there.
        taken: bool,
    },
    /// The server failed.
    #[error("the gRPC server failed: {0}")]
    Transport(String),
}

impl fmt::Debug for ServeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl ServeError {
    /// Exit code of a process that cannot start for this reason: 69 for an address that is taken, 78 for what is
    /// configured wrongly, 70 otherwise.
    #[must_use]
    pub fn exit_code(&self) -> i32 {
        match self {
            Self::Listen { taken: true, .. } => 69,
            Self::Listen { .. } | Self::Environment { .. } | Self::Nodes(_) => 78,
            Self::Transport(_) => 70,
        }
    }
}

/// Serves several nodes in one process until SIGTERM; see [`Server::serve`].
///
/// # Errors
/// What kept them from going on serving.
pub async fn serve(nodes: impl IntoIterator<Item = Node>) -> Result<(), ServeError> {
    Server::new(nodes).serve().await
}

/// Nodes to be served by this process.
#[must_use = "a server does nothing until it serves"]
pub struct Server {
    nodes: Vec<Node>,
    listen: Option<String>,
}

impl Server {
    /// Takes the nodes.
    pub fn new(nodes: impl IntoIterator<Item = Node>) -> Self {
        Self { nodes: nodes.into_iter().collect(), listen: None }
    }

    /// Listens on `address` instead of what `MESHLOOM_LISTEN` says: `unix:/path`, `127.0.0.1:7480`, `dns:localhost:7480`.
    pub fn listen(mut self, address: impl Into<String>) -> Self {
        self.listen = Some(address.into());
        self
    }

    /// Serves until SIGTERM or SIGINT, then answers what is in hand and returns.
    ///
    /// Must run inside a tokio runtime with its time driver; handlers run there. The address comes from
    /// `MESHLOOM_LISTEN`; without it, it is 127.0.0.1:7480 and a line on standard error says how to use the node.
    ///
    /// # Errors
    /// What kept the nodes from going on serving. A failure to start prints what to do and ends the process with
    /// [`ServeError::exit_code`].
    pub async fn serve(self) -> Result<(), ServeError> {
        let signals = match Signals::new() {
            Ok(signals) => signals,
            Err(error) => exit(&ServeError::Transport(format!("cannot wait for signals: {error}"))),
        };
        match self.start().await {
            Ok(serving) => serving.until(signals.wait()).await,
            Err(error) => exit(&error),
        }
    }

    /// Serves until `shutdown` completes, then answers what is in hand and returns. For nodes inside another program:
    /// nothing is printed, no signal is handled, the process is never ended.
    ///
    /// # Errors
    /// What kept the nodes from starting, or from going on serving.
    pub async fn serve_with_shutdown(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        self.start().await?.until(shutdown).await
    }

    async fn start(self) -> Result<Serving, ServeError> {
        check(&self.nodes)?;
        let address = Address::choose(self.listen)?;
        let (ready, started) = oneshot::channel();
        let transport = Transport { nodes: self.nodes, address, app: tokio::runtime::Handle::current() };
        let serving = transport.spawn(ready)?;
        match started.await {
            Ok(Ok(())) => Ok(serving),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(ServeError::Transport("its thread ended while it started".to_owned())),
        }
    }
}

fn check(nodes: &[Node]) -> Result<(), ServeError> {
    if nodes.is_empty() {
        return Err(ServeError::Nodes("there is no node to serve; pass at least one".to_owned()));
    }
    for (at, node) in nodes.iter().enumerate() {
        let name = node.name.as_str();
        let legal = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-');
        if !legal {
            return Err(ServeError::Nodes(format!(
                "node name `{}` is not legal; use [a-z][a-z0-9_-]*",
                name.escape_debug()
            )));
        }
        if node.role == HandlerRole::Source && node.layers.is_some() {
            let message =
                format!("`{name}` is a source, which has no calls for a layer to stand around: remove `.layer(..)`");
            return Err(ServeError::Nodes(message));
        }
        if nodes[..at].iter().any(|other| other.name == name) {
            return Err(ServeError::Nodes(format!("two nodes of this process are named `{name}`; names must differ")));
        }
    }
    Ok(())
}

#[allow(clippy::print_stderr)]
fn exit(error: &ServeError) -> ! {
    eprintln!("meshloom: {error}");
    std::process::exit(error.exit_code())
}

/// SIGTERM and SIGINT, caught from before the node is ready.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn wait(mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
