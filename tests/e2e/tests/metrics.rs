//! What Prometheus reads: the numbers of `status`, and what operators are woken by.

use std::{
    collections::BTreeMap,
    net::TcpListener,
    time::{Duration, Instant},
};

use meshloom_e2e::{
    Books, Node, Project, lines,
    metrics::Metrics,
    toolchain::{list, rust_test_node},
    wait,
    web::{Client, Got},
};
use serde_json::{Value, json};

/// Every number of the books that is a metric, by its sample.
fn expected(books: &Books) -> BTreeMap<String, u64> {
    let mut all = BTreeMap::new();
    for node in &books.nodes {
        let name = &node.name;
        all.insert(format!("node_restarts_total node={name}"), node.restarts);
        for replica in &node.replicas {
            let up = u64::from(replica.state == "up");
            all.insert(format!("replica_up node={name} replica={}", replica.index), up);
        }
        if !books.edges.iter().any(|edge| edge.to == *name) {
            all.insert(format!("source_accepted_events_total node={name}"), node.received);
            all.insert(format!("source_settled_events_total node={name}"), node.settled);
            all.insert(format!("source_open_events node={name}"), node.received - node.settled);
            all.insert(format!("source_exhausted node={name}"), node.exhausted.into());
            continue;
        }
        all.insert(format!("node_received_events_total node={name}"), node.received);
        all.insert(format!("node_closed_events_total node={name} verdict=delivered"), node.answered);
        all.insert(format!("node_closed_events_total node={name} verdict=consumed"), node.consumed);
        all.insert(format!("node_closed_events_total node={name} verdict=rejected"), node.dead_lettered);
        all.insert(format!("node_retries_total node={name}"), node.retried);
        all.insert(format!("node_produced_events_total node={name}"), node.produced);
        all.insert(format!("node_in_hand_events node={name}"), node.in_hand);
        all.insert(format!("node_waiting_events node={name}"), node.waiting);
    }
    for edge in &books.edges {
        let ends = format!("from={} to={}", edge.from, edge.to);
        all.insert(format!("edge_produced_events_total {ends}"), edge.produced);
        all.insert(format!("edge_skipped_events_total {ends}"), edge.skipped);
        all.insert(format!("edge_dropped_events_total {ends}"), edge.dropped);
        all.insert(format!("edge_received_events_total {ends}"), edge.received);
        all.insert(format!("edge_queue_events {ends}"), 0);
        all.insert(format!("edge_queue_bytes {ends}"), 0);
    }
    all.insert("dead_letters".into(), books.dead_letter_store.letters);
    all.insert("dead_letters_bytes".into(), books.dead_letter_store.bytes);
    all.insert("dead_letters_waiting".into(), books.dead_letter_store.waiting);
    all.insert("memory_limit_bytes".into(), books.memory_budget_bytes);
    let journal = books.journal.as_ref().expect("the source needs one");
    all.insert("journal_bytes".into(), journal.bytes);
    all.insert("journal_limit_bytes".into(), journal.limit_bytes);
    all.insert("journal_open_frames".into(), journal.open_frames);
    all.insert("journal_commits_total".into(), journal.commits);
    all
}

/// Everything has settled and every actor has said so in its books; nothing is left to be written.
fn is_at_rest(books: &Books) -> bool {
    let (source, map, out, edge) = (books.node("in"), books.node("map"), books.node("out"), books.edge("map", "out"));
    let closed = |node: &Node| node.answered + node.consumed + node.dead_lettered;
    (source.received, source.settled, closed(map)) == (600, 600, 600)
        && (edge.produced, edge.skipped + edge.received) == (map.produced, map.produced)
        && (out.received, closed(out)) == (edge.received, edge.received)
        && books.journal.as_ref().is_some_and(|journal| journal.open_frames == 0)
}

