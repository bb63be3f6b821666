//! A node as a process of its own: signals, exit codes, what it prints.
//!
//! The child is this test program, asked to run the test `child` alone.

mod common;

use std::{
    io::Read as _,
    process::{Child, Command, Output, Stdio},
    time::Instant,
};

use common::SOON;
use meshloom::{Event, node};

#[tokio::test]
async fn child() {
    async fn pass(event: Event) -> Event {
        event
    }
    if std::env::var("MESHLOOM_TEST_CHILD").is_ok() {
        node("child").map(pass).serve().await.expect("served");
    }
}

fn spawn(environment: &[(&str, &str)]) -> Child {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command
        .args(["child", "--exact", "--nocapture"])
        .env("MESHLOOM_TEST_CHILD", "1")
        .env_remove("MESHLOOM_LISTEN")
        .env_remove("MESHLOOM_INSECURE");
    command.envs(environment.iter().copied()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("spawned")
}

fn ended(mut child: Child) -> Output {
    let until = Instant::now() + SOON;
    while child.try_wait().expect("waited").is_none() {
        if Instant::now() > until {
            child.kill().expect("killed");
            panic!("the node did not end");
        }
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
    child.wait_with_output().expect("output")
}

fn refused(environment: &[(&str, &str)]) -> (Option<i32>, String) {
    let output = ended(spawn(environment));
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn a_port_that_is_taken_ends_with_69_and_names_the_variable() {
    // Where a node listens by hand; if something else has the port already, that serves as well.
    let held = std::net::TcpListener::bind("127.0.0.1:7480");
    let (code, told) = refused(&[]);
    drop(held);
    assert_eq!(code, Some(69), "{told}");
    assert!(told.contains("127.0.0.1:7480") && told.contains("MESHLOOM_LISTEN"), "{told}");
}

#[test]
fn what_is_configured_wrongly_ends_with_78_and_a_remedy() {
    for (environment, remedy) in [
        (&[("MESHLOOM_LISTEN", "nonsense")][..], "unix:/path"),
        (&[("MESHLOOM_LISTEN", "0.0.0.0:0")], "MESHLOOM_INSECURE=1"),
        (&[("MESHLOOM_LISTEN", "127.0.0.1:0"), ("MESHLOOM_TLS_CERT", "/nowhere/cert.pem")], "PEM file"),
        (&[("MESHLOOM_LISTEN", "unix:/nowhere/at/all.sock")], "must exist"),
    ] {
        let (code, told) = refused(environment);
        assert_eq!(code, Some(78), "{told}");
        assert!(told.contains(remedy), "{told}");
    }
}

#[test]
fn sigterm_ends_a_node_well() {
    let mut child = spawn(&[("MESHLOOM_LISTEN", "127.0.0.1:0")]);
    let mut stderr = child.stderr.take().expect("piped");
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let mut byte = [0];
        assert_eq!(stderr.read(&mut byte).expect("read"), 1, "it ended: {}", String::from_utf8_lossy(&line));
        line.push(byte[0]);
    }
    let line = String::from_utf8_lossy(&line).into_owned();
    assert!(line.contains("node child listens on 127.0.0.1:") && line.contains("connect:"), "{line}");
    assert!(Command::new("kill").arg(child.id().to_string()).status().expect("kill").success());
    assert_eq!(ended(child).status.code(), Some(0));
}
