//! A running `meshloom run`, and one that has ended.

use std::{
    fs::{self, File},
    io::Write as _,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use crate::{Books, processes, wait};

/// Longest time that a whole run may take.
const RUN: Duration = Duration::from_secs(180);
/// Longest time until no process of an ended run is left; a guard gives its processes 5 s, and machines may be slow.
const GONE: Duration = Duration::from_secs(60);

/// A coordinator that was started. Dropping it ends it and everything below it.
pub struct Running {
    child: Child,
    mark: String,
    state: PathBuf,
    out: PathBuf,
    log: PathBuf,
    waited: Option<ExitStatus>,
}

/// A run that has ended.
pub struct Finished {
    /// How.
    pub status: ExitStatus,
    /// Standard output.
    pub out: String,
    /// Standard error: messages and the nodes' log.
    pub log: String,
}

impl Running {
    pub(crate) fn start(mut command: Command, mark: &str, dir: &Path, state: PathBuf, stdin: Option<Vec<u8>>) -> Self {
        let number = fs::read_dir(dir).expect("the folder is there").count();
        let (out, log) = (dir.join(format!("{number}.out")), dir.join(format!("{number}.log")));
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&log).unwrap());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        if let Some(bytes) = stdin {
            let mut pipe = child.stdin.take().expect("standard input is a pipe");
            // A coordinator that ends early closes it, and says why in its log.
            std::thread::spawn(move || pipe.write_all(&bytes));
        }
        Self { child, mark: mark.to_owned(), state, out, log, waited: None }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The mark of every process below it.
    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it can be waited for")
    }

    /// What it and its nodes have said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// What it has written to standard output so far.
    pub fn out(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    /// The books now, as `meshloom status` tells of them; `None`: it does not answer yet, or any more.
    pub fn status(&self) -> Option<Books> {
        let mut command = Command::new(crate::toolchain::meshloom());
        command.args(["status", "--output", "json", "--state"]).arg(&self.state);
        let output = command.stdin(Stdio::null()).output().expect("meshloom runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        output.status.success().then(|| serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error} in {text}")))
    }

    /// Waits until the books show something.
    #[track_caller]
    pub fn until(&mut self, what: &str, mut holds: impl FnMut(&Books) -> bool) -> Books {
        wait::until(Duration::from_secs(60), what, || {
            assert!(self.child.try_wait().unwrap().is_none(), "it ended before {what}");
            self.status().filter(|books| holds(books))
        })
    }

    /// Waits until the log holds a text.
    #[track_caller]
    pub fn until_log(&mut self, text: &str) {
        wait::holds(Duration::from_secs(60), &format!("{text:?} in the log"), || {
            let found = self.log().contains(text);
            assert!(found || self.child.try_wait().unwrap().is_none(), "it ended before it said {text:?}");
            found
        });
    }

    /// Where its first source to say so listens, once it does.
    #[track_caller]
    pub fn listening(&mut self) -> String {
        self.word_behind("listening on ")
    }

    /// Where its metrics are, once it says so.
    #[track_caller]
    pub fn metrics(&mut self) -> String {
        self.word_behind("metrics are at ")
    }

    #[track_caller]
    fn word_behind(&mut self, text: &str) -> String {
        self.until_log(text);
        let log = self.log();
        let (_, rest) = log.split_once(text).expect("it was there");
        rest.split_whitespace().next().expect("the line is written as a whole").to_owned()
    }

    /// Sends the coordinator a signal. One that asks it to end is sent once all nodes are up: events may have gone all the
    /// way before, and a start that is interrupted ends otherwise than a run.
    #[track_caller]
    pub fn signal(&self, name: &str) {
        wait::holds(Duration::from_secs(60), "all nodes to be up", || {
            name != "TERM"
                || !processes::is_alive(self.pid())
                || self.status().is_some_and(|books| books.phase != "starting")
        });
        processes::signal(self.pid(), name);
    }

    /// Waits for its end, after which nothing of it may be left.
    #[track_caller]
    pub fn finish(self) -> Finished {
        self.finish_within(RUN)
    }

    /// As [`finish`](Self::finish), for a run that may take longer or must be quicker.
    #[track_caller]
    pub fn finish_within(mut self, limit: Duration) -> Finished {
        let finished = self.wait(limit);
        finished.check_books();
        self.assert_nothing_left();
        finished
    }

    /// Waits for its end while other processes with its mark go on.
    #[track_caller]
    pub fn finish_beside(mut self) -> Finished {
        let finished = self.wait(RUN);
        finished.check_books();
        finished
    }

    #[track_caller]
    fn wait(&mut self, limit: Duration) -> Finished {
        let child = &mut self.child;
        let status = wait::until(limit, "the end of the run", || child.try_wait().expect("it can be waited for"));
        self.waited = Some(status);
        Finished { status, out: self.out(), log: self.log() }
    }

    /// That no process of the run is left, or soon none is.
    #[track_caller]
    pub fn assert_nothing_left(&self) {
        let start = Instant::now();
        loop {
            let left = processes::marked(&self.mark);
            if left.is_empty() {
                return;
            }
            let names: Vec<_> = left.iter().map(|pid| format!("{pid}: {}", processes::command_line(*pid))).collect();
            assert!(start.elapsed() < GONE, "left behind: {names:#?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.waited.is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- {} ---\n{}{}--- end ---", self.log.display(), self.log(), self.out());
        }
    }
}

impl Finished {
    /// The books of the final summary.
    #[track_caller]
    pub fn books(&self) -> Books {
        serde_json::from_str(&self.out)
            .unwrap_or_else(|error| panic!("{error} in the summary:\n{}\n{}", self.out, self.log))
    }

    /// That the books of a run which came to an orderly end are true. Every run of every test is looked at, but for those
    /// whose standard output is their data.
    #[track_caller]
    fn check_books(&self) {
        if let (Some(0), Ok(books)) = (self.status.code(), serde_json::from_str::<Books>(&self.out)) {
            books.assert_true();
        }
    }

    /// That it ended with this exit status.
    #[track_caller]
    pub fn assert_code(&self, code: i32) {
        assert_eq!(self.status.code(), Some(code), "{}\n{}", self.status, self.log);
    }

    /// That it failed with this exit status, saying all of this.
    #[track_caller]
    pub fn assert_fails(&self, code: i32, says: &[&str]) {
        self.assert_code(code);
        for text in says {
            assert!(self.log.contains(text), "{text:?} is not in:\n{}", self.log);
        }
    }
}
