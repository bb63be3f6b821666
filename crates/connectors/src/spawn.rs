//! How programs are started: through a [`Spawner`], so that the coordinator can put its guard around them.

use std::{collections::BTreeMap, ffi::OsString, fmt, io, path::PathBuf, process::Stdio, time::Duration};

use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    process::Command,
};

use crate::BoxFuture;

/// Time between SIGTERM and SIGKILL.
const TERMINATE_GRACE: Duration = Duration::from_secs(5);

/// A program to start. All three standard streams are piped.
#[derive(Debug, Clone)]
pub struct CommandLine {
    /// The program: a name looked up in PATH or an absolute path.
    pub program: OsString,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// The folder it runs in.
    pub dir: PathBuf,
    /// Its complete environment; nothing is inherited besides.
    pub env: BTreeMap<OsString, OsString>,
}

/// How a program ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// With this status.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

impl Exit {
    /// Whether it ended with status 0.
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal(number) => match Signal::from_named_raw(*number) {
                // Its name is `"Signal::KILL"`.
                Some(signal) => {
                    let name = format!("{signal:?}");
                    let name = name.trim_matches('"').rsplit(':').next().unwrap_or_default();
                    write!(f, "signal SIG{name}")
                }
                None => write!(f, "signal {number}"),
            },
        }
    }
}

/// A program that was started. Dropping it kills the program and all of its process group.
pub struct Child {
    /// Its standard input; dropping it closes it.
    pub stdin: Box<dyn AsyncWrite + Send + Unpin>,
    /// Its standard output.
    pub stdout: Box<dyn AsyncRead + Send + Unpin>,
    /// Its standard error.
    pub stderr: Box<dyn AsyncRead + Send + Unpin>,
    /// The process itself.
    pub process: Box<dyn Process>,
}

/// A running process.
pub trait Process: Send + Sync {
    /// Waits for its end; may be called again. What it left behind in its group is ended too. Safe to cancel.
    fn wait(&mut self) -> BoxFuture<'_, io::Result<Exit>>;

    /// Asks it to end (SIGTERM to the group), insists after 5 s (SIGKILL), and waits until it is gone.
    fn terminate(&mut self) -> BoxFuture<'_, io::Result<Exit>>;
}

/// Starts programs.
pub trait Spawner: Send + Sync {
    /// Starts one.
    ///
    /// # Errors
    /// When the program cannot be started: not found, no permission, no such folder.
    fn spawn(&self, command: CommandLine) -> BoxFuture<'static, io::Result<Child>>;
}

/// The user's say over a program's environment: `env` and `env_clear`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment {
    /// Inherit only PATH, HOME, USER, LANG, LC_*, TZ, TMPDIR.
    pub clear: bool,
    /// Variables of the user's, set last.
    pub set: BTreeMap<String, String>,
}

impl Environment {
    /// The complete environment of a child: what it inherits (never `MESHLOOM_*` or `OTEL_*`), then what Meshloom
    /// sets, then what the user sets.
    pub fn complete<'a>(
        &self,
        inherited: impl IntoIterator<Item = (OsString, OsString)>,
        ours: impl IntoIterator<Item = (&'a str, String)>,
    ) -> BTreeMap<OsString, OsString> {
        let mut all: BTreeMap<OsString, OsString> =
            inherited.into_iter().filter(|(name, _)| self.inherits(&name.to_string_lossy())).collect();
        all.extend(ours.into_iter().map(|(name, value)| (name.into(), value.into())));
        all.extend(self.set.iter().map(|(name, value)| (name.into(), value.into())));
        all
    }

    fn inherits(&self, name: &str) -> bool {
        const KEPT: [&str; 6] = ["PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR"];
        if self.clear {
            KEPT.contains(&name) || name.starts_with("LC_")
        } else {
            !name.starts_with("MESHLOOM_") && !name.starts_with("OTEL_")
        }
    }
}

/// Starts programs as plain children in a process group of their own, for tests and for `meshloom sidecar`.
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioSpawner;

