//! Traces in a real Jaeger: one trace per event through every hop and language, with spans where they belong.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    net::TcpListener,
    process::{Child, Command, Stdio},
    time::Duration,
};

use meshloom_e2e::{
    Project,
    anomaly::Nodes,
    lines, root,
    toolchain::{self, Language},
    wait,
    web::{Client, Receiver},
};
use serde_json::{Value, json};

/// Times in Jaeger are cut to whole microseconds.
const ROUNDING_US: u64 = 2;

/// Jaeger on ports of its own; ends when dropped.
struct Jaeger {
    child: Child,
    otlp: String,
    api: String,
    client: Client,
    _folder: tempfile::TempDir,
}

impl Jaeger {
    fn start() -> Self {
        // Held at the same time, so that they differ.
        let ports: Vec<TcpListener> = (0..7).map(|_| TcpListener::bind("127.0.0.1:0").expect("a port")).collect();
        let addresses: Vec<String> = ports.iter().map(|port| port.local_addr().unwrap().to_string()).collect();
        drop(ports);
        let flags = [
            "collector.otlp.grpc.host-port",
            "query.http-server.host-port",
            "admin.http.host-port",
            "collector.grpc-server.host-port",
            "collector.http-server.host-port",
            "collector.otlp.http.host-port",
            "query.grpc-server.host-port",
        ];
        let folder = tempfile::tempdir().unwrap();
        let log = || File::options().create(true).append(true).open(folder.path().join("log")).unwrap();
        let mut command = Command::new(toolchain::jaeger());
        command.args(flags.iter().zip(&addresses).map(|(flag, address)| format!("--{flag}={address}")));
        command.env("SPAN_STORAGE_TYPE", "memory").stdin(Stdio::null()).stdout(log()).stderr(log());
        let child = command.spawn().expect("jaeger starts");
        let (otlp, api) = (format!("http://{}", addresses[0]), format!("http://{}/api", addresses[1]));
        let mut jaeger = Self { child, otlp, api, client: Client::default(), _folder: folder };
        wait::holds(Duration::from_secs(30), "jaeger to answer", || {
            let ended = jaeger.child.try_wait().unwrap();
            assert!(ended.is_none(), "{}", std::fs::read_to_string(jaeger._folder.path().join("log")).unwrap());
            jaeger.client.get(&format!("{}/services", jaeger.api)).is_some_and(|got| got.status == 200)
        });
        jaeger
    }

    /// The traces that a service takes part in.
    fn traces(&self, service: &str) -> Vec<Trace> {
        let service = service.replace('/', "%2F");
        let got = self.client.get(&format!("{}/traces?service={service}&limit=1000", self.api)).expect("an answer");
        assert_eq!(got.status, 200, "{got:?}");
        let answer: Value = serde_json::from_str(&got.body).unwrap();
        answer["data"].as_array().unwrap().iter().map(Trace::read).collect()
    }

