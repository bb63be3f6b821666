use std::time::Duration;

use meshloom_config::{
    ExecSpec,
    exec::{Envelope, ExecMode},
};
use meshloom_core::{
    batch::{BatchBuilder, Event},
    ids::Uid,
};

use crate::support::{Bench, batch, exec};

fn lines(command: &[&str]) -> ExecSpec {
    exec(ExecMode::Lines, command)
}

#[tokio::test]
async fn each_line_answers_its_event_and_the_process_lives_on() {
    let bench = Bench::new(&["up"]);
    let script = "import sys, os\nfor line in sys.stdin: print(os.getpid(), line.strip())";
    let mut node = bench.node(&lines(&["python3", "-c", script]));
    let mut pids = std::collections::HashSet::new();
    for sequence in 1..=5 {
        node.send(sequence, &batch(&["a", "b", "c"])).await;
    }
    for sequence in 1..=5 {
        let answer = node.answer(sequence).await;
        assert_eq!(answer.outputs.iter().map(|(parent, _)| *parent).collect::<Vec<_>>(), [Some(0), Some(1), Some(2)]);
        for (payload, event) in answer.payloads().iter().zip(["a", "b", "c"]) {
            let (pid, word) = payload.split_once(' ').unwrap();
            assert_eq!(word, event);
            pids.insert(pid.to_owned());
        }
    }
    assert_eq!(pids.len(), 1);
    node.finish().await.unwrap();
}

#[tokio::test]
async fn an_empty_line_consumes_and_a_raw_newline_is_refused() {
    let bench = Bench::new(&["up"]);
    let mut node = bench.node(&lines(&["sed", "-u", "s/drop//"]));
    let answer = node.ask(1, &batch(&["keep", "drop", "two\nlines", "keep too"])).await;
    assert_eq!(answer.outputs, [(Some(0), "keep".into()), (Some(3), "keep too".into())]);
    assert_eq!((answer.consumed, answer.reason(), answer.failures[0].index), (1, "RAW_NEWLINE", Some(2)));
    // Without any line to be answered as well.
    assert_eq!(node.ask(2, &batch(&["two\nlines"])).await.reason(), "RAW_NEWLINE");
    node.finish().await.unwrap();
}

#[tokio::test]
async fn large_traffic_flows_both_ways_at_once() {
    let bench = Bench::new(&["up"]);
    let mut node = bench.node(&lines(&["cat"]));
    let event = "x".repeat(3000);
    let events = batch(&vec![event.as_str(); 1000]);
    for sequence in 1..=6 {
        node.send(sequence, &events).await;
    }
    for sequence in 1..=6 {
        let answer = node.answer(sequence).await;
        assert_eq!((answer.outputs.len(), answer.failures.len()), (1000, 0));
        assert!(answer.payloads().iter().all(|payload| *payload == event));
    }
    node.finish().await.unwrap();
}

#[tokio::test]
async fn silence_is_no_answer_and_the_remedy_is_named() {
    let mut bench = Bench::new(&["up"]);
    bench.context.timeout = Duration::from_millis(500);
    let mut node = bench.node(&lines(&["bash", "-c", "read line; echo $line; sleep 1000"]));
    let answer = node.ask(1, &batch(&["a", "b"])).await;
    assert_eq!(answer.payloads(), ["a"]);
    assert_eq!((answer.reason(), answer.failures[0].index), ("NO_ANSWER", None));
    for word in ["stdbuf -oL", "python -u", "jq --unbuffered"] {
        assert!(answer.message().contains(word), "{}", answer.message());
    }
    // It has been started afresh.
    node.send(2, &batch(&["c"])).await;
    assert_eq!(node.answer(2).await.payloads(), ["c"]);
}

