//! The text of all metrics, the documented list, and what the admin port answers.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use axum::{
    body::{Body, to_bytes},
    http::{Request, StatusCode, header},
};
use meshloom_core::moment::Moment;
use meshloom_journal::{Journal, storage::Memory};
use meshloom_proto::v1;
use meshloom_telemetry::{
    Stats,
    metrics::{Metric, catalogue::ALL},
};
use tokio::sync::{Notify, watch};
use tower::ServiceExt as _;

use super::{Served, bind, exposition, http::router};
use crate::{
    clock::Clock,
    error::FailureKind,
    flow::{Budget, EdgeBooks, Room},
    node::NodeBooks,
    options::{AdminPort, Token},
    replica::ReplicaBoard,
    source::SourceBooks,
    state::{Holding, LettersWaiting},
    status::{self, Views},
    wiring::{EdgeView, NodeView, Place},
};

/// in -> out, where everything has been at least once.
struct Sample {
    views: Views,
    status: v1::PipelineStatus,
    source: Arc<SourceBooks>,
    node: Arc<NodeBooks>,
}

fn sample() -> Sample {
    let (source, node, edge) = (Arc::new(SourceBooks::default()), Arc::new(NodeBooks::new()), EdgeBooks::default());
    source.accepted.store(10, Ordering::Relaxed);
    source.settled.store(6, Ordering::Relaxed);
    source.give_up(3, 1);
    let clock = Clock::new();
    let Moment(now) = clock.now();
    source.oldest_open.store(now - 5_000_000_000, Ordering::Relaxed);
    source.checkpointed.store(now - 2_000_000_000, Ordering::Relaxed);
    node.breaker_changed(1);
    node.breaker_changed(1);
    edge.produced.store(7, Ordering::Relaxed);
    edge.skipped.store(2, Ordering::Relaxed);
    edge.received.store(5, Ordering::Relaxed);
    let room = Arc::new(Room::new(100, 4096, Arc::<Notify>::default(), Arc::default()));
    room.give(-3, -300);
    let view = |place, replicas: usize| NodeView {
        place,
        replicas: (0..replicas).map(|_| ReplicaBoard::default()).collect(),
        roller: None,
        resumes: None,
    };
    let size = meshloom_journal::MIN_SIZE_BYTES;
    let (journal, _) = Journal::open(Memory::new(), meshloom_journal::Options { size }).unwrap();
    let views = Views {
        started: std::time::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
        clock,
        nodes: vec![view(Place::Source(source.clone()), 1), view(Place::Node(node.clone()), 2)],
        edges: vec![EdgeView { label: "in".into(), to: "out".into(), books: Arc::new(edge), room }],
        replayed: Vec::new(),
        budget: Budget::new(1 << 20),
        memory: 1 << 20,
        journal: Some((journal.meter(), size)),
        letters: watch::channel(Holding { letters: 4, bytes: 400, max_bytes: 1000 }).1,
        letters_waiting: Arc::new(LettersWaiting::default()),
    };
    let replica = |index, breaker: &str| v1::ReplicaStatus {
        index,
        state: if index == 0 { "up" } else { "down" }.into(),
        breaker: breaker.into(),
        works: 2,
        ..v1::ReplicaStatus::default()
    };
    let status = v1::PipelineStatus {
        pipeline: "shop".into(),
        nodes: vec![
            v1::NodeStatus {
                name: "in".into(),
                received: source.accepted(),
                settled: source.settled(),
                replicas: vec![replica(0, "")],
                ..v1::NodeStatus::default()
            },
            v1::NodeStatus {
                name: "out".into(),
                received: 5,
                answered: 1,
                consumed: 2,
                dead_lettered: 1,
                retried: 9,
                in_hand: 1,
                restarts: 3,
                waiting_for_replica: Some(prost_types::Duration { seconds: 2, nanos: 500_000_000 }),
                condition: Some(v1::NodeCondition {
                    standstill: v1::Standstill::Outage.into(),
                    ..v1::NodeCondition::default()
                }),
                replicas: vec![replica(0, "closed"), replica(1, "half-open")],
                ..v1::NodeStatus::default()
            },
        ],
        edges: views.edges.iter().map(status::edge).collect(),
        memory_used_bytes: 77,
        memory_budget_bytes: 1 << 20,
        journal: Some(v1::JournalStatus { bytes: 55, commits: 8, ..v1::JournalStatus::default() }),
        dead_letters: Some(v1::DeadLetterStatus { letters: 4, bytes: 400, size_bytes: 1000, ..Default::default() }),
        ..v1::PipelineStatus::default()
    };
    Sample { views, status, source, node }
}

