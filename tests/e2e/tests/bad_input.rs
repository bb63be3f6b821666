//! Bad input, each with the message that a stranger must get. The file's own faults first, then nodes that misbehave.

use std::{fs, time::Duration};

use meshloom_e2e::{Letter, Project, lines};
use serde_json::json;

const ROGUE: &str = env!("CARGO_BIN_EXE_rogue");

/// A file that is refused: exit status 78, before anything starts, with code, place and remedy.
#[track_caller]
fn refused(nodes: &str, says: &[&str]) {
    let project = Project::new(&format!("pipeline: p\nnodes:\n{nodes}"));
    let finished = project.run();
    finished.assert_fails(78, says);
    finished.assert_fails(78, &["meshloom.yaml:", "^"]);
    assert!(!project.state().exists(), "nothing was touched");
}

#[test]
fn unknown_key() {
    refused(
        "  a: { use: generate, with: { count: 1 } }\n  b: { use: 'null', form: a }\n",
        &["error[UNKNOWN_KEY]", ":4:", "`form`", "did you mean `from`"],
    );
}

#[test]
fn wrong_unit() {
    refused(
        "  a: { use: generate, with: { count: 1 } }\n  b: { use: 'null', from: a, timeout: 10x }\n",
        &["error[BAD_UNIT]", "`x` is not a unit here", "expected a time such as `10s`"],
    );
}

#[test]
fn cycle() {
    refused(
        "  s: { use: stdin }\n  a: { exec: [cat], mode: lines, from: [s, b] }\n  b: { exec: [cat], mode: lines, from: a }\n",
        &["error[CYCLE]", "a -> b -> a", "Remove one of the edges"],
    );
}

#[test]
fn missing_upstream() {
    refused(
        "  ingest: { use: stdin }\n  b: { use: 'null', from: ingst }\n",
        &["error[UNKNOWN_NODE]", "`ingst`", "did you mean `ingest`"],
    );
}

#[test]
fn two_sources_on_one_port() {
    refused(
        "  a: { use: http, with: { listen: 127.0.0.1:7999, path: /a } }\n  b: { use: http, with: { listen: 127.0.0.1:7999, path: /b } }\n  c: { use: 'null', from: [a, b] }\n",
        &["error[PORT_TAKEN]", "`a` and `b` both listen on port 7999", "taken here"],
    );
}

#[test]
fn cel_that_does_not_compile() {
    refused(
        "  a: { use: stdin }\n  b: { use: 'null', from: a, when: data.x >> 1 }\n",
        &["error[BAD_EXPRESSION]", "data.x >> 1"],
    );
}

#[test]
fn a_command_that_does_not_exist() {
    let project = Project::new(
        "pipeline: p
nodes:
  a: { use: stdin }
  b: { run: no-such-program-anywhere, from: a }
",
    );
    let says = ["error[SPAWN_FAILED] node b", "no-such-program-anywhere", "looked for it in PATH", "Install it"];
    project.run().assert_fails(69, &says);
    refused(
        "  a: { use: stdin }
  b: { run: bin/no-such-program, from: a }
",
        &["error[COMMAND_NOT_FOUND]", "bin/no-such-program", "a command with a slash starts at the node's folder"],
    );
}

#[test]
fn every_error_in_one_go() {
    refused(
        "  a: { use: generate, with: { count: 1 }, timeot: 1s }\n  b: { use: 'null', from: c, batch: { linger: soon } }\n",
        &["UNKNOWN_KEY", "UNKNOWN_NODE", "BAD_UNIT", "3 errors"],
    );
}

/// Commands from a file into the rogue, whose main output goes to `null`.
fn with_rogue(how: &str, settings: &str, commands: &[&str]) -> Project {
    let project = Project::new(&format!(
        "pipeline: p
nodes:
  in: {{ use: file, with: {{ path: commands.ndjson }} }}
  rogue: {{ run: ['{ROGUE}', '{how}'], dir: '{{dir}}', from: in{settings} }}
  out: {{ exec: [sh, -c, 'cat >> {{dir}}/out.ndjson'], mode: batch, from: rogue }}
"
    ));
    lines::write(&project.path("commands.ndjson"), lines::commands(commands.iter().copied()));
    project
}

