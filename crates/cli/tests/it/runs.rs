//! Whole runs, and the commands that look at one.

use meshloom_coordinator::connect_admin;
use meshloom_proto::v1::ShowDeadLetterRequest;
use serde_json::Value;

use crate::support::{Folder, json, wait_for};

const BOUNDED: &str = "\
pipeline: demo
trace: { ratio: 1 }
nodes:
  made: { use: generate, with: { count: 20 } }
  gone: { use: 'null', from: made }
";
const ENDLESS: &str = "\
pipeline: demo
trace: { ratio: 1 }
nodes:
  made: { use: generate, with: { rate: 200/s } }
  gone: { use: 'null', from: made }
";
/// Fails whatever comes, so that every event ends as a dead letter.
const REJECTING: &str = "\
pipeline: demo
nodes:
  made: { use: generate, with: { count: 3 } }
  parse: { exec: [sh, -c, 'exit 3'], mode: batch, from: made, retry: { attempts: 1 } }
  gone: { use: 'null', from: parse }
";

#[test]
fn a_bounded_run_ends_with_its_books_and_a_second_one_finds_nothing_new() {
    let folder = Folder::with(BOUNDED);
    let ran = folder.run("run");
    assert_eq!((ran.code, ran.out.as_str()), (0, ""), "{}", ran.err);
    let row = |name: &str| {
        let line = ran.err.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {}", ran.err));
        line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(row("node")[..4], ["node", "in", "out", "consumed"]);
    assert_eq!(row("made")[..4], ["made", "20", "20", "20"]);
    assert_eq!(row("gone")[..4], ["gone", "20", "20", "0"]);
    assert!(ran.err.trim_end().lines().last().unwrap().starts_with("done in "), "{}", ran.err);

    let again = folder.run("run");
    assert!(
        again.err.contains("made: nothing new since ") && again.err.contains("(20 of 20); --fresh starts over"),
        "{}",
        again.err
    );
    let fresh = folder.run("run --fresh --output json");
    let report = json(&fresh.out);
    assert_eq!(
        (&report["outcome"], &report["nodes"][0]["accepted"], &report["nodes"][0]["settled"]),
        (&"done".into(), &20.into(), &20.into())
    );
}

#[test]
fn an_ephemeral_run_leaves_nothing() {
    let folder = Folder::with(BOUNDED);
    assert_eq!(folder.run("run --ephemeral").code, 0);
    assert!(!folder.path().join(".meshloom").exists());
}

#[test]
fn a_trace_is_shown_after_the_run() {
    let folder = Folder::with(BOUNDED);
    let none = folder.run("trace --last");
    assert!(none.code == 1 && none.err.contains("there is no trace") && none.err.contains("ratio: 1"), "{}", none.err);
    assert_eq!(folder.run("run").code, 0);
    let last = folder.run("trace --last");
    assert_eq!(last.code, 0, "{}", last.err);
    assert!(last.err.contains("kept by the last run"), "{}", last.err);
    assert!(last.out.contains("send made") && last.out.contains("receive gone"), "{}", last.out);
    let uid = last.out.lines().find_map(|line| line.strip_prefix("event ")).unwrap();
    let same = folder.run(&format!("trace {}", uid.split_whitespace().next().unwrap()));
    assert!(same.code == 0 && same.out.contains(uid), "{}", same.err);
    let trace_id = last.out.lines().find_map(|line| line.strip_prefix("trace ")).unwrap();
    assert!(folder.run(&format!("trace {trace_id}")).out.contains(uid));
    let unknown = folder.run(&format!("trace {}", "ab".repeat(16)));
    assert!(unknown.code == 1 && unknown.err.contains("no such trace"), "{}", unknown.err);
    assert_eq!(folder.run("trace").code, 2);
    assert_eq!(folder.run("trace xyz").code, 2);
}

#[test]
fn a_running_pipeline_is_looked_at_and_drained() {
    let folder = Folder::with(ENDLESS);
    let none = folder.run("status");
    assert!(none.code == 1 && none.err.contains("start it with `meshloom run`"), "{}", none.err);
    let mut run = folder.start("run");
    let status = wait_for("a status with settled events", || {
        let ran = folder.run("status --output json");
        let status = (ran.code == 0).then(|| json(&ran.out))?;
        (status["nodes"][0]["settled"].as_u64()? > 0).then_some(status)
    });
    assert_eq!((&status["phase"], &status["pid"]), (&"running".into(), &run.child().id().into()));
    let shown = folder.run("status").out;
    for part in ["demo running for", "source", "made -> gone", "gone[0]", "up", "bottleneck"] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let trace = folder.run("trace --last");
    assert!(trace.code == 0 && trace.err.is_empty() && trace.out.contains("send made"), "{}", trace.err);
    let second = folder.run("run");
    assert!(
        second.code == 1 && second.err.contains("STATE_HELD") && second.err.contains("--state DIR"),
        "{}",
        second.err
    );
    assert_eq!(folder.run("drain").code, 0);
    let ended = run.end();
    assert_eq!(ended.code, 0, "{}", ended.err);
    assert_eq!(folder.run("drain").code, 1);
}

#[test]
fn a_signal_drains_and_says_so() {
    let folder = Folder::with(ENDLESS);
    let mut run = folder.start("run --output json --log-format json");
    wait_for("the coordinator", || (folder.run("status").code == 0).then_some(()));
    run.signal("TERM");
    let ended = run.end();
    assert_eq!((ended.code, &json(&ended.out)["outcome"]), (0, &"stopped".into()), "{}", ended.err);
    assert!(ended.err.lines().all(|line| json(line)["timestamp"].is_string()), "{}", ended.err);
    assert!(ended.err.contains("draining"), "{}", ended.err);
}

#[test]
fn a_second_signal_stops_at_once() {
    // The program never answers, and the drain would take its half minute.
    let folder = Folder::with(
        "pipeline: demo\nnodes:\n  made: { use: generate, with: { count: 1 } }\n  stuck: { exec: [sleep, '600'], mode: lines, from: made, timeout: 1h }\n",
    );
    let mut run = folder.start("run");
    wait_for("an event in hand", || {
        let ran = folder.run("status --output json");
        (ran.code == 0 && json(&ran.out)["nodes"][1]["in_hand"] == 1).then_some(())
    });
    run.signal("INT");
    wait_for("the drain", || (json(&folder.run("status --output json").out)["phase"] == "draining").then_some(()));
    run.signal("INT");
    let ended = run.end();
    assert!(
        ended.code == 130 && ended.err.contains("stopped at once by a second signal"),
        "{}: {}",
        ended.code,
        ended.err
    );
    // Nobody is left who could hold the state, and no lie about a coordinator is.
    let next = folder.run("status");
    assert!(next.code == 1 && next.err.contains("no coordinator runs"), "{}", next.err);
}

#[test]
fn a_signal_before_the_nodes_are_up_stops_too() {
    let folder = Folder::with(
        "pipeline: demo\nnodes:\n  made: { use: generate, with: { count: 1 } }\n  slow: { run: [sh, -c, 'touch began; sleep 600'], from: made }\n",
    );
    let mut run = folder.start("run");
    wait_for("the node", || folder.path().join("began").exists().then_some(()));
    run.signal("TERM");
    let ended = run.end();
    assert!(ended.code == 130 && ended.err.contains("before all nodes were up"), "{}: {}", ended.code, ended.err);
}

#[test]
fn dead_letters_are_counted_listed_and_fatal_where_asked() {
    let folder = Folder::with(REJECTING);
    let ran = folder.run("run");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let note =
        ran.err.lines().find(|line| line.starts_with("3 dead letters: ")).unwrap_or_else(|| panic!("{}", ran.err));
    assert!(note.contains(" at parse; list them with: meshloom dead-letters list"), "{note}");
    let listed = folder.run("dead-letters list");
    assert_eq!((listed.code, listed.out.lines().count()), (0, 4), "{}", listed.out);
    assert!(listed.out.contains("parse"), "{}", listed.out);
    let lines: Vec<Value> = folder.run("dead-letters list --output json").out.lines().map(json).collect();
    assert_eq!(lines.len(), 3);
    assert!(lines.iter().all(|letter| letter["node"] == "parse" && letter["event"].is_object()), "{lines:?}");
    let one = folder.run("dead-letters list --limit 1");
    assert!(one.out.lines().count() == 2 && one.err.contains("1 of 3 dead letters"), "{}", one.err);
    let none = folder.run("dead-letters list --node other");
    assert!(none.code == 0 && none.out.is_empty() && none.err.contains("without filters there are 3"), "{}", none.err);
    let strict = folder.run("run --fresh --strict --output json");
    let report = json(&strict.out);
    assert_eq!((strict.code, &report["dead_letters"][0]["count"]), (3, &3.into()), "{}", strict.err);
    let by_environment = folder.command("run --ephemeral").env("MESHLOOM_STRICT", "1").output().unwrap();
    assert_eq!(by_environment.status.code(), Some(3));
}

#[test]
fn dead_letters_are_shown_exported_to_another_run_and_discarded() {
    let folder = Folder::with(REJECTING);
    assert_eq!(folder.run("run").code, 0);
    let lines: Vec<Value> = folder.run("dead-letters list --output json").out.lines().map(json).collect();
    let uid = lines[1]["uid"].as_str().unwrap();
    let shown = folder.run(&format!("dead-letters show {uid}"));
    for part in [uid, "node      parse", "reason    ", "attempts  1", "event\n  {", "\"data\""] {
        assert!(shown.out.contains(part), "{part}: {}", shown.out);
    }
    assert_eq!(json(&folder.run(&format!("dead-letters show {uid} --output json")).out), lines[1]);
    let unknown = folder.run(&format!("dead-letters show {uid} --node made"));
    assert!(unknown.code == 1 && unknown.err.contains("no dead letter at `made`"), "{}", unknown.err);
    let malformed = folder.run("dead-letters show 12");
    assert!(malformed.code == 2 && malformed.err.contains("32 hexadecimal digits"), "{}", malformed.err);

    let exported = folder.run("dead-letters export --reason NONE");
    assert!(exported.out.is_empty() && exported.err.contains("without filters there are 3"), "{}", exported.err);
    let exported = folder.run("dead-letters export");
    assert!(exported.code == 0 && exported.err.contains("3 dead letters exported"), "{}", exported.err);
    std::fs::write(folder.path().join("letters.ndjson"), &exported.out).unwrap();
    std::fs::write(
        folder.path().join("again.yaml"),
        "pipeline: again\nnodes:\n  letters: { exec: [cat, letters.ndjson], mode: lines, envelope: cloudevents, durability: memory }\n  out: { exec: [sh, -c, 'cat >> out.ndjson'], mode: batch, envelope: cloudevents, from: letters }\n",
    )
    .unwrap();
    let again = folder.run("run again.yaml");
    assert_eq!(again.code, 0, "{}", again.err);
    let sorted = |text: &str| {
        let mut events: Vec<(String, Value)> = text
            .lines()
            .map(json)
            .map(|event| {
                assert_eq!((&event["meshloomnode"], &event["meshloomattempts"]), (&"parse".into(), &1.into()));
                (event["id"].to_string(), event["data"].clone())
            })
            .collect();
        events.sort_by(|a, b| a.0.cmp(&b.0));
        events
    };
    let out = std::fs::read_to_string(folder.path().join("out.ndjson")).unwrap();
    assert_eq!(sorted(&out), sorted(&exported.out));
    assert_eq!(sorted(&out).len(), 3);

    let careless = folder.run("dead-letters discard");
    assert!(careless.code == 2 && careless.err.contains("--all"), "{}", careless.err);
    assert_eq!(folder.run("dead-letters discard --all --node parse").code, 2);
    let wrong_time = folder.run("dead-letters discard --before soon");
    assert!(wrong_time.code == 2 && wrong_time.err.contains("how long ago"), "{}", wrong_time.err);
    let one = folder.run(&format!("dead-letters discard --uid {uid}"));
    assert!(one.code == 0 && one.err.contains("1 dead letter discarded"), "{}", one.err);
    let left: Vec<Value> = folder.run("dead-letters list --output json").out.lines().map(json).collect();
    assert_eq!(left, [lines[0].clone(), lines[2].clone()]);
    let young = folder.run("dead-letters discard --before 1h");
    assert!(young.err.contains("0 dead letters discarded"), "{}", young.err);
    assert!(folder.run("dead-letters discard --all").err.contains("2 dead letters discarded"));
    assert!(folder.run("dead-letters discard --all").err.contains("0 dead letters discarded"));
    assert!(folder.run("dead-letters list").err.contains("no dead letters"));
}

#[test]
fn a_running_coordinator_discards_for_the_command_and_goes_on_storing() {
    let folder = Folder::with(
        "pipeline: demo\nnodes:\n  made: { use: generate, with: { rate: 50/s } }\n  parse: { exec: [sh, -c, 'exit 3'], mode: batch, from: made, retry: { attempts: 1 } }\n",
    );
    let run = folder.start("run");
    let letters = || -> Vec<Value> { folder.run("dead-letters list --output json").out.lines().map(json).collect() };
    let first = wait_for("dead letters", || Some(letters()).filter(|letters| letters.len() > 2));
    let uid = first[0]["uid"].as_str().unwrap();
    let state = folder.path().join(".meshloom/demo");
    let bytes = uid.parse::<meshloom_core::ids::Uid>().unwrap().as_bytes().to_vec();
    let show = |node: &str, uid: Vec<u8>| {
        let (request, state) = (ShowDeadLetterRequest { node: node.into(), uid: uid.into() }, &state);
        let asked = async { connect_admin(state).await.unwrap().show_dead_letter(request).await };
        tokio::runtime::Runtime::new().unwrap().block_on(asked)
    };
    let letter = show("parse", bytes.clone()).unwrap().into_inner().letter.unwrap();
    assert_eq!(
        (letter.uid.to_vec(), &letter.reason),
        (bytes.clone(), &first[0]["reason"].as_str().unwrap().to_owned())
    );
    assert!(letter.event.is_some());
    assert_eq!(show("made", bytes.clone()).unwrap_err().code(), tonic::Code::NotFound);
    assert_eq!(show("", bytes).unwrap_err().code(), tonic::Code::InvalidArgument);
    assert_eq!(show("parse", vec![1]).unwrap_err().code(), tonic::Code::InvalidArgument);
    let one = folder.run(&format!("dead-letters discard --uid {uid} --node parse"));
    assert!(one.code == 0 && one.err.contains("1 dead letter discarded"), "{}", one.err);
    assert!(letters().iter().all(|letter| letter["uid"] != uid));
    wait_for("a newer letter", || (letters().len() > first.len()).then_some(()));
    assert_eq!(letters()[0]["uid"], first[1]["uid"], "what was not discarded is still there");
    assert_eq!(folder.run("drain").code, 0);
    let ended = run.end();
    assert_eq!(ended.code, 0, "{}", ended.err);
    let stored = letters().len();
    let told = folder.run("dead-letters discard --all").err;
    assert!(told.contains(&format!("{stored} dead letters discarded")), "{told}");
}

#[test]
fn what_a_full_queue_drops_is_counted_and_told_and_holds_nobody_up() {
    // The program ends when it is told to, long after its queue is full.
    let folder = Folder::with(
        "pipeline: demo\nnodes:\n  made: { use: generate, with: { count: 500 } }\n  slow: { exec: [sh, -c, 'until [ -e go ]; do sleep 0.05; done'], mode: batch, from: made, batch: { events: 2 }, queue: { events: 4 }, overflow: drop_newest }\n  all: { use: 'null', from: made }\n",
    );
    let run = folder.start("run");
    let status = wait_for("the end of the source while the queue is full", || {
        let status = folder.run("status --output json");
        let status = (status.code == 0).then(|| json(&status.out))?;
        let taken = status["nodes"][2]["consumed"].as_u64()? + status["nodes"][2]["answered"].as_u64()?;
        (status["nodes"][0]["exhausted"] == true && taken == 500).then_some(status)
    });
    let edge = |status: &Value| {
        let edge = status["edges"].as_array().unwrap().iter().find(|edge| edge["to"] == "slow").unwrap();
        ["produced", "dropped", "queued", "received"].map(|count| edge[count].as_u64().unwrap())
    };
    let [produced, dropped, queued, received] = edge(&status);
    assert_eq!((produced, dropped + queued + received), (500, 500), "{status}");
    assert!(dropped > 400, "{status}");
    assert!(folder.run("status").out.contains(&dropped.to_string()));
    std::fs::write(folder.path().join("go"), "").unwrap();
    let ended = run.end();
    let note = format!("{dropped} events dropped on made -> slow, whose queue was full (overflow: drop_newest)");
    assert!(ended.code == 0 && ended.err.contains(&note), "{}", ended.err);
    let again = folder.run("run");
    assert!(again.err.contains("(500 of 500)"), "dropped events are settled: {}", again.err);
}

#[test]
fn a_node_that_does_not_start_is_named_with_its_code() {
    let folder = Folder::with(
        "pipeline: demo\nnodes:\n  made: { use: generate, with: { count: 1 } }\n  broken: { run: [sh, -c, 'echo my last words; exit 7'], from: made, start_timeout: 5s, restart: never }\n",
    );
    let ran = folder.run("run --output json");
    assert_eq!(ran.code, 69, "{}", ran.err);
    assert!(ran.err.contains("node broken") && ran.err.contains("my last words"), "{}", ran.err);
    let report = json(&ran.out);
    assert_eq!((&report["outcome"], &report["errors"][0]["node"]), (&"not_started".into(), &"broken".into()));
}

#[test]
fn builds_are_visible_and_a_failed_one_ends_the_run() {
    let node = |build: &str| {
        format!(
            "pipeline: demo\nnodes:\n  made: {{ use: generate, with: {{ count: 1 }} }}\n  gone: {{ exec: [cat], mode: lines, from: made, build: {build} }}\n"
        )
    };
    let ran = Folder::with(&node("[sh, -c, 'echo built it']")).run("run");
    assert!(ran.code == 0 && ran.err.contains("gone[0] | built it"), "{}: {}", ran.code, ran.err);
    let ran = Folder::with(&node("[sh, -c, 'echo cannot; exit 3']")).run("run");
    assert!(
        ran.code != 0 && ran.err.contains("BUILD_FAILED") && ran.err.contains("with status 3"),
        "{}: {}",
        ran.code,
        ran.err
    );
}

#[test]
fn wrong_flags_are_refused_before_anything_starts() {
    let folder = Folder::with(BOUNDED);
    for (words, says) in [
        ("run --attach nowhere=127.0.0.1:7480", "`--attach` names a node that the pipeline does not have"),
        ("run --attach gone", "NODE=ADDRESS"),
        ("run --attach gone=10.0.0.1:80", "MESHLOOM_INSECURE=1"),
        ("run --otlp nonsense://", "no collector's address"),
        ("run --log loud=loud", "is no log filter"),
        ("run --fresh --ephemeral", "cannot be used with"),
        ("run --log-format xml", "human, json"),
    ] {
        let ran = folder.run(words);
        assert!([2, 78].contains(&ran.code) && ran.err.contains(says), "{words}: {}: {}", ran.code, ran.err);
        assert!(!folder.path().join(".meshloom/demo/checkpoints").exists(), "{words}");
    }
}