#[test]
fn metrics_are_the_numbers_of_status() {
    let project = Project::new(&format!(
        "pipeline: metered
nodes:
  in: {{ use: http, with: {{ listen: '127.0.0.1:0', path: /events }} }}
  map: {{ run: {run}, handler: map, from: in, with: {{ label: x }}, replicas: 2, retry: {{ attempts: 5, initial: 5ms }} }}
  out: {{ use: file, with: {{ path: out.ndjson }}, from: map, when: data.n > 100 }}
",
        run = list([rust_test_node()])
    ));
    let project = project.args(["--admin", "127.0.0.1:0"]);
    let mut run = project.start();
    let (client, events, metrics) = (Client::default(), run.listening(), run.metrics());
    run.until("the coordinator", |books| books.phase == "running");
    let kinds = ["pass", "drop", "reject", "retry", "pass", "fail"];
    let commands: Vec<Value> = lines::commands(kinds.into_iter().cycle().take(600)).collect();
    for part in commands.chunks(50) {
        let body = serde_json::to_vec(part).unwrap();
        assert_eq!(client.post(&events, &[("content-type", "application/json")], body).unwrap().status, 202);
    }
    let books = run.until("rest", is_at_rest);
    let (map, edge) = (books.node("map"), books.edge("map", "out"));
    let counts = (map.received, map.answered, map.consumed, map.dead_lettered, map.retried);
    // A retry is asked for twice, a failure comes once.
    assert_eq!(counts, (600, 400, 100, 100, 300), "{map:?}");
    assert!(edge.skipped > 0 && edge.received > 0, "{edge:?}");
    // The journal and the store of letters may tell of their last steps a moment later.
    let since = Instant::now();
    let scraped = loop {
        let books = run.until("rest", is_at_rest);
        let scraped = Metrics::of(&client, &metrics);
        let wrong = expected(&books).into_iter().filter(|(sample, expected)| scraped.get(sample) != *expected as f64);
        let wrong: Vec<_> = wrong.map(|(sample, expected)| (scraped.get(&sample), sample, expected)).collect();
        if wrong.is_empty() {
            break scraped;
        }
        assert!(since.elapsed() < Duration::from_secs(120), "metric, sample, status: {wrong:#?}");
    };
    // Each attempt of each event once, and sums across labels.
    for histogram in ["queue_wait_seconds", "hop_seconds", "handler_seconds"] {
        assert_eq!(scraped.get(&format!("node_{histogram}_count node=map")), 900.0, "{histogram}");
        assert!(scraped.get(&format!("node_{histogram}_sum node=map")) > 0.0, "{histogram}");
    }
    assert_eq!(scraped.get("node_batch_events_sum node=map"), 900.0);
    assert_eq!(scraped.sum("node_closed_events_total").0, (600 + edge.received) as f64);
    assert_eq!(scraped.sum("replica_breaker"), (3.0, 9), "three replicas, each in one of three states");
    assert_eq!(scraped.sum("node_standstill"), (0.0, 6));
    assert!(scraped.get("journal_commit_seconds_total") > 0.0);
    assert_eq!(scraped.get("source_lag_seconds node=in"), 0.0);
    assert!(scraped.get("source_checkpoint_age_seconds node=in") < 86_400.0, "its mark in the journal");
    run.signal("TERM");
    run.finish().assert_code(0);
}

