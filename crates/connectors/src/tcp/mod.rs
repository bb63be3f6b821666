//! The TCP source: records over plain connections, which are not acknowledged.

mod connection;
mod source;

pub(crate) use source::TcpSourceNode;
