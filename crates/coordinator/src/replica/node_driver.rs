//! Keeps one replica of a transform or sink up.

use std::{sync::Arc, time::Duration};

use meshloom_config::{ConnectorSpec, NodeKind, NodeSpec, spec::Ordering};
use meshloom_core::{exchange::FromNode, machine::End};
use tokio::sync::{mpsc, watch};

use super::{
    FirstStart, ReplicaBoard,
    backoff::Backoff,
    check::pick_handler,
    dial::dial,
    embedded,
    launch::{Host, Placement, chain},
    process_stream::{ProcessStream, StreamEnd, Voice, capped},
};
use crate::{
    error::RunError,
    node::FromReplica,
    process::{Exit, Process},
};

/// The wait before a replica is started again at which events are tried that may have killed it.
const QUARANTINE_WAIT: Duration = Duration::from_millis(100);
/// How long the end of a process is waited for once its stream has ended.
const DEATH_RATTLE: Duration = Duration::from_secs(1);

/// How one session of a replica ended.
pub(super) enum SessionEnd {
    /// The actor had nothing more for it.
    Finished,
    /// Otherwise; it may be started again.
    Failed(RunError),
}

/// What a driver of a node has.
pub(crate) struct NodeSeat {
    pub(crate) host: Arc<Host>,
    pub(crate) spec: NodeSpec,
    pub(crate) replica: u32,
    /// `None`: it is part of the coordinator (`use`, `exec`).
    pub(crate) placement: Option<Placement>,
    /// Routes that other nodes take.
    pub(crate) routes: Vec<String>,
    pub(crate) actor: mpsc::Sender<(u32, FromReplica)>,
    pub(crate) restart: mpsc::Receiver<String>,
    /// Whether events that may have killed the replica are to be tried at it.
    pub(crate) is_ward: watch::Receiver<bool>,
    /// The actor half-closes it and wants it started again.
    pub(crate) rest: mpsc::Receiver<FirstStart>,
    /// What came by `rest`, until the stream has ended.
    pub(crate) told: Option<FirstStart>,
    pub(crate) board: ReplicaBoard,
    pub(crate) fatal: mpsc::Sender<RunError>,
}

