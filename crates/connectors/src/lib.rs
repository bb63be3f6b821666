//! Built-in sources and sinks, formats, and the adapter for programs that know nothing of Meshloom.
//!
//! Everything here is opened with [`open`] and then behaves like any other node: a [`SourceNode`] or a
//! [`ProcessNode`] that speaks `meshloom_core::exchange` over two bounded channels. The end of the input channel is
//! the half-close: answer what is in hand, then return.
//!
//! - [`formats`]: bytes to events and back, streaming, with bounded memory.
//! - `file`, `stdio`, `generate`, `null`, `http`, `grpc`, `tcp`, `webhook`: one connector each.
//! - `exec`: the sidecar adapter; it starts programs only through the [`Spawner`] it is given.
//! - `calls`, `link`, `feed`, `intake`, `listen`: what connectors share: works as calls, a source's credit, records made
//!   into frames, batches of many clients made into one stream of frames, ports.

mod calls;
mod context;
mod error;
mod exec;
mod feed;
mod file;
pub mod formats;
mod generate;
mod grpc;
mod http;
mod intake;
mod link;
mod listen;
mod node;
mod null;
mod open;
mod spawn;
mod stdio;
mod tcp;
mod webhook;

pub use context::{LogLine, LogStream, OpenContext};
pub use error::{NodeError, OpenError};
pub use node::{BoxFuture, Opened, ProcessNode, SourceNode};
pub use open::{Spec, open};
pub use spawn::{Child, CommandLine, Environment, Exit, Process, Spawner, TokioSpawner};
