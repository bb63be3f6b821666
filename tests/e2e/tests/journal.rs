//! What sources that cannot send events again hand over outlives the coordinator: 202 is a promise.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::PathBuf,
    time::Duration,
};

use meshloom_e2e::{
    Project, Running, lines, processes,
    toolchain::{list, python},
    wait,
    web::{Client, Got},
};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("content-type", "application/json");

/// A source above two sinks that write whole events: `seen` at once, `out` only while no file `stop` is there.
fn gated(source: &str, top: &str) -> Project {
    let project = Project::new(&format!(
        "pipeline: kept
trace: {{ rate: 0 }}
{top}
nodes:
  in: {{ {source} }}
  seen: {{ exec: [sh, -c, 'cat >> {{dir}}/seen.ndjson'], mode: batch, envelope: cloudevents, from: in }}
  out: {{ exec: [sh, -c, 'while [ -e {{dir}}/stop ]; do sleep 0.05; done; cat >> {{dir}}/out.ndjson'], mode: batch, envelope: cloudevents, concurrency: 1, from: in, timeout: 10m }}
"
    ));
    project.write("stop", "");
    project
}

fn http(top: &str) -> Project {
    gated("use: http, with: { listen: '127.0.0.1:0', path: /events }", top)
}

fn event(n: u64) -> Value {
    json!({"n": n, "do": "pass"})
}

/// What makes the uid of each event that a sink has written, by number: its source, and its id, which is the uid of an
/// event that came without one.
fn uids(project: &Project, file: &str) -> BTreeMap<u64, BTreeSet<String>> {
    let mut uids: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for line in project.lines(file) {
        let number = line["data"]["n"].as_u64().unwrap();
        uids.entry(number).or_default().insert(format!("{} {}", line["source"], line["id"]));
    }
    uids
}

/// Waits until `seen` has written `events`, then kills the coordinator while the gate holds all of them back.
fn kill_once_seen(project: &Project, mut run: Running, events: usize) {
    run.until("every event at the open branch", |books| {
        books.node("seen").consumed as usize >= events && books.node("in").received as usize == events
    });
    run.signal("KILL");
    run.finish();
    assert_eq!(uids(project, "seen.ndjson").len(), events);
    assert!(!project.path("out.ndjson").exists(), "nothing got through the gate");
}

/// That `out` has got every number from 1 to `events`, each under the one uid that it had before the crash: a sink that
/// keys by uid holds it once.
fn assert_delivered(project: &Project, events: u64) {
    let (before, after) = (uids(project, "seen.ndjson"), uids(project, "out.ndjson"));
    assert!(after.keys().copied().eq(1..=events), "{:?}", after.keys());
    for (number, uids) in &after {
        assert_eq!(uids.len(), 1, "{number} is held once");
        assert_eq!(before.get(number), Some(uids), "{number} is the same in both runs");
    }
}

/// Posts until the pipeline has room for it, as 429 asks for: before all nodes are up there is none.
fn answer(client: &Client, url: &str, body: &str) -> Got {
    wait::until(Duration::from_secs(60), "room in the pipeline", || {
        Some(client.post(url, &[JSON], body).expect("an answer")).filter(|got| got.status != 429)
    })
}

fn post(client: &Client, url: &str, n: u64) {
    let got = answer(client, url, &event(n).to_string());
    assert_eq!(got.status, 202, "{got:?}");
}

/// The files of the journal, oldest first.
fn segments(project: &Project) -> Vec<PathBuf> {
    let files = fs::read_dir(project.state().join("journal")).expect("there is a journal").map(|entry| entry.unwrap());
    let mut files: Vec<PathBuf> = files.map(|entry| entry.path()).filter(|path| path.extension().is_some()).collect();
    files.sort();
    files
}

fn contents(project: &Project) -> Vec<(PathBuf, Vec<u8>)> {
    segments(project).into_iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect()
}

/// A run with nothing new at an `http` source: until what was left is delivered.
fn deliver(project: &Project, events: u64) {
    fs::remove_file(project.path("stop")).unwrap();
    let mut run = project.start();
    run.until("what was left to be delivered", |books| books.node("in").settled == events);
    run.signal("TERM");
    let finished = run.finish();
    finished.assert_code(0);
    finished.books().assert_balanced();
    assert_delivered(project, events);
}

