//! What an actor has to place before it may go on: outputs for edges that are full.

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use meshloom_core::{batch::Batch, machine::Letter, origin::Deliveries};

use super::{
    desk::{LetterDesk, LetterNote},
    edge::Edge,
};

/// Placements that wait. Bounded by one answer of one replica, since its actor reads no further result meanwhile.
#[derive(Debug)]
pub(crate) struct Outbox {
    edges: Vec<VecDeque<(Batch, Deliveries)>>,
    letters: LetterDesk,
}

impl Outbox {
    pub(crate) fn new(edges: usize, letters: LetterDesk) -> Self {
        Self { edges: (0..edges).map(|_| VecDeque::new()).collect(), letters }
    }

    /// Adds events for an edge.
    pub(crate) fn push(&mut self, edge: usize, batch: Batch, deliveries: Deliveries) {
        self.edges[edge].push_back((batch, deliveries));
    }

    /// Hands a letter to the store. It never waits: that is for the sources.
    pub(crate) fn push_letter(&mut self, note: LetterNote) {
        self.letters.push(note);
    }

    /// Whether everything is placed.
    pub(crate) fn is_empty(&self) -> bool {
        self.edges.iter().all(VecDeque::is_empty)
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
    }

    /// Drops everything that waits for an edge: its origins will say that it is lost.
    pub(crate) fn forget(&mut self) {
        self.edges.iter_mut().for_each(VecDeque::clear);
    }

    /// Gives up on everything that waits for an edge.
    pub(crate) fn abandon(&mut self, edges: &[Edge]) {
        for (index, edge) in edges.iter().enumerate() {
            for (batch, deliveries) in std::mem::take(&mut self.edges[index]) {
                let letters = self.give_up(&edge.to_node, batch, deliveries);
                edge.books.refused.fetch_add(letters, Ordering::Relaxed);
            }
        }
    }

    /// Gives up on events at a node: what cannot come again becomes letters, the rest is left to its source. Returns the
    /// letters.
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
            self.push_letter(LetterNote::new(node.clone(), letter));
        }
        letters
    }
}
