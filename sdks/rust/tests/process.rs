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
    let line = first_line(&mut child);
    assert!(line.contains("node child listens on 127.0.0.1:") && line.contains("connect:"), "{line}");
    assert!(Command::new("kill").arg(child.id().to_string()).status().expect("kill").success());
    assert_eq!(ended(child).status.code(), Some(0));
}

/// What it says first.
fn first_line(child: &mut Child) -> String {
    let stderr = child.stderr.as_mut().expect("piped");
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let mut byte = [0];
        assert_eq!(stderr.read(&mut byte).expect("read"), 1, "it ended: {}", String::from_utf8_lossy(&line));
        line.push(byte[0]);
    }
    String::from_utf8_lossy(&line).into_owned()
}

/// A key and a certificate of its own signature, as files.
#[cfg(feature = "tls")]
fn identity(folder: &std::path::Path, name: &str) -> (std::path::PathBuf, std::path::PathBuf) {
    let (key, cert) = (folder.join(format!("{name}.key")), folder.join(format!("{name}.pem")));
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]);
    openssl.args(["-subj", &format!("/CN={name}"), "-addext", "subjectAltName=DNS:localhost"]);
    openssl.args(["-addext", "basicConstraints=critical,CA:FALSE"]);
    let made = openssl.arg("-keyout").arg(&key).arg("-out").arg(&cert).stderr(Stdio::null()).status();
    assert!(made.expect("openssl").success());
    (key, cert)
}

#[cfg(feature = "tls")]
#[tokio::test]
async fn with_mutual_tls_whoever_has_the_certificate_is_served_and_nobody_else() {
    use meshloom_proto::v1::{DescribeRequest, node_service_client::NodeServiceClient};
    use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

    let folder = tempfile::tempdir().expect("a folder");
    let ((key, cert), (client_key, client_cert)) = (identity(folder.path(), "node"), identity(folder.path(), "client"));
    // Every address of the machine: without mutual TLS that is refused.
    let listen = ("MESHLOOM_LISTEN", "0.0.0.0:0");
    let path = |path: &std::path::Path| path.to_str().expect("UTF-8").to_owned();
    let (cert_path, key_path, ca_path) = (path(&cert), path(&key), path(&client_cert));
    let mut child = spawn(&[
        listen,
        ("MESHLOOM_TLS_CERT", &cert_path),
        ("MESHLOOM_TLS_KEY", &key_path),
        ("MESHLOOM_TLS_CLIENT_CA", &ca_path),
    ]);
    let line = first_line(&mut child);
    let port = line.split("0.0.0.0:").nth(1).and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    let port: u16 = port.and_then(|port| port.parse().ok()).unwrap_or_else(|| panic!("{line}"));
    let read = |path: &std::path::Path| std::fs::read(path).expect("made above");
    let trusting = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(read(&cert))).domain_name("localhost");
    let known = trusting.clone().identity(Identity::from_pem(read(&client_cert), read(&client_key)));
    let describe = async |scheme: &str, tls: Option<ClientTlsConfig>| {
        let mut endpoint = Endpoint::from_shared(format!("{scheme}://localhost:{port}")).expect("an address");
        if let Some(tls) = tls {
            endpoint = endpoint.tls_config(tls).expect("a configuration");
        }
        let channel = common::soon(endpoint.connect()).await.map_err(|error| error.to_string())?;
        let described = common::soon(NodeServiceClient::new(channel).describe(DescribeRequest::default())).await;
        described.map(|_| ()).map_err(|status| status.to_string())
    };
    describe("https", Some(known.clone())).await.expect("served");
    describe("https", Some(trusting)).await.expect_err("it has no certificate");
    describe("http", None).await.expect_err("it speaks no TLS");
    describe("https", Some(known)).await.expect("served still");
    assert!(Command::new("kill").arg(child.id().to_string()).status().expect("kill").success());
    assert_eq!(ended(child).status.code(), Some(0));
}
