//! Every built-in connector, in a real run.

use std::{
    fs::{self, OpenOptions},
    io::Write as _,
    time::{Duration, Instant},
};

use meshloom_e2e::{
    Project, lines,
    web::{Answer, Client, Got, Receiver},
};
use serde_json::{Value, json};

/// Reads `in.EXT` and writes `out.ndjson`.
fn file_to_file(source: &str) -> Project {
    Project::new(&format!(
        "pipeline: files\nnodes:\n  in: {{ use: file, with: {{ {source} }} }}\n  out: {{ use: file, with: {{ path: out.ndjson }}, from: in }}\n"
    ))
}

#[test]
fn file_ndjson() {
    let project = file_to_file("path: 'in-*.ndjson'");
    project.write("in-a.ndjson", "{\"n\": 1}\n{\"n\":   2}\n");
    project.write("in-b.ndjson", "{\"n\": 3}\n");
    project.succeed();
    assert_eq!(lines::numbers(&project.lines("out.ndjson")), [1, 2, 3]);
    assert_eq!(project.read("out.ndjson").lines().count(), 3, "one line each");

    project.write("in-c.ndjson", "{\"n\": 4}\n");
    let books = project.succeed().books();
    assert_eq!((books.node("in").received, lines::numbers(&project.lines("out.ndjson"))), (1, vec![1, 2, 3, 4]));
}

#[test]
fn file_json() {
    let project = file_to_file("path: in.json, format: json");
    project.write("in.json", "[\n  {\"n\": 1},\n  {\"n\": 2, \"deep\": [1, {\"x\": null}]}\n]\n");
    project.succeed();
    assert_eq!(project.lines("out.ndjson"), [json!({"n": 1}), json!({"n": 2, "deep": [1, {"x": null}]})]);
}

#[test]
fn file_text() {
    let project = Project::new(
        "pipeline: files\nnodes:\n  in: { use: file, with: { path: in.txt, format: text } }\n  out: { use: file, with: { path: out.txt, format: text }, from: in }\n",
    );
    project.write("in.txt", "one\n\n  two \nthree");
    project.succeed();
    assert_eq!(project.read("out.txt"), "one\n\n  two \nthree\n");
}

#[test]
fn file_csv() {
    let project = file_to_file("path: in.csv, format: csv");
    project.write("in.csv", "name,age\n\"Ada, Countess\",36\nGrace,85\n");
    project.succeed();
    let expected = [json!({"name": "Ada, Countess", "age": "36"}), json!({"name": "Grace", "age": "85"})];
    assert_eq!(project.lines("out.ndjson"), expected);
}

#[test]
fn file_follow() {
    let project = file_to_file("path: in.ndjson, follow: true");
    let path = project.write("in.ndjson", "{\"n\": 1}\n");
    let mut run = project.start();
    run.until("the first line", |books| books.node("in").settled == 1);
    let mut file = OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(b"{\"n\": 2}\n{\"n\"").unwrap();
    run.until("the second line", |books| books.node("in").settled == 2);
    file.write_all(b": 3}\n").unwrap();
    run.until("the line written in two parts", |books| books.node("in").settled == 3);
    run.signal("TERM");
    run.finish().assert_code(0);
    assert_eq!(lines::numbers(&project.lines("out.ndjson")), [1, 2, 3]);
}

#[test]
fn a_file_that_is_not_there() {
    let finished = file_to_file("path: nowhere.ndjson").run();
    assert_ne!(finished.status.code(), Some(0));
    assert!(finished.log.contains("NO_FILES") && finished.log.contains("nowhere.ndjson"), "{}", finished.log);
}

#[test]
fn what_a_file_sink_cannot_write_is_rejected() {
    let project = Project::new(
        "pipeline: files\nnodes:\n  in: { use: file, with: { path: in.txt, format: text } }\n  out: { use: file, with: { path: out.ndjson }, from: in }\n",
    );
    project.write("in.txt", "{\"n\": 1}\nnot json\n{\"n\": 2}\n");
    project.succeed();
    assert_eq!(lines::numbers(&project.lines("out.ndjson")), [1, 2]);
    let letters = project.letters();
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].reason.as_str(), &letters[0].event["data"]), ("NOT_JSON", &json!("not json")));
}

