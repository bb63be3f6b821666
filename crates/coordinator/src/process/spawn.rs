//! Starting a command under a guard.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    process::Stdio,
    sync::Arc,
    time::Duration,
};

use rustix::io::Errno;
use tokio::{
    net::{UnixStream, unix::pipe},
    time::timeout,
};

use super::{
    ProcessSpec, Processes, SpawnError, Stderr, Stdin, Stdout, Stream,
    channel::{self, Command, NotStarted, Report},
    handle::{Parts, Process},
    lock::ReplicaLock,
    logs, program,
    words::LastWords,
};

/// How long a guard may take to say that the command runs; on a loaded machine an exec from a cold disk takes seconds.
const START: Duration = Duration::from_secs(30);

pub(super) async fn spawn(processes: &Processes, spec: ProcessSpec) -> Result<Process, SpawnError> {
    let path = program::find(&spec.program, &spec.dir, &spec.env)?;
    let lock = ReplicaLock::acquire(&processes.locks, &spec.name, processes.patience).await?;
    let name = spec.name.clone();
    let pipes = Pipes::open(spec.stdin).map_err(|source| SpawnError::Resources { source })?;
    let failed = |reason: String| SpawnError::Guard { guard: processes.guard_exe.to_path_buf(), reason };

    let command = Command {
        name: name.to_string(),
        path: path.clone().into_os_string(),
        arg0: spec.program,
        args: spec.args,
        dir: spec.dir.into_os_string(),
        env: spec.env.into_pairs(),
        stdin_piped: spec.stdin == Stdin::Piped,
    };
    let guard = tokio::process::Command::new(&*processes.guard_exe)
        .args(["guard", &command.name])
        .stdin(Stdio::from(pipes.guard))
        .stdout(Stdio::from(pipes.stdout_writer))
        .stderr(Stdio::from(pipes.stderr_writer))
        .spawn()
        .map_err(|source| match Errno::from_io_error(&source) {
            Some(Errno::AGAIN | Errno::MFILE | Errno::NFILE | Errno::NOMEM) => SpawnError::Resources { source },
            _ => failed(source.to_string()),
        })?;

    // Read from the start, so that a guard that fails can say why.
    let words = Arc::new(LastWords::default());
    let (stderr, complaints) = match spec.stderr {
        Stderr::Piped => (Some(pipes.stderr), None),
        Stderr::Log => {
            let (logs, words) = (processes.logs.clone(), words.clone());
            (None, Some(tokio::spawn(logs::forward(pipes.stderr, name.clone(), Stream::Stderr, logs, Some(words)))))
        }
    };
    let stdout = match spec.stdout {
        Stdout::Piped => Some(pipes.stdout),
        Stdout::Log => {
            tokio::spawn(logs::forward(pipes.stdout, name.clone(), Stream::Stdout, processes.logs.clone(), None));
            None
        }
    };

    let mut control = pipes.control;
    let mut descriptors = vec![lock.as_fd()];
    descriptors.extend(pipes.stdin_reader.as_ref().map(OwnedFd::as_fd));
    let report = timeout(START, async {
        channel::send_with_async(&mut control, &command, &descriptors).await?;
        channel::receive::<Report>(&mut control).await
    })
    .await;
    match report {
        Ok(Ok(Some(Report::Started { pid }))) => Ok(Process::new(Parts {
            name,
            pid,
            stdin: pipes.stdin_writer,
            stdout,
            stderr,
            control,
            guard,
            complaints,
            words,
        })),
        Ok(Ok(Some(Report::NotStarted(failure)))) => Err(explain(&failure, path, &command, failed)),
        Ok(Ok(Some(Report::Exited { .. }) | None)) => Err(failed(with_words("it ended early", &words))),
        Ok(Err(error)) => Err(failed(with_words(&error.to_string(), &words))),
        Err(_) => Err(failed(format!("no sign of it for {} s", START.as_secs()))),
    }
}

fn explain(
    failure: &NotStarted,
    path: std::path::PathBuf,
    command: &Command,
    failed: impl Fn(String) -> SpawnError,
) -> SpawnError {
    match (failure.step.as_str(), failure.os_error.map(io::Error::from_raw_os_error)) {
        (channel::EXECUTE, Some(source)) => program::explain_exec_failure(path, &source),
        ("enter its folder", Some(source)) => SpawnError::Dir { path: command.dir.clone().into(), source },
        (step, _) => failed(format!("it could not {step}: {}", failure.message)),
    }
}

fn with_words(reason: &str, words: &LastWords) -> String {
    match words.lines().as_slice() {
        [] => reason.to_owned(),
        lines => format!("{reason}: {}", lines.join(" | ")),
    }
}

/// Our ends and the guard's.
struct Pipes {
    control: UnixStream,
    guard: OwnedFd,
    stdout: pipe::Receiver,
    stdout_writer: OwnedFd,
    stderr: pipe::Receiver,
    stderr_writer: OwnedFd,
    stdin_reader: Option<OwnedFd>,
    stdin_writer: Option<pipe::Sender>,
}

impl Pipes {
    fn open(stdin: Stdin) -> io::Result<Self> {
        let (control, guard) = std::os::unix::net::UnixStream::pair()?;
        control.set_nonblocking(true)?;
        let (stdout, stdout_writer) = io::pipe()?;
        let (stderr, stderr_writer) = io::pipe()?;
        let (stdin_reader, stdin_writer) = match stdin {
            Stdin::Null => (None, None),
            Stdin::Piped => {
                let (reader, writer) = io::pipe()?;
                (Some(OwnedFd::from(reader)), Some(pipe::Sender::from_owned_fd(writer.into())?))
            }
        };
        Ok(Self {
            control: UnixStream::from_std(control)?,
            guard: guard.into(),
            stdout: pipe::Receiver::from_owned_fd(stdout.into())?,
            stdout_writer: stdout_writer.into(),
            stderr: pipe::Receiver::from_owned_fd(stderr.into())?,
            stderr_writer: stderr_writer.into(),
            stdin_reader,
            stdin_writer,
        })
    }
}
