//! `ingest`: every line of a file is an event, and the line's number is its checkpoint.

mod lines;

use std::path::PathBuf;

use lines::Lines;
use meshloom::{Checkpoint, Config, ConfigError, Output, Record, Result, stream::Stream};
use serde::Deserialize;

/// The node's config.
#[derive(Debug, Clone, Deserialize)]
struct Settings {
    /// The file to read.
    path: PathBuf,
    /// Events to produce: the file is read again until there are so many. 0: the file once.
    #[serde(default)]
    events: u64,
}

/// The file is looked at before the pipeline starts, so that a wrong path is a config error and not a failing source.
async fn check(settings: Config<Settings>) -> Result<()> {
    let refused = |message: String| ConfigError::field("path", format!("`{}`: {message}", settings.path.display()));
    let found = std::fs::metadata(&settings.path).map_err(|error| refused(error.to_string()))?;
    if !found.is_file() {
        return Err(refused("is no file".to_owned()).into());
    }
    if found.len() == 0 && settings.events > 0 {
        return Err(refused("is empty, so there is nothing to read again".to_owned()).into());
    }
    Ok(())
}

/// Blank and malformed lines are events too: what is wrong with them is for the nodes below to say.
fn ingest(settings: Config<Settings>, Checkpoint(done): Checkpoint<u64>) -> impl Stream<Item = Result<Record>> {
    let lines = Lines::new(&settings.path, settings.events, done.unwrap_or(0));
    meshloom::stream::iter(lines.map(|line| {
        let (number, line) = line?;
        Ok(Output::bytes(line).content_type("text/plain").kind("reading.raw").checkpoint(number))
    }))
}

fn node() -> meshloom::Node {
    meshloom::node("ingest").setup(check).source(ingest).description("lines of a file")
}

#[tokio::main]
async fn main() -> Result<(), meshloom::ServeError> {
    node().serve().await
}

#[cfg(test)]
mod tests {
    use meshloom::testing::{Produced, TestError, produce};
    use serde_json::json;

    use super::*;

    const TEXT: &str = "{\"t\": 1}\n\nnot json\r\nlast";

    async fn read(text: &str, events: u64, after: Option<u64>, most: usize) -> Produced {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("readings.jsonl");
        std::fs::write(&path, text).expect("written");
        let source = produce(node()).config(json!({"path": path, "events": events})).most(most);
        let source = if let Some(after) = after { source.after(after) } else { source };
        source.await.expect("produced")
    }

    #[tokio::test]
    async fn every_line_is_an_event() {
        let produced = read(TEXT, 0, None, 100).await;
        assert_eq!(produced.texts(), ["{\"t\": 1}", "", "not json\r", "last"]);
        assert_eq!(produced.checkpoint(), Some(&json!(4)));
        assert!(produced.exhausted);
        let first = &produced.outputs[0];
        assert_eq!((first.content_type.as_deref(), first.kind.as_deref()), (Some("text/plain"), Some("reading.raw")));
    }

    #[tokio::test]
    async fn it_goes_on_after_any_checkpoint_with_the_same_ids() {
        let all = read(TEXT, 10, None, 100).await;
        assert_eq!(all.outputs.len(), 10);
        for after in 1..=9 {
            let rest = read(TEXT, 10, Some(after), 100).await;
            let tail = &all.outputs[after as usize..];
            assert_eq!(rest.texts(), all.texts()[after as usize..]);
            assert!(rest.outputs.iter().zip(tail).all(|(again, before)| again.id == before.id), "after {after}");
        }
        assert!(read(TEXT, 10, Some(10), 100).await.exhausted);
    }

    #[tokio::test]
    async fn it_stops_where_it_is_told() {
        let produced = read(&"x\n".repeat(1000), 0, None, 300).await;
        assert_eq!((produced.outputs.len(), produced.checkpoint()), (300, Some(&json!(300))));
        assert!(!produced.exhausted);
    }

    #[tokio::test]
    async fn a_wrong_path_or_key_is_a_config_error() {
        for (config, field) in [
            (json!({"path": "/nowhere/x"}), "path"),
            (json!({"path": "/"}), "path"),
            (json!({"pth": "x", "path": "/"}), "pth"),
            (json!({}), "path"),
        ] {
            match produce(node()).config(&config).await {
                Err(TestError::Config(error)) => assert_eq!(
                    error.violations().next().map(|(field, _)| field.to_owned()),
                    Some(field.to_owned()),
                    "{config}"
                ),
                other => panic!("{config}: {other:?}"),
            }
        }
    }
}
