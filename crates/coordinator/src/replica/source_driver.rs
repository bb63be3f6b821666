//! Keeps a source up.

use std::sync::Arc;

use bytes::Bytes;
use meshloom_config::NodeSpec;
use meshloom_core::exchange::FromSource;
use tokio::sync::{mpsc, oneshot, watch};

use super::{
    FirstStart, ReplicaBoard,
    backoff::Backoff,
    check::pick_handler,
    dial::dial,
    embedded,
    launch::{Host, Launched, Placement, chain},
    process_stream::StreamEnd,
    produce_stream::{COMMANDS, ProduceStream},
};
use crate::{error::RunError, flow::Budget, source::FromStream};

/// What the driver of a source has.
pub(crate) struct SourceSeat {
    pub(crate) host: Arc<Host>,
    pub(crate) spec: NodeSpec,
    /// `None`: it is part of the coordinator (`use`, `exec`).
    pub(crate) placement: Option<Placement>,
    pub(crate) routes: Vec<String>,
    pub(crate) budget: Budget,
    pub(crate) actor: mpsc::Sender<FromStream>,
    pub(crate) resume: watch::Receiver<Option<Bytes>>,
    pub(crate) reopen: mpsc::Receiver<String>,
    pub(crate) board: ReplicaBoard,
    pub(crate) fatal: mpsc::Sender<RunError>,
}

enum SessionEnd {
    Finished,
    Failed(RunError),
}

/// Runs until the source is exhausted or told to stop, or the pipeline ends.
pub(crate) async fn drive_source(mut seat: SourceSeat, first: FirstStart) {
    let mut backoff = Backoff::new(seat.spec.restart);
    let mut first = Some(first);
    loop {
        seat.board.write(|state| state.state = "starting");
        let ended = match seat.placement.clone() {
            Some(place) => seat.remote(&place, &mut first, &mut backoff).await,
            None => seat.embedded(&mut first, &mut backoff).await,
        };
        let error = match ended {
            SessionEnd::Finished => {
                seat.board.write(|state| state.state = "stopped");
                if let Some(first) = first.take() {
                    // There was so little to do that all of it was done before this replica was up.
                    let _ = first.send(Ok(()));
                }
                return;
            }
            SessionEnd::Failed(error) => error,
        };
        seat.board.write(|state| {
            state.state = "down";
            state.pid = 0;
            state.last_error = error.at_node();
        });
        if let Some(first) = first.take() {
            let _ = first.send(Err(error));
            return;
        }
        let gone = seat.actor.send(FromStream::Down).await.is_err();
        if gone || seat.host.stop.is_cancelled() {
            return;
        }
        let Some(wait) = backoff.down() else {
            let _ = seat.fatal.send(error.with_remedy("`restart: never` is set at this node")).await;
            return;
        };
        tracing::warn!("{} is down and starts again in {wait:.1?}: {}", seat.spec.name, error.at_node());
        seat.board.write(|state| state.restarts += 1);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = seat.host.stop.cancelled() => return,
            () = seat.actor.closed() => return,
        }
        // What was asked of the stream that is gone need not be asked of the next.
        while seat.reopen.try_recv().is_ok() {}
    }
}

impl SourceSeat {
    async fn remote(&mut self, place: &Placement, first: &mut Option<FirstStart>, backoff: &mut Backoff) -> SessionEnd {
        let launched = match self.host.launch(&self.spec, 0, place).await {
            Ok(launched) => launched,
            Err(error) => return SessionEnd::Failed(error),
        };
        let end = self.session(&launched, first, backoff).await;
        launched.end().await;
        end
    }

