use std::{fs, io::Write};

use meshloom_config::connector::{ConnectorSpec, FileSource, ReadFormat};

use crate::support::{Bench, Frame, SourceRun};

fn spec(bench: &Bench, patterns: &[&str], format: ReadFormat, follow: bool) -> ConnectorSpec {
    let paths = patterns.iter().map(|pattern| format!("{}/{pattern}", bench.context.dir.display())).collect();
    ConnectorSpec::FileSource(FileSource { paths, format, follow })
}

async fn all(source: &mut SourceRun) -> Vec<Frame> {
    source.demand(1 << 20, 1 << 30).await;
    let mut frames = Vec::new();
    while let Some(frame) = source.frame().await {
        frames.push(frame);
    }
    frames
}

fn payloads(frames: &[Frame]) -> Vec<String> {
    frames.iter().flat_map(Frame::payloads).collect()
}

fn ids(frames: &[Frame]) -> Vec<String> {
    frames.iter().flat_map(Frame::ids).collect()
}

fn append(bench: &Bench, name: &str, text: &str) {
    let mut file = fs::OpenOptions::new().append(true).create(true).open(bench.context.dir.join(name)).unwrap();
    file.write_all(text.as_bytes()).unwrap();
}

#[tokio::test]
async fn files_are_read_in_order_and_ids_are_the_same_however_often_they_are_read() {
    let bench = Bench::new(&[]);
    bench.file("b.txt", "three\nfour");
    bench.file("a.txt", "one\n\ntwo\n");
    bench.file("z.log", "zero\n");
    let spec = spec(&bench, &["z.log", "*.txt"], ReadFormat::Text, false);
    let mut source = bench.source(&spec);
    assert!(source.replays);
    let frames = all(&mut source).await;
    assert_eq!(payloads(&frames), ["zero", "one", "", "two", "three", "four"]);
    source.ended().await.unwrap();
    let first = ids(&frames);
    assert_eq!(first.iter().collect::<std::collections::HashSet<_>>().len(), 6);
    assert!(first[1].ends_with("@0") && first[3].ends_with("@5"), "{first:?}");
    assert_eq!(ids(&all(&mut bench.source(&spec)).await), first);
}

#[tokio::test]
async fn demand_is_respected_to_the_event_and_the_byte() {
    let bench = Bench::new(&[]);
    bench.file("a.txt", "12345\n12345\n12345\n12345\n1234567890\n1\n");
    let mut source = bench.source(&spec(&bench, &["a.txt"], ReadFormat::Text, false));
    assert!(source.is_silent().await);
    source.demand(10, 12).await;
    assert_eq!(source.frame().await.unwrap().batch.len(), 2);
    // Two bytes are left: they admit one event.
    assert_eq!(source.frame().await.unwrap().batch.len(), 1);
    assert!(source.is_silent().await);
    source.demand(0, 5).await;
    assert_eq!(source.frame().await.unwrap().batch.len(), 1);
    source.demand(0, 1).await;
    assert_eq!(source.frame().await.unwrap().payloads(), ["1234567890"]);
    source.demand(1, 100).await;
    assert_eq!(source.frame().await.unwrap().payloads(), ["1"]);
    assert!(source.frame().await.is_none());
}

#[tokio::test]
async fn it_goes_on_behind_any_checkpoint_even_under_another_name() {
    for (format, header) in [(ReadFormat::Ndjson, ""), (ReadFormat::Csv, "n\n"), (ReadFormat::Json, "")] {
        let mut bench = Bench::new(&[]);
        let (open, close, between) =
            if format == ReadFormat::Json { ("[\n", "\n]\n", ",\n") } else { ("", "\n", "\n") };
        let text = |from: u32| {
            let rows: Vec<String> = (from..from + 10).map(|n| n.to_string()).collect();
            format!("{header}{open}{}{close}", rows.join(between))
        };
        bench.file("a.txt", &text(100));
        bench.file("b.txt", &text(200));
        let spec = spec(&bench, &["*.txt"], format, false);
        let mut source = bench.source(&spec);
        let mut frames = Vec::new();
        // One event per frame, so that there is a checkpoint behind each.
        for _ in 0..20 {
            source.demand(1, 1000).await;
            frames.push(source.frame().await.unwrap());
        }
        let every_id = ids(&frames);
        fs::rename(bench.context.dir.join("b.txt"), bench.context.dir.join("0.txt")).unwrap();
        for (done, frame) in frames.iter().enumerate() {
            bench.context.checkpoint = frame.checkpoint.clone();
            let mut rest = ids(&all(&mut bench.source(&spec)).await);
            rest.sort();
            let mut expected = every_id[done + 1..].to_vec();
            expected.sort();
            assert_eq!(rest, expected, "{format:?} behind {}", frame.payloads()[0]);
        }
    }
}

