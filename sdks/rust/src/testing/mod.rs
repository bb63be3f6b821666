//! Runs a node on events in-process, without a coordinator or a network.
//!
//! ```
//! use meshloom::{Json, Output, Result, node, reject, testing};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Deserialize, Serialize)]
//! struct Reading { celsius: f64 }
//!
//! async fn hot(Json(reading): Json<Reading>) -> Result<Option<Output>> {
//!     if reading.celsius < -273.15 {
//!         return Err(reject("TOO_COLD", "below absolute zero"));
//!     }
//!     Ok((reading.celsius > 30.0).then(|| Output::json(reading)))
//! }
//!
//! # tokio::runtime::Runtime::new().unwrap().block_on(async {
//! let run = testing::run(node("hot").map(hot), [20.0, 35.0, -300.0].map(|celsius| Json(Reading { celsius }))).await.unwrap();
//! assert_eq!(run.outputs[0].json::<Reading>().unwrap().celsius, 35.0);
//! assert_eq!(run.dropped, [0]);
//! assert_eq!(run.rejected[0].reason, "TOO_COLD");
//! # });
//! ```
//!
//! Set-up and tear-down run as in service. [`Runner`] says what else can be tried: config, attempts, batches cut at random,
//! events that come twice, a timeout, cancellation, spans. [`produce`] does the same for sources.

mod producer;
mod run;
mod runner;
mod spans;

use std::sync::Arc;

use bytes::Bytes;
use meshloom_proto::v1::HandlerRole;
use serde::Serialize;

pub use producer::{Produced, Producer, produce};
pub use run::{Run, TestFailure, TestOutput};
pub use runner::{Runner, run};
pub use spans::TestSpan;

use crate::{
    config::ConfigError,
    context::Opening,
    handler::{OpenError, Ready},
    node::Node,
};

/// Why a node could not be run.
#[derive(Debug, thiserror::Error)]
pub enum TestError {
    /// The config was refused.
    #[error(transparent)]
    Config(ConfigError),
    /// Set-up failed.
    #[error("{0}")]
    Setup(String),
    /// The node or the events do not fit this run.
    #[error("{0}")]
    Unfit(String),
}

/// `()` and `None` stand for no config.
fn to_config(config: impl Serialize) -> Result<Bytes, TestError> {
    let json =
        serde_json::to_vec(&config).map_err(|error| TestError::Unfit(format!("the config is no JSON: {error}")))?;
    Ok(if json == b"null" { Bytes::new() } else { json.into() })
}

async fn open(node: &Node, opening: Arc<Opening>) -> Result<Ready, TestError> {
    if node.role == HandlerRole::Source && node.layers.is_some() {
        return Err(TestError::Unfit(format!("`{}` is a source: it has no calls for a layer", node.name())));
    }
    node.handler.open(opening).await.map_err(|error| match error {
        OpenError::Config(error) => TestError::Config(error),
        OpenError::Setup(message) => TestError::Setup(message),
    })
}
