//! What the tests run, built once with the project's own scripts.

mod cargo;
mod go;
mod java;
mod lock;
mod node;
mod python;
mod tools;

use std::process::Command;

pub use self::{
    cargo::{meshloom, rust_ingest, rust_interpreter, rust_test_node, rust_test_publisher},
    go::go_program,
    java::java_interpreter,
    node::node_folder,
    python::{anomaly_model, python},
    tools::{grpcurl, jaeger},
};

/// A language with an SDK.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// Rust.
    Rust,
    /// Go.
    Go,
    /// Python.
    Python,
    /// Node.js.
    Node,
}

impl Language {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Rust, Self::Go, Self::Python, Self::Node];

    /// As the SDK names itself.
    pub fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::Go => "go",
            Self::Python => "python",
            Self::Node => "node",
        }
    }

    /// The command of the test publisher of this language.
    pub fn test_publisher(self) -> Vec<std::path::PathBuf> {
        match self {
            Self::Rust => vec![rust_test_publisher()],
            Self::Go => vec![go_program("tests/nodes/go/publish")],
            Self::Python => vec![python(), crate::root().join("tests/nodes/python/publish.py")],
            Self::Node => vec!["node".into(), node_folder("tests/nodes/node").join("publish.js")],
        }
    }

    /// The command of the interpreter of the conformance kit in this language.
    pub fn interpreter(self) -> Vec<std::path::PathBuf> {
        match self {
            Self::Rust => vec![rust_interpreter()],
            Self::Go => vec![go_program("tests/nodes/go/interpreter")],
            Self::Python => vec![python(), crate::root().join("tests/nodes/python/interpreter.py")],
            Self::Node => vec!["node".into(), node_folder("tests/nodes/node").join("interpreter.js")],
        }
    }

    /// The `run` value of the test node of this language, a YAML flow list.
    pub fn test_node(self) -> String {
        match self {
            Self::Rust => list([rust_test_node()]),
            Self::Go => list([go_program("tests/nodes/go")]),
            Self::Python => list([python(), crate::root().join("tests/nodes/python/node.py")]),
            Self::Node => list(["node".into(), node_folder("tests/nodes/node").join("main.js")]),
        }
    }
}

/// A command as a YAML flow list of quoted words.
pub fn list(words: impl IntoIterator<Item = std::path::PathBuf>) -> String {
    let words: Vec<String> =
        words.into_iter().map(|word| serde_json::json!(word.to_str().unwrap()).to_string()).collect();
    format!("[{}]", words.join(", "))
}

/// Runs a command to its end.
///
/// # Panics
/// It fails; its output is shown.
fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?} cannot be run: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(
        output.status.success(),
        "{command:?} ended with {}\n{}{}",
        output.status,
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}