#[tokio::test]
async fn files_that_begin_alike_are_told_apart() {
    let mut bench = Bench::new(&[]);
    bench.file("a.txt", "same\n");
    bench.file("b.txt", "same\n");
    let spec = spec(&bench, &["*.txt"], ReadFormat::Text, false);
    let frames = all(&mut bench.source(&spec)).await;
    assert_eq!(payloads(&frames), ["same", "same"]);
    let names = ids(&frames);
    assert_ne!(names[0], names[1]);
    // A new file that begins like a known one is read from its beginning, and takes nobody's name.
    bench.context.checkpoint = frames[1].checkpoint.clone();
    fs::remove_file(bench.context.dir.join("a.txt")).unwrap();
    bench.file("c.txt", "sane\nsame\n");
    let frames = all(&mut bench.source(&spec)).await;
    assert_eq!(payloads(&frames), ["sane", "same"]);
    assert!(ids(&frames).iter().all(|id| !names.contains(id)));
}

#[tokio::test]
async fn a_followed_file_is_read_through_growth_rename_and_cutting() {
    let mut bench = Bench::new(&[]);
    let spec = spec(&bench, &["app.log"], ReadFormat::Text, true);
    let mut source = bench.source(&spec);
    source.demand(1 << 20, 1 << 30).await;
    append(&bench, "app.log", "one\ntw");
    let first = source.frame().await.unwrap();
    assert_eq!(first.payloads(), ["one"]);
    assert!(source.is_silent().await, "half a line is no event");
    append(&bench, "app.log", "o\n");
    assert_eq!(source.frame().await.unwrap().payloads(), ["two"]);
    // Rotated away while more is written to it.
    fs::rename(bench.context.dir.join("app.log"), bench.context.dir.join("app.log.1")).unwrap();
    append(&bench, "app.log.1", "three\n");
    assert_eq!(source.frame().await.unwrap().payloads(), ["three"]);
    append(&bench, "app.log", "four\n");
    let four = source.frame().await.unwrap();
    assert_eq!(four.payloads(), ["four"]);
    assert!(four.ids()[0].ends_with("@0"));
    fs::write(bench.context.dir.join("app.log"), "5\n").unwrap();
    let five = source.frame().await.unwrap();
    assert_eq!(five.payloads(), ["5"]);
    bench.logged("was cut off").await;
    // One that was renamed into sight is known all the same.
    let back = bench.context.dir.join("app.log.1");
    fs::rename(bench.context.dir.join("app.log"), bench.context.dir.join("app.log.2")).unwrap();
    fs::rename(back, bench.context.dir.join("app.log")).unwrap();
    append(&bench, "app.log", "more\n");
    assert_eq!(source.frame().await.unwrap().payloads(), ["more"]);
    fs::rename(bench.context.dir.join("app.log.2"), bench.context.dir.join("app.log")).unwrap();
    source.stop().await;
    source.end().await.unwrap();
    // All of it is in the checkpoint.
    append(&bench, "app.log", "six\n");
    bench.context.checkpoint = five.checkpoint;
    let mut source = bench.source(&spec);
    source.demand(1 << 20, 1 << 30).await;
    assert_eq!(source.frame().await.unwrap().payloads(), ["six"]);
    assert!(source.is_silent().await);
}

#[tokio::test]
async fn a_short_file_that_grows_keeps_its_name() {
    let mut bench = Bench::new(&[]);
    append(&bench, "a.log", "one\n");
    let spec = spec(&bench, &["*.log"], ReadFormat::Text, true);
    let mut source = bench.source(&spec);
    source.demand(1, 1000).await;
    let one = source.frame().await.unwrap();
    source.ended().await.unwrap();
    append(&bench, "a.log", "two\n");
    // As after a crash before anything was kept.
    bench.context.checkpoint = None;
    let mut source = bench.source(&spec);
    source.demand(10, 1000).await;
    let again = source.frame().await.unwrap();
    assert_eq!(again.ids()[0], one.ids()[0]);
}

#[tokio::test]
async fn what_cannot_be_read_is_said_with_its_place() {
    let mut bench = Bench::new(&[]);
    assert_eq!(bench.refused(&spec(&bench, &["*.none"], ReadFormat::Text, false)).code, "NO_FILES");
    assert_eq!(bench.refused(&spec(&bench, &["***"], ReadFormat::Text, false)).code, "BAD_PATTERN");
    bench.context.max_event = 10;
    bench.file("a.txt", "short\na line that is too long\n");
    let mut source = bench.source(&spec(&bench, &["a.txt"], ReadFormat::Text, false));
    source.demand(1, 1000).await;
    assert_eq!(source.frame().await.unwrap().payloads(), ["short"]);
    source.demand(1, 1000).await;
    assert!(source.frame().await.is_none());
    let error = source.end().await.unwrap_err();
    assert_eq!(error.code, "EVENT_TOO_LARGE");
    assert!(error.message.contains("a.txt") && error.message.contains("byte 6"), "{error}");
    assert!(error.remedy.contains("max_event"));
    bench.context.checkpoint = Some("17".into());
    assert_eq!(bench.refused(&spec(&bench, &["a.txt"], ReadFormat::Text, false)).code, "BAD_CHECKPOINT");
}
