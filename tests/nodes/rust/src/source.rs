//! Counts, and goes on where it was.

use std::time::Duration;

use meshloom::{Checkpoint, Config, Output, Record, stream, stream::StreamExt as _};
use serde_json::json;

use crate::Settings;

pub(crate) fn count(
    settings: Config<Settings>,
    Checkpoint(done): Checkpoint<u64>,
) -> impl stream::Stream<Item = Record> {
    let (first, pause) = (done.unwrap_or(0) + 1, Duration::from_millis(settings.pause));
    stream::iter(first..=settings.count).then(move |n| async move {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        Output::json(json!({"n": n, "do": "pass"})).checkpoint(n)
    })
}
