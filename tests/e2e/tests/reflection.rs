//! A node of each language, started by hand, tells grpcurl what it is: nothing but reflection is needed.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use meshloom_e2e::{
    toolchain::{self, Language},
    wait,
};
use serde_json::Value;

/// A node process that ends when dropped.
struct Node(Child);

impl Node {
    fn start(language: Language, socket: &Path) -> Self {
        let words: Vec<String> = serde_json::from_str(&language.test_node()).expect("a list of words");
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).env("MESHLOOM_LISTEN", format!("unix:{}", socket.display()));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("the node starts");
        let mut node = Self(child);
        wait::holds(Duration::from_secs(30), &format!("{} to listen", language.name()), || {
            assert!(node.0.try_wait().unwrap().is_none(), "{} ended", language.name());
            std::os::unix::net::UnixStream::connect(socket).is_ok()
        });
        node
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn grpcurl(socket: &Path, args: &[&str]) -> String {
    let mut command = Command::new(toolchain::grpcurl());
    let (flags, rest) = args.split_at(if args[0] == "-d" { 2 } else { 0 });
    command.args(["-plaintext", "-max-time", "20", "-unix"]).args(flags).arg(socket).args(rest);
    let output = command.output().expect("grpcurl runs");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{args:?}: {said}{}", String::from_utf8_lossy(&output.stderr));
    said
}

#[test]
fn grpcurl_needs_nothing_but_reflection() {
    for language in Language::ALL {
        let folder = tempfile::tempdir().unwrap();
        let socket = folder.path().join("node");
        let _node = Node::start(language, &socket);
        let name = language.name();

        let listed = grpcurl(&socket, &["list"]);
        for service in ["meshloom.v1.NodeService", "grpc.health.v1.Health"] {
            assert!(listed.lines().any(|line| line == service), "{name}: {service} is not in:\n{listed}");
        }
        let methods = grpcurl(&socket, &["list", "meshloom.v1.NodeService"]);
        for method in ["Describe", "Process", "Produce"] {
            assert!(methods.contains(&format!("meshloom.v1.NodeService.{method}")), "{name}: {methods}");
        }

        let described = grpcurl(&socket, &["meshloom.v1.NodeService/Describe"]);
        let described: Value = serde_json::from_str(&described).unwrap();
        assert_eq!(described["sdk"]["language"], name);
        assert_eq!(
            (&described["protocol"]["min"], &described["protocol"]["max"]),
            (&1.into(), &1.into()),
            "{described}"
        );
        let role = |handler: &str| {
            let handlers = described["handlers"].as_array().unwrap();
            let found = handlers.iter().find(|found| found["name"] == handler);
            found.unwrap_or_else(|| panic!("{name} has no {handler}: {described}"))["role"].clone()
        };
        for (handler, expected) in [
            ("map", "HANDLER_ROLE_MAP"),
            ("filter", "HANDLER_ROLE_FILTER"),
            ("flat_map", "HANDLER_ROLE_FLAT_MAP"),
            ("batch", "HANDLER_ROLE_BATCH"),
            ("sink", "HANDLER_ROLE_SINK"),
            ("source", "HANDLER_ROLE_SOURCE"),
        ] {
            assert_eq!(role(handler), expected, "{name}");
        }

        let health: Value = serde_json::from_str(&grpcurl(&socket, &["grpc.health.v1.Health/Check"])).unwrap();
        assert_eq!(health["status"], "SERVING", "{name}");
        let service = ["-d", "{\"service\": \"meshloom.v1.NodeService\"}", "grpc.health.v1.Health/Check"];
        let health: Value = serde_json::from_str(&grpcurl(&socket, &service)).unwrap();
        assert_eq!(health["status"], "SERVING", "{name}");
        println!("{name}: list, Describe and health by reflection: ok");
    }
}
