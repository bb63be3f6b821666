//! The rows: a hop in one language, with the SDK and without, and a typed JSON map, as a node and in a plain loop.

use crate::settings::Settings;

/// What a row's programs are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    Rust,
    Go,
    Python,
    Node,
}

/// What a row compares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A hop through the coordinator, with a server that knows no SDK.
    Hop,
    /// A map of typed JSON behind its stream, with the same function in a plain loop.
    TypedMap,
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    /// For the table, and for `--only`.
    pub(crate) name: &'static str,
    /// What is compared.
    pub(crate) kind: Kind,
    /// Of both sides.
    pub(crate) language: Language,
    /// The handler: `echo`, `map`, `filter` or `json-map`.
    pub(crate) handler: &'static str,
    /// Bytes by which payloads grow; `None`: no payload travels back.
    pub(crate) added_bytes: Option<usize>,
    /// Throughput of Meshloom over that of the reference, at least.
    pub(crate) target: f64,
}

const fn hop(name: &'static str, language: Language, handler: &'static str, target: f64) -> Case {
    let added_bytes = match handler.as_bytes() {
        b"echo" => Some(0),
        b"map" => Some(1),
        _ => None,
    };
    Case { name, kind: Kind::Hop, language, handler, added_bytes, target }
}

const fn typed_map(name: &'static str, language: Language, target: f64) -> Case {
    let added_bytes = Some(r#","hot":false"#.len());
    Case { name, kind: Kind::TypedMap, language, handler: "json-map", added_bytes, target }
}

/// All rows, with the targets of the performance paper.
pub(crate) const CASES: [Case; 11] = [
    hop("rust-echo", Language::Rust, "echo", 0.85),
    hop("go-map", Language::Go, "map", 0.8),
    hop("go-filter", Language::Go, "filter", 0.8),
    hop("python-map", Language::Python, "map", 0.8),
    hop("python-filter", Language::Python, "filter", 0.8),
    hop("node-map", Language::Node, "map", 0.8),
    hop("node-filter", Language::Node, "filter", 0.8),
    typed_map("rust-json-map", Language::Rust, 0.5),
    typed_map("go-json-map", Language::Go, 0.5),
    typed_map("python-json-map", Language::Python, 0.4),
    typed_map("node-json-map", Language::Node, 0.5),
];

impl Case {
    /// Starts the node that is written with the SDK.
    pub(crate) fn sdk_command(&self, settings: &Settings) -> Vec<String> {
        self.command(settings, "sdk")
    }

    /// Starts the plain loop over batches of `batch` times `payload`.
    pub(crate) fn loop_command(&self, settings: &Settings, payload: &str, batch: u32) -> Vec<String> {
        let mut command = self.command(settings, "loop");
        command.extend([payload.to_owned(), batch.to_string()]);
        command
    }

    /// Starts the server that knows no SDK.
    pub(crate) fn bare_command(&self, settings: &Settings) -> Vec<String> {
        let mut command = self.command(settings, "bare");
        command.push(self.handler.to_owned());
        command
    }

    fn command(&self, settings: &Settings, side: &str) -> Vec<String> {
        let program = |path: &std::path::Path| path.display().to_string();
        match self.language {
            Language::Rust => vec![program(&settings.rust), side.to_owned()],
            Language::Go => vec![program(&settings.go), side.to_owned()],
            Language::Python => {
                let script = settings.programs.join("python").join(format!("{side}.py"));
                vec![program(&settings.python), program(&script)]
            }
            Language::Node => {
                let script = settings.programs.join("node").join(format!("{side}.js"));
                vec!["node".to_owned(), program(&script)]
            }
        }
    }
}