/// Runs until the actor is done with the replica, or the pipeline ends.
pub(crate) async fn drive_node(mut seat: NodeSeat, first: FirstStart) {
    let mut backoff = Backoff::new(seat.spec.restart);
    let mut first = Some(first);
    let mut began = false;
    let voice = Voice { replica: seat.replica, actor: seat.actor.clone() };
    loop {
        seat.board.write(|state| state.state = "starting");
        let ended = match &seat.placement {
            Some(place) => {
                let place = place.clone();
                seat.remote(&place, &voice, &mut first, &mut backoff).await
            }
            None => seat.embedded(&voice, &mut first, &mut backoff).await,
        };
        if let Some(ready) = seat.told.take().or_else(|| seat.rest.try_recv().ok())
            && !seat.actor.is_closed()
        {
            // It was told to end, so its end is no failure, however it came.
            seat.board.write(|state| {
                state.pid = 0;
                state.restarts += 1;
            });
            (first, began) = (Some(ready), true);
            continue;
        }
        let error = match ended {
            SessionEnd::Finished => {
                seat.board.write(|state| state.state = "stopped");
                if let Some(first) = first.take_if(|_| !began) {
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
            // Nobody waits any more if the pipeline is ending already.
            let _ = first.send(Err(error.clone()));
            if !began {
                return;
            }
        }
        if seat.host.stop.is_cancelled() || seat.actor.is_closed() {
            return;
        }
        let was_up = backoff.is_up();
        let Some(wait) = backoff.down() else {
            let _ = seat.fatal.send(error.with_remedy("`restart: never` is set at this node")).await;
            return;
        };
        tracing::warn!(
            "{}[{}] is down and starts again in {wait:.1?}: {}",
            seat.spec.name,
            seat.replica,
            error.at_node()
        );
        seat.board.write(|state| state.restarts += 1);
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            // The actor may hear of the end only now, and decide then.
            () = quarantine_wait(&mut seat.is_ward), if was_up => backoff.forgive(),
            () = seat.host.stop.cancelled() => return,
            () = seat.actor.closed() => return,
        }
    }
}

impl NodeSeat {
    async fn remote(
        &mut self,
        place: &Placement,
        voice: &Voice,
        first: &mut Option<FirstStart>,
        backoff: &mut Backoff,
    ) -> SessionEnd {
        let launched = match self.host.launch(&self.spec, self.replica, place).await {
            Ok(launched) => launched,
            Err(error) => return SessionEnd::Failed(error),
        };
        let opening = async {
            let handler = pick_handler(&self.spec, &launched.described, &self.routes)?.name.clone();
            let channel = dial(&launched.address, self.spec.timeout).await.map_err(|error| {
                RunError::node(&self.spec.name, "NODE_UNREACHABLE", format!("{}: {}", launched.address, chain(&error)))
            })?;
            ProcessStream::open(&self.host, &self.spec, self.replica, &handler, channel).await
        };
        let opened = match &launched.process {
            None => opening.await,
            Some(process) => tokio::select! {
                opened = opening => opened,
                exit = process.exited() => Err(RunError::node(
                    &self.spec.name,
                    "START_FAILED",
                    format!("it ended before it was ready: {}", crate::process_words(&exit)),
                )),
            },
        };
        let stream = match opened {
            Ok(stream) => stream,
            Err(error) => {
                launched.end().await;
                return SessionEnd::Failed(error);
            }
        };
        let sdk = stream.opened.sdk.clone().unwrap_or_default();
        let pid = launched.process.as_ref().map_or(0, |process| process.pid());
        self.board.write(|state| {
            state.state = "up";
            state.pid = pid;
            state.sdk = format!("{} {}", sdk.language, sdk.version);
        });
        let limits = capped(meshloom_wire::process::decode_limits(stream.opened.limits.unwrap_or_default()));
        backoff.up();
        let works = stream.works.clone();
        let finished = stream.works.downgrade();
        if !voice.say(FromReplica::Up { limits, reports_progress: true, works }).await {
            launched.end().await;
            return SessionEnd::Finished;
        }
        if let Some(first) = first.take() {
            let _ = first.send(Ok(()));
        }
        let reading = stream.read(voice);
        let exited = async {
            match &launched.process {
                Some(process) => process.exited().await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            end = reading => match end {
                StreamEnd::Closed if finished.upgrade().is_none() => None,
                StreamEnd::Closed => {
                    let why = "it ended its stream, though nobody had asked it to";
                    Some(self.death_or("STREAM_ENDED", why.into(), launched.process.as_ref()).await)
                }
                StreamEnd::Broken(why) => Some(self.death_or("STREAM_LOST", why, launched.process.as_ref()).await),
            },
            exit = exited => Some(self.death(&exit)),
            Some(why) = self.restart.recv() => Some((self.failed("RESTARTED", why), End::Closed)),
            () = overdue(&mut self.rest, &mut self.told, self.host.pipeline.drain) => None,
            () = self.host.stop.cancelled() => Some((self.failed("STOPPED", "the pipeline is ending"), End::Closed)),
        };
        let Some((why, end)) = ended else {
            launched.end().await;
            return SessionEnd::Finished;
        };
        if self.spec.ordering == Ordering::None {
            // First the events back to the queue, then the end of the process, which may take its time.
            voice.say(FromReplica::Down(end)).await;
            launched.end().await;
        } else {
            // First the end of the process: it may still be at an event that another replica would get.
            launched.end().await;
            voice.say(FromReplica::Down(end)).await;
            // Until then the actor may have lost its patience with it.
            while self.restart.try_recv().is_ok() {}
        }
        SessionEnd::Failed(why)
    }

    /// A stream ended. A process that died says so in a moment, and that says more than its stream.
    async fn death_or(&self, code: &'static str, why: String, process: Option<&Process>) -> (RunError, End) {
        if let Some(process) = process
            && let Ok(exit) = tokio::time::timeout(DEATH_RATTLE, process.exited()).await
        {
            return self.death(&exit);
        }
        (self.failed(code, why.clone()), End::Lost { why })
    }

    fn death(&self, exit: &Exit) -> (RunError, End) {
        let words = crate::process_words(exit);
        (self.failed("DIED", words.clone()), end_of(exit, words))
    }

    fn failed(&self, code: &'static str, message: impl Into<String>) -> RunError {
        RunError::node(&self.spec.name, code, message)
    }

    /// A node in this process.
    async fn embedded(&mut self, voice: &Voice, first: &mut Option<FirstStart>, backoff: &mut Backoff) -> SessionEnd {
        let node = match embedded::open_node(&self.host, &self.spec, self.replica).await {
            Ok(node) => node,
            Err(error) => return SessionEnd::Failed(error),
        };
        let limits = capped(node.limits());
        let (works, input) = mpsc::channel(super::process_stream::CHANNEL);
        let asked_to_end = works.downgrade();
        let (output, said) = mpsc::channel(1);
        backoff.up();
        let sdk = match &self.spec.kind {
            NodeKind::Use(connector) => ConnectorSpec::name(connector).to_owned(),
            _ => "exec".to_owned(),
        };
        self.board.write(|state| {
            state.state = "up";
            state.sdk = sdk;
        });
        if !voice.say(FromReplica::Up { limits, reports_progress: false, works }).await {
            return SessionEnd::Finished;
        }
        if let Some(first) = first.take() {
            let _ = first.send(Ok(()));
        }
        // Both to their ends: what the node said before it returned must still reach the actor.
        let session = async { tokio::join!(node.run(input, output), pass_on(said, voice)) };
        let why = tokio::select! {
            (result, ()) = session => match result {
                Ok(()) if asked_to_end.upgrade().is_none() => None,
                Ok(()) => Some(self.failed("STREAM_ENDED", "it ended, though nobody had asked it to")),
                Err(error) => Some(RunError::node(&self.spec.name, error.code, error.message).with_remedy(error.remedy)),
            },
            Some(why) = self.restart.recv() => Some(self.failed("RESTARTED", why)),
            () = overdue(&mut self.rest, &mut self.told, self.host.pipeline.drain) => None,
            () = self.host.stop.cancelled() => Some(self.failed("STOPPED", "the pipeline is ending")),
        };
        match why {
            Some(error) => {
                // No process of it has been lost: an adapted program that dies is the adapter's affair.
                voice.say(FromReplica::Down(End::Closed)).await;
                SessionEnd::Failed(error)
            }
            None => SessionEnd::Finished,
        }
    }
}

/// Only the end of a process that nobody here had asked for is a death.
fn end_of(exit: &Exit, words: String) -> End {
    if exit.requested { End::Closed } else { End::Died { words } }
}

/// Returns once the replica is needed for a quarantine and the wait for that is over.
async fn quarantine_wait(is_ward: &mut watch::Receiver<bool>) {
    let over = tokio::time::Instant::now() + QUARANTINE_WAIT;
    if is_ward.wait_for(|is_ward| *is_ward).await.is_err() {
        // An actor that is gone needs nothing.
        std::future::pending::<()>().await;
    }
    tokio::time::sleep_until(over).await;
}

/// Resolves when a replica that was told to end, with nothing in hand, has not done so in `patience`.
async fn overdue(rest: &mut mpsc::Receiver<FirstStart>, told: &mut Option<FirstStart>, patience: Duration) {
    match rest.recv().await {
        Some(ready) => *told = Some(ready),
        None => std::future::pending().await,
    }
    tokio::time::sleep(patience).await;
}

/// Passes on what a node in this process says, until it or the actor ends.
async fn pass_on(mut said: mpsc::Receiver<FromNode>, voice: &Voice) {
    while let Some(message) = said.recv().await {
        if !voice.say(FromReplica::Said(message)).await {
            break;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Status;

    #[tokio::test(start_paused = true)]
    async fn a_ward_waits_a_tenth_of_a_second_and_others_are_not_hurried() {
        let (ward, mut is_ward) = watch::channel(false);
        let others = tokio::time::timeout(Duration::from_secs(3600), quarantine_wait(&mut is_ward.clone())).await;
        assert!(others.is_err());
        let began = tokio::time::Instant::now();
        let told = async {
            tokio::time::sleep(QUARANTINE_WAIT / 4).await;
            ward.send_replace(true);
        };
        tokio::join!(quarantine_wait(&mut is_ward), told);
        assert!((QUARANTINE_WAIT..QUARANTINE_WAIT * 2).contains(&began.elapsed()), "{:?}", began.elapsed());
    }

    #[test]
    fn only_an_exit_that_was_not_asked_for_is_a_death() {
        let last_words = vec!["panicked at 'boom'".to_owned()];
        let exit = Exit { status: Status::Signal(11), requested: false, guard_lost: false, last_words };
        let End::Died { words } = end_of(&exit, crate::process_words(&exit)) else { panic!("a death") };
        assert!(words.contains("signal 11 (SIGSEGV)") && words.contains("boom"), "{words}");
        assert_eq!(end_of(&Exit { requested: true, ..exit }, String::new()), End::Closed);
    }
}
