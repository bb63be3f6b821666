//! The rows: a hop in one language, with the SDK and without.

use crate::settings::Settings;

/// What a row's programs are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Language {
    Rust,
    Go,
    Python,
    Node,
}

/// One row.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    /// For the table, and for `--only`.
    pub(crate) name: &'static str,
    /// Of node and server.
    pub(crate) language: Language,
    /// The handler: `echo`, `map` or `filter`.
    pub(crate) handler: &'static str,
    /// Bytes by which payloads grow; `None`: no payload travels back.
    pub(crate) added_bytes: Option<usize>,
    /// Throughput through Meshloom over that of the reference, at least.
    pub(crate) target: f64,
}

const fn case(name: &'static str, language: Language, handler: &'static str, target: f64) -> Case {
    let added_bytes = match handler.as_bytes() {
        b"echo" => Some(0),
        b"map" => Some(1),
        _ => None,
    };
    Case { name, language, handler, added_bytes, target }
}

/// All rows, with the targets of the performance paper.
pub(crate) const CASES: [Case; 7] = [
    case("rust-echo", Language::Rust, "echo", 0.85),
    case("go-map", Language::Go, "map", 0.8),
    case("go-filter", Language::Go, "filter", 0.8),
    case("python-map", Language::Python, "map", 0.8),
    case("python-filter", Language::Python, "filter", 0.8),
    case("node-map", Language::Node, "map", 0.8),
    case("node-filter", Language::Node, "filter", 0.8),
];

impl Case {
    /// Starts the node that is written with the SDK.
    pub(crate) fn sdk_command(&self, settings: &Settings) -> Vec<String> {
        self.command(settings, "sdk")
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
