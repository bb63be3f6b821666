//! Mode `lines`: one long-lived process, exactly one line out for each line in, in order, many in flight.

use std::{io, time::Duration};

use meshloom_config::exec::Envelope;
use meshloom_core::{
    exchange::{Failure, FromNode, Limits, ToNode},
    limits,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    sync::mpsc,
    time::{Instant, Interval, MissedTickBehavior, sleep_until},
};

use super::{
    batch::CHUNK,
    line_works::Works,
    program::{Occasion, Run, SharedProgram},
};
use crate::{BoxFuture, NodeError, ProcessNode, calls::PROGRESS_EVERY, formats::Encoder};

/// Works in hand when `concurrency` does not say.
const WORKS: u32 = 8;
/// Bytes that are encoded ahead of what the program has read.
const WRITE_AHEAD: usize = 256 << 10;
/// Wait before the program is started again after a failure; doubles.
const RESTART_FIRST: Duration = Duration::from_millis(100);
/// Longest such wait.
const RESTART_MOST: Duration = Duration::from_secs(30);
/// Time to end by itself, once its input or output is closed.
const FAREWELL: Duration = Duration::from_secs(5);

/// A program that answers line by line.
pub(super) struct Lines {
    program: SharedProgram,
}

impl Lines {
    pub(super) fn new(program: SharedProgram) -> Self {
        Self { program }
    }
}

impl ProcessNode for Lines {
    fn limits(&self) -> Limits {
        Limits { works: self.program.context.concurrency.unwrap_or(WORKS).max(1), ..Limits::default() }
    }

    fn run(
        self: Box<Self>,
        input: mpsc::Receiver<ToNode>,
        output: mpsc::Sender<FromNode>,
    ) -> BoxFuture<'static, Result<(), NodeError>> {
        let envelope = self.program.spec.envelope;
        let encoder = match envelope {
            Envelope::Data => Encoder::Text,
            Envelope::CloudEvents => Encoder::CloudEvents,
        };
        let driver = Driver {
            works: Works::new(encoder, envelope, self.program.context.timeout),
            program: self.program,
            output,
            process: None,
            ready_at: Instant::now(),
            wait: RESTART_FIRST,
        };
        Box::pin(driver.drive(input))
    }
}

/// The process and what is between us and it.
struct Live {
    run: Run,
    /// Encoded lines; those before `written` have been written.
    outgoing: Vec<u8>,
    written: usize,
    /// A line of which the end has not come.
    partial: Vec<u8>,
}

struct Driver {
    program: SharedProgram,
    works: Works,
    output: mpsc::Sender<FromNode>,
    process: Option<Live>,
    /// The process is not to be started before.
    ready_at: Instant,
    /// The next wait after a failure.
    wait: Duration,
}

/// What happened next.
enum Event {
    Word(Option<ToNode>),
    Wrote(io::Result<usize>),
    Read(io::Result<usize>),
    NoAnswer,
    MayStart,
    Tick,
    Gone,
}

