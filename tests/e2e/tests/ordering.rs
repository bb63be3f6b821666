//! Order over real processes: kept per key through retries and killed replicas, and no key waits for another.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, thread,
};

use meshloom_e2e::{Project, lines, processes, toolchain::Language};
use serde_json::{Value, json};

const KEYS: u64 = 30;

/// Event `n`, with the key that it has by its number.
fn event(n: u64, what: &str) -> Value {
    json!({ "n": n, "do": what, "key": format!("k{}", n % KEYS) })
}

/// The numbers of the lines of a file by key, in the order of the lines.
fn by_key(lines: &[Value]) -> BTreeMap<u64, Vec<u64>> {
    let mut found: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for n in lines.iter().map(|line| line["n"].as_u64().unwrap()) {
        found.entry(n % KEYS).or_default().push(n);
    }
    found
}

#[test]
fn a_key_keeps_its_order_through_retries_and_deaths() {
    thread::scope(|scope| {
        for language in Language::ALL {
            scope.spawn(move || retry_and_kill(language));
        }
    });
}

/// Three replicas; every seventh event is tried three times, some are rejected, and one kills whoever gets it; two replicas
/// are killed from outside while the sink's gate is shut.
fn retry_and_kill(language: Language) {
    const EVENTS: u64 = 3_000;
    const DEADLY: u64 = 1_000;
    let (run, name) = (language.test_node(), language.name());
    let project = Project::new(&format!(
        "pipeline: ordered
trace: {{ rate: 0 }}
nodes:
  in: {{ use: file, with: {{ path: in.ndjson }}, key: data.key }}
  map: {{ run: {run}, from: in, replicas: 3, with: {{ label: {name} }}, retry: {{ attempts: 4, initial: 5ms }}, restart: {{ initial: 10ms }}, batch: {{ events: 16 }}, queue: {{ events: 256 }} }}
  out: {{ exec: [sh, -c, 'while [ ! -e {{dir}}/open ]; do sleep 0.05; done; cat >> {{dir}}/out.ndjson'], mode: batch, concurrency: 1, timeout: 10m, from: map, ordering: key, batch: {{ events: 64 }}, queue: {{ events: 128 }} }}
"
    ));
    let what = |n: u64| match n % 7 {
        _ if n == DEADLY => "die",
        0 if n.is_multiple_of(5) => "reject",
        0 => "retry",
        3 if n.is_multiple_of(4) => "fail",
        _ => "pass",
    };
    lines::write(&project.path("in.ndjson"), (1..=EVENTS).map(|n| event(n, what(n))));
    let mut running = project.start();
    let books = running.until("all replicas to be up and one to have answered", |books| {
        let map = books.node("map");
        map.answered > 0 && map.replicas.iter().all(|replica| replica.pid.is_some())
    });
    for replica in &books.node("map").replicas[..2] {
        processes::signal(replica.pid.unwrap(), "KILL");
    }
    fs::write(project.path("open"), "").unwrap();
    let finished = running.finish();
    finished.assert_code(0);
    finished.books().assert_balanced();
    assert!(finished.books().node("map").restarts >= 5, "{name}: {}", finished.log);
    let is_refused = |n| ["reject", "die"].contains(&what(n));
    let found = by_key(&project.lines("out.ndjson"));
    for key in 0..KEYS {
        let expected: Vec<u64> = (1..=EVENTS).filter(|n| n % KEYS == key && !is_refused(*n)).collect();
        assert_eq!(found.get(&key), Some(&expected), "{name}: key {key}");
    }
    let letters: BTreeSet<u64> = project.letters().iter().map(|letter| letter.n()).collect();
    assert_eq!(letters, (1..=EVENTS).filter(|n| is_refused(*n)).collect(), "{name}: a letter lets go of its key");
}

/// One event of one key waits an hour for its next attempt: its key waits, the others pass. The next run goes on in order.
#[test]
fn while_one_key_waits_the_others_flow() {
    const EVENTS: u64 = 600;
    let run = Language::Rust.test_node();
    let pipeline = |initial: &str| {
        format!(
            "pipeline: held
trace: {{ rate: 0 }}
nodes:
  in: {{ use: file, with: {{ path: in.ndjson }}, key: data.key }}
  map: {{ run: {run}, from: in, replicas: 2, with: {{ label: rust }}, ordering: key, retry: {{ attempts: 4, initial: {initial} }}, batch: {{ events: 16 }} }}
  out: {{ use: file, with: {{ path: out.ndjson }}, from: map }}
"
        )
    };
    let project = Project::new(&pipeline("1h"));
    let what = |n| if n == KEYS + 7 { "retry" } else { "pass" };
    lines::write(&project.path("in.ndjson"), (1..=EVENTS).map(|n| event(n, what(n))));
    let mut running = project.start();
    let free = (1..=EVENTS).filter(|n| n % KEYS != 7 || *n == 7).count() as u64;
    running.until("all other keys to pass and the rest to wait", |books| {
        let map = books.node("map");
        books.node("out").consumed == free && map.in_hand == 0 && map.waiting == EVENTS - free
    });
    assert_eq!(by_key(&project.lines("out.ndjson"))[&7], [7]);
    running.signal("TERM");
    let finished = running.finish();
    finished.assert_code(0);
    assert_eq!(by_key(&project.lines("out.ndjson"))[&7], [7], "nothing passes the event that waits");

    project.rewrite(&pipeline("5ms"));
    fs::remove_file(project.path("out.ndjson")).unwrap();
    project.succeed();
    let expected: Vec<u64> = (1..=EVENTS).filter(|n| n % KEYS == 7 && *n != 7).collect();
    let found = by_key(&project.lines("out.ndjson"));
    let seventh: Vec<u64> = found[&7].iter().copied().filter(|n| *n != 7).collect();
    assert_eq!(seventh, expected);
    assert!(found.values().all(|numbers| numbers.is_sorted()), "what comes again comes in order too");
}

#[test]
fn all_keeps_the_order_of_the_file() {
    const EVENTS: u64 = 400;
    for language in [Language::Rust, Language::Node] {
        let (run, name) = (language.test_node(), language.name());
        let project = Project::new(&format!(
            "pipeline: total
nodes:
  in: {{ use: file, with: {{ path: in.ndjson }} }}
  map: {{ run: {run}, from: in, with: {{ label: {name} }}, retry: {{ attempts: 4, initial: 5ms }}, batch: {{ events: 16 }} }}
  pass: {{ exec: [cat], mode: lines, from: map }}
  out: {{ use: file, with: {{ path: out.ndjson }}, from: pass, ordering: all }}
"
        ));
        let what = |n: u64| if n.is_multiple_of(50) { "retry" } else { "pass" };
        lines::write(&project.path("in.ndjson"), (1..=EVENTS).map(|n| event(n, what(n))));
        project.succeed();
        let found: Vec<u64> = project.lines("out.ndjson").iter().map(|line| line["n"].as_u64().unwrap()).collect();
        assert_eq!(found, (1..=EVENTS).collect::<Vec<_>>(), "{name}");
    }
}
