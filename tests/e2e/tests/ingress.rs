//! Events from programs outside the mesh: by each SDK's publisher over gRPC, and by plain TCP.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::Write as _,
    net::{TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use meshloom_e2e::{Project, Running, lines, processes, toolchain::Language, wait};

/// Events of a publisher.
const COUNT: usize = 10_000;
/// For a publisher to have everything acknowledged.
const PATIENCE: Duration = Duration::from_secs(180);

/// `in` takes publications at `listen`, `out` writes uid and number of each event.
fn pipeline(listen: &str) -> String {
    let node = Language::Rust.test_node();
    format!(
        "pipeline: ingress
nodes:
  in: {{ use: grpc, with: {{ listen: '{listen}' }} }}
  out: {{ run: {node}, handler: sink, with: {{ label: x, out: '{{dir}}/out.ndjson' }}, from: in }}
"
    )
}

/// Passes each line on, in seconds for all.
const SLOW: &str = r#"n=0
while IFS= read -r line; do
  n=$((n + 1))
  [ $((n % 100)) -ne 0 ] || sleep 0.05
  printf '%s\n' "$line"
done
"#;

/// The same with a node in between that takes its time, so that it is in the middle when it is stopped.
fn slow_pipeline(listen: &str) -> String {
    pipeline(listen).replace("from: in }", "from: slow }")
        + "  slow: { exec: [sh, '{dir}/slow.sh'], mode: lines, from: in }\n"
}

/// A publisher that runs; ended when dropped.
struct Publishing(Child);

impl Publishing {
    fn start(language: Language, address: &str, count: usize) -> Self {
        let words = language.test_publisher();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).args([address, &count.to_string()]);
        // Pipes hold what little it says, so that nobody must read them meanwhile.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")))
    }

    /// Waits for its end, and gives its exit status, what it said, and its complaints.
    fn finish(mut self) -> (bool, String, String) {
        let status = wait::until(PATIENCE, "the publisher's end", || self.0.try_wait().unwrap());
        let read = |pipe: Option<&mut dyn std::io::Read>| {
            let mut text = String::new();
            pipe.unwrap().read_to_string(&mut text).unwrap();
            text
        };
        let out = read(self.0.stdout.as_mut().map(|pipe| pipe as _));
        (status.success(), out, read(self.0.stderr.as_mut().map(|pipe| pipe as _)))
    }

    fn succeed(self) {
        let (success, out, err) = self.finish();
        assert!(success && out.trim() == format!("acknowledged {COUNT}"), "{out}{err}");
    }
}

