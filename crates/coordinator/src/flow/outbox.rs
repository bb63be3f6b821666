//! What an actor has to place before it may go on: outputs for edges that are full, letters for a store that is busy.

use std::{collections::VecDeque, sync::Arc};

use meshloom_core::{batch::Batch, machine::Letter, origin::Deliveries};
use tokio::sync::mpsc;

use super::edge::Edge;

/// A letter on its way to the store, with the node at which the event failed.
#[derive(Debug)]
pub(crate) struct LetterNote {
    /// The node.
    pub(crate) node: Arc<str>,
    /// The letter.
    pub(crate) letter: Letter,
}

/// Placements that wait. Bounded by one answer of one replica, since its actor reads no further result meanwhile.
#[derive(Debug)]
pub(crate) struct Outbox {
    edges: Vec<VecDeque<(Batch, Deliveries)>>,
    letters: VecDeque<LetterNote>,
    store: mpsc::Sender<LetterNote>,
}

impl Outbox {
    pub(crate) fn new(edges: usize, store: mpsc::Sender<LetterNote>) -> Self {
        Self { edges: (0..edges).map(|_| VecDeque::new()).collect(), letters: VecDeque::new(), store }
    }

    /// Adds events for an edge.
    pub(crate) fn push(&mut self, edge: usize, batch: Batch, deliveries: Deliveries) {
        self.edges[edge].push_back((batch, deliveries));
    }

    /// Adds a letter.
    pub(crate) fn push_letter(&mut self, note: LetterNote) {
        self.letters.push_back(note);
    }

    /// Whether everything is placed.
    pub(crate) fn is_empty(&self) -> bool {
        self.letters.is_empty() && self.edges.iter().all(VecDeque::is_empty)
    }

    /// Places what there is room for. A full edge holds back only what is for it.
    pub(crate) fn place(&mut self, edges: &[Edge]) {
        for (edge, waiting) in edges.iter().zip(&mut self.edges) {
            while let Some((batch, deliveries)) = waiting.pop_front() {
                if let Some(rest) = edge.place(batch, deliveries) {
                    waiting.push_front(rest);
                    break;
                }
            }
        }
        while let Some(note) = self.letters.pop_front() {
            match self.store.try_send(note) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(note)) => {
                    self.letters.push_front(note);
                    break;
                }
                // The store is gone: the pipeline is being torn down, and dropped deliveries are redelivered.
                Err(mpsc::error::TrySendError::Closed(_)) => {}
            }
        }
    }

    /// Whether a letter waits for the store.
    pub(crate) fn waits_for_store(&self) -> bool {
        !self.letters.is_empty()
    }

    /// Resolves when the store takes letters again.
    pub(crate) async fn store_has_room(&self) {
        // A store that is gone takes everything: `place` lets go of it.
        let _ = self.store.reserve().await;
    }

    /// Gives up on everything that waits for an edge.
    pub(crate) fn abandon(&mut self, node: &Arc<str>) {
        let waiting: Vec<_> = self.edges.iter_mut().flat_map(|waiting| waiting.drain(..)).collect();
        for (batch, deliveries) in waiting {
            self.give_up(node, batch, deliveries);
        }
    }

    /// Gives up on events: what cannot come again becomes letters, the rest is left to its source. Returns the letters.
    pub(crate) fn give_up(&mut self, node: &Arc<str>, batch: Batch, mut deliveries: Deliveries) -> u64 {
        let rows = deliveries.irreplaceable();
        let letters = rows.len() as u64;
        if letters > 0 {
            let letter = Letter {
                batch: batch.select(&rows).detach(),
                deliveries: deliveries.take(rows),
                reason: "DRAINED".into(),
                message: "the pipeline ended before this event was finished, and its source cannot send it again"
                    .into(),
                attempts: 0,
            };
            self.push_letter(LetterNote { node: node.clone(), letter });
        }
        letters
    }

    /// Resolves when the store has taken every letter that waits.
    pub(crate) async fn letters_taken(&mut self) {
        self.place(&[]);
        while self.waits_for_store() {
            self.store_has_room().await;
            self.place(&[]);
        }
    }
}