/// The only letter of an input.
#[track_caller]
fn letter_of(letters: &[Letter], n: u64) -> &Letter {
    let found: Vec<&Letter> = letters.iter().filter(|letter| letter.n() == n).collect();
    let [letter] = found[..] else { panic!("one letter of {n}, not {found:#?}") };
    letter
}

#[test]
fn an_expression_that_fails_on_an_event() {
    let project = Project::new(
        "pipeline: p
nodes:
  in: { use: file, with: { path: in.ndjson } }
  out: { use: file, with: { path: out.ndjson }, from: in, when: data.level > 3 }
",
    );
    lines::write(
        &project.path("in.ndjson"),
        [json!({"n": 1, "level": 5}), json!({"n": 2}), json!({"n": 3, "level": 1})],
    );
    let books = project.succeed().books();
    assert_eq!(lines::numbers(&project.lines("out.ndjson")), [1]);
    let letters = project.letters();
    assert_eq!(letters.len(), 1, "{letters:#?}");
    let letter = letter_of(&letters, 2);
    assert_eq!((letter.node.as_str(), letter.reason.as_str()), ("out", "WHEN_FAILED"));
    assert!(letter.message.contains("level"), "the path is named: {}", letter.message);
    let edge = books.edge("in", "out");
    assert_eq!((edge.produced, edge.skipped, edge.received), (3, 1, 2), "the condition did not keep it off");
    assert_eq!((books.node("out").received, books.node("out").dead_lettered), (2, 1));
}

#[test]
fn a_node_that_never_listens() {
    let finished = with_rogue("never-listens", ", start_timeout: 500ms", &["pass"]).run();
    finished.assert_fails(69, &["error[START_TIMEOUT]", "node rogue", "500ms", "start_timeout", "MESHLOOM_LISTEN"]);
}

#[test]
fn a_node_that_listens_and_says_nothing() {
    let finished = with_rogue("silent", ", start_timeout: 500ms", &["pass"]).run();
    finished.assert_fails(69, &["error[START_TIMEOUT]", "node rogue", "500ms"]);
}

#[test]
fn a_node_that_opens_and_then_hangs() {
    let project = with_rogue("hangs", ", timeout: 300ms, retry: { initial: 10ms }", &["pass", "pass", "pass"]);
    let finished = project.run();
    finished.assert_code(0);
    let books = finished.books();
    books.assert_balanced();
    assert!(books.node("rogue").restarts >= 1, "{books:#?}");
    assert!(finished.log.contains("rogue") && finished.log.contains("300ms"), "{}", finished.log);
    assert_eq!(lines::numbers(&project.lines("out.ndjson")), [1, 2, 3]);
    assert!(project.letters().is_empty());
}

#[test]
fn another_protocol_version() {
    let finished = with_rogue("newer", "", &["pass"]).run();
    finished
        .assert_fails(69 + 1, &["error[PROTOCOL_UNSUPPORTED]", "protocol 2 to 3", "1 to 1", "upgrade the coordinator"]);
    let finished = with_rogue("newer-open", "", &["pass"]).run();
    finished.assert_fails(
        70,
        &["error[PROTOCOL_UNSUPPORTED]", "protocol 2 to 3", "upgrade the coordinator to one that speaks protocol 2"],
    );
    let finished = with_rogue("chooses-9", "", &["pass"]).run();
    finished.assert_fails(70, &["error[PROTOCOL_UNSUPPORTED]", "protocol 9", "not offered", "upgrade the node's SDK"]);
}

#[test]
fn a_config_that_a_node_refuses() {
    let finished = with_rogue("refuses", ", with: { limit: 12 }", &["pass"]).run();
    finished.assert_fails(78, &["error[CONFIG_REFUSED]", "node rogue", "limit: must be below 10"]);
}

