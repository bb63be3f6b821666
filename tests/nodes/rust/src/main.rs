//! The test node: one process with a handler of each kind that does what the payload says.

mod source;
mod transforms;

use serde::Deserialize;

/// Config of every handler.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Settings {
    pub(crate) label: String,
    #[serde(default)]
    pub(crate) count: u64,
    #[serde(default)]
    pub(crate) out: String,
}

/// The payload: a number and a command.
#[derive(Debug, Deserialize)]
pub(crate) struct Command {
    pub(crate) n: i64,
    #[serde(rename = "do")]
    pub(crate) what: String,
}

#[tokio::main]
async fn main() -> Result<(), meshloom::ServeError> {
    meshloom::serve([
        meshloom::node("map").map(transforms::map).routes(["side"]),
        meshloom::node("filter").filter(transforms::filter),
        meshloom::node("flat_map").flat_map(transforms::flat_map).routes(["side"]),
        meshloom::node("batch").batch(transforms::batch).routes(["side"]),
        meshloom::node("sink").sink(transforms::sink),
        meshloom::node("source").source(source::count),
    ])
    .await
}
