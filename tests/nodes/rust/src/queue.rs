//! A source that cannot replay, in front of a queue: what it is told to forget it never gives again, and it has no end.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::PathBuf,
    time::Duration,
};

use meshloom::{Config, Output, Record, SourceContext, stream, stream::StreamExt as _};
use serde_json::json;

use crate::Settings;

/// The queue: the file `out` has a line for each event that is forgotten.
pub(crate) struct Queue {
    path: PathBuf,
    forgotten: File,
}

impl Queue {
    fn forget(&self, n: u64) -> io::Result<()> {
        (&self.forgotten).write_all(format!("{n}\n").as_bytes())
    }
}

pub(crate) async fn open(settings: Config<Settings>) -> io::Result<Queue> {
    let path = PathBuf::from(&settings.out);
    let forgotten = OpenOptions::new().create(true).append(true).open(&path)?;
    Ok(Queue { path, forgotten })
}

pub(crate) fn give(
    settings: Config<Settings>,
    context: SourceContext<Queue>,
) -> impl stream::Stream<Item = io::Result<Record>> {
    let queue = context.state();
    let text = fs::read_to_string(&queue.path);
    let (text, failed) = text.map_or_else(|error| (String::new(), Some(Err(error))), |text| (text, None));
    let forgotten: HashSet<&str> = text.lines().collect();
    let all = settings.first..settings.first + settings.count;
    let given: Vec<u64> = all.filter(|n| failed.is_none() && !forgotten.contains(n.to_string().as_str())).collect();
    let pause = Duration::from_millis(settings.pause);
    let state = context.clone();
    let records = stream::iter(given).then(move |n| {
        let state = state.clone();
        async move {
            tokio::time::sleep(pause).await;
            let output = Output::json(json!({"n": n, "do": "pass"})).id(n.to_string());
            // One that cannot be forgotten is given once more.
            Ok(output.on_settled(async move { state.state().forget(n) }))
        }
    });
    stream::iter(failed)
        .chain(records)
        .chain(stream::pending())
        .take_until(context.stopping().clone().cancelled_owned())
}
