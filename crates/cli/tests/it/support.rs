//! A folder with pipeline files, and the binary run in it.

use std::{
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(60);

pub(crate) struct Folder(tempfile::TempDir);

/// What a command left behind.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Folder {
    /// With `pipeline.yaml` of this text.
    pub(crate) fn with(pipeline: &str) -> Self {
        let folder = Self::empty();
        std::fs::write(folder.path().join("pipeline.yaml"), pipeline).unwrap();
        folder
    }

    pub(crate) fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// The binary with words separated by spaces, in an environment without surprises.
    pub(crate) fn command(&self, words: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_meshloom"));
        command.args(words.split_whitespace()).current_dir(self.path()).stdin(Stdio::null());
        for (name, _) in std::env::vars_os() {
            let text = name.to_string_lossy();
            if text.starts_with("MESHLOOM_") || text.starts_with("OTEL_") {
                command.env_remove(&name);
            }
        }
        command
    }

    /// Runs to the end.
    pub(crate) fn run(&self, words: &str) -> Ran {
        self.command(words).output().unwrap().into()
    }

    /// Starts, with both outputs captured.
    pub(crate) fn start(&self, words: &str) -> Running {
        Running(Some(self.command(words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()))
    }
}

/// A process that does not outlive its test.
pub(crate) struct Running(Option<Child>);

impl Running {
    pub(crate) fn child(&mut self) -> &mut Child {
        self.0.as_mut().expect("taken only by its end")
    }

    /// Sends a signal by its name, as `kill` does.
    pub(crate) fn signal(&mut self, name: &str) {
        let id = self.child().id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &id]).status().unwrap().success());
    }

    /// Waits for the end of a process that was told to end.
    pub(crate) fn end(mut self) -> Ran {
        wait_for("the process to end", || self.child().try_wait().unwrap());
        self.0.take().expect("taken only here").wait_with_output().unwrap().into()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8(output.stdout).unwrap(),
            err: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

/// What a command printed for a program.
pub(crate) fn json(text: &str) -> serde_json::Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Asks until there is an answer.
pub(crate) fn wait_for<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(start.elapsed() < DEADLINE, "waited in vain for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
