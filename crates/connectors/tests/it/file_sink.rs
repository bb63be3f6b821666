use std::fs;

use meshloom_config::connector::{ConnectorSpec, FileSink, Rotate, WriteFormat};

use crate::support::{Bench, batch};

fn spec(bench: &Bench, format: WriteFormat, rotate: Option<Rotate>) -> ConnectorSpec {
    ConnectorSpec::FileSink(FileSink { path: bench.context.dir.join("out.txt"), format, rotate })
}

#[tokio::test]
async fn events_become_whole_lines_and_others_are_rejected() {
    let bench = Bench::new(&["up"]);
    let mut node = bench.node(&spec(&bench, WriteFormat::Ndjson, None));
    let answer = node.ask(1, &batch(&["{\"a\":\n1}", "no json", "2"])).await;
    assert_eq!((answer.consumed, answer.reason(), answer.failures[0].index), (2, "NOT_JSON", Some(1)));
    assert_eq!(node.ask(2, &batch(&["3"])).await.consumed, 1);
    assert_eq!(bench.read("out.txt"), "{\"a\":1}\n2\n3\n");
    node.finish().await.unwrap();
    let mut node = bench.node(&spec(&bench, WriteFormat::Text, None));
    assert_eq!(node.ask(1, &batch(&["a\nb", "plain"])).await.reason(), "RAW_NEWLINE");
    assert_eq!(bench.read("out.txt"), "{\"a\":1}\n2\n3\nplain\n");
}

#[tokio::test]
async fn what_a_crash_has_torn_is_cut_off_and_what_others_wrote_is_kept() {
    let bench = Bench::new(&["up"]);
    bench.file("out.txt", "theirs without an end");
    let spec = spec(&bench, WriteFormat::Text, None);
    let mut node = bench.node(&spec);
    node.ask(1, &batch(&["one"])).await;
    node.finish().await.unwrap();
    assert_eq!(bench.read("out.txt"), "theirs without an end\none\n");
    let torn = format!("{}{}", bench.read("out.txt"), "x".repeat(200_000));
    bench.file("out.txt", &torn);
    let mut node = bench.node(&spec);
    node.ask(1, &batch(&["two"])).await;
    assert_eq!(bench.read("out.txt"), "theirs without an end\none\ntwo\n");
}

#[tokio::test]
async fn a_file_that_is_full_is_moved_aside_and_nothing_is_lost() {
    let bench = Bench::new(&["up"]);
    let rotate = Rotate { bytes: Some(10), every: None };
    let mut node = bench.node(&spec(&bench, WriteFormat::Text, Some(rotate)));
    for (sequence, event) in (1..).zip(["11111", "2222", "33333333333333333", "4"]) {
        assert_eq!(node.ask(sequence, &batch(&[event])).await.consumed, 1);
    }
    let mut files: Vec<(String, String)> = fs::read_dir(&bench.context.dir)
        .unwrap()
        .map(|file| file.unwrap())
        .map(|file| (file.file_name().into_string().unwrap(), fs::read_to_string(file.path()).unwrap()))
        .collect();
    files.sort();
    let texts: Vec<&str> = files.iter().map(|(_, text)| text.as_str()).collect();
    assert_eq!(files.len(), 4, "{files:?}");
    assert!(files.iter().all(|(name, _)| name.starts_with("out.") && name.ends_with(".txt")));
    for text in ["11111\n", "2222\n", "33333333333333333\n", "4\n"] {
        assert!(texts.contains(&text), "{files:?}");
    }
    assert_eq!(bench.read("out.txt"), "4\n");
}

#[tokio::test]
async fn a_file_that_someone_moved_is_begun_again() {
    let bench = Bench::new(&["up"]);
    let mut node = bench.node(&spec(&bench, WriteFormat::Text, None));
    node.ask(1, &batch(&["one"])).await;
    fs::rename(bench.context.dir.join("out.txt"), bench.context.dir.join("moved")).unwrap();
    node.ask(2, &batch(&["two"])).await;
    assert_eq!((bench.read("moved"), bench.read("out.txt")), ("one\n".into(), "two\n".into()));
}

#[tokio::test]
async fn a_full_disk_is_a_retry_and_a_missing_folder_refused() {
    let bench = Bench::new(&["up"]);
    let full = FileSink { path: "/dev/full".into(), format: WriteFormat::Text, rotate: None };
    let mut node = bench.node(&ConnectorSpec::FileSink(full));
    let answer = node.ask(1, &batch(&["one"])).await;
    assert_eq!((answer.reason(), answer.consumed), ("WRITE_FAILED", 0));
    assert!(answer.message().contains("No space left"), "{}", answer.message());
    let path = bench.context.dir.join("none/out.txt");
    let missing = FileSink { path, format: WriteFormat::Text, rotate: None };
    let error = bench.refused(&ConnectorSpec::FileSink(missing));
    assert_eq!(error.code, "FILE_UNWRITABLE");
}