/// What the messages of malformed answers must say.
const RULES: [(&str, &str); 37] = [
    ("count-zero", "0 rows, allowed are 1 to 65536"),
    ("count-high", "65537 rows"),
    ("ends-ragged", "3 bytes are no whole number of entries of 4"),
    ("ends-short", "1 entries for 2 rows"),
    ("ends-fall", "value 1 ends at 2, before the value ahead of it, which ends at 3"),
    ("ends-beyond", "the last value ends at 4, but there are 3 bytes"),
    ("ends-before", "the last value ends at 2, but there are 3 bytes"),
    ("event-large", "allowed are 16777216"),
    ("batch-large", "allowed are 33554432"),
    ("parent-ragged", "3 bytes are no whole number of entries of 4"),
    ("parent-length", "2 entries for 1 rows"),
    ("parent-range", "output 0 names input 5 of 1"),
    ("parent-missing", "2 outputs without parents for 1 inputs"),
    ("whole-bare", "comes from the whole batch and has no payload"),
    ("time-ragged", "7 bytes are no whole number of entries of 8"),
    ("time-length", "2 entries for 1 rows"),
    ("utf8", "no valid UTF-8"),
    ("index-range", "row 0 points at value 1 of 1"),
    ("index-length", "2 entries for 1 rows"),
    ("attribute-large", "65537 bytes, allowed are 65536"),
    ("key-large", "1025 bytes, allowed are 1024"),
    ("extension-name", "`Bad-Name` is no extension name"),
    ("extension-type", "extension type 99 does not exist"),
    ("extension-twice", "two columns of this name and type"),
    ("extension-boolean", "no boolean"),
    ("extension-integer", "has 3 bytes, its type has 4"),
    ("extension-row", "names row 9 of 1"),
    ("extension-order", "rows must ascend and not repeat"),
    ("extension-removes", "cannot hold 1 values"),
    ("extensions-many", "65 extension columns, allowed are 64"),
    ("failure-index", "failure 0 names input 7 of 1"),
    ("failure-reason", "reason `not a reason` must be 1 to 64 characters"),
    ("failure-reason-long", "must be 1 to 64 characters"),
    ("busy-negative", "is no duration"),
    ("twice", "RESULT_INDEX_REPEATED"),
    ("forgets", "UNACCOUNTED"),
    ("miscounts", "UNACCOUNTED"),
];

/// One work for each rule, a good one after each bad one: the stream goes on, and the letter names the rule.
#[test]
fn malformed_columns_by_rule() {
    let commands: Vec<&str> = RULES.iter().flat_map(|(rule, _)| [*rule, "pass"]).collect();
    let settings = ", batch: { events: 1 }, queue: { events: 200 }, retry: { attempts: 1, initial: 5ms }";
    let project = with_rogue("obeys", settings, &commands);
    let books = project.succeed().books();
    let letters = project.letters();
    for (at, (rule, says)) in RULES.iter().enumerate() {
        let letter = letter_of(&letters, 2 * at as u64 + 1);
        let reason = if says.contains(' ') { "RESULT_MALFORMED" } else { says };
        assert_eq!((letter.node.as_str(), letter.reason.as_str()), ("rogue", reason), "{rule}: {letter:#?}");
        assert!(reason != "RESULT_MALFORMED" || letter.message.contains(says), "{rule}: {letter:#?}");
    }
    assert_eq!(letters.len(), RULES.len(), "{letters:#?}");
    assert_eq!(
        lines::numbers(&project.lines("out.ndjson")),
        (1..=RULES.len() as u64).map(|n| 2 * n).collect::<Vec<_>>()
    );
    assert_eq!(books.node("rogue").restarts, 0, "no answer ended the stream");
}

/// A node that answers what it was not asked cannot be trusted: it is started again, and its work comes again.
#[test]
fn an_unknown_sequence() {
    let commands = ["pass", "unknown-sequence", "pass"];
    let project = with_rogue("obeys", ", batch: { events: 1 }, restart: { initial: 5ms }", &commands);
    let finished = project.succeed();
    assert!(finished.log.contains("which it does not have"), "{}", finished.log);
    assert_eq!(lines::numbers(&project.lines("out.ndjson")), [1, 2, 3]);
    assert_eq!((finished.books().node("rogue").restarts, project.letters().len()), (1, 0));
}

