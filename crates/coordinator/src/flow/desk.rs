//! Where actors leave dead letters for the store.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use meshloom_core::machine::Letter;
use tokio::sync::mpsc;

use super::{Budget, Charge};

/// Letters that may lie here before sources are stopped.
const LETTERS: usize = 1024;

/// A letter on its way to the store, with the node at which the event failed.
#[derive(Debug)]
pub(crate) struct LetterNote {
    /// The node.
    pub(crate) node: Arc<str>,
    /// The letter.
    pub(crate) letter: Letter,
    /// The route of an output of the node that nobody takes.
    pub(crate) route: Option<Arc<str>>,
    /// Pays for it while it waits.
    pub(crate) charge: Option<Charge>,
}

impl LetterNote {
    /// Of an event that failed as an input of the node.
    pub(crate) fn new(node: Arc<str>, letter: Letter) -> Self {
        Self { node, letter, route: None, charge: None }
    }
}

/// Takes letters from every actor, at once: an actor that waited for the store could not finish what makes room in it.
/// What lies here is paid for out of the memory budget, and while it is much the sources stand still, so that no more
/// can come than is in the pipeline.
#[derive(Debug, Clone)]
pub(crate) struct LetterDesk {
    notes: Arc<Mutex<VecDeque<LetterNote>>>,
    /// Full: the store has been told that there are letters.
    wake: mpsc::Sender<()>,
    budget: Budget,
}

/// A desk for somebody who must not keep the store waiting for the end.
#[derive(Debug, Clone)]
pub(crate) struct WeakDesk {
    notes: Arc<Mutex<VecDeque<LetterNote>>>,
    wake: mpsc::WeakSender<()>,
    budget: Budget,
}

impl WeakDesk {
    /// The desk; `None`: everybody else has left it.
    pub(crate) fn upgrade(&self) -> Option<LetterDesk> {
        let wake = self.wake.upgrade()?;
        Some(LetterDesk { notes: self.notes.clone(), wake, budget: self.budget.clone() })
    }
}

/// The store's side of the desk.
#[derive(Debug)]
pub(crate) struct LettersIn {
    notes: Arc<Mutex<VecDeque<LetterNote>>>,
    wake: mpsc::Receiver<()>,
    budget: Budget,
}

impl LetterDesk {
    /// A desk whose letters are paid for out of `budget`, in which the sources have their shares.
    pub(crate) fn new(budget: Budget) -> (Self, LettersIn) {
        let notes: Arc<Mutex<VecDeque<LetterNote>>> = Arc::default();
        let (wake, woken) = mpsc::channel(1);
        (Self { notes: notes.clone(), wake, budget: budget.clone() }, LettersIn { notes, wake: woken, budget })
    }

    /// The same desk, not kept open.
    pub(crate) fn downgrade(&self) -> WeakDesk {
        WeakDesk { notes: self.notes.clone(), wake: self.wake.downgrade(), budget: self.budget.clone() }
    }

    /// Leaves a letter. Where the store is gone its deliveries are lost, and their sources send them again.
    pub(crate) fn push(&self, note: LetterNote) {
        if self.wake.is_closed() {
            return;
        }
        let charge = Some(self.budget.take(note.letter.batch.bytes() as u64));
        let mut notes = locked(&self.notes);
        notes.push_back(LetterNote { charge, ..note });
        if notes.len() > LETTERS {
            self.budget.close_shares(true);
        }
        drop(notes);
        // A full channel says so already.
        let _ = self.wake.try_send(());
    }
}

impl LettersIn {
    /// Waits for letters; `false`: no more will come, but some may lie here.
    pub(crate) async fn come(&mut self) -> bool {
        self.wake.recv().await.is_some()
    }

    /// Takes all that lie here.
    pub(crate) fn take(&self) -> VecDeque<LetterNote> {
        std::mem::take(&mut *locked(&self.notes))
    }

    /// Letters that lie here.
    pub(crate) fn len(&self) -> usize {
        locked(&self.notes).len()
    }

    /// Stops the sources, or lets them go on as far as this desk is concerned.
    pub(crate) fn stop_sources(&self, stop: bool) {
        let notes = locked(&self.notes);
        self.budget.close_shares(stop || notes.len() > LETTERS);
    }

    /// The next letter; `None`: no more will come.
    #[cfg(test)]
    pub(crate) async fn recv(&mut self) -> Option<LetterNote> {
        loop {
            if let Some(note) = self.try_recv() {
                return Some(note);
            }
            if !self.come().await {
                return self.try_recv();
            }
        }
    }

    /// A letter that lies here.
    #[cfg(test)]
    pub(crate) fn try_recv(&self) -> Option<LetterNote> {
        locked(&self.notes).pop_front()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves the queue whole.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