impl Sample {
    fn text(&self) -> String {
        let traces = Stats { dropped: 1, export_dropped: 2, export_rejected: 3, ..Stats::default() };
        exposition(&self.status, &self.views, &traces).render("shop").unwrap()
    }
}

/// The value of a sample.
#[track_caller]
fn value(text: &str, sample: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {sample} in\n{text}")).parse().unwrap()
}

#[test]
fn numbers_are_those_of_status() {
    let text = sample().text();
    for (sample, expected) in [
        ("meshloom_node_received_events_total{pipeline=\"shop\",node=\"out\"}", 5.0),
        ("meshloom_node_closed_events_total{pipeline=\"shop\",node=\"out\",verdict=\"delivered\"}", 1.0),
        ("meshloom_node_closed_events_total{pipeline=\"shop\",node=\"out\",verdict=\"consumed\"}", 2.0),
        ("meshloom_node_closed_events_total{pipeline=\"shop\",node=\"out\",verdict=\"rejected\"}", 1.0),
        ("meshloom_node_retries_total{pipeline=\"shop\",node=\"out\"}", 9.0),
        ("meshloom_node_restarts_total{pipeline=\"shop\",node=\"out\"}", 3.0),
        ("meshloom_node_idle_seconds_total{pipeline=\"shop\",node=\"out\",for=\"replica\"}", 2.5),
        ("meshloom_node_standstill{pipeline=\"shop\",node=\"out\",standstill=\"outage\"}", 1.0),
        ("meshloom_node_standstill{pipeline=\"shop\",node=\"out\",standstill=\"paused\"}", 0.0),
        ("meshloom_replica_up{pipeline=\"shop\",node=\"out\",replica=\"0\"}", 1.0),
        ("meshloom_replica_up{pipeline=\"shop\",node=\"out\",replica=\"1\"}", 0.0),
        ("meshloom_replica_breaker{pipeline=\"shop\",node=\"out\",replica=\"0\",state=\"closed\"}", 1.0),
        ("meshloom_replica_breaker{pipeline=\"shop\",node=\"out\",replica=\"1\",state=\"closed\"}", 0.0),
        ("meshloom_replica_breaker{pipeline=\"shop\",node=\"out\",replica=\"1\",state=\"half-open\"}", 1.0),
        ("meshloom_replica_breaker_changes_total{pipeline=\"shop\",node=\"out\",replica=\"0\"}", 0.0),
        ("meshloom_replica_breaker_changes_total{pipeline=\"shop\",node=\"out\",replica=\"1\"}", 2.0),
        ("meshloom_edge_produced_events_total{pipeline=\"shop\",from=\"in\",to=\"out\"}", 7.0),
        ("meshloom_edge_skipped_events_total{pipeline=\"shop\",from=\"in\",to=\"out\"}", 2.0),
        ("meshloom_edge_queue_events{pipeline=\"shop\",from=\"in\",to=\"out\"}", 3.0),
        ("meshloom_edge_queue_bytes{pipeline=\"shop\",from=\"in\",to=\"out\"}", 300.0),
        ("meshloom_edge_queue_limit_events{pipeline=\"shop\",from=\"in\",to=\"out\"}", 100.0),
        ("meshloom_edge_queue_limit_bytes{pipeline=\"shop\",from=\"in\",to=\"out\"}", 4096.0),
        ("meshloom_journal_bytes{pipeline=\"shop\"}", 55.0),
        ("meshloom_journal_commits_total{pipeline=\"shop\"}", 8.0),
        ("meshloom_dead_letters{pipeline=\"shop\"}", 4.0),
        ("meshloom_memory_used_bytes{pipeline=\"shop\"}", 77.0),
        ("meshloom_spans_dropped_total{pipeline=\"shop\",at=\"exporter\"}", 5.0),
        ("meshloom_start_time_seconds{pipeline=\"shop\"}", 1_800_000_000.0),
    ] {
        assert_eq!(value(&text, sample), expected, "{sample}");
    }
}

