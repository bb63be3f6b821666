//! Replays of dead letters: a source of its own, with a place of its own at every node.
//!
//! A letter's event enters where it failed, with its uid and its payload. The letter stays until all that came from the
//! event has settled, and is removed then if its generation is still the one that was sent: an event that failed at the
//! same place again has given it a new one. So nothing is lost whatever ends when, and what had failed is never forgotten.

mod doors;
mod run;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use meshloom_config::suggest;
use meshloom_proto::v1;
use tokio::sync::{mpsc, watch};
use tonic::Status;

pub(crate) use self::doors::{Doors, EVENTS, ReplayInput};
use self::run::Replay;
use crate::{
    flow::{Budget, WeakDesk},
    phase::Phase,
    state::{LetterFilter, SharedLetters},
};

/// Messages that a caller may be behind.
const MESSAGES: usize = 4;

/// Begins replays, one at a time.
pub(crate) struct Replayer {
    doors: Arc<Doors>,
    store: SharedLetters,
    desk: WeakDesk,
    budget: Budget,
    phase: watch::Receiver<Phase>,
    busy: Arc<tokio::sync::Mutex<()>>,
}

/// What a replay tells its caller.
pub(crate) type Progress = mpsc::Receiver<Result<v1::ReplayDeadLettersResponse, Status>>;

impl Replayer {
    pub(crate) fn new(
        doors: Doors,
        store: SharedLetters,
        desk: WeakDesk,
        budget: Budget,
        phase: watch::Receiver<Phase>,
    ) -> Self {
        Self { doors: Arc::new(doors), store, desk, budget, phase, busy: Arc::default() }
    }

    /// Sends the letters that `filter` takes and that are there now. What the caller hears ends with the replay, and a
    /// caller who hangs up ends it.
    ///
    /// # Errors
    /// The node is gone, another replay is under way, or the pipeline is ending.
    pub(crate) fn begin(&self, filter: LetterFilter) -> Result<Progress, Status> {
        if let Some(node) = &filter.node
            && self.doors.find(node).is_none()
        {
            let near = suggest(node, self.doors.names());
            let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            return Err(Status::not_found(format!(
                "the pipeline has no node `{node}`, so its dead letters cannot be replayed{hint}; `meshloom dead-letters export --node {node}` keeps their events, `discard` removes them"
            )));
        }
        let ending = || Status::failed_precondition("the pipeline is ending; replay its dead letters in the next run");
        if *self.phase.borrow() != Phase::Running {
            return Err(ending());
        }
        let desk = self.desk.upgrade().ok_or_else(ending)?;
        let turn = self.busy.clone().try_lock_owned().map_err(|_| {
            Status::failed_precondition("another replay of dead letters is under way; wait for its end, or end it")
        })?;
        let (told, progress) = mpsc::channel(MESSAGES);
        let replay =
            Replay::new(self.doors.clone(), self.store.clone(), &desk, self.budget.clone(), self.phase.clone(), filter);
        tokio::spawn(async move {
            let end = replay.run(&told).await;
            // Another may begin, whether or not the caller listens.
            drop(turn);
            // One who has hung up does not mind.
            let _ = told.send(end).await;
        });
        Ok(progress)
    }
}
