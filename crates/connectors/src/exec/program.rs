//! The program as the user wrote it, and one run of it.

use std::{ffi::OsString, path::Path, sync::Arc, time::Duration};

use meshloom_config::ExecSpec;
use meshloom_core::{
    exchange::{Failure, Work},
    ids, limits,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinHandle,
};

use super::logs::{self, Tail};
use crate::{CommandLine, Exit, LogStream, OpenContext, Process, calls::whole};

/// Longest wait for the last words of a program that has gone: someone else may hold its standard error open.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// How much of a command a message repeats.
const NAME_BYTES: usize = 80;

/// A program and all around it.
pub(super) struct Program {
    pub(super) spec: ExecSpec,
    pub(super) context: OpenContext,
}

/// What differs between two runs.
#[derive(Debug, Clone, Default)]
pub(super) struct Occasion {
    /// A name that is the same for the same events.
    pub(super) batch: Option<String>,
    /// Highest attempt of the events, from 1; none for a process that outlives a batch.
    pub(super) attempt: Option<u32>,
    /// W3C trace context of the first sampled event.
    pub(super) traceparent: Option<String>,
}

impl Occasion {
    /// Of a work.
    pub(super) fn of(node: &str, work: &Work) -> Self {
        let batch = &work.batch;
        let inputs = (0..batch.len()).map(|row| (batch.from(row).unwrap_or_default(), batch.uid(row)));
        let name = ids::WholeBatch::new(node, inputs).output(0);
        let attempt = work.attempts.as_deref().and_then(|attempts| attempts.iter().max().copied()).unwrap_or(1);
        let traceparent = batch.spans().next().map(|(_, span)| traceparent(span));
        Self { batch: Some(name.hex(&mut [0; 32]).to_owned()), attempt: Some(attempt), traceparent }
    }
}

fn traceparent(span: &meshloom_core::batch::SpanContext) -> String {
    let trace_id = u128::from_be_bytes(span.trace_id);
    let span_id = u64::from_be_bytes(span.span_id);
    format!("00-{trace_id:032x}-{span_id:016x}-{:02x}", span.flags)
}

/// A run of the program. Dropping it kills the program.
pub(super) struct Run {
    pub(super) stdin: Option<Box<dyn AsyncWrite + Send + Unpin>>,
    pub(super) stdout: Box<dyn AsyncRead + Send + Unpin>,
    pub(super) end: End,
}

/// The end of a run, to be waited for.
pub(super) struct End {
    process: Box<dyn Process>,
    stderr: JoinHandle<()>,
    tail: Tail,
    command: String,
}

impl Program {
    pub(super) fn new(spec: ExecSpec, context: OpenContext) -> Self {
        Self { spec, context }
    }

    /// The command as the user wrote it, for messages.
    pub(super) fn name(&self) -> String {
        let command = self.spec.command.to_string();
        match limits::truncate(&command, NAME_BYTES) {
            whole if whole.len() == command.len() => format!("`{whole}`"),
            cut => format!("`{cut}...`"),
        }
    }

    /// Starts it with these arguments in this folder.
    pub(super) async fn start(
        &self,
        program: OsString,
        args: Vec<OsString>,
        cwd: &Path,
        occasion: &Occasion,
    ) -> Result<Run, Failure> {
        let mut ours = vec![("PYTHONUNBUFFERED", "1".to_owned())];
        ours.extend(occasion.attempt.map(|attempt| ("MESHLOOM_ATTEMPT", attempt.to_string())));
        ours.extend(occasion.batch.clone().map(|batch| ("MESHLOOM_BATCH", batch)));
        ours.extend(occasion.traceparent.clone().map(|context| ("TRACEPARENT", context)));
        let env = self.context.environment.complete(std::env::vars_os(), ours);
        let line = CommandLine { program, args, dir: cwd.to_owned(), env };
        let child = self.context.spawner.spawn(line).await.map_err(|error| {
            whole("SPAWN_FAILED", format!("{} could not be started in {}: {error}", self.name(), cwd.display()))
        })?;
        let tail = Tail::default();
        let stderr = logs::copy(child.stderr, LogStream::Stderr, self.context.log.clone(), Some(tail.clone()));
        let end = End { process: child.process, stderr: tokio::spawn(stderr), tail, command: self.name() };
        Ok(Run { stdin: Some(child.stdin), stdout: child.stdout, end })
    }

    /// Starts it as it was written, in the node's folder.
    pub(super) async fn start_in_dir(&self, occasion: &Occasion) -> Result<Run, Failure> {
        let command = &self.spec.command;
        let args = command.args.iter().map(OsString::from).collect();
        self.start(OsString::from(&command.program), args, &self.context.dir, occasion).await
    }
}

impl End {
    /// Waits until the program has ended and gives its failure, if it was one.
    pub(super) async fn wait(&mut self) -> Result<(), Failure> {
        let exit = self.process.wait().await;
        self.judge(exit.map_err(|error| error.to_string())).await
    }

    async fn judge(&mut self, exit: Result<Exit, String>) -> Result<(), Failure> {
        match exit {
            Ok(exit) if exit.success() => Ok(()),
            Ok(exit) => Err(self.failure("EXIT_STATUS", format!("ended with {exit}")).await),
            Err(error) => Err(self.failure("EXIT_STATUS", format!("could not be waited for: {error}")).await),
        }
    }

    /// A failure of the run, with the program's last words.
    pub(super) async fn failure(&mut self, reason: &'static str, what: impl Into<String>) -> Failure {
        if !self.stderr.is_finished() {
            // Not an error if it takes longer: then the words so far must do.
            let _ = tokio::time::timeout(LAST_WORDS, &mut self.stderr).await;
        }
        whole(reason, format!("{} {}{}", self.command, what.into(), self.tail.quoted()))
    }

    /// Ends the program and waits until it is gone.
    pub(super) async fn terminate(&mut self) -> Option<Exit> {
        // An error means that there is nothing left to wait for.
        self.process.terminate().await.ok()
    }
}

/// Shared by all calls.
pub(super) type SharedProgram = Arc<Program>;