/// What is read again lowers the numbers of `status`; a counter that fell would be taken for a restart.
#[test]
fn counters_of_a_source_do_not_fall_when_it_is_read_again() {
    let sample = sample();
    assert_eq!((sample.source.accepted(), sample.source.settled(), sample.source.open()), (7, 5, 2));
    let text = sample.text();
    let of_source = |name: &str| value(&text, &format!("meshloom_source_{name}{{pipeline=\"shop\",node=\"in\"}}"));
    assert_eq!(of_source("accepted_events_total"), 10.0);
    assert_eq!(of_source("settled_events_total"), 6.0);
    assert_eq!(of_source("reread_events_total"), 3.0);
    assert_eq!(of_source("open_events"), 2.0);
}

#[test]
fn ages_are_there_when_there_is_something_to_have_one() {
    let sample = sample();
    let text = sample.text();
    assert!(value(&text, "meshloom_source_lag_seconds{pipeline=\"shop\",node=\"in\"}") >= 5.0);
    assert!(value(&text, "meshloom_source_checkpoint_age_seconds{pipeline=\"shop\",node=\"in\"}") >= 2.0);
    sample.source.oldest_open.store(0, Ordering::Relaxed);
    sample.source.checkpointed.store(0, Ordering::Relaxed);
    let text = sample.text();
    assert_eq!(value(&text, "meshloom_source_lag_seconds{pipeline=\"shop\",node=\"in\"}"), 0.0);
    assert!(!text.contains("checkpoint_age"), "{text}");
}

#[test]
fn times_are_counted_per_event() {
    use meshloom_core::machine::Part;
    let sample = sample();
    let second = Duration::from_secs(1);
    let part = |rows, since| Part { rows, bytes: 1, edge: 0, since };
    let start = Moment(1_000_000_000);
    sample.node.sent(start + 2 * second, &[part(3, start), part(1, start + second)]);
    sample.node.handled(4, 2 * second, 3 * second);
    let text = sample.text();
    let of_node = |name: &str| value(&text, &format!("meshloom_node_{name}{{pipeline=\"shop\",node=\"out\"}}"));
    assert_eq!((of_node("batch_events_count"), of_node("batch_events_sum")), (1.0, 4.0));
    assert_eq!((of_node("queue_wait_seconds_count"), of_node("queue_wait_seconds_sum")), (4.0, 7.0));
    assert_eq!((of_node("hop_seconds_count"), of_node("hop_seconds_sum")), (4.0, 12.0));
    assert_eq!((of_node("handler_seconds_count"), of_node("handler_seconds_sum")), (4.0, 2.0));
}

/// The families of a text, as their `TYPE` lines tell.
fn families(text: &str) -> Vec<String> {
    let types = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types
        .map(|line| match line.split_once(' ').unwrap() {
            (name, "counter") => format!("{name}_total"),
            (name, _) => name.to_owned(),
        })
        .collect()
}

#[test]
fn every_metric_that_is_listed_is_served_and_no_other() {
    let listed: Vec<_> = ALL.iter().map(|metric| metric.name.to_owned()).collect();
    assert_eq!(families(&sample().text()), listed);
}

