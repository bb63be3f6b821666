use std::time::{Duration, Instant};

use meshloom_config::{
    ExecSpec,
    exec::{Envelope, ExecFormat, ExecMode},
};

use crate::support::{Bench, exec, until};

#[tokio::test]
async fn lines_and_values_are_read_as_they_come() {
    let bench = Bench::new(&[]);
    let mut source = bench.source(&exec(ExecMode::Lines, &["bash", "-c", "echo one; echo two; read x; echo end"]));
    assert!(!source.replays);
    source.demand(100, 1 << 20).await;
    assert_eq!(source.drain().await, ["one", "two", "end"]);
    let spec = ExecSpec {
        format: ExecFormat::Json,
        ..exec(ExecMode::Batch, &["bash", "-c", "echo '[ {\"n\": 1},'; echo '2 ]'"])
    };
    let mut source = bench.source(&spec);
    source.demand(100, 1 << 20).await;
    assert_eq!(source.drain().await, ["{\"n\":1}", "2"]);
    source.ended().await.unwrap();
}

#[tokio::test]
async fn no_more_is_read_than_is_wanted() {
    let bench = Bench::new(&[]);
    let mut source = bench.source(&exec(ExecMode::Lines, &["yes", "y"]));
    assert!(source.is_silent().await);
    source.demand(3, 1 << 20).await;
    assert_eq!(source.frame().await.unwrap().batch.len(), 3);
    assert!(source.is_silent().await);
    // Whatever is left admits one event.
    source.demand(5, 1).await;
    let mut more = 0;
    while more < 5 {
        more += source.frame().await.unwrap().batch.len();
    }
    assert!(source.is_silent().await);
    source.stop().await;
    source.end().await.unwrap();
}

#[tokio::test]
async fn it_is_read_only_so_far_ahead_of_what_has_settled() {
    let bench = Bench::new(&[]);
    let mut source = bench.source(&exec(ExecMode::Lines, &["yes", "y"]));
    source.demand(1 << 40, 1 << 40).await;
    let mut open = Vec::new();
    let mut events = 0;
    while events < 16_384 {
        let frame = source.frame().await.unwrap();
        events += frame.batch.len();
        open.push(frame.sequence);
    }
    assert!(source.is_silent().await);
    for sequence in open {
        source.settle(sequence).await;
    }
    assert!(source.frame().await.is_some());
}

#[tokio::test]
async fn a_program_that_fails_is_an_error_and_what_it_said_before_stays() {
    let bench = Bench::new(&[]);
    let mut source = bench.source(&exec(ExecMode::Lines, &["bash", "-c", "echo one; echo sorry >&2; exit 4"]));
    source.demand(100, 1 << 20).await;
    assert_eq!(source.frame().await.unwrap().payloads(), ["one"]);
    assert!(source.frame().await.is_none());
    let error = source.end().await.unwrap_err();
    assert!(error.message.contains("exit status 4") && error.message.contains("sorry"), "{error}");
    let mut source = bench.source(&exec(ExecMode::Batch, &["bash", "-c", "echo oops; sleep 1000"]));
    source.demand(100, 1 << 20).await;
    assert!(source.frame().await.is_none());
    let error = source.end().await.unwrap_err();
    assert!(error.message.contains("BAD_OUTPUT"), "{error}");
}

#[tokio::test]
async fn files_are_read_once_the_program_has_ended_well() {
    let bench = Bench::new(&[]);
    let spec = ExecSpec {
        output: Some("out.ndjson".into()),
        envelope: Envelope::CloudEvents,
        ..exec(
            ExecMode::Files,
            &[
                "bash",
                "-c",
                "echo '{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"s\",\"type\":\"t\",\"data\":{\"n\": 1}}' > {output}; echo said",
            ],
        )
    };
    let mut source = bench.source(&spec);
    source.demand(100, 1 << 20).await;
    let frame = source.frame().await.unwrap();
    assert_eq!(frame.payloads(), ["{\"n\":1}"]);
    assert_eq!((frame.batch.type_(0), frame.batch.id(0)), (Some("t"), Some("1")));
    assert!(source.frame().await.is_none());
    let without = exec(ExecMode::Files, &["true"]);
    assert_eq!(bench.refused(&without).code, "OUTPUT_MISSING");
}

#[tokio::test]
async fn every_runs_it_again() {
    let bench = Bench::new(&[]);
    let every = Duration::from_millis(300);
    let spec = ExecSpec { every: Some(every), ..exec(ExecMode::Lines, &["bash", "-c", "echo run >> runs; echo tick"]) };
    let begin = Instant::now();
    let mut source = bench.source(&spec);
    source.demand(100, 1 << 20).await;
    for _ in 0..3 {
        assert_eq!(source.frame().await.unwrap().payloads(), ["tick"]);
    }
    assert!(begin.elapsed() >= every * 2);
    source.stop().await;
    source.end().await.unwrap();
    until("it has run", || bench.read("runs").lines().count() >= 3).await;
}
