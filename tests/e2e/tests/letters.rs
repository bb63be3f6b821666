//! Dead letters sent in again: nothing is lost whatever is killed, and a letter goes only when its event has arrived.

use std::{
    collections::BTreeSet,
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use meshloom_e2e::{Letter, Project, identity, lines, wait};
use serde_json::{Value, json};

/// For what must happen, on a machine that does other things beside it.
const LONG: Duration = Duration::from_secs(120);

fn uid(event: &Value) -> String {
    identity::of_source(event["source"].as_str().unwrap(), event["id"].as_str().unwrap())
}

fn uids(letters: &[Letter]) -> BTreeSet<String> {
    letters.iter().map(|letter| letter.uid.clone()).collect()
}

/// `meshloom dead-letters replay` with these arguments.
fn replay(project: &Project, args: &[&str]) -> std::process::Command {
    let mut command = project.meshloom(["dead-letters", "replay", "--output", "json"]);
    command.args(args).arg(project.file()).arg("--state").arg(project.state()).stdin(Stdio::null());
    command
}

#[track_caller]
fn told(output: &Output) -> Value {
    let text = String::from_utf8_lossy(&output.stdout);
    let err = String::from_utf8_lossy(&output.stderr);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}{err}"))
}

/// The coordinator is killed while a replay is under way, and the events that were on their way with it.
#[test]
fn a_replay_that_is_killed_loses_nothing_and_can_be_repeated() {
    const EVENTS: u64 = 60;
    let project = Project::new(
        "pipeline: again
trace: { rate: 0 }
nodes:
  in: { use: file, with: { path: in.ndjson, follow: true } }
  out: { exec: [sh, '{dir}/sink.sh'], mode: batch, envelope: cloudevents, concurrency: 1, from: { node: in, when: data.missing == 1 }, batch: { events: 4 }, retry: { attempts: 1 }, timeout: 10m }
",
    );
    // Nothing reaches it at first, since its condition fails for every event. It fails while `broken` is there; while
    // `hold` is, it stops before it takes more than a few over twenty.
    project.write(
        "sink.sh",
        "cd {dir} || exit 1
[ -e broken ] && exit 1
while [ -e hold ] && [ \"$(wc -l < out.ndjson)\" -ge 20 ]; do sleep 0.05; done
cat >> out.ndjson
"
        .replace("{dir}", project.dir().to_str().unwrap()),
    );
    project.write("out.ndjson", "");
    project.write("broken", "");
    project.write("hold", "");
    lines::write(&project.path("in.ndjson"), (1..=EVENTS).map(|n| json!({ "n": n })));
    let mut run = project.start();
    run.until("a letter for each event", |books| books.dead_letter_store.letters == EVENTS);
    wait::holds(LONG, "the position behind them", || project.settled_durably("in") == EVENTS);
    let letters = project.letters();
    let all = uids(&letters);
    assert_eq!(all.len() as u64, EVENTS);
    assert!(letters.iter().all(|letter| letter.node == "out" && letter.reason == "WHEN_FAILED"), "{letters:#?}");

    // What fails again stays one letter, with its history.
    let output = replay(&project, &["--uid", &letters[0].uid]).output().unwrap();
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert_eq!((told(&output)["replayed"].as_u64(), told(&output)["failed_again"].as_u64()), (Some(1), Some(1)));
    let again = project.letters();
    assert_eq!(uids(&again), all);
    let repeated: Vec<_> = again.iter().filter(|letter| letter.repeats == 1).collect();
    assert_eq!((repeated.len(), &repeated[0].uid), (1, &letters[0].uid));
    assert_ne!(repeated[0].reason, "WHEN_FAILED", "it came in behind the condition");

    std::fs::remove_file(project.path("broken")).unwrap();
    let command = replay(&project, &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    run.until("some to be gone, and some to be held", |books| {
        let delivered = project.lines("out.ndjson").len() as u64;
        delivered >= 20 && books.dead_letter_store.letters + delivered == EVENTS && books.node("out").in_hand > 0
    });
    run.signal("KILL");
    let killed = run.finish();
    assert_eq!(killed.status.code(), None, "it was killed");
    let ended = command.wait_with_output().unwrap();
    assert!(!ended.status.success(), "it says that it did not see the end");
    let left = uids(&project.letters());
    let delivered: BTreeSet<String> = project.lines("out.ndjson").iter().map(uid).collect();
    assert!(left.len() as u64 >= EVENTS - delivered.len() as u64 && !left.is_empty(), "{} left", left.len());
    for gone in all.difference(&left) {
        assert!(delivered.contains(gone), "the letter of {gone} is gone and its event is nowhere");
    }

    std::fs::remove_file(project.path("hold")).unwrap();
    let mut run = project.start();
    run.until("the second run", |books| books.phase == "running");
    let output = replay(&project, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(told(&output)["settled"], left.len());
    assert!(project.letters().is_empty(), "{:#?}", project.letters());
    let books = run.until("the replay in the books", |books| books.node("out").in_hand == 0);
    books.assert_balanced();
    assert_eq!(books.edge("(replay)", "out").received, left.len() as u64);
    let output = replay(&project, &[]).output().unwrap();
    assert_eq!((output.status.code(), told(&output)["replayed"].as_u64()), (Some(0), Some(0)));
    run.signal("TERM");
    run.finish().assert_code(0);
    let held: BTreeSet<String> = project.lines("out.ndjson").iter().map(uid).collect();
    assert_eq!(held, all, "a sink that keys by uid has each event once");
}

/// Letters that have no room stop the source; a replay makes room, though the store is full.
#[test]
fn a_full_store_stops_the_source_and_a_replay_frees_it() {
    const EVENTS: u64 = 60_000;
    let project = Project::new(
        "pipeline: full
dead_letters: { size: 4MiB }
trace: { rate: 0 }
nodes:
  in: { use: file, with: { path: in.ndjson, follow: true } }
  out: { use: file, with: { path: out.ndjson }, from: { node: in, when: data.missing == 1 } }
",
    );
    lines::write(&project.path("in.ndjson"), (1..=EVENTS).map(|n| json!({ "n": n, "pad": "x".repeat(100) })));
    let mut run = project.start();
    run.until("the store to be full", |books| books.dead_letter_store.full);
    run.until_log("is full");
    // It takes nothing more, however long one looks.
    let mut last = (0, Instant::now());
    let books = wait::until(LONG, "the source to be stopped", || {
        let books = run.status()?;
        if books.node("in").received != last.0 {
            last = (books.node("in").received, Instant::now());
        }
        (last.1.elapsed() > Duration::from_secs(2)).then_some(books)
    });
    assert!(books.node("in").received < EVENTS, "the source was held back");
    assert!(books.dead_letter_store.letters > 1000 && books.dead_letter_store.waiting > 0);
    assert_eq!(books.node("out").received, books.node("out").dead_lettered);
    wait::holds(LONG, "every event to arrive, replay by replay", || {
        let output = replay(&project, &[]).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        run.status().is_some_and(|books| books.node("out").consumed == EVENTS)
    });
    let books = run.until("the end of the last letter", |books| {
        books.dead_letter_store.letters == 0 && books.node("in").settled == EVENTS
    });
    books.assert_balanced();
    assert!(!books.dead_letter_store.full && books.dead_letter_store.waiting == 0);
    run.until_log("has room again");
    run.signal("TERM");
    let finished = run.finish();
    finished.assert_code(0);
    assert_eq!(lines::numbers(&project.lines("out.ndjson")), (1..=EVENTS).collect::<Vec<_>>());
    let said = |what: &str| finished.log.matches(what).count();
    assert!(said("is full") <= said("has room again") + 5, "once, not each second:\n{}", finished.log);
}

/// A letter of a node that is gone stays, and is told of; one that a source refused enters behind it.
#[test]
fn what_has_no_way_in_is_refused_and_stays() {
    let pipeline = |sink: &str, key: &str| {
        format!(
            "pipeline: moved
trace: {{ rate: 0 }}
nodes:
  in: {{ use: file, with: {{ path: in.ndjson, follow: true }}, key: string(data.{key}) }}
  {sink}: {{ use: file, with: {{ path: out.ndjson }}, from: {{ node: in, when: 'has(data.pad) ? true : data.missing == 1' }} }}
"
        )
    };
    let project = Project::new(&pipeline("out", "k"));
    lines::write(&project.path("in.ndjson"), [json!({ "n": 1, "k": 1 }), json!({ "n": 2, "pad": true })]);
    let mut run = project.start();
    run.until("both letters", |books| books.dead_letter_store.letters == 2);
    let output = replay(&project, &["--node", "in"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(told(&output)["refused"][0]["why"].as_str().unwrap().contains("still fails"), "{output:?}");
    run.signal("TERM");
    run.finish().assert_code(0);

    project.rewrite(&pipeline("sink", "n"));
    let mut run = project.start();
    run.until("the second run", |books| books.phase == "running");
    let output = replay(&project, &["--node", "out"]).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("no node `out`") && said.contains("export --node out"), "{said}");
    let output = replay(&project, &[]).output().unwrap();
    let told = told(&output);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert_eq!((&told["settled"], &told["refused"][0]["node"]), (&json!(1), &json!("out")), "{told}");
    assert_eq!(project.letters().iter().map(Letter::n).collect::<Vec<_>>(), [1]);
    assert_eq!(lines::numbers(&project.lines("out.ndjson")), [2]);
    run.signal("TERM");
    run.finish().assert_code(0);

    // With nobody to replay them, that is what is said.
    let output = replay(&project, &[]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("meshloom run"), "{output:?}");
}
