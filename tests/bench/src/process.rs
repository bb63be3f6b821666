//! Processes of a measurement: started with their output kept, and asked what processor time they used.

use std::{ffi::OsStr, fs::File, path::Path, process::Stdio, time::Duration};

use anyhow::{Context as _, bail};
use tokio::{
    io::{AsyncBufReadExt as _, BufReader, Lines},
    process::{Child, ChildStdout, Command},
    time::{Instant, sleep, timeout},
};

/// Time for a process to get ready or to end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A started process; killed when dropped.
pub(crate) struct Program {
    child: Child,
    name: String,
    log: std::path::PathBuf,
}

impl Program {
    /// Starts a command line; what it prints goes to `log`.
    pub(crate) fn start<S: AsRef<OsStr>>(
        command: &[S],
        environment: &[(&str, &str)],
        log: &Path,
    ) -> anyhow::Result<Self> {
        let log_file = File::create(log).with_context(|| log.display().to_string())?;
        Self::spawn(command, environment, log_file.try_clone()?.into(), log_file, log)
    }

    /// As [`Program::start`]; what it prints on standard output is given, line by line.
    pub(crate) fn start_talking<S: AsRef<OsStr>>(
        command: &[S],
        log: &Path,
    ) -> anyhow::Result<(Self, Lines<BufReader<ChildStdout>>)> {
        let log_file = File::create(log).with_context(|| log.display().to_string())?;
        let mut program = Self::spawn(command, &[], Stdio::piped(), log_file, log)?;
        let said = program.child.stdout.take().context("the standard output is a pipe")?;
        Ok((program, BufReader::new(said).lines()))
    }

    fn spawn<S: AsRef<OsStr>>(
        command: &[S],
        environment: &[(&str, &str)],
        output: Stdio,
        errors: File,
        log: &Path,
    ) -> anyhow::Result<Self> {
        let (program, arguments) = command.split_first().context("an empty command")?;
        let name = program.as_ref().to_string_lossy().into_owned();
        let child = Command::new(program)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        Ok(Self { child, name, log: log.to_owned() })
    }

    /// Its next line; an error when there is none, or none comes.
    pub(crate) async fn line(&self, lines: &mut Lines<BufReader<ChildStdout>>) -> anyhow::Result<String> {
        match timeout(PATIENCE, lines.next_line()).await {
            Ok(Ok(Some(line))) => Ok(line),
            Ok(Ok(None)) => bail!("{} ended; it said:\n{}", self.name, self.said()),
            Ok(Err(error)) => Err(error).with_context(|| format!("the output of {}", self.name)),
            Err(_) => bail!("{} said nothing for {PATIENCE:?}; it said:\n{}", self.name, self.said()),
        }
    }

    /// Waits until `ready` gives a value; an error when the process ends before or takes too long.
    pub(crate) async fn until<T>(
        &mut self,
        what: &str,
        mut ready: impl AsyncFnMut() -> Option<T>,
    ) -> anyhow::Result<T> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = ready().await {
                return Ok(value);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("{} ended with {status} before {what}; it said:\n{}", self.name, self.said());
            }
            if Instant::now() > deadline {
                bail!("{} did not get to {what} within {PATIENCE:?}; it said:\n{}", self.name, self.said());
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits for its end, which must be a success.
    pub(crate) async fn succeeds(mut self) -> anyhow::Result<()> {
        match timeout(PATIENCE, self.child.wait()).await {
            Ok(status) if status.as_ref().is_ok_and(std::process::ExitStatus::success) => Ok(()),
            Ok(status) => bail!("{} ended with {}; it said:\n{}", self.name, status?, self.said()),
            Err(_) => bail!("{} did not end within {PATIENCE:?}; it said:\n{}", self.name, self.said()),
        }
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id().unwrap_or_default()
    }

    /// Kills it.
    pub(crate) async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }

    fn said(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

/// Processor time that a process has used, user and system, all threads; in steps of a hundredth of a second.
pub(crate) fn cpu_time(pid: u32) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).with_context(|| format!("process {pid}"))?;
    // The name, in parentheses, may hold anything; fields 14 and 15 of the file are the 12th and 13th behind it.
    let (_, fields) = stat.rsplit_once(')').context("/proc/PID/stat has no name")?;
    let ticks: Vec<u64> = fields.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(Duration::from_millis(ticks.iter().sum::<u64>() * 10))
}
