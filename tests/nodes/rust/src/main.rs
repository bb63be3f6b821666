//! The test node: one process with a handler of each kind that does what the payload says.

mod deaths;
mod queue;
mod source;
mod transforms;

use serde::Deserialize;

/// Config of every handler.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Settings {
    pub(crate) label: String,
    #[serde(default)]
    pub(crate) count: u64,
    /// Number of the first event of the queue.
    #[serde(default)]
    pub(crate) first: u64,
    #[serde(default)]
    pub(crate) out: String,
    /// Milliseconds between two events of the source.
    #[serde(default)]
    pub(crate) pause: u64,
}

/// The payload: a number and a command.
#[derive(Debug, Deserialize)]
pub(crate) struct Command {
    pub(crate) n: i64,
    #[serde(rename = "do")]
    pub(crate) what: String,
    /// The label of the one handler that is to obey; absent: all are.
    pub(crate) at: Option<String>,
}

impl Command {
    /// As a handler of this label takes it.
    pub(crate) fn here(mut self, label: &str) -> Self {
        if self.at.as_ref().is_some_and(|at| at != label) {
            self.what = "pass".to_owned();
        }
        self
    }
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
        meshloom::node("queue").setup(queue::open).source(queue::give).replays(false),
    ])
    .await
}
