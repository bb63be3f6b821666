//! Counts, and goes on where it was.

use meshloom::{Checkpoint, Config, Output, Record, stream};
use serde_json::json;

use crate::Settings;

pub(crate) fn count(
    settings: Config<Settings>,
    Checkpoint(done): Checkpoint<u64>,
) -> impl stream::Stream<Item = Record> {
    let first = done.unwrap_or(0) + 1;
    stream::iter((first..=settings.count).map(|n| Output::json(json!({"n": n, "do": "pass"})).checkpoint(n)))
}
