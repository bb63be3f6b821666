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

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use meshloom_journal::{Options, storage::Memory};
    use tokio::time::advance;

    use super::*;

    /// The marks of a source that has three frames in its journal.
    async fn marks() -> Marks {
        let (journal, _) = Journal::open(Memory::default(), Options { size: 4 << 20 }).unwrap();
        let source = journal.source("source").unwrap();
        for _ in 0..3 {
            journal.append(source, vec![Bytes::from_static(b"frame")]).await.unwrap();
        }
        Marks::new(journal, source)
    }

    #[tokio::test(start_paused = true)]
    async fn one_mark_is_written_at_a_time_and_the_next_a_pause_later() {
        let mut marks = marks().await;
        assert!(marks.is_idle() && !marks.is_asked() && marks.due().is_none());
        marks.begin(true);
        assert!(!marks.is_asked(), "there is nothing to write");
        let began = Instant::now();
        marks.moved(1);
        assert_eq!((marks.is_idle(), marks.is_asked(), marks.due()), (false, false, Some(began)));
        marks.begin(false);
        assert_eq!((marks.is_idle(), marks.is_asked(), marks.due()), (false, true, None));
        marks.moved(2);
        assert_eq!(marks.due(), None);
        marks.answered(false).await.unwrap();
        assert_eq!((marks.is_idle(), marks.is_asked(), marks.due()), (false, false, Some(began + PAUSE)));
        marks.begin(false);
        assert!(!marks.is_asked(), "the disk has time for others");
        advance(PAUSE).await;
        marks.begin(false);
        assert!(marks.is_asked());
        marks.answered(false).await.unwrap();
        marks.moved(3);
        marks.begin(true);
        assert!(marks.is_asked(), "nothing else will come, so nothing is waited for");
        marks.answered(true).await.unwrap();
        assert!(marks.is_idle());
    }

    #[tokio::test(start_paused = true)]
    async fn a_mark_that_was_not_written_is_tried_again_but_for_the_last() {
        let mut marks = marks().await;
        let began = Instant::now();
        // There is no such frame.
        marks.moved(8);
        marks.begin(false);
        marks.answered(false).await.unwrap_err();
        assert_eq!((marks.is_idle(), marks.due(), marks.newest), (false, Some(began + AGAIN), Some(8)));
        marks.begin(true);
        assert!(!marks.is_asked(), "a disk in trouble is not hurried");
        advance(AGAIN).await;
        marks.begin(false);
        marks.moved(9);
        marks.answered(false).await.unwrap_err();
        assert_eq!(marks.newest, Some(9), "the one that came meanwhile says more");
        advance(AGAIN).await;
        marks.begin(false);
        marks.answered(true).await.unwrap_err();
        assert!(marks.is_idle(), "its events come again");
    }
}
