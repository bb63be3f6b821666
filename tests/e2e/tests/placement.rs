//! Where nodes run: several replicas, nodes started by hand (`connect`, `--attach`), programs behind `meshloom sidecar`,
//! nodes on what others reject; and what `meshloom trace` shows of an event's way.

use std::{
    collections::BTreeSet,
    fs::File,
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use meshloom_e2e::{Project, identity, lines, toolchain::Language, wait};
use serde_json::{Value, json};

const EVENTS: u64 = 2000;

/// A process that a user has started; it ends with the test.
struct ByHand(Child);

impl ByHand {
    /// Starts a node that listens on a socket of the project, and waits for the socket.
    fn start(project: &Project, mut command: Command, socket: &Path) -> Self {
        let log = File::create(project.path("by-hand.log")).unwrap();
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let started = Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")));
        let log = || project.read("by-hand.log");
        wait::holds(Duration::from_secs(60), "the node to listen", || UnixStream::connect(socket).is_ok());
        assert!(!log().contains("rror"), "{}", log());
        started
    }

    fn is_alive(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for ByHand {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The test node of a language, as a user starts it by hand.
fn test_node(language: Language, socket: &Path) -> Command {
    let words: Vec<String> = serde_json::from_str(&language.test_node()).unwrap();
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).env("MESHLOOM_LISTEN", format!("unix:{}", socket.display()));
    command
}

fn pass(project: &Project, first: u64, last: u64) {
    lines::write(&project.path("in.ndjson"), (first..=last).map(|n| json!({"n": n, "do": "pass"})));
}

/// The numbers that arrived, each once.
fn arrived(project: &Project) -> Vec<u64> {
    lines::numbers(&project.lines("out.ndjson"))
}

#[test]
fn replicas_share_the_work() {
    let run = Language::Go.test_node();
    let project = Project::new(&format!(
        "pipeline: shared
nodes:
  in: {{ use: file, with: {{ path: in.ndjson }} }}
  map: {{ run: {run}, from: in, with: {{ label: x }}, replicas: 3, batch: {{ events: 16 }} }}
  out: {{ use: file, with: {{ path: out.ndjson }}, from: map }}
"
    ));
    pass(&project, 1, 20_000);
    let books = project.succeed().books();
    let pids: BTreeSet<_> = books.node("map").replicas.iter().filter_map(|replica| replica.pid).collect();
    assert_eq!(pids.len(), 3, "a process each: {books:#?}");
    assert_eq!(arrived(&project), (1..=20_000).collect::<Vec<_>>());
}

#[test]
fn a_node_started_by_hand_serves_one_run_after_the_other() {
    for language in Language::ALL {
        let project = Project::new(
            "pipeline: dialled
nodes:
  in: { use: file, with: { path: in.ndjson } }
  map: { connect: 'unix:{dir}/node.sock', from: in, with: { label: x } }
  out: { use: file, with: { path: out.ndjson }, from: map }
",
        );
        let socket = project.path("node.sock");
        let mut node = ByHand::start(&project, test_node(language, &socket), &socket);
        pass(&project, 1, EVENTS);
        project.succeed();
        assert!(node.is_alive(), "{language:?}: a run leaves alone what it did not start");
        pass(&project, 1, 2 * EVENTS);
        project.succeed();
        assert_eq!(arrived(&project), (1..=2 * EVENTS).collect::<Vec<_>>(), "{language:?}");
    }
}

#[test]
fn an_attached_node_stands_in_for_the_command() {
    let project = Project::new(
        "pipeline: attached
nodes:
  in: { use: file, with: { path: in.ndjson } }
  map: { run: [sh, -c, 'touch {dir}/started; exit 1'], from: in, with: { label: x } }
  out: { use: file, with: { path: out.ndjson }, from: map }
",
    );
    let socket = project.path("node.sock");
    let mut node = ByHand::start(&project, test_node(Language::Python, &socket), &socket);
    pass(&project, 1, EVENTS);
    let attach = format!("map=unix:{}", socket.display());
    let project = project.args(["--attach", &attach]);
    project.succeed();
    assert!(node.is_alive() && !project.path("started").exists(), "the command is not started");
    assert_eq!(arrived(&project), (1..=EVENTS).collect::<Vec<_>>());
}

#[test]
fn a_program_without_an_sdk_serves_behind_a_sidecar() {
    let project = Project::new(
        "pipeline: beside
nodes:
  in: { use: file, with: { path: in.ndjson } }
  loud: { connect: 'unix:{dir}/node.sock', from: in }
  out: { use: file, with: { path: out.ndjson }, from: loud }
",
    );
    let socket = project.path("node.sock");
    let mut sidecar = project.meshloom(["sidecar", "--mode", "lines", "--", "sed", "-u", "s/pass/loud/"]);
    sidecar.env("MESHLOOM_LISTEN", format!("unix:{}", socket.display()));
    let _sidecar = ByHand::start(&project, sidecar, &socket);
    pass(&project, 1, EVENTS);
    project.run_beside().assert_code(0);
    let events = project.lines("out.ndjson");
    assert_eq!(lines::numbers(&events), (1..=EVENTS).collect::<Vec<_>>());
    assert!(events.iter().all(|event| event["do"] == "loud"), "{:?}", events.first());
}

#[test]
fn a_node_takes_what_another_rejects() {
    let run = Language::Node.test_node();
    let project = Project::new(&format!(
        "pipeline: rejected
nodes:
  in: {{ use: file, with: {{ path: in.ndjson }} }}
  map: {{ run: {run}, from: in, with: {{ label: x }}, retry: {{ attempts: 2, initial: 5ms }} }}
  out: {{ use: file, with: {{ path: out.ndjson }}, from: map }}
  bad: {{ exec: [sh, -c, 'cat >> {{dir}}/bad.ndjson'], mode: batch, envelope: cloudevents, from: map.rejected }}
"
    ));
    lines::write(&project.path("in.ndjson"), lines::commands(["pass", "reject", "retry", "pass"]));
    project.succeed();
    assert_eq!(arrived(&project), [1, 4]);
    let mut bad = project.lines("bad.ndjson");
    bad.sort_by_key(|event| event["data"]["n"].as_u64());
    let said = |event: &Value, name: &str| event[name].clone();
    let reasons: Vec<Value> = bad.iter().map(|event| said(event, "meshloomreason")).collect();
    assert_eq!(reasons.len(), 2, "{bad:#?}");
    assert_eq!(reasons[0], "TEST_REJECT");
    assert_eq!(said(&bad[0], "meshloommessage"), "asked to reject 2");
    assert_eq!((said(&bad[1], "meshloomnode"), said(&bad[1], "meshloomattempts")), (json!("map"), json!(2)));
    assert_eq!(bad[1]["data"], json!({"n": 3, "do": "retry"}), "the payload as it came");
    assert!(project.letters().is_empty(), "nothing is stored that a node has taken");
}

#[test]
fn a_trace_is_shown_after_the_run() {
    let run = Language::Python.test_node();
    let project = Project::new(&format!(
        "pipeline: traced
trace: {{ ratio: 1 }}
nodes:
  in: {{ use: file, with: {{ path: in.ndjson }} }}
  map: {{ run: {run}, from: in, with: {{ label: x }} }}
  out: {{ exec: [sh, -c, 'cat >> {{dir}}/out.ndjson'], mode: batch, envelope: cloudevents, from: map }}
"
    ));
    lines::write(&project.path("in.ndjson"), lines::commands(["pass"]));
    project.succeed();
    let event = &project.lines("out.ndjson")[0];
    let uid = identity::of_source(event["source"].as_str().unwrap(), event["id"].as_str().unwrap());
    for of in ["--last", uid.as_str()] {
        let mut command = project.meshloom(["trace", of, "--file"]);
        let shown = command.arg(project.file()).arg("--state").arg(project.state()).output().unwrap();
        let text = String::from_utf8_lossy(&shown.stdout);
        assert!(shown.status.success(), "{of}: {}", String::from_utf8_lossy(&shown.stderr));
        for span in ["send in", "receive map", "process map", "user-work", "receive out"] {
            assert!(text.contains(span), "{of}: no `{span}` in\n{text}");
        }
    }
    let mut command = project.meshloom(["trace", "00000000000000000000000000000001", "--file"]);
    let none = command.arg(project.file()).arg("--state").arg(project.state()).output().unwrap();
    assert!(!none.status.success() && !none.stderr.is_empty(), "an event that was not traced is said to be so");
}
