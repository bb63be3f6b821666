//! The first stage: starts the command, waits for its end or for the coordinator's, and leaves nothing behind.

use std::{
    future::pending,
    io,
    os::{fd::OwnedFd, unix::net::UnixStream},
    process::ExitCode,
    time::{Duration, Instant},
};

use rustix::process::{Pid, WaitOptions, getpid, setsid, wait};
use tokio::{
    net::unix::OwnedReadHalf,
    select,
    signal::unix::{SignalKind, signal},
    sync::mpsc,
    time::sleep,
};

use super::{
    super::{
        DEFAULT_GRACE,
        channel::{self, Command, End, NotStarted, Report},
        lock::{Record, ReplicaLock, boot},
        table::{self, Ending, TICK},
    },
    command::Waiting,
    null,
};

pub(super) fn guard(control: UnixStream) -> io::Result<ExitCode> {
    let Some((command, mut descriptors)) = channel::receive_with::<Command>(&control)? else {
        return Ok(ExitCode::FAILURE);
    };
    if descriptors.len() != 1 + usize::from(command.stdin_piped) {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "the lock or the standard input did not come along"));
    }
    let mut lock = ReplicaLock::received(descriptors.remove(0));
    setsid()?;
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(getpid()))?;

    // One thread for good: a death signal goes by the thread that forked.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        // Handlers come before the child, so that none of its signals is missed.
        let mut guard = Guard::new(control)?;
        match start(&command, descriptors.pop(), &mut lock) {
            Ok(pid) => guard.run(pid).await?,
            Err(failure) => {
                guard.report(&Report::NotStarted(failure)).await;
                guard.ending = Some(Ending::new(Instant::now(), Duration::ZERO));
                guard.run_to_end().await?;
            }
        }
        lock.clear()?;
        Ok(ExitCode::SUCCESS)
    })
}

/// Starts the command; it does not run before the lock says so.
fn start(command: &Command, stdin: Option<OwnedFd>, lock: &mut ReplicaLock) -> Result<i32, NotStarted> {
    let failed = |step: &'static str| move |error: io::Error| NotStarted::new(step, &error);
    let waiting = Waiting::start(&command.name).map_err(failed("fork"))?;
    // Only the command may hold what it writes to, or its readers would not see its end.
    null()
        .and_then(|null| {
            rustix::stdio::dup2_stdout(&null)?;
            Ok(rustix::stdio::dup2_stderr(&null)?)
        })
        .map_err(failed("let go of its output"))?;
    let pid = i32::try_from(waiting.process.id()).map_err(|error| failed("fork")(io::Error::other(error)))?;
    let session = getpid().as_raw_pid();
    let started = table::find(session).map_or(0, |entry| entry.started);
    lock.write(&Record { name: command.name.clone(), session, group: pid, started, boot: boot() })
        .map_err(failed("write its lock"))?;
    waiting.execute(command, stdin.as_ref())?;
    Ok(pid)
}

struct Guard {
    requests: mpsc::Receiver<Duration>,
    /// The coordinator has let go of us or is gone.
    orphaned: bool,
    reports: tokio::net::unix::OwnedWriteHalf,
    children: tokio::signal::unix::Signal,
    /// The command, which leads its group.
    command: Option<i32>,
    group: Option<i32>,
    ending: Option<Ending>,
}

impl Guard {
    fn new(control: UnixStream) -> io::Result<Self> {
        // A service manager may signal every process of the service; the coordinator decides what ends when.
        for kind in [SignalKind::terminate(), SignalKind::interrupt(), SignalKind::hangup(), SignalKind::quit()] {
            // Registering replaces the default action for as long as the process lives.
            drop(signal(kind)?);
        }
        let children = signal(SignalKind::child())?;
        control.set_nonblocking(true)?;
        let (read, reports) = tokio::net::UnixStream::from_std(control)?.into_split();
        let (sender, requests) = mpsc::channel(1);
        tokio::spawn(listen(read, sender));
        Ok(Self { requests, orphaned: false, reports, children, command: None, group: None, ending: None })
    }

    async fn run(&mut self, pid: i32) -> io::Result<()> {
        self.command = Some(pid);
        self.group = Some(pid);
        self.report(&Report::Started { pid: pid.unsigned_abs() }).await;
        self.run_to_end().await
    }

    /// Until none of its processes is left.
    async fn run_to_end(&mut self) -> io::Result<()> {
        loop {
            self.reap().await;
            if let Some(ending) = &mut self.ending {
                let members = table::relatives(&table::read()?, getpid().as_raw_pid(), self.group);
                if members.is_empty() && self.command.is_none() {
                    return Ok(());
                }
                ending.step(&members, Instant::now());
            }
            let is_ending = self.ending.is_some();
            select! {
                _ = self.children.recv() => {}
                request = self.requests.recv(), if !self.orphaned => {
                    self.orphaned = request.is_none();
                    self.end(request.unwrap_or(DEFAULT_GRACE));
                }
                () = async { if is_ending { sleep(TICK).await } else { pending().await } } => {}
            }
        }
    }

    fn end(&mut self, grace: Duration) {
        let now = Instant::now();
        match &mut self.ending {
            Some(ending) => ending.hasten(now, grace),
            None => self.ending = Some(Ending::new(now, grace)),
        }
    }

    /// Reaps every child, adopted ones too; the end of the command ends what it left behind.
    async fn reap(&mut self) {
        while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
            if self.command == Some(Pid::as_raw(Some(pid))) {
                self.command = None;
                self.report(&Report::Exited { code: status.exit_status(), signal: status.terminating_signal() }).await;
                self.end(DEFAULT_GRACE);
            }
        }
    }

    /// A coordinator that is gone needs no report.
    async fn report(&mut self, report: &Report) {
        let _ = channel::send(&mut self.reports, report).await;
    }
}

/// Passes requests on; the coordinator's end, however it came, is the last of them.
async fn listen(mut control: OwnedReadHalf, requests: mpsc::Sender<Duration>) {
    while let Ok(Some(End { grace })) = channel::receive(&mut control).await {
        if requests.send(grace).await.is_err() {
            return;
        }
    }
}