impl Drop for Publishing {
    fn drop(&mut self) {
        // It has ended already unless a test fails.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The identities under which each number has arrived.
fn arrived(project: &Project) -> BTreeMap<u64, BTreeSet<String>> {
    let mut uids: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for line in project.lines("out.ndjson") {
        uids.entry(line["n"].as_u64().unwrap()).or_default().insert(line["uid"].as_str().unwrap().to_owned());
    }
    uids
}

/// Waits until every number has arrived, and ends the run. Each is one event, however often it came.
fn all_arrive_once(project: &Project, mut run: Running) {
    run.until("all nodes to be up", |books| books.phase == "running");
    wait::holds(PATIENCE, "all events at the sink", || arrived(project).len() == COUNT);
    run.signal("TERM");
    run.finish().assert_code(0);
    let uids = arrived(project);
    assert!(uids.keys().copied().eq(1..=COUNT as u64), "{} of {COUNT} numbers", uids.len());
    let distinct: BTreeSet<_> = uids.values().flatten().collect();
    assert_eq!(distinct.len(), COUNT, "identities for {COUNT} events");
}

fn everything_arrives(language: Language) {
    let project = Project::new(&pipeline("127.0.0.1:0"));
    let mut run = project.start();
    let address = run.listening();
    Publishing::start(language, &address, COUNT).succeed();
    all_arrive_once(&project, run);
    assert_eq!(project.lines("out.ndjson").len(), COUNT, "nothing was broken, so nothing comes twice");
}

fn a_restart_loses_nothing(language: Language) {
    let project = Project::new(&slow_pipeline("127.0.0.1:0"));
    project.write("slow.sh", SLOW);
    let mut run = project.start();
    let address = run.listening();
    let publishing = Publishing::start(language, &address, COUNT);
    run.until("some of the events", |books| books.node("in").settled >= 1000);
    run.signal("TERM");
    run.finish().assert_code(0);
    project.rewrite(&slow_pipeline(&address));
    let mut run = project.start();
    assert_eq!(run.listening(), address);
    publishing.succeed();
    all_arrive_once(&project, run);
}

#[test]
fn rust_publishes() {
    everything_arrives(Language::Rust);
}

#[test]
fn go_publishes() {
    everything_arrives(Language::Go);
}

#[test]
fn python_publishes() {
    everything_arrives(Language::Python);
}

#[test]
fn node_publishes() {
    everything_arrives(Language::Node);
}

#[test]
fn rust_publishes_over_a_restart() {
    a_restart_loses_nothing(Language::Rust);
}

#[test]
fn go_publishes_over_a_restart() {
    a_restart_loses_nothing(Language::Go);
}

#[test]
fn python_publishes_over_a_restart() {
    a_restart_loses_nothing(Language::Python);
}

#[test]
fn node_publishes_over_a_restart() {
    a_restart_loses_nothing(Language::Node);
}

#[test]
fn a_kill_loses_nothing_either() {
    let project = Project::new(&slow_pipeline("127.0.0.1:0"));
    project.write("slow.sh", SLOW);
    let mut run = project.start();
    let address = run.listening();
    let publishing = Publishing::start(Language::Rust, &address, COUNT);
    run.until("some of the events", |books| books.node("in").settled >= 1000);
    processes::signal(run.pid(), "KILL");
    run.finish();
    project.rewrite(&slow_pipeline(&address));
    let mut run = project.start();
    run.listening();
    publishing.succeed();
    all_arrive_once(&project, run);
}

/// `in` takes records at any port, `out` writes them.
fn tcp(settings: &str) -> (Project, Running, TcpStream) {
    let project = Project::new(&format!(
        "pipeline: ingress
nodes:
  in: {{ use: tcp, with: {{ listen: 127.0.0.1:0, {settings} }}, max_event: 1KiB }}
  out: {{ use: file, with: {{ path: out.ndjson }}, from: in }}
"
    ));
    let mut run = project.start();
    let stream = TcpStream::connect(run.listening().trim_start_matches("tcp://")).unwrap();
    (project, run, stream)
}

fn all_records_arrive(settings: &str, record: impl Fn(&str) -> Vec<u8>) {
    let (project, mut run, mut stream) = tcp(settings);
    for n in 1..=COUNT {
        stream.write_all(&record(&format!("{{\"n\":{n}}}"))).unwrap();
    }
    drop(stream);
    run.until("all records", |books| books.node("in").settled == COUNT as u64);
    run.signal("TERM");
    run.finish().assert_code(0);
    assert!(lines::numbers(&project.lines("out.ndjson")).into_iter().eq(1..=COUNT as u64));
}

#[test]
fn tcp_lines() {
    all_records_arrive("framing: lines", |record| format!("{record}\n").into());
}

#[test]
fn tcp_lengths() {
    all_records_arrive("framing: length", |record| [&(record.len() as u32).to_be_bytes(), record.as_bytes()].concat());
}

#[test]
fn a_tcp_record_that_is_too_large_closes_its_connection_and_is_named() {
    let (project, mut run, mut stream) = tcp("framing: lines");
    let peer = stream.local_addr().unwrap();
    stream.write_all(format!("{{\"n\":1}}\n\"{}\"\n", "x".repeat(2000)).as_bytes()).unwrap();
    run.until_log(&format!("{peer}: EVENT_TOO_LARGE"));
    run.until("the record before it", |books| books.node("in").settled == 1);
    run.signal("TERM");
    run.finish().assert_code(0);
    assert_eq!(lines::numbers(&project.lines("out.ndjson")), [1]);
}

#[test]
fn a_port_that_is_taken_is_refused_with_what_to_do() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let finished = Project::new(&pipeline(&address)).run();
    assert_ne!(finished.status.code(), Some(0));
    let words = format!("cannot listen on {address}");
    assert!(finished.log.contains(&words) && finished.log.contains("set another `listen`"), "{}", finished.log);
}
