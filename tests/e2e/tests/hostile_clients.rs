//! Clients of an HTTP source that are slow, silent, killed, or say what is not so. None of them may shut out the others,
//! cost more memory than is bounded, or have half of a request accepted.

use std::{
    io::{ErrorKind, Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpStream},
    time::Duration,
};

use meshloom_e2e::{
    Project, Running, lines, processes, wait,
    web::{Client, Got},
};

/// A time limit, not an expectation: a client that waits for more than this waits for ever.
const PATIENCE: Duration = Duration::from_secs(120);
const MIB: u64 = 1 << 20;

struct Site {
    project: Project,
    run: Running,
    address: SocketAddr,
    client: Client,
}

/// A pipeline with an HTTP source that keeps what it accepted in `out.ndjson`.
fn site(settings: &str) -> Site {
    let project = Project::new(&format!(
        "pipeline: web
nodes:
  in: {{ use: http, with: {{ listen: 127.0.0.1:0, path: /events }}{settings} }}
  out: {{ use: file, with: {{ path: out.ndjson }}, from: in }}
"
    ));
    let mut run = project.start();
    let address = run.listening().split('/').nth(2).unwrap().parse().unwrap();
    Site { project, run, address, client: Client::default() }
}

impl Site {
    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream
    }

    /// Posts as a good client does: one that is told to come again later does so.
    fn post(&self, body: &str) -> Got {
        let url = format!("http://{}/events", self.address);
        wait::until(PATIENCE, "the source to have room", || {
            let got = self.client.post(&url, &[("content-type", "application/json")], body).expect("an answer");
            (got.status != 429).then_some(got)
        })
    }

    fn resident(&self) -> u64 {
        processes::resident(self.run.pid()).expect("the coordinator runs")
    }

    /// Others are served, and nothing but their events was ever accepted.
    fn serves_others_and_ends(self) {
        assert_eq!(self.post("[{\"n\": 1}, {\"n\": 2}]").status, 202);
        self.run.signal("TERM");
        let finished = self.run.finish();
        finished.assert_code(0);
        assert_eq!(finished.books().node("in").received, 2, "nothing else was accepted");
        assert_eq!(lines::numbers(&self.project.lines("out.ndjson")), [1, 2]);
    }
}

fn head(framing: &str) -> String {
    format!("POST /events HTTP/1.1\r\nhost: test\r\ncontent-type: application/x-ndjson\r\n{framing}\r\n\r\n")
}

/// What the server still says until it closes; a connection that it has reset has said all.
fn rest(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    match stream.read_to_end(&mut text) {
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{error}"),
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn a_client_that_is_killed_in_the_middle_of_a_request() {
    let site = site("");
    for framing in ["content-length: 1000", "transfer-encoding: chunked"] {
        let mut stream = site.connect();
        stream.write_all(head(framing).as_bytes()).unwrap();
        let part = "{\"n\": 100}\n{\"n\": 101}\n{\"n\"";
        let part = if framing.contains("chunked") { format!("{:x}\r\n{part}", 500) } else { part.to_owned() };
        stream.write_all(part.as_bytes()).unwrap();
        // What the system does for a process that is killed.
        drop(stream);
    }
    site.serves_others_and_ends();
}

#[test]
fn a_client_that_sends_half_a_body_and_waits() {
    let site = site(", timeout: 1s");
    let mut stream = site.connect();
    stream.write_all((head("content-length: 1000") + "{\"n\": 100}\n").as_bytes()).unwrap();
    let answer = rest(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("BODY_TIMEOUT"), "{answer}");
    site.serves_others_and_ends();
}

#[test]
fn a_body_that_lies_about_its_length() {
    let site = site("");
    // Less than announced.
    let mut stream = site.connect();
    stream.write_all((head("content-length: 1000") + "{\"n\": 100}\n").as_bytes()).unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    let answer = rest(&mut stream);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 400 "), "{answer}");
    // More than announced: what is announced is no JSON, and what comes after it no request.
    let mut stream = site.connect();
    stream.write_all((head("content-length: 5") + "{\"n\": 100}\n").as_bytes()).unwrap();
    let answer = rest(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("NOT_JSON"), "{answer}");
    // Two lengths that contradict each other.
    let mut stream = site.connect();
    stream.write_all((head("content-length: 5\r\ncontent-length: 11") + "{\"n\": 100}\n").as_bytes()).unwrap();
    let answer = rest(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    site.serves_others_and_ends();
}

#[test]
fn a_body_of_two_gibibytes() {
    let site = site("");
    let before = site.resident();
    let mut stream = site.connect();
    stream.write_all(head(&format!("content-length: {}", 2u64 << 30)).as_bytes()).unwrap();
    let answer = rest(&mut stream);
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");

    // One that does not say how long it is, and goes on until it is told or cut off.
    let mut stream = site.connect();
    stream.write_all(head("transfer-encoding: chunked").as_bytes()).unwrap();
    let line = format!("{{\"n\": {}}}\n", "1".repeat(1 << 20));
    let chunk = format!("{:x}\r\n{line}\r\n", line.len());
    let mut sent = 0;
    while sent < 2u64 << 30 && stream.write_all(chunk.as_bytes()).is_ok() {
        sent += chunk.len() as u64;
    }
    assert!(sent < 256 * MIB, "{sent} bytes were taken");
    let more = site.resident().saturating_sub(before);
    assert!(more < 128 * MIB, "{more} bytes more memory");
    site.serves_others_and_ends();
}

#[test]
fn ten_thousand_idle_connections() {
    let most = raise_descriptors();
    let site = site("");
    let before = site.resident();
    let idle: Vec<TcpStream> = (0..10_000.min(most - 200)).map(|_| site.connect()).collect();
    // Some that have begun to speak, and got no further than a part of a head.
    for stream in idle.iter().rev().take(100) {
        let mut stream: &TcpStream = stream;
        stream.write_all(b"POST /events HT").unwrap();
    }
    let mut accepted = 0;
    for _ in 0..20 {
        // Each on a connection of its own: the first is answered while all the others are open.
        let mut stream = site.connect();
        stream.write_all((head("connection: close\r\ncontent-length: 4") + "null").as_bytes()).unwrap();
        let answer = rest(&mut stream);
        assert!(answer.starts_with("HTTP/1.1 202 ") || answer.starts_with("HTTP/1.1 429 "), "{answer:?}");
        accepted += usize::from(answer.starts_with("HTTP/1.1 202 "));
    }
    let more = site.resident().saturating_sub(before);
    assert!(more < 64 * MIB, "{more} bytes more memory for {} connections", idle.len());
    assert!(site.run.log().contains("those that are idle make way"), "{}", site.run.log());
    let Site { project, run, .. } = site;
    run.signal("TERM");
    run.finish().assert_code(0);
    assert_eq!(project.lines("out.ndjson").len(), accepted);
}

/// Raises the soft limit of open files to the hard one, and says what it is.
fn raise_descriptors() -> u64 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit }).expect("a soft limit may be raised");
    limit.maximum.unwrap_or(u64::MAX)
}