    /// Waits until a trace of a service is as it should be; the last spans may still be on their way.
    fn trace(&self, service: &str, whole: impl Fn(&Trace) -> bool) -> Trace {
        let mut last = Vec::new();
        let start = std::time::Instant::now();
        loop {
            let traces = self.traces(service);
            if let Some(found) = traces.iter().position(&whole) {
                return traces.into_iter().nth(found).unwrap();
            }
            last.clear();
            last.extend(traces.first().map(Trace::render));
            assert!(start.elapsed() < Duration::from_secs(20), "no whole trace of {service}; one is {last:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Jaeger {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug)]
struct Span {
    name: String,
    service: String,
    parent: Option<String>,
    start: u64,
    end: u64,
}

#[derive(Debug)]
struct Trace {
    spans: BTreeMap<String, Span>,
}

impl Trace {
    fn read(trace: &Value) -> Self {
        let spans = trace["spans"].as_array().unwrap().iter().map(|span| {
            let of_parent =
                |reference: &&Value| reference["refType"] == "CHILD_OF" && reference["traceID"] == span["traceID"];
            let parent = span["references"].as_array().into_iter().flatten().find(of_parent);
            let process = &trace["processes"][span["processID"].as_str().unwrap()];
            let start = span["startTime"].as_u64().unwrap();
            let read = Span {
                name: span["operationName"].as_str().unwrap().to_owned(),
                service: process["serviceName"].as_str().unwrap().to_owned(),
                parent: parent.map(|parent| parent["spanID"].as_str().unwrap().to_owned()),
                start,
                end: start + span["duration"].as_u64().unwrap(),
            };
            (span["spanID"].as_str().unwrap().to_owned(), read)
        });
        Self { spans: spans.collect() }
    }

    fn names(&self) -> BTreeSet<&str> {
        self.spans.values().map(|span| span.name.as_str()).collect()
    }

    fn parent_of(&self, span: &Span) -> Option<&Span> {
        self.spans.get(span.parent.as_ref()?)
    }

    /// The name of each span and of its parent.
    fn edges(&self) -> BTreeSet<(&str, &str)> {
        let parent = |span| self.parent_of(span).map_or("", |parent| parent.name.as_str());
        self.spans.values().map(|span| (parent(span), span.name.as_str())).collect()
    }

    fn render(&self) -> String {
        let first = self.spans.values().map(|span| span.start).min().unwrap_or_default();
        let mut spans: Vec<&Span> = self.spans.values().collect();
        spans.sort_by_key(|span| span.start);
        let line = |span: &&Span| {
            let parent = self.parent_of(span).map_or("-", |parent| parent.name.as_str());
            format!(
                "{:>8} us +{:<7} {:<20} {:<20} below {parent}\n",
                span.start - first,
                span.end - span.start,
                span.service,
                span.name
            )
        };
        spans.iter().map(line).collect()
    }

    /// `process X` and what is in it lie inside their `receive X`; no `receive` starts before its parent started.
    fn assert_nested(&self) {
        let text = self.render();
        for span in self.spans.values() {
            let Some(parent) = self.parent_of(span) else { continue };
            // OpenTelemetry for JavaScript starts the user's own spans at whole milliseconds.
            let in_node = parent.name.starts_with("process ") && parent.service.ends_with("/node");
            let slack = if in_node { 1000 + ROUNDING_US } else { ROUNDING_US };
            assert!(span.start + slack >= parent.start, "{} starts before {}:\n{text}", span.name, parent.name);
            if !span.name.starts_with("receive ") {
                assert!(span.end <= parent.end + slack, "{} ends after {}:\n{text}", span.name, parent.name);
            }
            if let Some(node) = span.name.strip_prefix("process ") {
                assert_eq!(parent.name, format!("receive {node}"), "{text}");
            }
        }
    }

    /// For each path from the source to a leaf: time in which no span of it ran.
    fn gaps(&self) -> Vec<(String, u64)> {
        let hop = |span: &&Span| span.name.starts_with("receive ");
        let leaves = self.spans.iter().filter(|(id, span)| {
            hop(span) && !self.spans.values().any(|other| other.parent.as_ref() == Some(id) && hop(&other))
        });
        leaves
            .map(|(_, leaf)| {
                let (mut path, mut gap, mut span) = (leaf.name.clone(), 0, leaf);
                while let Some(parent) = self.parent_of(span) {
                    gap += span.start.saturating_sub(parent.end);
                    path = format!("{} > {path}", parent.name);
                    span = parent;
                }
                (path, gap)
            })
            .collect()
    }
}

/// The lines of the real data up to and including the first alert, at most `most`.
fn readings(most: usize) -> String {
    let data = root().join("examples/anomaly/data/readings.txt");
    let script = root().join("examples/anomaly/classify/expected.py");
    let model = toolchain::anomaly_model().join("model.json");
    let output = Command::new(toolchain::python()).arg(script).arg(&data).arg(model).output().expect("python runs");
    let expected: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let alert = expected["alerts"][0]["line"].as_u64().expect("an alert") as usize;
    let text = std::fs::read_to_string(data).unwrap();
    let lines: Vec<&str> = text.lines().skip(alert.saturating_sub(most)).take(most.min(alert)).collect();
    lines.join("\n") + "\n"
}

#[test]
fn one_trace_through_the_anomaly_pipeline() {
    let jaeger = Jaeger::start();
    let receiver = Receiver::start();
    let project =
        Nodes::of_the_example().project().env("SLACK_WEBHOOK_URL", &receiver.url()).args(["--otlp", &jaeger.otlp]);
    let text = project.read("meshloom.yaml");
    let data = root().join("examples/anomaly/data/readings.txt");
    project.write("readings.txt", readings(100));
    project
        .rewrite(&text.replace(data.to_str().unwrap(), "{dir}/readings.txt").replace("linger: 10s", "linger: 100ms"));
    project.succeed();
    assert!(!receiver.seen().is_empty(), "an alert was posted");

    let hops = ["send ingest", "receive filter", "receive classify", "receive alert", "receive archive"];
    let handlers = ["process filter", "process classify", "process alert"];
    let trace = jaeger.trace("anomaly/alert", |trace| {
        let names = trace.names();
        hops.iter().chain(&handlers).all(|name| names.contains(name)) && trace.gaps().len() >= 4
    });
    println!("{}", trace.render());
    let edges = trace.edges();
    for edge in [
        ("", "send ingest"),
        ("send ingest", "receive filter"),
        ("receive filter", "process filter"),
        ("receive filter", "receive classify"),
        ("receive classify", "receive alert"),
        ("receive alert", "process alert"),
        ("send ingest", "receive archive"),
        ("receive filter", "receive archive"),
        ("receive classify", "receive archive"),
    ] {
        assert!(edges.contains(&edge), "{edge:?} is not in {edges:#?}");
    }
    let roots = trace.spans.values().filter(|span| span.parent.is_none()).count();
    assert_eq!(roots, 1, "{}", trace.render());
    let services: BTreeSet<&str> = trace.spans.values().map(|span| span.service.as_str()).collect();
    for node in ["ingest", "filter", "classify", "alert", "archive"] {
        assert!(services.contains(format!("anomaly/{node}").as_str()), "{services:?}");
    }
    trace.assert_nested();
    for (path, gap) in trace.gaps() {
        println!("{gap:>6} us in no span: {path}");
        assert!(gap < 20_000, "{gap} us on {path}:\n{}", trace.render());
    }
}

#[test]
fn the_users_own_spans_lie_inside_in_every_language() {
    let jaeger = Jaeger::start();
    let maps: String = Language::ALL
        .iter()
        .map(|language| {
            let (name, run) = (language.name(), language.test_node());
            format!("  {name}: {{ run: {run}, handler: map, from: in, with: {{ label: {name} }} }}\n  {name}-out: {{ use: 'null', from: {name} }}\n")
        })
        .collect();
    let project = Project::new(&format!(
        "pipeline: spans\ntrace: {{ ratio: 1 }}\nnodes:\n  in: {{ use: file, with: {{ path: in.ndjson }} }}\n{maps}"
    ))
    .args(["--otlp", &jaeger.otlp]);
    lines::write(&project.path("in.ndjson"), (1..=5).map(|n| json!({"n": n, "do": "pass"})));
    project.succeed();
    // send; for each language receive, process, user-work and the receive below.
    let trace = jaeger.trace("spans/rust", |trace| trace.spans.len() == 1 + 4 * Language::ALL.len());
    println!("{}", trace.render());
    trace.assert_nested();
    let edges = trace.edges();
    for language in Language::ALL {
        let name = language.name();
        let (receive, process) = (format!("receive {name}"), format!("process {name}"));
        assert!(edges.contains(&("send in", &receive)), "{edges:#?}");
        assert!(edges.contains(&(&receive, &process)), "{edges:#?}");
        assert!(edges.contains(&(&process, "user-work")), "{edges:#?}");
        assert!(edges.contains(&(&receive, &format!("receive {name}-out"))), "{edges:#?}");
        let user =
            trace.spans.values().filter(|span| span.name == "user-work" && span.service == format!("spans/{name}"));
        assert_eq!(user.count(), 1, "{name}: {}", trace.render());
    }
    let traces = jaeger.traces("spans/rust");
    assert_eq!(traces.len(), 5, "one trace per event");
}
