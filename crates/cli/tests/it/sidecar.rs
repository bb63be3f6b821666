//! A program behind `meshloom sidecar`, as a node of a pipeline.

use std::io::{BufRead, BufReader};

use crate::support::{Folder, Running};

/// Starts a sidecar on a free port; returns its address, and keeps reading what it logs.
fn start(folder: &Folder, words: &str) -> (Running, String) {
    let mut child = folder.start(&format!("sidecar --listen 127.0.0.1:0 {words}"));
    let mut lines = BufReader::new(child.child().stderr.take().unwrap()).lines();
    let address = loop {
        let line = lines.next().expect("it says where it listens").unwrap();
        if let Some((_, rest)) = line.split_once("listens on ") {
            break rest.split(';').next().unwrap().to_owned();
        }
    };
    std::thread::spawn(move || lines.for_each(drop));
    (child, address)
}

#[test]
fn a_program_is_an_ordinary_node() {
    let folder = Folder::empty();
    let (mut sidecar, address) = start(&folder, "--mode lines -- cat");
    let pipeline = |node: &str| {
        format!(
            "pipeline: demo\nnodes:\n  made: {{ use: generate, with: {{ count: 50 }} }}\n  work: {{ {node}, from: made }}\n  out: {{ use: file, with: {{ path: out.ndjson }}, from: work }}\n"
        )
    };
    std::fs::write(folder.path().join("pipeline.yaml"), pipeline(&format!("connect: '{address}'"))).unwrap();
    let ran = folder.run("run --ephemeral --strict");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let out = folder.path().join("out.ndjson");
    assert_eq!(std::fs::read_to_string(&out).unwrap().lines().count(), 50);
    std::fs::remove_file(&out).unwrap();

    // The same, in the place of a command that must not run.
    std::fs::write(folder.path().join("pipeline.yaml"), pipeline("run: [sh, -c, 'exit 9']")).unwrap();
    let ran = folder.run(&format!("run --ephemeral --strict --attach work={address}"));
    assert_eq!(ran.code, 0, "{}", ran.err);
    assert_eq!(std::fs::read_to_string(&out).unwrap().lines().count(), 50);

    sidecar.signal("TERM");
    assert_eq!(sidecar.end().code, 0);
}

#[test]
fn a_program_without_input_is_a_source() {
    let folder = Folder::empty();
    let (mut sidecar, address) = start(&folder, "--mode batch --source -- seq 1 30");
    let pipeline = format!(
        "pipeline: demo\nnodes:\n  made: {{ connect: '{address}', durability: memory }}\n  gone: {{ use: 'null', from: made }}\n"
    );
    std::fs::write(folder.path().join("pipeline.yaml"), pipeline).unwrap();
    let ran = folder.run("run --ephemeral --output json");
    assert_eq!(ran.code, 0, "{}", ran.err);
    let report: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["nodes"][0]["settled"], 30, "{report}");
    sidecar.signal("INT");
    assert_eq!(sidecar.end().code, 0);
}

#[test]
fn what_cannot_be_served_is_refused_at_once() {
    let folder = Folder::empty();
    for (words, code, says) in [
        ("sidecar --mode lines -- no-such-program", 69, "in no folder of PATH"),
        ("sidecar --mode lines --output x -- cat", 2, "`mode: files`"),
        ("sidecar --mode lines --dir nowhere -- cat", 1, "--dir"),
        ("sidecar --mode lines --listen 0.0.0.0:0 -- cat", 69, "MESHLOOM_INSECURE=1"),
        ("sidecar -- cat", 2, "--mode"),
    ] {
        let ran = folder.run(words);
        assert!(ran.code == code && ran.err.contains(says), "{words}: {}: {}", ran.code, ran.err);
    }
}
