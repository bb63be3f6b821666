//! The connectors as the coordinator sees them: opened from a spec, spoken to over their channels.

// A test fails by panicking.
#![allow(clippy::unwrap_used)]

mod exec_batch;
mod exec_files;
mod exec_lines;
mod exec_source;
mod file_sink;
mod file_source;
mod grpc_source;
mod http_source;
mod small;
mod support;
mod tcp_source;
mod webhook;