#[test]
fn a_route_that_nothing_is_wired_to() {
    let project = with_rogue("obeys", ", batch: { events: 1 }", &["pass", "unwired", "pass"]);
    project.succeed();
    assert_eq!(lines::numbers(&project.lines("out.ndjson")), [1, 3]);
    let letters = project.letters();
    let letter = letter_of(&letters, 2);
    assert_eq!((letter.node.as_str(), letter.reason.as_str()), ("rogue", "UNROUTED"));
    assert!(letter.message.contains("side") && letter.message.contains("rogue.side"), "{letter:?}");

    let project = with_rogue("obeys", ", batch: { events: 1 }, routes: { side: discard }", &["pass", "unwired"]);
    project.succeed();
    assert!(project.letters().is_empty(), "discarded on purpose");
}

fn with_source(what: &str, settings: &str) -> Project {
    Project::new(&format!(
        "pipeline: p
nodes:
  rogue: {{ run: ['{ROGUE}', 'source:{what}'], dir: '{{dir}}'{settings} }}
  out: {{ exec: [sh, -c, 'cat >> {{dir}}/out.ndjson'], mode: batch, from: rogue }}
"
    ))
}

#[test]
fn a_source_that_sends_more_than_its_demand() {
    let project = with_source("greedy", ", restart: { initial: 10ms, max: 50ms }");
    let finished = project.run();
    finished.assert_fails(70, &["error[DEMAND_EXCEEDED]", "node rogue", "credit"]);
}

#[test]
fn a_frame_that_breaks_a_rule() {
    for (rule, says) in [
        ("no-id", "event 0 of the frame has no id; a source that replays must give ids"),
        ("uid-set", "must leave `uid` empty"),
        ("count-zero", "0 rows, allowed are 1 to 65536"),
        ("count-high", "65537 rows"),
        ("payload-length", "2 entries for 3 rows"),
        ("time-length", "1 entries for 2 rows"),
        ("untyped", "must say its type"),
        ("trace-id", "the trace id of row 0 has 15 bytes"),
        ("span-id", "the span id of row 0 has 7 bytes"),
        ("span-zero", "is all zero"),
        ("span-order", "rows must ascend and not repeat"),
        ("checkpoint-large", "the checkpoint has 66560 bytes, allowed are 65536"),
    ] {
        let project = with_source(rule, ", restart: { initial: 5ms, max: 5ms }");
        let finished = project.run();
        finished.assert_fails(0, &[says, "rogue is down and starts again"]);
        assert_eq!(project.read("out.ndjson").trim(), "1", "{rule}: what a good frame holds arrives, nothing else");
        assert_eq!(finished.books().node("rogue").received, 1, "{rule}");
    }
}

#[test]
fn an_event_over_max_event() {
    let project = with_source("huge", ", max_event: 1MiB");
    let finished = project.run();
    finished.assert_code(0);
    finished.books().assert_balanced();
    let mut arrived: Vec<String> = project.read("out.ndjson").lines().map(str::to_owned).collect();
    arrived.sort();
    assert_eq!(arrived, ["1", "3"]);
    let letters = project.letters();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].node.as_str(), letters[0].reason.as_str()), ("rogue", "EVENT_TOO_LARGE"));
    assert!(letters[0].message.contains("max_event"), "{}", letters[0].message);
}

const IDLE: &str = "pipeline: p
nodes:
  in: { use: http, with: { listen: 127.0.0.1:0 } }
  out: { use: 'null', from: in }
";

#[test]
fn an_unwritable_state_directory() {
    let project = Project::new(IDLE);
    fs::write(project.state(), "a file where the directory should be").unwrap();
    project.run().assert_fails(1, &["error[STATE_UNUSABLE]", "state", "--state DIR"]);
}

#[test]
fn a_second_coordinator_on_the_same_state() {
    let project = Project::new(IDLE);
    let mut first = project.start();
    first.until("the first to run", |_| true);
    let holder = format!("process {}", first.pid());
    let second = project.meshloom(["run"]).arg(project.file()).arg("--state").arg(project.state()).output().unwrap();
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1), "{said}");
    for text in ["error[STATE_HELD]", &holder, "--state DIR"] {
        assert!(said.contains(text), "{text} is not in: {said}");
    }
    first.signal("TERM");
    first.finish_within(Duration::from_secs(20)).assert_code(0);
}