#[test]
fn stdin_to_stdout() {
    let project = Project::new(
        "pipeline: pipes\nnodes:\n  in: { use: stdin }\n  out: { use: stdout, from: in, when: data.n > 1 }\n",
    );
    project.stdin("{\"n\": 1}\n{\"n\": 2}\n{\"n\": 3}\n");
    let output = project.start().finish();
    output.assert_code(0);
    let data: Vec<Value> = output
        .out
        .lines()
        .filter(|line| line.starts_with("{\"n\""))
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(lines::numbers(&data), [2, 3]);
}

#[test]
fn generate_to_null() {
    let project = Project::new(
        "pipeline: trial
nodes:
  in: { use: generate, with: { count: 50000, template: '{\"n\": {{ data.n }}, \"even\": {{ data.n % 2 == 0 }}}' } }
  out: { use: 'null', from: in }
  some: { use: file, with: { path: out.ndjson }, from: in, when: data.even && data.n <= 10 }
",
    );
    let books = project.succeed().books();
    assert_eq!((books.node("in").received, books.node("out").consumed), (50_000, 50_000));
    assert_eq!(lines::numbers(&project.lines("out.ndjson")), [2, 4, 6, 8, 10]);
}

#[test]
fn generate_at_a_rate() {
    let project = Project::new(
        "pipeline: trial\nnodes:\n  in: { use: generate, with: { count: 100, rate: 100/s } }\n  out: { use: 'null', from: in }\n",
    );
    let start = Instant::now();
    project.succeed();
    assert!(start.elapsed() >= Duration::from_millis(900), "{:?} for 100 events at 100/s", start.elapsed());
}

fn http_project(settings: &str, sink: &str) -> Project {
    Project::new(&format!(
        "pipeline: web
nodes:
  in: {{ use: http, with: {{ listen: 127.0.0.1:0, path: /events }}{settings} }}
  out: {{ {sink}, from: in }}
"
    ))
}

const KEEP: &str = "exec: [sh, -c, 'cat >> {dir}/out.ndjson'], mode: batch, envelope: cloudevents";

#[test]
fn http_takes_every_form_of_event() {
    let project = http_project("", KEEP);
    let mut run = project.start();
    let (url, client) = (run.listening(), Client::default());
    let post = |headers: &[(&str, &str)], body: &str| {
        let got = client.post(&url, headers, body).expect("an answer");
        assert_eq!(got.status, 202, "{got:?}");
    };
    let json = ("content-type", "application/json");
    post(&[json], "{\"n\": 1}");
    post(&[json], "[{\"n\": 2}, {\"n\": 3}]");
    post(&[("content-type", "application/x-ndjson")], "{\"n\": 4}\n{\"n\": 5}\n");
    let envelope =
        |n: u64| json!({"specversion": "1.0", "id": n.to_string(), "source": "/test", "type": "t", "data": {"n": n}});
    post(&[("content-type", "application/cloudevents+json")], &envelope(6).to_string());
    post(&[("content-type", "application/cloudevents-batch+json")], &json!([envelope(7), envelope(8)]).to_string());
    post(&[json, ("ce-specversion", "1.0"), ("ce-id", "9"), ("ce-source", "/test"), ("ce-type", "t")], "{\"n\": 9}");
    run.signal("TERM");
    run.finish().assert_code(0);
    let events = project.lines("out.ndjson");
    let data: Vec<Value> = events.iter().map(|event| event["data"].clone()).collect();
    assert_eq!(lines::numbers(&data), (1..=9).collect::<Vec<_>>());
    let given = events.iter().filter(|event| event["source"] == "/test").count();
    assert_eq!(given, 4, "CloudEvents keep their attributes");
}

