//! The anomaly pipeline on its real data: books exact, by number and by identity, whatever language a node is in.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::Command,
};

use meshloom_e2e::{Project, anomaly::Nodes, identity, lines, root, toolchain, web::Receiver};
use serde_json::Value;

/// What an independent program gets from data and model.
struct Expected {
    lines: u64,
    readings: u64,
    blank: u64,
    malformed: u64,
    /// `SENSOR CELSIUS TIME PREDICTION` of each.
    alerts: BTreeMap<String, usize>,
}

fn expected(readings: &Path, model: &Path) -> Expected {
    let script = root().join("examples/anomaly/classify/expected.py");
    let output = Command::new(toolchain::python()).arg(script).arg(readings).arg(model).output().expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    let number = |name: &str| value[name].as_u64().unwrap();
    let mut alerts = BTreeMap::new();
    for alert in value["alerts"].as_array().unwrap() {
        *alerts.entry(reading(alert)).or_default() += 1;
    }
    let (readings, blank, malformed) = (number("readings"), number("blank"), number("malformed"));
    Expected { lines: readings + blank + malformed, readings, blank, malformed, alerts }
}

fn reading(value: &Value) -> String {
    format!(
        "{} {:.2} {} {}",
        value["sensor"].as_str().unwrap(),
        value["celsius"].as_f64().unwrap(),
        value["time"].as_str().unwrap(),
        value["prediction"].as_str().unwrap()
    )
}

/// The events of one archived stream: (source, id) of each, and their data.
fn archived(project: &Project, name: &str) -> (BTreeSet<String>, Vec<Value>) {
    let folder = project.path("unpacked");
    let archives = std::fs::read_dir(project.path("archive")).expect("archives").filter_map(Result::ok);
    let mut uids = BTreeSet::new();
    let mut data = Vec::new();
    for archive in archives.map(|entry| entry.path()) {
        assert_eq!(archive.extension().unwrap(), "gz", "only whole archives are left: {}", archive.display());
        std::fs::create_dir_all(&folder).unwrap();
        let tar = Command::new("tar").arg("-xzf").arg(&archive).arg("-C").arg(&folder).status().expect("tar runs");
        assert!(tar.success());
        for mut event in lines::read(&folder.join(name)) {
            let uid = identity::of_source(event["source"].as_str().unwrap(), event["id"].as_str().unwrap());
            assert!(uids.insert(uid), "{name} holds an event twice: {event}");
            data.push(event["data"].take());
        }
    }
    (uids, data)
}

fn check(nodes: &Nodes) {
    let receiver = Receiver::start();
    let project = nodes.project().env("SLACK_WEBHOOK_URL", &receiver.url());
    let expected =
        expected(&root().join("examples/anomaly/data/readings.txt"), &toolchain::anomaly_model().join("model.json"));
    let books = project.succeed().books();

    let count = |node: &str| {
        let node = books.node(node);
        (node.received, node.answered, node.consumed, node.dead_lettered)
    };
    let alerts = expected.alerts.values().sum::<usize>() as u64;
    assert_eq!(books.node("ingest").received, expected.lines);
    assert_eq!(count("filter"), (expected.lines, expected.readings, expected.blank, expected.malformed));
    assert_eq!(count("classify"), (expected.readings, expected.readings, 0, 0));
    assert_eq!(count("alert"), (alerts, 0, alerts, 0));
    assert_eq!(books.edge("classify", "alert").skipped, expected.readings - alerts);
    let archive = expected.lines + 2 * expected.readings;
    assert_eq!(count("archive"), (archive, 0, archive, 0));

    let (raw, raw_data) = archived(&project, "raw.ndjson");
    let (filtered, _) = archived(&project, "filtered.ndjson");
    let (classified, classified_data) = archived(&project, "classified.ndjson");
    assert_eq!(raw.len() as u64, expected.lines);
    assert_eq!(raw_data.iter().filter(|line| is_blank(line)).count() as u64, expected.blank);
    assert_eq!(filtered.len() as u64, expected.readings);
    assert_eq!(filtered, classified, "what passed the filter was classified");

    let letters = project.letters();
    assert!(letters.iter().all(|letter| letter.node == "filter" && letter.attempts == 1));
    let rejected: BTreeSet<String> = letters.iter().map(|letter| letter.uid.clone()).collect();
    assert_eq!((letters.len() as u64, rejected.len() as u64), (expected.malformed, expected.malformed));
    assert!(rejected.is_disjoint(&filtered));
    assert!(rejected.union(&filtered).all(|uid| raw.contains(uid)), "each is a line that was read");
    assert_eq!(raw.len(), rejected.len() + filtered.len() + expected.blank as usize, "what else there is was blank");

    let posted = receiver.seen();
    let uids: BTreeSet<&str> = posted.iter().map(|post| post.header("idempotency-key")).collect();
    assert_eq!((posted.len() as u64, uids.len() as u64), (alerts, alerts));
    assert!(uids.iter().all(|uid| classified.contains(&uid.replace('-', ""))));
    let mut found = BTreeMap::new();
    for event in classified_data.iter().filter(|event| event["prediction"] != "normal") {
        *found.entry(reading(event)).or_default() += 1;
    }
    assert_eq!(found, expected.alerts, "the alerts are those that data and model give");
    for post in &posted {
        let body: Value = serde_json::from_str(&post.body).unwrap();
        let text = body["text"].as_str().unwrap();
        assert!(expected.alerts.keys().any(|alert| says(text, alert)), "{text}");
    }
}

fn is_blank(line: &Value) -> bool {
    line.is_null() || line.as_str().is_some_and(|line| line.trim().is_empty())
}

/// Whether a text is about this reading; how it writes degrees is up to the language.
fn says(text: &str, alert: &str) -> bool {
    let words: Vec<&str> = alert.split(' ').collect();
    [words[0], words[2], words[3]].iter().all(|word| text.contains(word))
}

#[test]
fn as_it_is() {
    check(&Nodes::of_the_example());
}

#[test]
fn with_ingest_and_alert_in_go() {
    let swap = toolchain::list([toolchain::go_program("tests/swap/go")]);
    check(&Nodes { ingest: swap.clone(), alert: swap, ..Nodes::of_the_example() });
}

#[test]
fn with_the_filter_in_python() {
    let filter = toolchain::list([toolchain::python(), root().join("tests/swap/python/filter.py")]);
    check(&Nodes { filter, ..Nodes::of_the_example() });
}

#[test]
fn with_classify_in_node() {
    let classify = toolchain::node_folder("tests/swap/node").join("classify.js");
    let classify = toolchain::list(["node".into(), classify]);
    check(&Nodes { classify, model: "model.json", ..Nodes::of_the_example() });
}
