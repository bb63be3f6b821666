//! The HTTP source: events by POST, answered once they are safe.

mod answer;
mod connections;
mod parse;
mod server;
mod source;

pub(crate) use source::HttpSourceNode;
