//! State that another version left is read, or refused with what to do, and left as it was.

use std::{fs, path::Path};

use meshloom_e2e::Project;

const STATE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/fixtures/state");
const SEGMENT: &str = "journal/0000000000000001.segment";

/// The pipeline that left it, at a state directory with its files.
fn project() -> Project {
    let project = Project::new(
        "pipeline: kept
trace: { rate: 0 }
nodes:
  in: { use: http, with: { listen: '127.0.0.1:0', path: /events } }
  count: { use: generate, with: { count: 150 } }
  counted: { use: file, with: { path: counted.ndjson }, from: count }
  out: { use: file, with: { path: out.ndjson }, from: in }
  picky: { use: 'null', from: in, when: data.level > 3 }
",
    );
    for name in [SEGMENT, "checkpoints/count.json", "dead-letters.ndjson"] {
        project.write(&format!("state/{name}"), fs::read(Path::new(STATE).join(name)).unwrap());
    }
    project
}

#[test]
fn the_state_of_every_format_that_is_read_goes_on_where_it_was() {
    let project = project();
    let mut run = project.start();
    run.until("all that was left", |books| {
        books.node("in").settled == 5
            && books.node("count").settled == books.node("count").received
            && books.node("count").exhausted
    });
    run.signal("TERM");
    let finished = run.finish();
    finished.assert_code(0);
    finished.books().assert_balanced();
    let numbers = |name| project.lines(name).iter().map(|line| line["n"].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(numbers("out.ndjson"), [1, 2, 3, 4, 5], "what the journal held");
    assert_eq!(project.lines("counted.ndjson").len(), 10, "140 of 150 were settled");
    let letters = project.letters();
    assert_eq!(letters.len(), 5, "the same events as before: {letters:#?}");
    assert!(letters.iter().all(|letter| letter.node == "picky" && letter.reason == "WHEN_FAILED"), "{letters:#?}");
}

/// Raises the number of a format in a file of the state.
fn of_a_later_version(project: &Project, name: &str, now: &[u8], later: &[u8]) {
    let path = project.state().join(name);
    let mut bytes = fs::read(&path).unwrap();
    let at = bytes.windows(now.len()).position(|window| window == now).expect("its number is there");
    bytes.splice(at..at + now.len(), later.iter().copied());
    fs::write(path, bytes).unwrap();
}

#[test]
fn the_state_of_a_later_version_is_refused_and_left_as_it_was() {
    let magic = fs::read(Path::new(STATE).join(SEGMENT)).unwrap()[..8].to_vec();
    let numbered = |number: u8| [&magic[..], &[number, 0]].concat();
    let cases: [(&str, Vec<u8>, Vec<u8>, &str); 3] = [
        (SEGMENT, numbered(1), numbered(2), "newer version of Meshloom (format 2, this one reads up to 1)"),
        ("checkpoints/count.json", b"\"version\": 1".to_vec(), b"\"version\": 2".to_vec(), "format 2"),
        ("dead-letters.ndjson", b"\"version\":2".to_vec(), b"\"version\":3".to_vec(), "format 3"),
    ];
    for (name, now, later, says) in cases {
        let project = project();
        of_a_later_version(&project, name, &now, &later);
        let before = fs::read(project.state().join(name)).unwrap();
        project.run().assert_fails(1, &[says, project.state().join(name).to_str().unwrap()]);
        assert_eq!(fs::read(project.state().join(name)).unwrap(), before, "{name} was left as it was");
        assert!(!project.path("out.ndjson").exists(), "{name}: nothing was delivered");
    }
}
