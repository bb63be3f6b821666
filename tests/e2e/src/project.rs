//! A folder with a pipeline file and all that a run of it leaves.

use std::{
    cell::RefCell,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::Value;

use crate::{Letter, Running, processes, run::Finished, toolchain};

/// A folder of its own for one test.
pub struct Project {
    folder: tempfile::TempDir,
    mark: String,
    program: PathBuf,
    args: Vec<String>,
    env: Vec<(String, String)>,
    stdin: RefCell<Option<Vec<u8>>>,
}

impl Project {
    /// A folder with this pipeline file. `{dir}` in it stands for the folder.
    pub fn new(pipeline: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("e2e-").tempdir().expect("a folder");
        let mark = folder.path().file_name().unwrap().to_str().unwrap().to_owned();
        let program = toolchain::meshloom();
        let project = Self { folder, mark, program, args: Vec::new(), env: Vec::new(), stdin: RefCell::default() };
        project.rewrite(pipeline);
        project
    }

    /// Replaces the pipeline file.
    pub fn rewrite(&self, pipeline: &str) {
        fs::write(self.file(), pipeline.replace("{dir}", self.dir().to_str().unwrap())).expect("written");
    }

    /// With this program in place of `meshloom`.
    pub fn program(mut self, path: PathBuf) -> Self {
        self.program = path;
        self
    }

    /// With these arguments for each run.
    pub fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.args.extend(args.into_iter().map(str::to_owned));
        self
    }

    /// With this variable for each run.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With this on standard input of the next run.
    pub fn stdin(&self, bytes: impl Into<Vec<u8>>) {
        *self.stdin.borrow_mut() = Some(bytes.into());
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        self.folder.path()
    }

    /// Leaves the folder for whoever wants to see what went wrong.
    pub fn keep(self) -> PathBuf {
        self.folder.keep()
    }

    /// A path in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// Writes a file of the folder; its folders are made.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        path
    }

    /// Writes an executable file of the folder.
    pub fn script(&self, name: &str, text: &str) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.write(name, text);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    /// The text of a file of the folder.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The values of a file of JSON lines; none if it does not exist.
    pub fn lines(&self, name: &str) -> Vec<Value> {
        crate::lines::read(&self.path(name))
    }

    /// The pipeline file.
    pub fn file(&self) -> PathBuf {
        self.path("meshloom.yaml")
    }

    /// The state directory.
    pub fn state(&self) -> PathBuf {
        self.path("state")
    }

    /// `meshloom` with these arguments, in the folder, marked.
    pub fn meshloom<'a>(&self, args: impl IntoIterator<Item = &'a str>) -> Command {
        let mut command = Command::new(&self.program);
        command.args(args).current_dir(self.dir()).env(processes::MARK, &self.mark);
        // What whoever runs the tests has set must not decide them.
        for (name, _) in std::env::vars_os() {
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("MESHLOOM_") || name.starts_with("OTEL_") {
                command.env_remove(name);
            }
        }
        command.envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Starts `meshloom run`.
    pub fn start(&self) -> Running {
        self.start_with(self.meshloom(["run", "--output", "json"]))
    }

    /// Starts `meshloom run` as the arguments of a program that becomes it.
    pub fn start_under(&self, program: &Path) -> Running {
        let command = self.meshloom([self.program.to_str().unwrap(), "run", "--output", "json"]);
        // The same surroundings, another program.
        let mut under = Command::new(program);
        under.args(command.get_args()).current_dir(self.dir());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => under.env(name, value),
                None => under.env_remove(name),
            };
        }
        self.start_with(under)
    }

    fn start_with(&self, mut command: Command) -> Running {
        command.arg(self.file()).arg("--state").arg(self.state()).args(&self.args);
        let stdin = self.stdin.borrow_mut().take();
        command.stdin(if stdin.is_some() { Stdio::piped() } else { Stdio::null() });
        Running::start(command, &self.mark, self.dir(), self.state(), stdin)
    }

    /// Runs to the end.
    pub fn run(&self) -> Finished {
        self.start().finish()
    }

    /// Runs to the end while other processes of the project go on.
    #[track_caller]
    pub fn run_beside(&self) -> Finished {
        self.start().finish_beside()
    }

    /// Runs to the end, which must be exit status 0 with books that balance.
    #[track_caller]
    pub fn succeed(&self) -> Finished {
        let finished = self.run();
        finished.assert_code(0);
        finished.books().assert_balanced();
        finished
    }

    /// The dead letters, as the command line lists them.
    #[track_caller]
    pub fn letters(&self) -> Vec<Letter> {
        let mut command = self.meshloom(["dead-letters", "list", "--output", "json"]);
        let output = command.arg(self.file()).arg("--state").arg(self.state()).output().expect("meshloom runs");
        let text = String::from_utf8(output.stdout).expect("JSON is UTF-8");
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in {line}"));
        text.lines().map(parse).collect()
    }

    /// The durable position of a source: how many events have settled below it; 0: it has none.
    pub fn settled_durably(&self, source: &str) -> u64 {
        let path = self.state().join("checkpoints").join(format!("{source}.json"));
        let text = fs::read_to_string(path).unwrap_or_default();
        let stored: Value = serde_json::from_str(&text).unwrap_or_default();
        stored["settled"].as_u64().unwrap_or_default()
    }
}
