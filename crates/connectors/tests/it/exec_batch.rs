use meshloom_config::exec::{Envelope, ExecFormat, ExecMode};
use meshloom_core::exchange::Action;
use std::time::Duration;

use crate::support::{Bench, batch, exec, until};

fn python(script: &str) -> meshloom_config::ExecSpec {
    exec(ExecMode::Batch, &["python3", "-c", script])
}

fn gone(pid: &str) -> bool {
    !std::path::Path::new(&format!("/proc/{}", pid.trim())).exists()
}

#[tokio::test]
async fn each_batch_is_a_process_and_its_outputs_belong_to_the_whole_batch() {
    let bench = Bench::new(&["up"]);
    let mut node = bench.node(&python(
        "import sys, json\nfor line in sys.stdin: print(json.dumps({'double': json.loads(line)['n'] * 2}))",
    ));
    let answer = node.ask(1, &batch(&["{\"n\": 1}", "{\"n\":\n 2}"])).await;
    assert_eq!(answer.outputs, [(None, "{\"double\": 2}".into()), (None, "{\"double\": 4}".into())]);
    assert_eq!((answer.consumed, answer.failures.len()), (2, 0));
    assert_eq!(answer.batches[0].content_type(0), Some("application/json"));
    assert_eq!(node.ask(2, &batch(&["{\"n\": 3}"])).await.payloads(), ["{\"double\": 6}"]);
    node.finish().await.unwrap();
}

#[tokio::test]
async fn the_environment_tells_the_batch_and_the_attempt() {
    let mut bench = Bench::new(&["up"]);
    bench.context.environment.set.insert("MINE".into(), "yes".into());
    let mut node = bench.node(&python(
        "import os, json\nkeys = ['MESHLOOM_BATCH', 'MESHLOOM_ATTEMPT', 'PYTHONUNBUFFERED', 'MINE', 'MESHLOOM_LISTEN']\nprint(json.dumps([os.environ.get(k) for k in keys]))",
    ));
    let events = batch(&["1", "2"]);
    let first = node.ask(1, &events).await.payloads().concat();
    node.send_attempt(2, &events, 3).await;
    let again = node.answer(2).await.payloads().concat();
    let other = node.ask(3, &batch(&["1"])).await.payloads().concat();
    let words = |text: &str| serde_json::from_str::<Vec<Option<String>>>(text).unwrap();
    let (first, again, other) = (words(&first), words(&again), words(&other));
    assert_eq!(first[0].as_ref().unwrap().len(), 32);
    assert_eq!(first[0], again[0]);
    assert_ne!(first[0], other[0]);
    assert_eq!((first[1].as_deref(), again[1].as_deref()), (Some("1"), Some("3")));
    assert_eq!(first[2..], [Some("1".into()), Some("yes".into()), None]);
    node.finish().await.unwrap();
}

#[tokio::test]
async fn a_sink_acknowledges_with_exit_0_even_if_it_does_not_read_everything() {
    let bench = Bench::new(&["up"]);
    let mut node = bench.node(&exec(ExecMode::Batch, &["true"]));
    let large = format!("\"{}\"", "x".repeat(1 << 20));
    let answer = node.ask(1, &batch(&[&large, &large, &large])).await;
    assert_eq!((answer.consumed, answer.failures.len(), answer.outputs.len()), (3, 0, 0));
    node.finish().await.unwrap();
}

#[tokio::test]
async fn a_failing_program_fails_the_batch_with_its_status_and_last_words() {
    let mut bench = Bench::new(&["up"]);
    let script = "echo early >&2; for i in $(seq 20); do echo word $i >&2; done; exit 3";
    let mut node = bench.node(&exec(ExecMode::Batch, &["bash", "-c", script]));
    let answer = node.ask(1, &batch(&["1"])).await;
    assert_eq!((answer.reason(), answer.failures[0].index), ("EXIT_STATUS", None));
    assert_eq!(answer.failures[0].action, Action::Retry);
    assert!(answer.message().contains("exit status 3"), "{}", answer.message());
    assert!(answer.message().contains("word 11 | word 12") && answer.message().ends_with("word 20"));
    assert!(!answer.message().contains("early | "));
    bench.logged("early").await;
    let mut node = bench.node(&exec(ExecMode::Batch, &["bash", "-c", "kill -9 $$"]));
    let answer = node.ask(1, &batch(&["1"])).await;
    assert!(answer.message().contains("ended with signal SIGKILL"), "{}", answer.message());
}

#[tokio::test]
async fn bad_output_is_a_failure_and_a_bad_status_says_more() {
    let bench = Bench::new(&["up"]);
    let mut node = bench.node(&exec(ExecMode::Batch, &["bash", "-c", "echo '{\"a\": 1}'; echo oops {; echo why >&2"]));
    let answer = node.ask(1, &batch(&["1"])).await;
    assert_eq!(answer.reason(), "BAD_OUTPUT");
    assert!(answer.message().contains("byte 9") && answer.message().contains("why"), "{}", answer.message());
    assert!(answer.outputs.is_empty());
    let mut node = bench.node(&exec(ExecMode::Batch, &["bash", "-c", "echo Traceback; exit 1"]));
    assert_eq!(node.ask(1, &batch(&["1"])).await.reason(), "EXIT_STATUS");
}