#[test]
fn the_documented_list_is_the_list() {
    let row = |metric: &&Metric| {
        let labels = metric.labels.iter().map(|label| format!("`{label}`")).collect::<Vec<_>>().join(", ");
        format!("| `{}` | {} | {labels} | {} |", metric.name, metric.kind.as_str(), metric.help)
    };
    let documented = include_str!("../../../../deploy/METRICS.md");
    let rows: Vec<_> = documented.lines().filter(|line| line.starts_with("| `")).collect();
    let expected: Vec<_> = ALL.iter().map(row).collect();
    assert_eq!(rows, expected, "the table of deploy/METRICS.md is to be:\n{}", expected.join("\n"));
}

#[test]
fn metrics_that_the_documentation_names_exist() {
    let documented = include_str!("../../../../deploy/METRICS.md");
    let words = documented.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
    for word in words.filter(|word| word.starts_with("meshloom_")) {
        assert!(ALL.iter().any(|metric| metric.name == word), "{word}");
    }
}

async fn ask(token: Option<Token>, request: Request<Body>) -> (StatusCode, axum::http::HeaderMap, String) {
    let response = router(token, Served::default()).oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    let body = to_bytes(body, 1 << 16).await.unwrap();
    (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
}

fn request(method: &str, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path)
}

#[tokio::test]
async fn what_is_not_served_is_refused_with_what_is() {
    let (status, _, text) = ask(None, request("GET", "/metric?x=1").body(Body::empty()).unwrap()).await;
    assert_eq!((status.as_u16(), text.as_str()), (404, "there is nothing at /metric; metrics are at /metrics\n"));
    let (status, headers, text) = ask(None, request("POST", "/metrics").body(Body::empty()).unwrap()).await;
    assert_eq!((status.as_u16(), text.as_str()), (405, "POST is not allowed here: GET /metrics\n"));
    assert_eq!(headers[header::ALLOW], "GET, HEAD");
    let (status, _, text) = ask(None, request("GET", "/metrics").body(Body::empty()).unwrap()).await;
    assert!(status.as_u16() == 503 && text.contains("the nodes are being started"), "{text}");
}

#[tokio::test]
async fn a_token_is_asked_for_on_every_path() {
    let token = || Token::new(" secret\n");
    for (given, path, expected) in [
        (None, "/metrics", 401),
        (None, "/other", 401),
        (Some("Bearer secre"), "/metrics", 401),
        (Some("Bearer secret1"), "/metrics", 401),
        (Some("Basic secret"), "/metrics", 401),
        (Some("Bear"), "/metrics", 401),
        (Some("Bearer secret"), "/metrics", 503),
        (Some("bearer secret"), "/other", 404),
    ] {
        let mut request = request("GET", path);
        if let Some(given) = given {
            request = request.header(header::AUTHORIZATION, given);
        }
        let (status, headers, text) = ask(token(), request.body(Body::empty()).unwrap()).await;
        assert_eq!(status.as_u16(), expected, "{given:?} {path}");
        assert_eq!(headers.contains_key(header::WWW_AUTHENTICATE), expected == 401);
        assert!(!text.contains("secret"), "{text}");
    }
    assert_eq!(format!("{:?}", token().unwrap()), "Token");
}

#[tokio::test]
async fn an_address_that_cannot_be_had_is_refused_with_a_remedy() {
    let port = |address: &str, token| AdminPort { address: address.parse().unwrap(), token };
    let taken = bind(&port("127.0.0.1:0", None)).await.unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let error = bind(&port(&address, None)).await.unwrap_err();
    assert_eq!((error.code, error.kind), ("ADMIN_ADDRESS", FailureKind::Unavailable));
    assert!(error.message.contains(&address) && error.remedy.contains("`--admin`"), "{error:?}");
    let error = bind(&port("0.0.0.0:0", None)).await.unwrap_err();
    assert_eq!((error.code, error.kind), ("ADMIN_EXPOSED", FailureKind::Config));
    assert!(error.remedy.contains("MESHLOOM_ADMIN_TOKEN"), "{error:?}");
    assert!(bind(&port("0.0.0.0:0", Token::new("secret"))).await.is_ok());
}
