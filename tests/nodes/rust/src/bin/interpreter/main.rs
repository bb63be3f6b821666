//! The interpreter: a node that does what the payload says, as tests/conformance/INTERPRETER.md has it.

mod app;
mod batch;
mod command;
mod event;
mod obey;
mod out;
mod report;
mod single;
mod source;
#[cfg(test)]
mod tests;

use app::App;
use meshloom::{Node, NodeBuilder, ServeError, node};

fn nodes() -> [Node; 8] {
    let handler = |name: &str| -> NodeBuilder<App> { node(name).setup(App::open).teardown(App::close) };
    let routes = ["left", "right"];
    [
        handler("map").map(single::map).routes(routes),
        handler("narrow")
            .map(single::map)
            .routes(routes)
            .max_in_flight_works(2)
            .max_batch_events(8)
            .max_batch_bytes(65_536),
        handler("filter").filter(single::filter),
        handler("flat_map").flat_map(single::flat_map).routes(routes),
        handler("sink").sink(single::sink),
        handler("batch").batch(batch::batch).routes(routes),
        handler("source").on_settled(source::settled).source(source::produce),
        handler("queue").on_settled(source::settled).source(source::produce).replays(false),
    ]
}

/// Several threads, so that events that block theirs do not wait for each other.
#[tokio::main(worker_threads = 8)]
async fn main() -> Result<(), ServeError> {
    meshloom::serve(nodes()).await
}