/// Two replicas at which all works fail: the breaker of one opens, the other one is the last.
#[test]
fn a_breaker_that_opens_and_an_outage_are_seen() {
    let project = Project::new(
        "pipeline: batches
nodes:
  in: { use: file, with: { path: in.ndjson } }
  out: { exec: [sh, -c, 'test -e {dir}/up && cat >> {dir}/out.ndjson'], mode: batch, concurrency: 1, replicas: 2, from: in, batch: { events: 5 } }
",
    );
    let project = project.args(["--admin", "127.0.0.1:0"]);
    lines::write(&project.path("in.ndjson"), (1..=300).map(|n| json!({"n": n})));
    let mut run = project.start();
    let (client, url) = (Client::default(), run.metrics());
    let open = |metrics: &Metrics| {
        let of = |replica| metrics.get(&format!("replica_breaker node=out replica={replica} state=open"));
        of(0) + of(1)
    };
    run.until("the coordinator", |books| books.phase == "running");
    let metrics = wait::until(Duration::from_secs(120), "an open breaker", || {
        Some(Metrics::of(&client, &url)).filter(|metrics| open(metrics) > 0.0)
    });
    assert_eq!((open(&metrics), metrics.sum("replica_breaker")), (1.0, (2.0, 6)), "each replica is in one state");
    run.until_log("its breaker is open");
    wait::holds(Duration::from_secs(120), "the outage, with all events", || {
        let metrics = Metrics::of(&client, &url);
        let lags = metrics.get("source_lag_seconds node=in") > 0.0;
        let all = metrics.get("source_open_events node=in") == 300.0;
        metrics.get("node_standstill node=out standstill=outage") == 1.0 && lags && all
    });
    let said = |log: &str| log.lines().filter(|line| line.contains("its breaker is")).count() as f64;
    let before = said(&run.log());
    let metrics = wait::until(Duration::from_secs(60), "all changes that were logged", || {
        let metrics = Metrics::of(&client, &url);
        (metrics.sum("replica_breaker_changes_total").0 >= before).then_some(metrics)
    });
    assert!(metrics.get("node_retries_total node=out") > 0.0);
    project.write("up", "");
    let finished = run.finish();
    finished.assert_code(0);
    finished.books().assert_balanced();
    let changes = metrics.sum("replica_breaker_changes_total").0;
    assert!(before >= 1.0 && changes <= said(&finished.log), "{changes} changes in\n{}", finished.log);
    assert_eq!(lines::numbers(&project.lines("out.ndjson")), (1..=300).collect::<Vec<_>>());
}

const IDLE: &str = "pipeline: idle
nodes:
  in: { use: http, with: { listen: '127.0.0.1:0' } }
  out: { use: 'null', from: in }
";

#[test]
fn addresses_that_cannot_be_served_are_refused_before_anything_starts() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let run = |address: &str| Project::new(IDLE).args(["--admin", address]).run();
    run(&address).assert_fails(69, &["error[ADMIN_ADDRESS]", &address, "name another with `--admin`"]);
    run("0.0.0.0:0").assert_fails(78, &["error[ADMIN_EXPOSED]", "MESHLOOM_ADMIN_TOKEN"]);
    run("9464").assert_fails(2, &["--admin", "127.0.0.1:9464"]);
}

#[test]
fn other_paths_and_methods_and_strangers_are_told_what_there_is() {
    let project = Project::new(IDLE).env("MESHLOOM_ADMIN", "127.0.0.1:0");
    let mut run = project.start();
    let (client, url) = (Client::default(), run.metrics());
    run.until("the coordinator", |books| books.phase == "running");
    assert!(Metrics::of(&client, &url).get("memory_limit_bytes") > 0.0);
    let answer = |ask: &dyn Fn() -> Option<Got>| wait::until(Duration::from_secs(120), "an answer", ask);
    let got = answer(&|| client.get(&url.replace("/metrics", "/")));
    assert!(got.status == 404 && got.body.contains("metrics are at /metrics"), "{got:?}");
    let got = answer(&|| client.post(&url, &[], ""));
    assert!(got.status == 405 && got.headers["allow"] == "GET, HEAD", "{got:?}");
    run.signal("TERM");
    run.finish().assert_code(0);

    let project = Project::new(IDLE).args(["--admin", "127.0.0.1:0"]).env("MESHLOOM_ADMIN_TOKEN", "secret");
    let mut run = project.start();
    let url = run.metrics();
    let got = answer(&|| client.get(&url));
    assert!(got.status == 401 && got.body.contains("MESHLOOM_ADMIN_TOKEN"), "{got:?}");
    let got = answer(&|| client.post(&url, &[("authorization", "Bearer secret")], ""));
    assert_eq!(got.status, 405, "{got:?}");
    run.signal("TERM");
    let finished = run.finish();
    finished.assert_code(0);
    assert!(!finished.log.contains("secret"), "{}", finished.log);
}
