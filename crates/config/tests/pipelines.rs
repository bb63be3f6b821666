//! Pipeline files that are right, and what becomes of them.

use std::{fs, path::Path, time::Duration};

use meshloom_config::{
    ConnectorSpec, Environment, NodeKind, Pipeline, Rate, Sampling, budget,
    connector::{Framing, ReadFormat},
    exec::*,
    parse,
    spec::*,
};
use meshloom_core::machine::{InOutage, OnExhausted};
use proptest::prelude::*;

fn read(source: &str) -> Pipeline {
    match parse(Path::new("pipeline.yaml"), Path::new("/"), source, &Environment::from_fn(|_| None)) {
        Ok(pipeline) => pipeline,
        Err(diagnostics) => panic!("{diagnostics}"),
    }
}

const EXAMPLE: &str = r#"
# yaml-language-server: $schema=...
pipeline: anomaly
nodes:
  ingest:
    build: cargo build -q --release -p ingest      # before start, shown apart, not part of start_timeout
    run: target/release/ingest                     # spawn and supervise; a string (split into words, no shell) or a list
    with: { path: data/readings.txt }              # the node's own config, validated by the node
  filter:
    run: go run .
    dir: nodes/filter
    from: ingest
  classify:
    run: python classify.py
    from: filter
    replicas: 2
  alert:
    run: node alert.js
    from: { node: classify, when: 'data.prediction in ["warning", "critical"]' }     # CEL, on the edge
    env: { SLACK_WEBHOOK_URL: "${SLACK_WEBHOOK_URL:-}" }
  archive:
    exec: [bash, archive.sh, "{input.ingest}", "{input.filter}", "{input.classify}"]    # a program without an SDK
    mode: files
    from: [ingest, filter, classify]
    batch: { events: 50000, linger: 10s }
"#;

