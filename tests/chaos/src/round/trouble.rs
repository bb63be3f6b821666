//! Trouble with the storage: until it has met something, for its time, and until everything goes on again.

use std::{
    thread,
    time::{Duration, Instant},
};

use meshloom_e2e::Running;

use super::{Checked, Flow, LOOK, PATIENCE, Round, SEARCH};
use crate::{
    plan::Again,
    storage::{Place, Trouble},
};

/// What the log says of a journal that takes nothing more until it is opened again.
const FINAL: &str = "the journal's storage failed";
/// What the log of a start says that the storage does not allow.
const NO_START: [&str; 2] = ["error[STATE_UNUSABLE]", NO_SPACE];
/// What the system says on a full file system.
const NO_SPACE: &str = "No space left on device";
/// Posts that may be on their way when the trouble begins, and be accepted in it.
const ON_THE_WAY: u64 = 1;

impl Round<'_> {
    /// Something is wrong with the storage for a while.
    pub(super) fn trouble(&mut self, place: Place, trouble: Trouble, time: Duration, again: Again) -> Checked {
        self.is_up()?;
        self.control.set(Some((place, trouble)));
        let what = format!("the {} to meet the trouble", place.name());
        self.wait_for(&what, Flow::Steady, None, |round| round.control.struck() > 0)?;
        let refuses = place == Place::Journal && trouble.refuses();
        let before = self.client.answers();
        if refuses {
            let answered = |round: &mut Self| {
                let now = round.client.answers();
                now.refused > before.refused || now.accepted > before.accepted + ON_THE_WAY
            };
            self.wait_for("a post to be refused", Flow::Steady, None, answered)?;
        }
        thread::sleep(time);
        let accepted = self.client.answers().accepted - before.accepted;
        if refuses && accepted > ON_THE_WAY {
            let what = format!("{accepted} posts were answered 202 while the journal was {}", trouble.name());
            return Err(vec![what]);
        }
        if again {
            self.start_in_trouble(|round| round.control.set(None))?;
        } else {
            self.control.set(None);
            if refuses && trouble != Trouble::Full {
                self.wait("the log to say that the journal has failed", |round| round.says(FINAL) > 0)?;
                self.kill_coordinator(false)?;
            }
        }
        if refuses { self.accepted_again() } else { Ok(()) }
    }

    /// The file system of the state is full for a while. Whether the journal meets it first is open: what is left of a page
    /// that is in use is still room, and no guard of a process for a batch can be started, so that nobody may ask it.
    pub(super) fn filled(&mut self, time: Duration, again: Again) -> Checked {
        self.is_up()?;
        let before = (self.client.answers().refused, self.says(NO_SPACE));
        self.tmpfs.as_ref().expect("the plan is one of a tmpfs").fill();
        let met = |round: &mut Self| round.client.answers().refused > before.0 || round.says(NO_SPACE) > before.1;
        self.wait_for("the full file system to be met", Flow::Steady, None, met)?;
        thread::sleep(time);
        let free = |round: &mut Self| round.tmpfs.as_ref().expect("it is mounted").free();
        if again {
            self.start_in_trouble(free)?
        } else {
            free(self)
        }
        self.accepted_again()
    }

    /// Waits until all nodes are up: a start in trouble is another matter.
    pub(super) fn is_up(&mut self) -> Checked {
        self.wait("all nodes to be up", |round| {
            thread::sleep(SEARCH);
            let books = round.running.as_ref().and_then(Running::status);
            books.is_some_and(|books| books.phase != "starting")
        })
    }

    fn accepted_again(&mut self) -> Checked {
        let before = self.client.answers().accepted;
        let accepted = |round: &mut Self| round.client.answers().accepted > before;
        self.wait_for("posts to be accepted again", Flow::Steady, None, accepted).map(drop)
    }

    /// Kills the coordinator and starts it while the trouble lasts: it runs, or says what is wrong and is started again
    /// after that.
    fn start_in_trouble(&mut self, lift: impl FnOnce(&mut Self)) -> Checked {
        self.kill_coordinator(false)?;
        let (began, mut ended) = (Instant::now(), None);
        while ended.is_none() && self.says("listening on ") == 0 {
            if began.elapsed() > PATIENCE {
                return Err(vec![format!("waited {PATIENCE:?} for a start in trouble to end or to come up")]);
            }
            ended = self.running.as_mut().and_then(Running::ended);
            thread::sleep(LOOK);
        }
        lift(self);
        let Some(status) = ended else { return Ok(()) };
        let finished = self.running.take().expect("it has ended").finish();
        self.log(&format!("{status}, since its storage was in trouble"));
        if status.success() || !NO_START.iter().any(|text| finished.log.contains(text)) {
            return Err(vec![format!("{status} at a start in trouble, without saying that its state cannot be used")]);
        }
        self.check(false)?;
        self.start();
        Ok(())
    }

    /// How often this run has said something so far.
    fn says(&self, text: &str) -> usize {
        self.running.as_ref().map_or(0, |running| running.log().matches(text).count())
    }
}
