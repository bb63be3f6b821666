//! The guard: what the hidden command `meshloom guard` does.

mod command;
mod watch;

use std::{
    ffi::OsString,
    io::{self, IsTerminal},
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::ExitCode,
};

use rustix::fd::AsFd;

/// Marks the second stage; behind it the first one's process number, then NODE/REPLICA for whoever lists processes.
const EXECUTE: &str = "--execute";

/// Runs the guard, or its second stage. `args` are those behind `guard`; the binary calls this before it starts a
/// runtime, threads or a logger of its own.
pub fn main(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let mut args = args.into_iter();
    let second_stage = args.next().is_some_and(|arg| arg == EXECUTE);
    let done = take_control().and_then(|control| {
        if !second_stage {
            return watch::guard(control);
        }
        let guard = args.next().and_then(|pid| pid.to_str()?.parse().ok());
        let guard =
            guard.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the guard's number is missing"))?;
        command::execute(&control, guard)
    });
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("meshloom guard: {error}; this command is started by the coordinator and is of no use by hand");
            ExitCode::from(70)
        }
    }
}

/// The socket that is our standard input, moved away so that the command does not inherit it.
fn take_control() -> io::Result<UnixStream> {
    if io::stdin().is_terminal() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "standard input is a terminal"));
    }
    let control: OwnedFd = rustix::io::fcntl_dupfd_cloexec(io::stdin().as_fd(), 3)?;
    rustix::stdio::dup2_stdin(null()?)?;
    Ok(UnixStream::from(control))
}

fn null() -> io::Result<std::fs::File> {
    std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")
}