impl Spawner for TokioSpawner {
    fn spawn(&self, command: CommandLine) -> BoxFuture<'static, io::Result<Child>> {
        Box::pin(async move {
            let mut child = Command::new(&command.program)
                .args(&command.args)
                .current_dir(&command.dir)
                .env_clear()
                .envs(&command.env)
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .process_group(0)
                .kill_on_drop(true)
                .spawn()?;
            let missing = || io::Error::other("a standard stream of the child was not piped");
            let group = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
            Ok(Child {
                stdin: Box::new(child.stdin.take().ok_or_else(missing)?),
                stdout: Box::new(child.stdout.take().ok_or_else(missing)?),
                stderr: Box::new(child.stderr.take().ok_or_else(missing)?),
                process: Box::new(Group { child, group, exit: None }),
            })
        })
    }
}

/// A child that leads a process group.
struct Group {
    child: tokio::process::Child,
    group: Option<Pid>,
    exit: Option<Exit>,
}

impl Group {
    fn signal(&self, signal: Signal) {
        if let Some(group) = self.group {
            // ESRCH: nobody is left in the group, which is what the signal is for.
            let _ = kill_process_group(group, signal);
        }
    }

    async fn wait_leader(&mut self) -> io::Result<Exit> {
        if let Some(exit) = self.exit {
            return Ok(exit);
        }
        let status = self.child.wait().await?;
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        let exit = signal.map_or_else(|| Exit::Code(status.code().unwrap_or(-1)), Exit::Signal);
        self.exit = Some(exit);
        // Grandchildren must not outlive the run: they could write into a later run's files.
        self.signal(Signal::KILL);
        self.group = None;
        Ok(exit)
    }
}

impl Process for Group {
    fn wait(&mut self) -> BoxFuture<'_, io::Result<Exit>> {
        Box::pin(self.wait_leader())
    }

    fn terminate(&mut self) -> BoxFuture<'_, io::Result<Exit>> {
        Box::pin(async move {
            self.signal(Signal::TERM);
            match tokio::time::timeout(TERMINATE_GRACE, self.wait_leader()).await {
                Ok(exit) => exit,
                Err(_elapsed) => {
                    self.signal(Signal::KILL);
                    self.wait_leader().await
                }
            }
        })
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_is_named_as_people_know_it() {
        assert_eq!(Exit::Code(3).to_string(), "exit status 3");
        assert_eq!(Exit::Signal(9).to_string(), "signal SIGKILL");
        assert_eq!(Exit::Signal(11).to_string(), "signal SIGSEGV");
        assert_eq!(Exit::Signal(60).to_string(), "signal 60");
    }

    #[test]
    fn what_is_ours_is_never_inherited_and_the_user_has_the_last_word() {
        let pairs = |pairs: &[(&str, &str)]| -> Vec<(OsString, OsString)> {
            pairs.iter().map(|(name, value)| (name.into(), value.into())).collect()
        };
        let around = pairs(&[("PATH", "/bin"), ("MESHLOOM_X", "1"), ("OTEL_Y", "2"), ("LC_ALL", "C"), ("SECRET", "s")]);
        let ours = [("MESHLOOM_ATTEMPT", "1".to_owned()), ("MINE", "ours".to_owned())];
        let set = BTreeMap::from([("MINE".to_owned(), "yours".to_owned())]);
        let open = Environment { clear: false, set: set.clone() };
        let expected =
            [("LC_ALL", "C"), ("MESHLOOM_ATTEMPT", "1"), ("MINE", "yours"), ("PATH", "/bin"), ("SECRET", "s")];
        assert_eq!(open.complete(around.clone(), ours.clone()).into_iter().collect::<Vec<_>>(), pairs(&expected));
        let clear = Environment { clear: true, set };
        assert_eq!(clear.complete(around, ours).into_iter().collect::<Vec<_>>(), pairs(&expected[..4]));
    }
}