#[test]
fn http_refuses_with_a_reason_and_takes_nothing_by_halves() {
    let project = http_project(", max_event: 1KiB", KEEP);
    let mut run = project.start();
    let (url, client) = (run.listening(), Client::default());
    let json = ("content-type", "application/json");
    let refuse = |headers: &[(&str, &str)], body: &str, status: u16, reason: &str| {
        let got = client.post(&url, headers, body).expect("an answer");
        assert_eq!(got.status, status, "{got:?}");
        assert!(got.body.contains(reason), "{reason} is not in {got:?}");
    };
    refuse(&[json], "{\"n\": ", 400, "NOT_JSON");
    refuse(&[("content-type", "application/x-ndjson")], "{\"n\": 1}\n{oops\n", 400, "NOT_JSON");
    refuse(&[("content-type", "application/cloudevents+json")], "{\"specversion\": \"1.0\"}", 400, "BAD_ENVELOPE");
    refuse(&[("content-type", "text/csv")], "a,b\n", 415, "UNSUPPORTED_MEDIA_TYPE");
    refuse(&[], "{\"n\": 1}", 415, "UNSUPPORTED_MEDIA_TYPE");
    let large = json!([{"n": 1}, {"n": 2, "pad": "x".repeat(2000)}]).to_string();
    refuse(&[json], &large, 413, "1024");
    assert_eq!(client.get(&url).unwrap().status, 405);
    assert_eq!(client.post(&url.replace("/events", "/other"), &[json], "{}").unwrap().status, 404);
    assert!(!project.path("out.ndjson").exists(), "never half a request");
    run.signal("TERM");
    let finished = run.finish();
    finished.assert_code(0);
    assert_eq!(finished.books().node("in").received, 0);
}

#[test]
fn http_under_back_pressure() {
    let stuck = "exec: [sh, -c, 'while [ -e {dir}/stop ]; do sleep 0.05; done; cat >> {dir}/out.ndjson'], mode: batch, concurrency: 1, batch: { events: 50 }, queue: { events: 100 }";
    let project = http_project(", timeout: 3s", stuck);
    project.write("stop", "");
    let mut run = project.start();
    let (url, client) = (run.listening(), Client::default());
    let body = |n: u64| Value::from_iter((0..50).map(|at| json!({"n": 50 * n + at}))).to_string().into_bytes();
    // Requests that wait for a slow disk are taken together: how many go in before the pipeline is full is not fixed.
    let (mut answers, mut sent) = (Vec::new(), 0);
    while answers.iter().all(|got: &Got| got.status != 429) {
        assert!(sent < 4_000, "200,000 events were taken while the sink stood still");
        let bodies: Vec<Vec<u8>> = (sent..sent + 200).map(body).collect();
        answers.extend(client.post_all(&url, "application/json", bodies).into_iter().flatten());
        sent += 200;
        assert_eq!(answers.len() as u64, sent, "everybody is answered");
    }
    let (busy, taken): (Vec<_>, Vec<_>) = answers.iter().partition(|got| got.status == 429);
    let (durable, late): (Vec<_>, Vec<_>) = taken.iter().partition(|got| got.status == 202);
    assert!(!busy.is_empty() && !durable.is_empty(), "{} busy, {} durable", busy.len(), durable.len());
    assert!(busy.iter().chain(late.iter().copied()).all(|got| got.headers.contains_key("retry-after")), "{answers:#?}");
    // One or two that the full pipeline had not yet taken from the source.
    assert!(late.iter().all(|got| got.status == 503 && got.body.contains("NOT_SETTLED")), "{late:#?}");
    let accepted = 50 * taken.len() as u64;
    fs::remove_file(project.path("stop")).unwrap();
    run.until("what was accepted to be delivered", |books| books.node("in").settled == accepted);
    let got = client.post(&url, &[("content-type", "application/json")], "{\"n\": 1000}").unwrap();
    assert_eq!(got.status, 202, "{got:?}");
    run.signal("TERM");
    run.finish().assert_code(0);
    assert_eq!(project.lines("out.ndjson").len() as u64, accepted + 1);
}

#[test]
fn a_port_that_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let project = Project::new(&format!(
        "pipeline: web\nnodes:\n  in: {{ use: http, with: {{ listen: '{address}' }} }}\n  out: {{ use: 'null', from: in }}\n"
    ));
    project.run().assert_fails(69, &["error[LISTEN_FAILED]", "node in", &address.to_string()]);
}

