//! The numbers of every connection, the same at both ends and in every SDK.

use std::time::Duration;

use tonic::transport::{Endpoint, Server};

/// Bytes that may be on their way unread, per stream and per connection; a stream has a connection of its own.
pub const WINDOW_BYTES: u32 = 8 << 20;

/// Bytes of one HTTP/2 frame.
pub const FRAME_BYTES: u32 = 1 << 20;

/// Time between pings of a silent connection.
pub const KEEPALIVE: Duration = Duration::from_secs(20);

/// Time for the answer to a ping.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Time to connect.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// An endpoint with these numbers.
#[must_use]
pub fn tune(endpoint: Endpoint) -> Endpoint {
    endpoint
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .http2_keep_alive_interval(KEEPALIVE)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .connect_timeout(CONNECT_TIMEOUT)
        .tcp_nodelay(true)
}

/// A server with these numbers.
#[must_use]
pub fn server() -> Server {
    Server::builder()
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .tcp_nodelay(true)
}
