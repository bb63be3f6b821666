#![doc = include_str!("../README.md")]

mod columns;
pub mod config;
mod context;
mod emitter;
mod error;
mod event;
mod extract;
mod handler;
mod layer;
mod node;
mod output;
mod publisher;
mod record;
mod result;
mod running;
mod serve;
pub mod testing;
mod trace;

pub use columns::{Batch, ExtensionValue, limits};
pub use config::{Config, ConfigError};
pub use context::{BatchCall, Context, EventCall, Opening, SetupCall, SourceCall, SourceContext};
pub use emitter::Emitter;
pub use error::{Error, Result, reject, retry, retry_after};
pub use event::Event;
pub use extract::{Checkpoint, FromCall, HandlerFn, Json, Text};
pub use handler::{IntoDelivered, IntoKeep, IntoPart};
pub use layer::{Call, CallService, Handled};
pub use node::{Node, NodeBuilder, node};
pub use output::{IntoAnswer, IntoOutput, Output};
pub use publisher::{Acknowledgement, PublishError, Publisher, PublisherBuilder};
pub use record::{IntoRecord, Record};
pub use serve::{ServeError, Server, serve};

pub use bytes::Bytes;
pub use futures::stream;

pub use tower::{Layer, Service};
pub use uuid::Uuid;