#[test]
fn what_http_has_accepted_outlives_a_kill() {
    const EVENTS: u64 = 200;
    let project = http("");
    let mut run = project.start();
    let (url, client) = (run.listening(), Client::default());
    let mut bodies: Vec<Vec<u8>> = (1..=EVENTS).map(|n| event(n).to_string().into_bytes()).collect();
    wait::holds(Duration::from_secs(60), "every post to be accepted", || {
        let answers = client.post_all(&url, "application/json", bodies.clone());
        let statuses: Vec<u16> = answers.into_iter().map(|got| got.expect("an answer").status).collect();
        assert!(statuses.iter().all(|status| [202, 429].contains(status)), "{statuses:?}");
        let mut statuses = statuses.into_iter();
        bodies.retain(|_| statuses.next() == Some(429));
        bodies.is_empty()
    });
    let journal = run.status().expect("it runs").journal.expect("there is a journal");
    assert!(journal.bytes > 0 && journal.limit_bytes == 256 << 20 && journal.problems.is_empty(), "{journal:?}");
    assert!(journal.commit_seconds.is_some_and(|seconds| seconds > 0.0), "{journal:?}");
    // Each post is answered once its own group is durable, so there are no more groups than posts.
    assert!(journal.open_frames > 0 && journal.open_frames <= EVENTS, "{journal:?}");
    kill_once_seen(&project, run, EVENTS as usize);
    deliver(&project, EVENTS);
    // All of it is let go of: a third run has nothing to deliver.
    let mut run = project.start();
    run.listening();
    run.signal("TERM");
    assert_eq!(run.finish().books().node("in").received, 0);
}

#[test]
fn what_came_from_standard_input_outlives_a_kill() {
    const EVENTS: u64 = 2_000;
    let project = gated("use: stdin", "");
    project.stdin((1..=EVENTS).map(|n| format!("{}\n", event(n))).collect::<String>());
    let run = project.start();
    kill_once_seen(&project, run, EVENTS as usize);
    fs::remove_file(project.path("stop")).unwrap();
    project.stdin("");
    let books = project.succeed().books();
    assert_eq!((books.node("in").received, books.node("in").exhausted), (EVENTS, true));
    assert_delivered(&project, EVENTS);
}

#[test]
fn what_a_program_has_written_outlives_a_kill() {
    const EVENTS: u64 = 500;
    let source =
        "exec: [sh, -c, 'if [ -e {dir}/made ]; then exit; fi; touch {dir}/made; cat {dir}/in.ndjson'], mode: batch";
    let project = gated(source, "");
    lines::write(&project.path("in.ndjson"), (1..=EVENTS).map(event));
    let run = project.start();
    kill_once_seen(&project, run, EVENTS as usize);
    fs::remove_file(project.path("stop")).unwrap();
    project.succeed();
    assert_delivered(&project, EVENTS);
}

