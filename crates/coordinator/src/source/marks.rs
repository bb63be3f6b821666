//! How far a source's frames in the journal have settled, written behind each other.

use std::time::Duration;

use meshloom_journal::{Journal, JournalError, SourceId};
use tokio::{
    task::{JoinError, JoinHandle},
    time::Instant,
};

/// Time between marks: what a crash repeats grows by it, and the disk has time for others.
const PAUSE: Duration = Duration::from_millis(50);
/// Time between attempts to write a mark.
const AGAIN: Duration = Duration::from_secs(1);

/// The marks of one source.
#[derive(Debug)]
pub(super) struct Marks {
    journal: Journal,
    source: SourceId,
    /// The newest that is not being written.
    newest: Option<u64>,
    write: Option<(u64, JoinHandle<Result<(), JournalError>>)>,
    next: Instant,
    failed: bool,
}

impl Marks {
    pub(super) fn new(journal: Journal, source: SourceId) -> Self {
        Self { journal, source, newest: None, write: None, next: Instant::now(), failed: false }
    }

    /// All frames up to and with this one have settled.
    pub(super) fn moved(&mut self, through: u64) {
        self.newest = Some(through);
    }

    /// Whether everything is written.
    pub(super) fn is_idle(&self) -> bool {
        self.newest.is_none() && self.write.is_none()
    }

    /// Whether a mark is being written.
    pub(super) fn is_asked(&self) -> bool {
        self.write.is_some()
    }

    /// When the newest is written; `None`: there is none, or another one is being written.
    pub(super) fn due(&self) -> Option<Instant> {
        (self.newest.is_some() && self.write.is_none()).then_some(self.next)
    }

    /// Writes the newest if it is time. `hurried`: nothing else will come.
    pub(super) fn begin(&mut self, hurried: bool) {
        let due = self.due().is_some_and(|due| due <= Instant::now() || hurried && !self.failed);
        let Some(through) = self.newest.take_if(|_| due) else { return };
        let (journal, source) = (self.journal.clone(), self.source);
        self.write = Some((through, tokio::spawn(async move { journal.settle(source, through).await })));
        self.next = Instant::now() + PAUSE;
    }

    /// What the journal says to the mark that it has; never, if it has none. One that was not written is tried again
    /// unless it is the last of the run, after which its events come again.
    pub(super) async fn answered(&mut self, last: bool) -> Result<(), JournalError> {
        let (through, answer) = match &mut self.write {
            Some((through, write)) => (*through, write.await),
            None => std::future::pending().await,
        };
        self.write = None;
        let answer = answer.unwrap_or_else(|error: JoinError| std::panic::resume_unwind(error.into_panic()));
        self.failed = answer.is_err();
        if self.failed {
            self.next = Instant::now() + AGAIN;
            self.newest = if last { None } else { Some(self.newest.unwrap_or(through)) };
        }
        answer
    }
}