    async fn session(
        &mut self,
        launched: &Launched,
        first: &mut Option<FirstStart>,
        backoff: &mut Backoff,
    ) -> SessionEnd {
        let opening = async {
            let handler = pick_handler(&self.spec, &launched.described, &self.routes)?;
            let channel = dial(&launched.address, self.spec.timeout).await.map_err(|error| {
                RunError::node(&self.spec.name, "NODE_UNREACHABLE", format!("{}: {}", launched.address, chain(&error)))
            })?;
            let resume = self.resume.borrow().clone();
            let sampling = self.spec.trace.unwrap_or(self.host.pipeline.trace);
            let (host, spec, budget) = (&self.host, &self.spec, self.budget.clone());
            let opening = ProduceStream::open(host, spec, &handler.name, resume.clone(), sampling, budget, channel);
            Ok((opening.await?, handler.replays, resume))
        };
        let exited = async {
            match &launched.process {
                Some(process) => process.exited().await,
                None => std::future::pending().await,
            }
        };
        tokio::pin!(exited);
        let opened = tokio::select! {
            opened = opening => opened,
            exit = &mut exited => {
                let message = format!("it ended before it was ready: {}", crate::process_words(&exit));
                Err(RunError::node(&self.spec.name, "START_FAILED", message))
            }
        };
        let (stream, replays, resumed) = match opened {
            Ok(opened) => opened,
            Err(error) => return SessionEnd::Failed(error),
        };
        let sdk = stream.opened.sdk.clone().unwrap_or_default();
        self.board.write(|state| {
            state.state = "up";
            state.pid = launched.process.as_ref().map_or(0, |process| process.pid());
            state.sdk = format!("{} {}", sdk.language, sdk.version);
        });
        backoff.up();
        let commands = stream.commands.clone();
        if self.actor.send(FromStream::Opened { replays, resumed, commands }).await.is_err() {
            return SessionEnd::Finished;
        }
        if let Some(first) = first.take() {
            let _ = first.send(Ok(()));
        }
        let failed = |code, message: String| SessionEnd::Failed(RunError::node(&self.spec.name, code, message));
        tokio::select! {
            biased;
            (end, exhausted) = stream.read(&self.actor) => match end {
                _ if exhausted => self.agree().await,
                // After Stop an orderly end is the end.
                StreamEnd::Closed if self.host.draining.is_cancelled() => SessionEnd::Finished,
                StreamEnd::Closed => failed("STREAM_ENDED", "it ended its stream without saying that it is exhausted".into()),
                StreamEnd::Broken(why) => match tokio::time::timeout(std::time::Duration::from_secs(1), &mut exited).await {
                    Ok(exit) => failed("DIED", crate::process_words(&exit)),
                    Err(_) => failed("STREAM_LOST", why),
                },
            },
            exit = &mut exited => failed("DIED", crate::process_words(&exit)),
            Some(why) = self.reopen.recv() => failed("REOPENED", why),
            () = self.host.stop.cancelled() => failed("STOPPED", "the pipeline is ending".into()),
        }
    }

    async fn embedded(&mut self, first: &mut Option<FirstStart>, backoff: &mut Backoff) -> SessionEnd {
        let resumed = self.resume.borrow().clone();
        let source = match embedded::open_source(&self.host, &self.spec, resumed.clone()).await {
            Ok(source) => source,
            Err(error) => return SessionEnd::Failed(error),
        };
        let (commands, input) = mpsc::channel(COMMANDS);
        let (output, said) = mpsc::channel(1);
        backoff.up();
        self.board.write(|state| {
            state.state = "up";
            state.sdk = self.spec.kind.key().to_owned();
        });
        if self.actor.send(FromStream::Opened { replays: source.replays(), resumed, commands }).await.is_err() {
            return SessionEnd::Finished;
        }
        if let Some(first) = first.take() {
            let _ = first.send(Ok(()));
        }
        // Both to their ends: what the source said before it returned must still reach the actor.
        let session = async { tokio::join!(source.run(input, output), pass_on(said, &self.actor)) };
        let (result, exhausted) = tokio::select! {
            ended = session => ended,
            Some(why) = self.reopen.recv() => {
                return SessionEnd::Failed(RunError::node(&self.spec.name, "REOPENED", why));
            }
            () = self.host.stop.cancelled() => {
                return SessionEnd::Failed(RunError::node(&self.spec.name, "STOPPED", "the pipeline is ending"));
            }
        };
        match result {
            Err(error) => {
                SessionEnd::Failed(RunError::node(&self.spec.name, error.code, error.message).with_remedy(error.remedy))
            }
            Ok(()) if exhausted => self.agree().await,
            Ok(()) if self.host.draining.is_cancelled() => SessionEnd::Finished,
            Ok(()) => {
                SessionEnd::Failed(RunError::node(&self.spec.name, "STREAM_ENDED", "it ended without being exhausted"))
            }
        }
    }
}

impl SourceSeat {
    /// An exhausted source is finished once the actor has heard all of it and asks for none of it again.
    async fn agree(&mut self) -> SessionEnd {
        let (agreed, answer) = oneshot::channel();
        if self.actor.send(FromStream::Ended(agreed)).await.is_err() || answer.await.is_ok() {
            return SessionEnd::Finished;
        }
        let why = self.reopen.try_recv().unwrap_or_else(|_| "the pipeline is ending".into());
        SessionEnd::Failed(RunError::node(&self.spec.name, "REOPENED", why))
    }
}

/// Passes on what a source in this process says, until it or the actor ends. Says whether the source was exhausted.
async fn pass_on(mut said: mpsc::Receiver<FromSource>, actor: &mpsc::Sender<FromStream>) -> bool {
    let mut exhausted = false;
    while let Some(message) = said.recv().await {
        exhausted |= matches!(message, FromSource::Exhausted);
        if actor.send(FromStream::Said(message)).await.is_err() {
            break;
        }
    }
    exhausted
}