#[test]
fn what_a_source_with_an_sdk_has_been_told_to_forget_outlives_a_kill() {
    const EVENTS: u64 = 300;
    let node = "import os
from meshloom import Node, Output, serve

source = Node(\"in\")

@source.source(replays=False)
def once(ctx):
    if os.path.exists(\"made\"):
        return
    open(\"made\", \"w\").close()
    for n in range(1, 301):
        yield Output({\"n\": n, \"do\": \"pass\"})

serve(source)
";
    let project = gated("run: NODE", "");
    let path = project.write("node.py", node);
    let text = fs::read_to_string(project.file()).unwrap();
    project.rewrite(&text.replace("run: NODE", &format!("run: {}", list([python(), path]))));
    let run = project.start();
    kill_once_seen(&project, run, EVENTS as usize);
    fs::remove_file(project.path("stop")).unwrap();
    project.succeed();
    assert_delivered(&project, EVENTS);
}

#[test]
fn a_torn_tail_is_cut_and_the_rest_delivered() {
    let project = http("");
    let mut run = project.start();
    let (url, client) = (run.listening(), Client::default());
    (1..=5).for_each(|n| post(&client, &url, n));
    kill_once_seen(&project, run, 5);
    let newest = segments(&project).pop().unwrap();
    let mut bytes = fs::read(&newest).unwrap();
    bytes.extend_from_slice(b"MJBK and not a whole block");
    fs::write(&newest, bytes).unwrap();
    fs::remove_file(project.path("stop")).unwrap();
    let mut run = project.start();
    run.until("what was left to be delivered", |books| books.node("in").settled == 5);
    run.signal("TERM");
    let finished = run.finish();
    finished.assert_code(0);
    assert!(finished.log.contains("26 bytes of events that a crash left unfinished"), "{}", finished.log);
    assert_delivered(&project, 5);
}

#[test]
fn a_damaged_or_newer_journal_is_refused_and_left_as_it_is() {
    let project = http("");
    let mut run = project.start();
    let (url, client) = (run.listening(), Client::default());
    (1..=5).for_each(|n| post(&client, &url, n));
    kill_once_seen(&project, run, 5);
    let good = contents(&project);
    let (newest, bytes) = good.last().unwrap();
    // In the middle of what was synced, and the version of the format.
    for (at, byte, code) in [(bytes.len() / 2, !bytes[bytes.len() / 2], "JOURNAL_DAMAGED"), (8, 9, "JOURNAL_NEWER")] {
        let mut bad = bytes.clone();
        bad[at] = byte;
        fs::write(newest, &bad).unwrap();
        let before = contents(&project);
        project.run().assert_fails(1, &[code, newest.to_str().unwrap(), "it was left as it is"]);
        assert_eq!(contents(&project), before, "{code}");
    }
    fs::write(newest, bytes).unwrap();
    deliver(&project, 5);
}

#[test]
fn events_of_a_source_that_is_gone_are_not_passed_over() {
    let project = http("");
    let mut run = project.start();
    let (url, client) = (run.listening(), Client::default());
    post(&client, &url, 1);
    kill_once_seen(&project, run, 1);
    let text = fs::read_to_string(project.file()).unwrap();
    project.rewrite(&text.replace("  in: {", "  renamed: {").replace("from: in", "from: renamed"));
    project.run().assert_fails(78, &["JOURNAL_SOURCE_GONE", "in: ", "--discard-journal in"]);
    // Given up on request, and only then: it was still there.
    let project = project.args(["--discard-journal", "in"]);
    let mut run = project.start();
    run.listening();
    run.signal("TERM");
    let finished = run.finish();
    finished.assert_code(0);
    assert!(finished.log.contains("were given up (--discard-journal)"), "{}", finished.log);
    assert_eq!(finished.books().node("renamed").received, 0);
    assert!(!project.path("out.ndjson").exists());
}

#[test]
fn a_drain_leaves_the_rest_to_the_next_run_and_says_how_much() {
    let project = http("drain: 1s");
    let mut run = project.start();
    let (url, client) = (run.listening(), Client::default());
    (1..=3).for_each(|n| post(&client, &url, n));
    run.until("every event at the open branch", |books| books.node("seen").consumed == 3);
    run.signal("TERM");
    let finished = run.finish();
    finished.assert_code(0);
    let summary: Value = serde_json::from_str(&finished.out).unwrap();
    assert_eq!(summary["redelivered_next_time"], 3, "{summary:#}");
    assert!(project.letters().is_empty(), "what is durable is no letter: {:#?}", project.letters());
    deliver(&project, 3);
}

#[test]
fn without_durability_there_is_no_journal_and_a_warning() {
    let project = gated("use: stdin, durability: memory", "");
    fs::remove_file(project.path("stop")).unwrap();
    project.stdin(format!("{}\n", event(1)));
    let finished = project.succeed();
    assert!(finished.log.contains("`durability: memory`"), "{}", finished.log);
    assert!(!project.state().join("journal").exists());
    assert!(uids(&project, "out.ndjson").into_keys().eq([1]));
}

/// `ulimit -f`: a file that may not grow is an error, not the end of the coordinator; and what it starts can still be
/// ended by that signal.
#[test]
fn a_file_that_may_not_grow_refuses_new_events_and_keeps_the_old() {
    let project = http("journal: { size: 64MiB }");
    let limited = project.script(
        "limited.sh",
        "#!/bin/bash
ulimit -f 512
exec \"$@\"
",
    );
    let mut run = project.start_under(&limited);
    let (url, client) = (run.listening(), Client::default());
    post(&client, &url, 1);
    for pid in processes::marked(run.mark()).into_iter().filter(|pid| *pid != run.pid()) {
        // One that has ended meanwhile ignores nothing.
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).map_or("0", str::trim);
        let ignored = u64::from_str_radix(ignored, 16).unwrap();
        assert_eq!(ignored >> 24 & 1, 0, "what it starts has the default of SIGXFSZ: {ignored:x}");
    }
    let pad = json!({"n": 2, "do": "pass", "pad": "x".repeat(1 << 20)}).to_string();
    let got = answer(&client, &url, &pad);
    assert_eq!(got.status, 503, "{got:?}");
    assert!(got.body.contains("JOURNAL_FAILED") && got.headers.contains_key("retry-after"), "{got:?}");
    // Small ones still have room, and the books have only what was accepted.
    post(&client, &url, 2);
    kill_once_seen(&project, run, 2);
    deliver(&project, 2);
}
