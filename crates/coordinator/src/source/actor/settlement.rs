//! What became of frames, and the position that follows from it.

use std::{sync::atomic::Ordering, time::Duration};

use meshloom_core::{
    exchange::ToSource,
    machine::Letter,
    moment::Moment,
    origin::{Origin, Outcome},
};
use tokio::time::Instant;

use super::{SourceActor, Written};
use crate::{error::RunError, flow::LetterNote, phase::Phase, state::Position};

/// Time between writes of a position: what a crash repeats grows by it, and the disk has time for others.
const WRITE_PAUSE: Duration = Duration::from_millis(50);
/// Time between attempts to write a position.
const WRITE_AGAIN: Duration = Duration::from_secs(1);

impl SourceActor {
    /// Takes note of frames that ended, and moves the position past those below which all has settled.
    pub(super) async fn settle(&mut self) {
        let replays = self.wiring.books.replays.load(Ordering::Relaxed);
        let (mut lost, mut journalled_lost) = (Vec::new(), Vec::new());
        for (number, outcome) in self.wiring.ledger.take() {
            let Some(frame) = self.frames.get_mut(number) else { continue };
            if outcome == Outcome::Lost {
                match frame.journal {
                    Some(sequence) => journalled_lost.push((number, sequence)),
                    None => lost.push(number),
                }
                continue;
            }
            frame.settled = true;
            frame.kept = None;
            frame.memory = None;
            self.wiring.books.settled.fetch_add(frame.events, Ordering::Relaxed);
            // The part of a frame that became letters.
            if let (Some(sequence), false) = (frame.sequence, replays) {
                self.is_durable(sequence);
            }
        }
        if let Some(advance) = self.frames.advance() {
            self.wiring.position.settled += advance.events;
            self.wiring.books.position.store(self.wiring.position.settled, Ordering::Relaxed);
            self.settled_sequence = advance.sequence;
            if let Some(checkpoint) = advance.checkpoint {
                self.dirty |= checkpoint != self.wiring.position.checkpoint;
                self.wiring.position.checkpoint = checkpoint;
            }
            self.wiring.books.journalled.fetch_sub(advance.journalled, Ordering::Relaxed);
            if let (Some(through), Some(journal)) = (advance.journal, &mut self.journal) {
                journal.marks.moved(through);
            }
        }
        if *self.wiring.phase.borrow() == Phase::Abandoned {
            return;
        }
        if !journalled_lost.is_empty() {
            self.journalled_lost(journalled_lost).await;
        }
        if lost.is_empty() {
            return;
        }
        if replays {
            self.read_again().await;
        } else {
            lost.into_iter().for_each(|number| self.letter_lost(number));
        }
    }

    /// A frame that cannot come again was lost: all of it becomes letters.
    fn letter_lost(&mut self, number: u64) {
        let Some(batch) = self.frames.get_mut(number).and_then(|frame| frame.kept.take()) else { return };
        // The letter takes the place of all that was lost: its own origin settles the frame.
        let deliveries = Origin::frame(self.wiring.ledger.clone(), number, batch.len() as u32);
        let message = "the event was lost inside the coordinator, and its source cannot send it again".to_owned();
        let letter = Letter { batch: batch.detach(), deliveries, reason: "LOST".into(), message, attempts: 0 };
        self.wiring.outbox.push_letter(LetterNote::new(self.wiring.node.clone(), letter));
    }

    /// Events were lost: everything above the position is given up and comes again.
    async fn read_again(&mut self) {
        let (events, settled) = self.frames.give_up();
        self.wiring.books.give_up(events, settled);
        let node = &self.wiring.node;
        if self.stopping {
            tracing::info!(
                "{node}: {} events were not finished and will be read again by the next run",
                events - settled
            );
            return;
        }
        if self.ended {
            return self.cannot_read_again().await;
        }
        tracing::warn!("{node}: {} events were lost on the way and are read again", events - settled);
        let checkpoint = self.wiring.position.checkpoint.clone();
        self.wiring.resume.send_replace((!checkpoint.is_empty()).then_some(checkpoint));
        self.reopen("events were lost and must be read again".into());
    }

    /// The source has ended, so what was lost comes again only in another run.
    pub(super) async fn cannot_read_again(&self) {
        let message = "events were lost on the way, and the source ended before it could be read again";
        let error = RunError::node(&self.wiring.node, "EVENTS_LOST", message);
        // The run is failing already if nobody listens.
        let _ = self.wiring.fatal.send(error.with_remedy("run the pipeline again: it goes on before them")).await;
    }

    /// Writes the position when it has moved; at most one write at a time.
    pub(super) fn begin_write(&mut self) {
        let hurried = self.edges_ended && self.frames.is_empty() && !self.write_failed;
        if self.write.is_some() || !self.dirty || !(hurried || self.next_write <= Instant::now()) {
            return;
        }
        self.dirty = false;
        let store = self.wiring.checkpoints.clone();
        let node = self.wiring.node.clone();
        let Moment(written) = self.wiring.clock.now();
        let position = Position { written, ..self.wiring.position.clone() };
        let (sequence, generation) = (self.settled_sequence, self.generation);
        self.write = Some(tokio::task::spawn_blocking(move || {
            let result = store.write(&node, &position);
            Written { position, sequence, generation, result }
        }));
        self.next_write = Instant::now() + WRITE_PAUSE;
    }

    pub(super) fn written(&mut self, written: Written) {
        let Written { position, sequence, generation, result } = written;
        self.write_failed = result.is_err();
        match result {
            Ok(()) => {
                self.wiring.books.checkpointed.store(position.written, Ordering::Relaxed);
                if let Some(sequence) = sequence.filter(|_| generation == self.generation) {
                    self.unsent.push_back(ToSource::Settled { sequence, checkpoint: Some(position.checkpoint) });
                }
            }
            Err(error) => {
                tracing::error!(
                    "{}: its position cannot be written, so after a restart more events will come again: {error}",
                    self.wiring.node
                );
                self.dirty = !self.edges_ended;
                self.next_write = Instant::now() + WRITE_AGAIN;
            }
        }
    }
}
