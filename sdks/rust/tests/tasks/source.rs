//! Source: the rows of a file, resumed after a checkpoint, which is the number of a line.

// snippet:start
use std::{
    fs::File,
    io::{BufRead as _, BufReader},
};

use meshloom::stream::{self, Stream, TryStreamExt as _};
use meshloom::{Checkpoint, Config, Error, Node, Output, Record, Result};

fn rows(settings: Config<Settings>, Checkpoint(done): Checkpoint<usize>) -> impl Stream<Item = Result<Record>> {
    stream::once(async move {
        let lines = BufReader::new(File::open(&settings.path)?).lines();
        let rest = (1..).zip(lines).skip(done.unwrap_or(0)); // None on the first run
        Ok::<_, Error>(stream::iter(rest.map(|(number, line)| Ok(Output::text(line?).checkpoint(number)))))
    })
    .try_flatten()
}

fn node() -> Node {
    meshloom::node("rows").source(rows)
}
// snippet:end

#[derive(serde::Deserialize)]
struct Settings {
    path: std::path::PathBuf,
}

use meshloom::testing::produce;
use serde_json::json;

#[tokio::test]
async fn it_goes_on_behind_its_checkpoint() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "a\nb\nc\n").unwrap();
    let config = json!({ "path": file.path() });
    let all = produce(node()).config(&config).await.unwrap();
    assert_eq!((all.texts(), all.checkpoint()), (["a", "b", "c"].map(str::to_owned).to_vec(), Some(&json!(3))));
    let rest = produce(node()).config(&config).after(1).await.unwrap();
    assert_eq!(rest.outputs, all.outputs[1..], "the same events, with the same ids");
    assert!(rest.exhausted);
}

#[tokio::test]
async fn a_file_that_is_not_there_is_told() {
    let failed = produce(node()).config(json!({ "path": "/nowhere/readings" })).await.unwrap().failed;
    assert!(failed.unwrap().contains("No such file"));
}
