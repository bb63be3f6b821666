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
            .args(["guard", EXECUTE, &std::process::id().to_string(), name])
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

/// Becomes the command, or says why not. `guard` is the first stage, which may be gone already: whoever adopted this
/// process must not be taken for it.
pub(super) fn execute(control: &UnixStream, guard: u32) -> io::Result<ExitCode> {
    if let Err(error) = die_with(guard) {
        send_with(control, &NotStarted::new("prepare the process", &error), &[])?;
        return Ok(ExitCode::FAILURE);
    }
    let Some((command, descriptors)) = receive_with::<Command>(control)? else {
        return Ok(ExitCode::FAILURE);
    };
    let failure = replace(command, descriptors);
    send_with(control, &failure, &[])?;
    Ok(ExitCode::FAILURE)
}

fn replace(command: Command, descriptors: Vec<OwnedFd>) -> NotStarted {
    if let Some(stdin) = descriptors.first()
        && let Err(error) = rustix::stdio::dup2_stdin(stdin)
    {
        return NotStarted::new("prepare the process", &error.into());
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
