//! Ports that sources listen on.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use crate::{NodeError, OpenError};

/// Wait after the system refused a connection, for lack of descriptors for one.
pub(crate) const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Connections that the system keeps until they are accepted.
const BACKLOG: i32 = 4096;

/// Time to end what is open at a port once the source ends.
pub(crate) const FAREWELL: Duration = Duration::from_secs(5);

/// Takes a port.
///
/// # Errors
/// `LISTEN_FAILED` when it cannot be had.
pub(crate) fn bind(listen: SocketAddr, node: &str) -> Result<TcpListener, OpenError> {
    let listener = TcpListener::bind(listen).and_then(|listener| {
        listener.set_nonblocking(true)?;
        // The library's 128 are dropped by the system when a thousand come at once, and each waits a second.
        rustix::net::listen(&listener, BACKLOG)?;
        Ok(listener)
    });
    listener.map_err(|error| {
        OpenError::new(
            "LISTEN_FAILED",
            format!("node {node}: cannot listen on {listen}: {error}"),
            "end the process that has the port, or set another `listen`",
        )
    })
}

/// Begins to listen, and says where.
///
/// # Errors
/// `LISTEN_FAILED` when the runtime cannot take the port over.
pub(crate) fn start(listener: TcpListener) -> Result<(tokio::net::TcpListener, SocketAddr), NodeError> {
    let failed = |error: io::Error| NodeError::new("LISTEN_FAILED", error.to_string(), "");
    let listener = tokio::net::TcpListener::from_std(listener).map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    Ok((listener, address))
}
