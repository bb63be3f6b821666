//! A source that cannot replay, in front of a queue: what it is told to forget it never gives again, and it has no end.

use std::{
    collections::HashSet,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use meshloom::{Config, Output, Record, Settled, SourceContext, stream, stream::StreamExt as _};
use serde_json::json;

use crate::Settings;

/// The queue: the file `out` has a line for each event that is forgotten.
pub(crate) struct Queue {
    path: PathBuf,
    forgotten: File,
    /// What is given, in its order.
    given: Mutex<Vec<u64>>,
}

pub(crate) async fn open(settings: Config<Settings>) -> io::Result<Queue> {
    let path = PathBuf::from(&settings.out);
    let forgotten = OpenOptions::new().create(true).append(true).open(&path)?;
    Ok(Queue { path, forgotten, given: Mutex::default() })
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
    queue.given.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&given);
    let pause = Duration::from_millis(settings.pause);
    let records = stream::iter(given).then(move |n| async move {
        tokio::time::sleep(pause).await;
        Ok(Output::json(json!({"n": n, "do": "pass"})).id(n.to_string()).into())
    });
    stream::iter(failed)
        .chain(records)
        .chain(stream::pending())
        .take_until(context.stopping().clone().cancelled_owned())
}

pub(crate) async fn forget(settled: Settled, queue: Arc<Queue>) {
    let given = queue.given.lock().unwrap_or_else(PoisonError::into_inner);
    let numbers = &given[settled.records.start as usize..settled.records.end as usize];
    for n in numbers {
        // Not written: it is given once more.
        let _ = (&queue.forgotten).write_all(format!("{n}\n").as_bytes());
    }
}