fn webhook_project(url: &str, settings: &str) -> Project {
    let project = Project::new(&format!(
        "pipeline: hook
nodes:
  in: {{ use: file, with: {{ path: in.ndjson }} }}
  hook:
    use: webhook
    with:
      url: '{url}'
      headers: {{ X-Number: '{{{{ data.n }}}}' }}
      body: '{{\"number\": {{{{ data.n }}}}}}'
    from: in
    {settings}
"
    ));
    lines::write(&project.path("in.ndjson"), (1..=20).map(|n| json!({"n": n})));
    project
}

#[test]
fn webhook_delivers_each_event_once() {
    let receiver = Receiver::start();
    let project = webhook_project(&receiver.url(), "");
    project.succeed();
    let seen = receiver.seen();
    let bodies: Vec<Value> = seen.iter().map(|post| serde_json::from_str(&post.body).unwrap()).collect();
    let mut numbers: Vec<u64> = bodies.iter().map(|body| body["number"].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=20).collect::<Vec<_>>());
    for (post, body) in seen.iter().zip(&bodies) {
        assert_eq!((post.method.as_str(), post.header("x-number")), ("POST", body["number"].to_string().as_str()));
        assert_eq!(post.header("idempotency-key").replace('-', "").len(), 32, "{post:?}");
    }
    let keys: std::collections::BTreeSet<&str> = seen.iter().map(|post| post.header("idempotency-key")).collect();
    assert_eq!(keys.len(), 20);
}

#[test]
fn webhook_waits_as_long_as_429_asks() {
    let receiver = Receiver::answering(|seen, request| {
        let before = seen.iter().filter(|post| post.body == request.body).count();
        let busy = request.header("x-number") == "7" && before == 0;
        if busy { Answer::status(429).header("retry-after", "1") } else { Answer::status(204) }
    });
    let project = webhook_project(&receiver.url(), "retry: { initial: 1ms, max: 5ms }");
    let start = Instant::now();
    let books = project.succeed().books();
    assert!(start.elapsed() >= Duration::from_secs(1), "Retry-After was 1 s, it took {:?}", start.elapsed());
    assert_eq!((receiver.seen().len(), books.node("hook").retried), (21, 1));
    let sevens: Vec<_> = receiver.seen().into_iter().filter(|post| post.header("x-number") == "7").collect();
    assert_eq!(sevens[0].header("idempotency-key"), sevens[1].header("idempotency-key"), "one key for all attempts");
}

#[test]
fn webhook_retries_5xx_and_rejects_4xx() {
    let receiver = Receiver::answering(|seen, request| {
        let before = seen.iter().filter(|post| post.body == request.body).count();
        match request.header("x-number") {
            "3" if before < 2 => Answer::status(503),
            "5" => Answer::status(422).body("number 5 is not wanted"),
            "9" => Answer::status(500).body("never works"),
            _ => Answer::status(200),
        }
    });
    let project = webhook_project(&receiver.url(), "retry: { attempts: 3, initial: 1ms, max: 5ms }");
    let books = project.succeed().books();
    assert_eq!((books.node("hook").consumed, books.node("hook").dead_lettered), (18, 2));
    let count = |n: &str| receiver.seen().iter().filter(|post| post.header("x-number") == n).count();
    assert_eq!((count("3"), count("5"), count("9")), (3, 1, 3));
    let mut letters = project.letters();
    letters.sort_by_key(|letter| letter.n());
    assert_eq!(letters.iter().map(|letter| (letter.n(), letter.attempts)).collect::<Vec<_>>(), [(5, 1), (9, 3)]);
    assert!(letters[0].reason == "HTTP_STATUS" && letters[0].message.contains("422"), "{letters:#?}");
    assert!(letters[0].message.contains("number 5 is not wanted"), "{letters:#?}");
    assert!(letters[1].message.contains("500") && letters[1].message.contains("never works"), "{letters:#?}");
}
