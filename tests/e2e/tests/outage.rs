//! Far sides that are down for a while, and nodes that pause until an operator has seen to it.

use std::{
    collections::BTreeSet,
    fs,
    process::Output,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use meshloom_e2e::{
    Project, lines, wait,
    web::{Answer, Receiver},
};
use serde_json::json;

const EVENTS: u64 = 300;

/// A receiver that answers 503 until it is told that it is up.
fn far_side() -> (Receiver, Arc<AtomicBool>) {
    let up = Arc::new(AtomicBool::new(false));
    let is_up = up.clone();
    (Receiver::answering(move |_, _| Answer::status(if is_up.load(Ordering::SeqCst) { 200 } else { 503 })), up)
}

/// A pipeline that posts the events of a file to `url`, with these keys at the sink.
fn posting(url: &str, events: u64, keys: &str) -> Project {
    let project = Project::new(&format!(
        "pipeline: posting
nodes:
  in: {{ use: file, with: {{ path: in.ndjson }} }}
  out:
    use: webhook
    from: in
    with: {{ url: '{url}', headers: {{ X-Number: '{{{{ data.n }}}}' }} }}
    {keys}
"
    ));
    lines::write(&project.path("in.ndjson"), (1..=events).map(|n| json!({"n": n})));
    project
}

fn meshloom(project: &Project, args: &[&str]) -> (Output, String) {
    let mut command = project.meshloom(args.iter().copied());
    let output = command.arg("--state").arg(project.state()).output().expect("meshloom runs");
    let text = [&output.stdout[..], &output.stderr].concat();
    (output, String::from_utf8(text).expect("UTF-8"))
}

/// The events of all requests but the first `from`.
fn numbers(receiver: &Receiver, from: usize) -> BTreeSet<u64> {
    receiver.seen()[from..].iter().map(|post| post.header("x-number").parse().unwrap()).collect()
}

fn count(log: &str, text: &str) -> usize {
    log.lines().filter(|line| line.contains(text)).count()
}

/// With the default retries an event has ten attempts, which would be used up within a minute; those that are made before
/// the outage is proven, within 10 s, are at most eight.
#[test]
fn a_far_side_that_is_down_costs_no_letter_and_everything_arrives_when_it_is_back() {
    let (receiver, up) = far_side();
    let project = posting(&receiver.url(), EVENTS, "");
    let mut run = project.start();
    let books = run.until("the outage", |books| {
        let out = books.node("out");
        out.standstill() == "outage" && out.waiting + out.in_hand == EVENTS
    });
    let (before, since) = (receiver.seen().len(), Instant::now());
    let condition = books.node("out").condition.clone().unwrap();
    assert!(condition.reason == "HTTP_STATUS" && condition.message.contains("503"), "{condition:?}");
    assert_eq!(condition.uid, None);
    let (_, text) = meshloom(&project, &["status"]);
    assert!(text.contains("out: outage for") && text.contains("last failure HTTP_STATUS"), "{text}");
    wait::holds(Duration::from_secs(120), "another probe", || receiver.seen().len() > before);
    let probes = receiver.seen().len() - before;
    assert!(probes as u64 <= 2 + since.elapsed().as_secs(), "{probes} requests in {:?}", since.elapsed());
    let down = receiver.seen().len();
    up.store(true, Ordering::SeqCst);
    let finished = run.finish();
    finished.assert_code(0);
    finished.books().assert_balanced();
    assert!(project.letters().is_empty());
    assert_eq!(numbers(&receiver, down), (1..=EVENTS).collect());
    let began = "outage: nothing has succeeded for";
    assert_eq!(
        (count(&finished.log, began), count(&finished.log, "its outage is over after")),
        (1, 1),
        "{}",
        finished.log
    );
}

/// As above, where the node cannot say which event it is, and is handed whole batches.
#[test]
fn a_program_that_fails_as_a_whole_is_left_alone_too_and_gets_everything_when_it_works_again() {
    let project = Project::new(
        "pipeline: batches
nodes:
  in: { use: file, with: { path: in.ndjson } }
  out: { exec: [sh, -c, 'test -e {dir}/up && cat >> {dir}/out.ndjson'], mode: batch, concurrency: 1, from: in, batch: { events: 50 } }
",
    );
    lines::write(&project.path("in.ndjson"), (1..=EVENTS).map(|n| json!({"n": n})));
    let mut run = project.start();
    let books = run.until("the outage", |books| books.node("out").standstill() == "outage");
    assert_eq!(books.node("out").replicas[0].breaker.as_deref(), Some("closed"), "it is the only one");
    fs::write(project.path("up"), "").unwrap();
    let finished = run.finish();
    finished.assert_code(0);
    finished.books().assert_balanced();
    assert!(project.letters().is_empty());
    assert_eq!(lines::numbers(&project.lines("out.ndjson")), (1..=EVENTS).collect::<Vec<_>>());
}

/// With fewer than three events at the node there is no outage, however long the machine stands still.
const PAUSING: &str = "on_exhausted: pause\n    retry: { attempts: 2, initial: 5ms }";

#[test]
fn a_node_pauses_where_attempts_are_used_up_and_goes_on_when_it_is_resumed() {
    let (receiver, up) = far_side();
    let project = posting(&receiver.url(), 2, PAUSING);
    let mut run = project.start();
    let books = run.until("the pause", |books| {
        let out = books.node("out");
        out.standstill() == "paused" && (out.in_hand, out.waiting) == (0, 2)
    });
    let condition = books.node("out").condition.clone().unwrap();
    let uid = condition.uid.expect("the event");
    assert!(condition.message.contains("503"), "{}", condition.message);
    assert_eq!(books.node("out").dead_lettered, 0);
    let log = run.log();
    assert_eq!(count(&log, "meshloom resume out"), 1, "{log}");
    let line = log.lines().find(|line| line.contains("meshloom resume out")).unwrap();
    assert!(line.contains("ERROR") && line.contains(&uid) && line.contains("HTTP_STATUS"), "{line}");
    let (_, text) = meshloom(&project, &["status"]);
    assert!(text.contains("out: paused for") && text.contains(&uid), "{text}");
    for (node, says) in [("in", "it is a source"), ("outt", "did you mean `out`?")] {
        let (output, text) = meshloom(&project, &["resume", node]);
        assert_eq!((output.status.code(), text.contains(says)), (Some(1), true), "{text}");
    }
    up.store(true, Ordering::SeqCst);
    let (output, text) = meshloom(&project, &["resume", "out"]);
    assert!(output.status.success() && text.contains("out goes on; fresh attempts for"), "{text}");
    let finished = run.finish();
    finished.assert_code(0);
    finished.books().assert_balanced();
    assert!(project.letters().is_empty());
}

#[test]
fn what_a_paused_node_keeps_is_left_to_the_next_run() {
    let (receiver, up) = far_side();
    let project = posting(&receiver.url(), 2, PAUSING);
    let mut run = project.start();
    run.until("the pause", |books| books.node("out").standstill() == "paused");
    run.signal("TERM");
    let finished = run.finish();
    finished.assert_code(0);
    assert!(finished.log.contains("will be read again by the next run"), "{}", finished.log);
    assert_eq!(project.settled_durably("in"), 0);
    up.store(true, Ordering::SeqCst);
    let down = receiver.seen().len();
    project.succeed();
    assert_eq!(numbers(&receiver, down), BTreeSet::from([1, 2]));
    assert!(project.letters().is_empty());
}