#[test]
fn the_example_of_the_paper() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("nodes/filter")).unwrap();
    let file = dir.path().join("meshloom.yaml");
    fs::write(&file, EXAMPLE).unwrap();
    let pipeline = meshloom_config::load(&file).unwrap_or_else(|diagnostics| panic!("{diagnostics}"));
    assert_eq!((pipeline.name.as_str(), pipeline.nodes.len()), ("anomaly", 5));
    assert_eq!(pipeline.dir, dir.path());
    assert_eq!(pipeline.trace, Sampling::Rate(10.0));
    let [ingest, filter, classify, alert, archive] = pipeline.nodes.as_slice() else { panic!() };
    assert_eq!(ingest.config_json, r#"{"path":"data/readings.txt"}"#);
    assert_eq!(ingest.build.as_ref().unwrap().to_string(), "cargo build -q --release -p ingest");
    let NodeKind::Run(command) = &ingest.kind else { panic!() };
    assert_eq!(Path::new(&command.program), dir.path().join("target/release/ingest"));
    assert_eq!(filter.dir, dir.path().join("nodes/filter"));
    assert_eq!(classify.replicas, 2);
    assert_eq!(alert.env, [("SLACK_WEBHOOK_URL".to_owned(), String::new())]);
    assert_eq!(alert.from[0].when.as_ref().unwrap().source(), r#"data.prediction in ["warning", "critical"]"#);
    let NodeKind::Exec(exec) = &archive.kind else { panic!() };
    let files: Vec<&str> = exec.inputs.iter().map(|input| input.file.as_str()).collect();
    assert_eq!(files, ["ingest.ndjson", "filter.ndjson", "classify.ndjson"]);
    assert_eq!(archive.batch.events, 50_000);
    assert_eq!(archive.batch.linger, Some(Duration::from_secs(10)));
    assert!(archive.queue.events >= 2 * archive.batch.events);
    let graph = &pipeline.graph;
    assert!(graph.shared_source(graph.find("archive").unwrap()));
    assert!(!graph.shared_source(graph.find("alert").unwrap()));
    assert_eq!(budget::default(&pipeline.nodes), 256 << 20);
}

#[test]
fn defaults_are_those_of_the_table() {
    let pipeline = read("pipeline: p\nnodes:\n  a: { run: node }\n  b: { run: node, from: a }\n");
    let b = &pipeline.nodes[1];
    assert_eq!(b.batch, BatchSpec { events: 4096, bytes: 4 << 20, linger: None, latency: Duration::from_millis(50) });
    assert_eq!(b.queue, QueueSpec { events: 16_384, bytes: 16 << 20 });
    assert_eq!(b.retry, RetrySpec { attempts: 10, initial: Duration::from_millis(100), max: Duration::from_secs(30) });
    assert_eq!((b.timeout, b.start_timeout), (Duration::from_secs(30), Duration::from_secs(60)));
    assert_eq!(b.restart, Restart::Backoff { initial: Duration::from_millis(100), max: Duration::from_secs(30) });
    assert_eq!((b.max_event, b.replicas, b.concurrency), (8 << 20, 1, None));
    assert_eq!((b.config_json.as_str(), b.ordering, b.durability), ("{}", Ordering::None, None));
    assert_eq!((pipeline.memory, pipeline.drain), (None, Duration::from_secs(30)));
    assert_eq!((pipeline.journal_bytes, pipeline.dead_letters_bytes), (256 << 20, 256 << 20));
}

#[test]
fn every_key_that_is_built_is_read() {
    let pipeline = read(
        r#"
pipeline: all-keys
trace: { ratio: 0.25 }
memory: 1GiB
drain: 1m
journal: { size: 1GiB }
dead_letters: { size: 64MiB }
x-anything: { at: all }
defaults:
  timeout: 5s
  restart: never
  retry: { attempts: 3 }
  env: { LEVEL: debug }
nodes:
  in:
    connect: [unix:run/in.sock, "localhost:7001", "dns:///127.0.0.1:7002", "[::1]:7003"]
    handler: reader
    key: data.user
    max_event: 1MB
    durability: memory
    trace: { rate: 0.5 }
    with: { limit: 1.50, nested: { list: [1, "2"] } }
  work:
    run: [python, -u, "work.py", --port, 8080]
    env: { A: 1, B: true }
    env_clear: true
    from: in
    when: data.n > 1
    replicas: 3
    concurrency: 4
    ordering: none
    batch: { events: 10, bytes: 64KiB, linger: 1s, latency: 5ms }
    queue: { events: 100, bytes: 1MiB }
    overflow: drop_newest
    on_exhausted: pause
    outage: dead_letter
    retry: { initial: 1s, max: 1m }
    start_timeout: 2m
    rate: 30/m
    routes: { noise: discard }
  side: { use: "null", from: [work.side, work.rejected, { node: in, when: data.a == 1 }], when: data.b == 2 }
  rest: { use: null, from: in.unmatched }
"#,
    );
    assert_eq!((pipeline.trace, pipeline.memory), (Sampling::Ratio(0.25), Some(1 << 30)));
    assert_eq!((pipeline.drain, pipeline.dead_letters_bytes), (Duration::from_secs(60), 64 << 20));
    assert_eq!(pipeline.journal_bytes, 1 << 30);
    let [input, work, side, rest] = pipeline.nodes.as_slice() else { panic!() };
    let NodeKind::Connect(addresses) = &input.kind else { panic!() };
    let shown: Vec<String> = addresses.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["unix:/run/in.sock", "localhost:7001", "127.0.0.1:7002", "[::1]:7003"]);
    assert_eq!((input.replicas, input.handler.as_deref()), (4, Some("reader")));
    assert_eq!(input.key.as_ref().unwrap().source(), "data.user");
    assert_eq!((input.max_event, input.durability), (1_000_000, Some(Durability::Memory)));
    assert_eq!(pipeline.sampling(meshloom_core::graph::NodeId(0)), Sampling::Rate(0.5));
    assert_eq!(input.config_json, r#"{"limit":1.50,"nested":{"list":[1,"2"]}}"#);
    assert_eq!(input.timeout, Duration::from_secs(5));
    let NodeKind::Run(command) = &work.kind else { panic!() };
    assert_eq!(command.args, ["-u", "work.py", "--port", "8080"]);
    let variable = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    assert_eq!(work.env, [variable("A", "1"), variable("B", "true"), variable("LEVEL", "debug")]);
    assert!(work.env_clear);
    assert_eq!((work.replicas, work.concurrency, work.restart), (3, Some(4), Restart::Never));
    assert_eq!(work.retry, RetrySpec { attempts: 3, initial: Duration::from_secs(1), max: Duration::from_secs(60) });
    assert_eq!(work.rate, Some(Rate { count: 30.0, per: Duration::from_secs(60) }));
    assert_eq!(work.rate.unwrap().per_second(), 0.5);
    assert_eq!((work.overflow, side.overflow), (Overflow::DropNewest, Overflow::Block));
    assert_eq!((work.on_exhausted, side.on_exhausted), (OnExhausted::Pause, OnExhausted::DeadLetter));
    assert_eq!((work.outage, side.outage), (InOutage::DeadLetter, InOutage::Hold));
    assert_eq!(work.discards, ["noise"]);
    assert_eq!(work.start_timeout, Duration::from_secs(120));
    let upstreams: Vec<String> = side.from.iter().map(|edge| edge.upstream.to_string()).collect();
    assert_eq!(upstreams, ["work.side", "work.rejected", "in"]);
    assert_eq!(side.from[0].when.as_ref().unwrap().source(), "data.b == 2");
    assert_eq!(side.from[2].when.as_ref().unwrap().source(), "(data.a == 1\n) && (data.b == 2\n)");
    assert_eq!(rest.from[0].upstream.to_string(), "in.unmatched");
    let edges: Vec<String> = (0..pipeline.graph.edges().len())
        .map(|edge| pipeline.graph.upstream(meshloom_core::graph::EdgeId(edge as u32)))
        .collect();
    assert_eq!(edges, ["in", "work.side", "work.rejected", "in", "in.unmatched"]);
}

#[test]
fn every_connector_is_read() {
    let pipeline = read(
        r#"
pipeline: p
nodes:
  files: { use: file, with: { path: ["data/*.csv", /abs/x.csv], format: csv, follow: true } }
  lines: { use: stdin, with: { format: text } }
  made: { use: generate, with: { count: 10, rate: 100/s, template: '{"id":{{ data.n }}}' } }
  posts: { use: http, with: { listen: "localhost:8080", path: /events } }
  sent: { use: tcp, with: { listen: "127.0.0.1:7000", framing: length } }
  lined: { use: tcp, with: { listen: "127.0.0.1:7001", format: csv } }
  published: { use: grpc, with: { listen: "127.0.0.1:7490" } }
  kept: { use: file, from: files, with: { path: out/x.txt, format: text, rotate: { bytes: 64MiB, every: 1h } } }
  shown: { use: stdout, from: lines }
  hook:
    use: webhook
    from: [made, posts, published, sent, lined]
    with:
      url: https://example.com/hook?x=1
      method: PUT
      headers: { X-Id: "{{ event.id }}", Authorization: Bearer x }
      body: '{"text":{{ json(data.text) }}}'
      timeout: 3s
"#,
    );
    let spec = |name: &str| match &pipeline.nodes[pipeline.graph.find(name).unwrap().index()].kind {
        NodeKind::Use(connector) => connector,
        other => panic!("{other:?}"),
    };
    let ConnectorSpec::FileSource(files) = spec("files") else { panic!() };
    assert_eq!(files.paths, ["/data/*.csv", "/abs/x.csv"]);
    assert_eq!((files.format, files.follow), (ReadFormat::Csv, true));
    let ConnectorSpec::Generate(made) = spec("made") else { panic!() };
    assert_eq!(made.count, Some(10));
    let payload = made.template.render(&meshloom_config::EventView::of_payload(b"{\"n\":7}"));
    assert_eq!(payload.as_deref(), Ok("{\"id\":7}"));
    let ConnectorSpec::HttpSource(posts) = spec("posts") else { panic!() };
    assert_eq!((posts.listen.to_string().as_str(), posts.path.as_str()), ("127.0.0.1:8080", "/events"));
    let ConnectorSpec::GrpcSource(published) = spec("published") else { panic!() };
    assert_eq!(published.listen.to_string(), "127.0.0.1:7490");
    let ConnectorSpec::TcpSource(sent) = spec("sent") else { panic!() };
    assert_eq!((sent.framing, sent.format), (Framing::Length, ReadFormat::Json));
    let ConnectorSpec::TcpSource(lined) = spec("lined") else { panic!() };
    assert_eq!((lined.framing, lined.format), (Framing::Lines, ReadFormat::Csv));
    let ConnectorSpec::FileSink(kept) = spec("kept") else { panic!() };
    assert_eq!(kept.path, Path::new("/out/x.txt"));
    assert_eq!(kept.rotate.unwrap().every, Some(Duration::from_secs(3600)));
    let ConnectorSpec::Webhook(hook) = spec("hook") else { panic!() };
    assert_eq!((hook.method.as_str(), hook.timeout), ("PUT", Duration::from_secs(3)));
    let names: Vec<&str> = hook.headers.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["x-id", "authorization"]);
    let body = hook.body.as_ref().unwrap().render(&meshloom_config::EventView::of_payload(br#"{"text":"a\"b"}"#));
    assert_eq!(body.as_deref(), Ok(r#"{"text":"a\"b"}"#));
}

#[test]
fn a_glob_in_the_folders_own_name_is_literal() {
    let source = "pipeline: p\nnodes:\n  a: { use: file, with: { path: 'in/*.txt' } }\n";
    let pipeline = parse(Path::new("p.yaml"), Path::new("/odd [x]"), source, &Environment::from_fn(|_| None)).unwrap();
    let NodeKind::Use(ConnectorSpec::FileSource(files)) = &pipeline.nodes[0].kind else { panic!() };
    assert_eq!(files.paths, ["/odd [[]x[]]/in/*.txt"]);
}

#[test]
fn exec_sources_and_modes() {
    let pipeline = read(
        r#"
pipeline: p
nodes:
  poll: { exec: [sh, -c, "date > $OUT; echo {dir} {scratch} {batch} {other}"], mode: files, output: out.json, format: json, cwd: scratch, keep_failed: true, every: 10s }
  lines: { exec: "jq --unbuffered -c .x", mode: lines, from: poll }
  batch: { exec: sort, mode: batch, envelope: cloudevents, from: lines, replicas: 2 }
  files: { exec: "cat {input} {output}", mode: files, from: batch, input: in.ndjson, output: out.ndjson }
  two: { exec: cat, mode: files, from: [files, lines.rejected], input: { files: f.ndjson } }
"#,
    );
    let exec = |name: &str| match &pipeline.nodes[pipeline.graph.find(name).unwrap().index()].kind {
        NodeKind::Exec(exec) => exec,
        other => panic!("{other:?}"),
    };
    let poll = exec("poll");
    assert_eq!((poll.mode, poll.cwd, poll.format), (ExecMode::Files, ExecCwd::Scratch, ExecFormat::Json));
    assert_eq!(
        (poll.every, poll.keep_failed, poll.output.as_deref()),
        (Some(Duration::from_secs(10)), true, Some("out.json"))
    );
    assert_eq!(exec("batch").envelope, Envelope::CloudEvents);
    assert_eq!(exec("files").inputs[0].file, "in.ndjson");
    let two: Vec<(String, &str)> =
        exec("two").inputs.iter().map(|input| (input.upstream.to_string(), input.file.as_str())).collect();
    assert_eq!(two, [("files".to_owned(), "f.ndjson"), ("lines.rejected".to_owned(), "lines-rejected.ndjson")]);
}

#[test]
fn one_interpolation_has_the_type_of_its_key() {
    let source = r#"
pipeline: ${NAME}
nodes:
  a:
    run: node ${SCRIPT}
    replicas: "${COUNT}"
    env_clear: ${CLEAR}
    start_timeout: ${WAIT:-5s}
    with:
      number: ${COUNT}
      text: "${COUNT}"
      cost: $$5
"#;
    let variables = |name: &str| match name {
        "NAME" => Some("123"),
        "SCRIPT" => Some("a.js"),
        "COUNT" => Some("4"),
        "CLEAR" => Some("true"),
        _ => None,
    };
    let environment = Environment::from_fn(move |name| variables(name).map(str::to_owned));
    let error = parse(Path::new("p.yaml"), Path::new("/"), source, &environment).unwrap_err();
    let codes: Vec<&str> = error.iter().map(|diagnostic| diagnostic.code.name).collect();
    assert_eq!(codes, ["BAD_NAME"], "{error}");
    let source = source.replace("pipeline: ${NAME}", "pipeline: p");
    let pipeline = parse(Path::new("p.yaml"), Path::new("/"), &source, &environment).unwrap();
    let a = &pipeline.nodes[0];
    assert_eq!((a.replicas, a.env_clear, a.start_timeout), (4, true, Duration::from_secs(5)));
    assert_eq!(a.config_json, r#"{"number":4,"text":"4","cost":"$5"}"#);
}

#[test]
fn remote_nodes_only_where_the_user_accepts_it() {
    let source = "pipeline: p\nnodes:\n  a: { connect: 'far:7001' }\n";
    let accepted = Environment::from_fn(|name| (name == "MESHLOOM_INSECURE").then(|| "1".to_owned()));
    assert!(parse(Path::new("p.yaml"), Path::new("/"), source, &accepted).is_ok());
}

#[test]
fn anchors_and_merge_keys() {
    let pipeline = read(
        "x-common: &common { timeout: 7s, replicas: 2 }\npipeline: p\nnodes:\n  a: { run: node, <<: *common }\n  b: { run: node, from: a, <<: *common, replicas: 3 }\n",
    );
    assert_eq!(pipeline.nodes[0].timeout, Duration::from_secs(7));
    assert_eq!(pipeline.nodes[1].replicas, 3);
}

#[test]
fn a_fault_in_an_anchor_or_default_is_told_once() {
    for source in [
        "x: 1\nx-c: &c { timeout: 7 }\npipeline: p\nnodes:\n  a: { run: node, <<: *c }\n  b: { run: node, from: a, <<: *c }\n",
        "x: 1\ndefaults: { timeout: 7 }\npipeline: p\nnodes:\n  a: { run: node }\n  b: { run: node, from: a }\n",
    ] {
        let error = parse(Path::new("p.yaml"), Path::new("/"), source, &Environment::from_fn(|_| None)).unwrap_err();
        let codes: Vec<&str> = error.iter().map(|diagnostic| diagnostic.code.name).collect();
        assert_eq!(codes, ["UNKNOWN_KEY", "BAD_UNIT"], "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// A file with a part cut out, doubled or replaced is read or refused, and what is refused can be shown.
    #[test]
    fn mangled_files_never_panic(at in 0usize..1400, length in 0usize..60, with in "[a-z{}\\[\\]:,\"'$&*|\n ü]{0,12}", double in any::<bool>()) {
        let start = at.min(EXAMPLE.len());
        let end = (start + length).min(EXAMPLE.len());
        let middle = if double { EXAMPLE[start..end].repeat(2) } else { with };
        let source = format!("{}{middle}{}", &EXAMPLE[..start], &EXAMPLE[end..]);
        if let Err(diagnostics) = parse(Path::new("p.yaml"), Path::new("/"), &source, &Environment::from_fn(|_| None)) {
            prop_assert!(!diagnostics.is_empty());
            prop_assert!(!diagnostics.render(true).is_empty());
            prop_assert_eq!(diagnostics.to_json().as_array().map(Vec::len), Some(diagnostics.len()));
        }
    }
}

#[test]
fn an_order_holds_from_the_sources_down() {
    let pipeline = read(
        "pipeline: p
nodes:
  a: { use: stdin, key: data.id }
  b: { run: node, from: a, replicas: 3 }
  c: { run: node, from: b, ordering: key }
  d: { use: 'null', from: c }
  e: { use: 'null', from: b }
  f: { run: node, from: a }
  g: { use: 'null', from: f, ordering: all }
  h: { exec: cat, mode: batch, from: c, ordering: key }
",
    );
    let found: Vec<(&str, Ordering, bool)> =
        pipeline.nodes.iter().map(|node| (node.name.as_str(), node.ordering, node.keys_go_on)).collect();
    let (none, key, all) = (Ordering::None, Ordering::Key, Ordering::All);
    assert_eq!(
        found,
        [
            ("a", none, true),
            ("b", key, true),
            ("c", key, true),
            ("d", none, false),
            ("e", none, false),
            ("f", all, false),
            ("g", all, false),
            ("h", key, false),
        ]
    );
}

#[test]
fn an_order_of_the_defaults_gives_way_to_a_stronger_one_below() {
    let pipeline = read(
        "pipeline: p\ndefaults: { ordering: key }\nnodes:\n  a: { run: node }\n  b: { run: node, from: a }\n  c: { use: 'null', from: b, ordering: all }\n",
    );
    let found: Vec<Ordering> = pipeline.nodes.iter().map(|node| node.ordering).collect();
    assert_eq!(found, [Ordering::None, Ordering::All, Ordering::All]);
}