#[tokio::test]
async fn a_program_that_takes_too_long_or_is_taken_back_is_ended_with_all_it_started() {
    let mut bench = Bench::new(&["up"]);
    let script = "echo $$ > leader; sleep 1000 & echo $! > child; wait";
    let spec = exec(ExecMode::Batch, &["bash", "-c", script]);
    bench.context.timeout = Duration::from_millis(700);
    let mut node = bench.node(&spec);
    let answer = node.ask(1, &batch(&["1"])).await;
    assert_eq!(answer.reason(), "TIMEOUT");
    assert!(gone(&bench.read("leader")));
    let child = bench.read("child");
    until("the grandchild ends", || gone(&child)).await;

    bench.context.timeout = Duration::from_secs(600);
    let mut node = bench.node(&spec);
    std::fs::remove_file(bench.context.dir.join("child")).unwrap();
    node.send(2, &batch(&["1"])).await;
    until("it runs", || bench.context.dir.join("child").metadata().is_ok_and(|meta| meta.len() > 0)).await;
    node.cancel(2).await;
    assert_eq!(node.answer(2).await.reason(), "CANCELLED");
    assert!(gone(&bench.read("leader")));
    node.finish().await.unwrap();
}

#[tokio::test]
async fn what_a_program_leaves_behind_does_not_hold_the_batch() {
    let bench = Bench::new(&["up"]);
    let mut node = bench.node(&exec(ExecMode::Batch, &["bash", "-c", "sleep 1000 & echo $! > child; echo '{}'"]));
    assert_eq!(node.ask(1, &batch(&["1"])).await.payloads(), ["{}"]);
    let child = bench.read("child");
    until("the child ends", || gone(&child)).await;
}

#[tokio::test]
async fn an_event_that_is_not_json_is_rejected_and_the_others_go_on() {
    let bench = Bench::new(&["up"]);
    let mut node = bench.node(&exec(ExecMode::Batch, &["cat"]));
    let answer = node.ask(1, &batch(&["1", "no json", "3"])).await;
    assert_eq!((answer.reason(), answer.failures[0].index), ("NOT_JSON", Some(1)));
    assert_eq!((answer.payloads(), answer.consumed), (vec!["1", "3"], 2));
    let mut absent = bench.node(&exec(ExecMode::Batch, &["false"]));
    // Nothing is left to run for.
    assert_eq!(absent.ask(1, &batch(&["no json"])).await.reason(), "NOT_JSON");
}

#[tokio::test]
async fn a_large_output_comes_in_parts() {
    let bench = Bench::new(&["up"]);
    let mut node = bench.node(&python("for n in range(20000): print('\"%s\"' % ('x' * 300))"));
    let answer = node.ask(1, &batch(&["1"])).await;
    assert_eq!(answer.outputs.len(), 20_000);
    assert!(answer.results >= 5, "{}", answer.results);
    let uids: std::collections::HashSet<_> =
        answer.batches.iter().flat_map(|batch| (0..batch.len()).map(|row| batch.uid(row))).collect();
    assert_eq!(uids.len(), 20_000);
}

#[tokio::test]
async fn a_program_that_is_not_there_is_a_failure_that_says_so() {
    let bench = Bench::new(&["up"]);
    let mut node = bench.node(&exec(ExecMode::Batch, &["no-such-program-here"]));
    let answer = node.ask(1, &batch(&["1"])).await;
    assert_eq!(answer.reason(), "SPAWN_FAILED");
    assert!(answer.message().contains("no-such-program-here"), "{}", answer.message());
}

#[tokio::test]
async fn whole_events_travel_in_envelopes_and_arrays() {
    let bench = Bench::new(&["up"]);
    let script = "import sys, json\nfor e in json.load(sys.stdin):\n  assert e['specversion'] == '1.0'\n  e['type'] = 'seen'\n  e['partitionkey'] = e['id']\n  e['count'] = 7\n  print(json.dumps([e], indent=2))\nprint('null')";
    let spec =
        meshloom_config::ExecSpec { envelope: Envelope::CloudEvents, format: ExecFormat::Json, ..python(script) };
    let mut node = bench.node(&spec);
    let answer = node.ask(1, &batch(&["{\"n\": 1}", "not json"])).await;
    assert_eq!(answer.payloads(), ["{\"n\":1}", "not json"]);
    let out = &answer.batches[0];
    assert_eq!((out.type_(0), out.key(1), out.id(1)), (Some("seen"), Some("id-2"), Some("id-2")));
    assert_eq!(out.extensions(0).count(), 1);
}

#[tokio::test]
async fn the_first_sampled_event_gives_the_trace_context_and_running_calls_are_reported() {
    use meshloom_core::{batch::SpanContext, exchange::FromNode};
    let bench = Bench::new(&["up"]);
    let script = "while [ ! -e go ]; do sleep 0.02; done; echo \"\\\"$TRACEPARENT\\\"\"";
    let mut node = bench.node(&exec(ExecMode::Batch, &["bash", "-c", script]));
    let span = SpanContext { trace_id: [0xab; 16], span_id: [0xcd; 8], flags: 1, trace_state: None };
    let events = batch(&["1", "2"]).with_spans(vec![(1, span)]);
    node.send(7, &events).await;
    let calls = loop {
        if let FromNode::Progress(calls) = node.said().await {
            break calls;
        }
    };
    assert_eq!((calls[0].sequence, calls[0].index), (7, None));
    bench.file("go", "");
    let traceparent = format!("\"00-{}-{}-01\"", "ab".repeat(16), "cd".repeat(8));
    assert_eq!(node.answer(7).await.payloads(), [traceparent]);
}