#[tokio::test]
async fn a_death_fails_what_was_in_hand_and_the_next_process_goes_on() {
    let bench = Bench::new(&["up"]);
    let script =
        "import sys\nfor line in sys.stdin:\n  if 'bad' in line: sys.exit('cannot stand it')\n  print(line, end='')";
    let mut node = bench.node(&lines(&["python3", "-c", script]));
    let answer = node.ask(1, &batch(&["a", "bad", "b"])).await;
    assert_eq!(answer.reason(), "EXIT_STATUS");
    assert!(answer.message().contains("exit status 1") && answer.message().contains("cannot stand it"));
    assert_eq!(node.ask(2, &batch(&["c"])).await.payloads(), ["c"]);
    let early = bench.node(&lines(&["true"])).ask(1, &batch(&["a"])).await;
    assert_eq!(early.reason(), "EXIT_STATUS");
    assert!(early.message().contains("exit status 0 before"), "{}", early.message());
    node.finish().await.unwrap();
}

#[tokio::test]
async fn after_a_line_too_many_the_process_is_replaced() {
    let mut bench = Bench::new(&["up"]);
    let script = "read line; printf \"$line\\nextra\\n\"; exec sleep 1000";
    let mut node = bench.node(&lines(&["bash", "-c", script]));
    for (sequence, event) in (1..).zip(["a", "b", "c"]) {
        assert_eq!(node.ask(sequence, &batch(&[event])).await.payloads(), [event]);
        bench.logged("more lines than it was given").await;
    }
    node.finish().await.unwrap();
}

#[tokio::test]
async fn a_program_that_cannot_be_started_fails_what_waits_for_it() {
    let bench = Bench::new(&["up"]);
    let mut node = bench.node(&lines(&["no-such-program-here"]));
    assert_eq!(node.ask(1, &batch(&["a"])).await.reason(), "SPAWN_FAILED");
    node.finish().await.unwrap();
}

#[tokio::test]
async fn a_work_that_is_taken_back_is_answered_at_once_and_its_lines_ignored() {
    let bench = Bench::new(&["up"]);
    let script = "echo ready >&2; while read line; do while [ ! -e go ]; do sleep 0.02; done; echo $line; done";
    let mut node = bench.node(&lines(&["bash", "-c", script]));
    node.send(1, &batch(&["a"])).await;
    node.send(2, &batch(&["b"])).await;
    node.cancel(1).await;
    assert_eq!(node.answer(1).await.reason(), "CANCELLED");
    bench.file("go", "");
    assert_eq!(node.answer(2).await.outputs, [(Some(0), "b".into())]);
    node.finish().await.unwrap();
}

#[tokio::test]
async fn envelopes_change_attributes_and_a_bad_one_fails_its_event_alone() {
    let bench = Bench::new(&["up"]);
    let script = "import sys, json\nfor line in sys.stdin:\n  e = json.loads(line)\n  e['subject'] = 's'\n  print('oops' if e['data'] == 2 else json.dumps(e))";
    let spec = ExecSpec { envelope: Envelope::CloudEvents, ..lines(&["python3", "-c", script]) };
    let mut node = bench.node(&spec);
    let events = batch(&["1", "2", "3"]);
    let answer = node.ask(1, &events).await;
    assert_eq!(answer.outputs, [(Some(0), "1".into()), (Some(2), "3".into())]);
    assert_eq!((answer.reason(), answer.failures[0].index), ("BAD_OUTPUT", Some(1)));
    assert_eq!(answer.batches[0].subject(0), Some("s"));
    // The same id is the same event.
    assert_eq!(answer.batches[0].uid(0), events.uid(0));

    // An envelope has an id and a type, whether the event has them or not: what was made up for it is not its own.
    let mut plain = BatchBuilder::new();
    plain.push(Event { payload: b"4", uid: Some(Uid::from_bytes([4; 16])), ..Event::default() }).unwrap();
    let plain = plain.finish();
    let answer = node.ask(2, &plain).await;
    assert_eq!(answer.batches[0].uid(0), plain.uid(0));
    assert_eq!(
        (answer.batches[0].id(0), answer.batches[0].type_(0), answer.batches[0].subject(0)),
        (None, None, Some("s"))
    );
}