impl Driver {
    async fn drive(mut self, mut input: mpsc::Receiver<ToNode>) -> Result<(), NodeError> {
        let mut chunk = vec![0; CHUNK];
        let mut tick = tokio::time::interval(PROGRESS_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut listening = true;
        while listening || !self.works.is_empty() {
            self.advance().await;
            if !self.send_results().await {
                break;
            }
            if !listening && self.works.is_empty() {
                break;
            }
            match self.next(&mut input, listening, &mut tick, &mut chunk).await {
                Event::Word(Some(ToNode::Work(work))) => self.works.take(work),
                Event::Word(Some(ToNode::Cancel { sequence, .. })) => self.works.cancel(sequence),
                Event::Word(None) => listening = false,
                Event::Wrote(Ok(written)) if written > 0 => self.wrote(written),
                Event::Wrote(_) => self.ended("closed its standard input").await,
                Event::Read(Ok(read)) if read > 0 => self.read(&chunk[..read]).await,
                Event::Read(_) => self.ended("closed its standard output").await,
                Event::NoAnswer => self.no_answer().await,
                Event::MayStart => {}
                Event::Tick => {
                    // A report that finds no room is worth nothing later.
                    let _ = self.output.try_send(FromNode::Progress(self.works.progress()));
                }
                Event::Gone => break,
            }
        }
        self.farewell().await;
        Ok(())
    }

    async fn next(
        &mut self,
        input: &mut mpsc::Receiver<ToNode>,
        listening: bool,
        tick: &mut Interval,
        chunk: &mut [u8],
    ) -> Event {
        let busy = !self.works.is_empty();
        let Some(live) = &mut self.process else {
            let starting = self.works.has_waiting();
            return tokio::select! {
                word = input.recv(), if listening => Event::Word(word),
                () = sleep_until(self.ready_at), if starting => Event::MayStart,
                _ = tick.tick(), if busy => Event::Tick,
                () = self.output.closed() => Event::Gone,
            };
        };
        let deadline = self.works.deadline();
        let rest = &live.outgoing[live.written..];
        let stdin = live.run.stdin.as_mut().filter(|_| !rest.is_empty());
        tokio::select! {
            word = input.recv(), if listening => Event::Word(word),
            Some(wrote) = async { Some(stdin?.write(rest).await) } => Event::Wrote(wrote),
            read = live.run.stdout.read(chunk) => Event::Read(read),
            () = sleep_until(deadline.unwrap_or_else(Instant::now)), if deadline.is_some() => Event::NoAnswer,
            _ = tick.tick(), if busy => Event::Tick,
            () = self.output.closed() => Event::Gone,
        }
    }

    /// Starts the process if it is needed and time; gives it what it can take.
    async fn advance(&mut self) {
        if self.process.is_none() && self.works.has_waiting() && Instant::now() >= self.ready_at {
            match self.program.start_in_dir(&Occasion::default()).await {
                Ok(run) => {
                    self.process = Some(Live { run, outgoing: Vec::new(), written: 0, partial: Vec::new() });
                }
                Err(failure) => {
                    self.works.fail_waiting(&failure);
                    self.back_off();
                }
            }
        }
        if let Some(live) = &mut self.process
            && live.written == live.outgoing.len()
        {
            live.outgoing.clear();
            live.written = 0;
            self.works.fill(&mut live.outgoing, WRITE_AHEAD);
        }
    }

    async fn send_results(&mut self) -> bool {
        for result in self.works.results() {
            if self.output.send(FromNode::Result(result)).await.is_err() {
                return false;
            }
        }
        true
    }

    fn wrote(&mut self, bytes: usize) {
        if let Some(live) = &mut self.process {
            live.written += bytes;
        }
    }

    async fn read(&mut self, bytes: &[u8]) {
        let Some(live) = &mut self.process else {
            return;
        };
        let mut rest = bytes;
        while let Some(at) = memchr::memchr(b'\n', rest) {
            live.partial.extend_from_slice(&rest[..at]);
            rest = &rest[at + 1..];
            let line = live.partial.strip_suffix(b"\r").unwrap_or(&live.partial);
            let answered = self.works.answer(line);
            live.partial.clear();
            if answered.is_err() {
                return self
                    .fail("BAD_OUTPUT", "wrote more lines than it was given: it must write exactly one for each")
                    .await;
            }
            self.wait = RESTART_FIRST;
        }
        live.partial.extend_from_slice(rest);
        if live.partial.len() > limits::EVENT_BYTES {
            self.fail("BAD_OUTPUT", format!("wrote a line larger than {} bytes", limits::EVENT_BYTES)).await;
        }
    }

    async fn no_answer(&mut self) {
        let what = format!(
            "did not answer a line within {:?}. If it holds its output back, make it write line by line: \
             stdbuf -oL, python -u, jq --unbuffered, grep --line-buffered, awk with fflush()",
            self.works.oldest_limit()
        );
        self.fail("NO_ANSWER", what).await;
    }

    /// One of its streams is closed: it has ended, or will have soon.
    async fn ended(&mut self, what: &str) {
        let Some(live) = &mut self.process else {
            return;
        };
        let failure = match tokio::time::timeout(FAREWELL, live.run.end.wait()).await {
            Ok(Err(failure)) => failure,
            Ok(Ok(())) => {
                live.run.end.failure("EXIT_STATUS", "ended with exit status 0 before it had answered every line").await
            }
            Err(_elapsed) => {
                live.run.end.terminate().await;
                live.run.end.failure("EXIT_STATUS", format!("{what} and did not end")).await
            }
        };
        self.failed(failure).await;
    }

    async fn fail(&mut self, reason: &'static str, what: impl Into<String>) {
        if let Some(live) = &mut self.process {
            live.run.end.terminate().await;
            let failure = live.run.end.failure(reason, what).await;
            self.failed(failure).await;
        }
    }

    async fn failed(&mut self, failure: Failure) {
        self.process = None;
        if !self.works.has_asked() {
            self.program.context.say(format!("{}; it is started again with the next event", failure.message)).await;
        }
        self.works.fail(&failure);
        self.back_off();
    }

    fn back_off(&mut self) {
        self.ready_at = Instant::now() + self.wait;
        self.wait = (self.wait * 2).min(RESTART_MOST);
    }

    /// Closes the program's input and lets it end by itself.
    async fn farewell(&mut self) {
        let Some(Live { mut run, .. }) = self.process.take() else {
            return;
        };
        run.stdin = None;
        let drain = async {
            let mut sink = tokio::io::sink();
            // What it still says answers nobody.
            let _ = tokio::io::copy(&mut run.stdout, &mut sink).await;
        };
        let ended = tokio::time::timeout(FAREWELL, async { tokio::join!(drain, run.end.wait()).1 }).await;
        match ended {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => self.program.context.say(failure.message).await,
            Err(_elapsed) => {
                run.end.terminate().await;
            }
        }
    }
}
