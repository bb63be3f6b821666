//! The second stage: the process that becomes the command.

use std::{
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            net::UnixStream,
            process::{CommandExt, parent_id},
        },
    },
    process::{Child, Command as Program, ExitCode, Stdio},
};

use super::{super::channel::*, EXECUTE};

/// A second stage that waits for its command.
pub(super) struct Waiting {
    /// Leads a process group of its own.
    pub(super) process: Child,
    control: UnixStream,
}

impl Waiting {
    /// Forks it; the guard's standard output and error become the command's.
    pub(super) fn start(name: &str) -> io::Result<Self> {
        let (control, theirs) = UnixStream::pair()?;
        // The file that runs, even if another took its place meanwhile.
        #[cfg(target_os = "linux")]
        let own = "/proc/self/exe";
        #[cfg(not(target_os = "linux"))]
        let own = std::env::current_exe()?;
        let process = Program::new(own)
            .arg0("meshloom")
            .args(["guard", EXECUTE, name])
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .process_group(0)
            .spawn()?;
        Ok(Self { process, control })
    }

    /// Lets it become the command.
    pub(super) fn execute(&self, command: &Command, stdin: Option<&OwnedFd>) -> Result<(), NotStarted> {
        let descriptors: Vec<_> = stdin.iter().map(|descriptor| descriptor.as_fd()).collect();
        send_with(&self.control, command, &descriptors)
            .map_err(|error| NotStarted::new("hand over the command", &error))?;
        // Its end closes when the command takes its place; before that, it can only bring a failure.
        match receive_with::<NotStarted>(&self.control) {
            Ok(None) => Ok(()),
            Ok(Some((failure, _))) => Err(failure),
            Err(error) => Err(NotStarted::new("wait for the command", &error)),
        }
    }
}

/// Becomes the command, or says why not.
pub(super) fn execute(control: &UnixStream) -> io::Result<ExitCode> {
    let guard = parent_id();
    let Some((command, descriptors)) = receive_with::<Command>(control)? else {
        return Ok(ExitCode::FAILURE);
    };
    let failure = replace(guard, command, descriptors);
    send_with(control, &failure, &[])?;
    Ok(ExitCode::FAILURE)
}

fn replace(guard: u32, command: Command, descriptors: Vec<OwnedFd>) -> NotStarted {
    let prepared = die_with(guard).and_then(|()| match descriptors.first() {
        Some(stdin) => Ok(rustix::stdio::dup2_stdin(stdin)?),
        None => Ok(()),
    });
    if let Err(error) = prepared {
        return NotStarted::new("prepare the process", &error);
    }
    if let Err(error) = std::env::set_current_dir(&command.dir) {
        return NotStarted::new("enter its folder", &error);
    }
    let error =
        Program::new(&command.path).arg0(&command.arg0).args(&command.args).env_clear().envs(command.env).exec();
    NotStarted::new(super::super::channel::EXECUTE, &error)
}

/// Has the kernel kill this process when the guard is gone.
fn die_with(guard: u32) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))?;
    // It may have been gone before that.
    if parent_id() != guard {
        return Err(io::Error::other("the guard is gone"));
    }
    Ok(())
}
