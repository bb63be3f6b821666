//! Frames on their way into the journal. Those that come while one group is being made durable are the next: one record,
//! one sync, one origin, however many requests they were.

use std::collections::VecDeque;

use bytes::Bytes;
use meshloom_core::{batch::Batch, limits};
use meshloom_journal::{Journal, JournalError, SourceId};
use tokio::{
    task::{JoinError, JoinHandle},
    time::Instant,
};

use super::{credit::Window, record};
use crate::flow::{Budget, Charge};

/// Bytes of a group, about; a larger frame is a group by itself.
const GROUP_BYTES: u64 = 4 << 20;

/// A frame that was admitted, or a part of it.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) batch: Batch,
    /// The frame on the stream that it came from, while that stream lives.
    pub(super) sequence: Option<u64>,
    pub(super) checkpoint: Option<Bytes>,
    /// Pays for the events, if those that brought them do not.
    pub(super) memory: Option<Charge>,
}

/// Frames that become durable together.
#[derive(Debug)]
pub(super) struct Group {
    pub(super) batch: Batch,
    /// The frames in it, one entry for each part of a frame.
    pub(super) sequences: Vec<u64>,
    /// The last.
    pub(super) checkpoint: Option<Bytes>,
    pub(super) memory: Option<Charge>,
    record: Bytes,
    /// Pays for the record.
    _charge: Charge,
}

/// What is on its way; at most one group at a time, so that the order stays whatever fails.
#[derive(Debug)]
pub(super) struct Intake {
    journal: Journal,
    source: SourceId,
    /// Bytes of the largest group.
    group_bytes: u64,
    waiting: VecDeque<Piece>,
    events: u64,
    bytes: u64,
    group: Option<Group>,
    append: Option<JoinHandle<Result<u64, JournalError>>>,
    /// When the group is tried again.
    again: Option<Instant>,
}

impl Intake {
    /// `largest`: bytes of the events of one group, at most.
    pub(super) fn new(journal: Journal, source: SourceId, largest: u64) -> Self {
        Self {
            journal,
            source,
            group_bytes: GROUP_BYTES.min(largest),
            waiting: VecDeque::new(),
            events: 0,
            bytes: 0,
            group: None,
            append: None,
            again: None,
        }
    }

    /// Whether nothing is on its way.
    pub(super) fn is_empty(&self) -> bool {
        self.group.is_none() && self.waiting.is_empty()
    }

    /// Whether less waits than a source may be ahead.
    pub(super) fn has_room(&self, window: Window) -> bool {
        self.events < window.events && self.bytes < window.bytes
    }

    /// Adds a frame behind the others.
    pub(super) fn push(&mut self, piece: Piece) {
        self.events += piece.batch.len() as u64;
        self.bytes += piece.batch.bytes() as u64;
        self.waiting.push_back(piece);
    }

    /// Hands the next group to the journal, or the last one again, unless one is there already or has to wait.
    pub(super) fn begin(&mut self, budget: &Budget) {
        if self.append.is_some() || self.again.is_some_and(|again| again > Instant::now()) {
            return;
        }
        if self.group.is_none() {
            self.group = self.next_group(budget);
        }
        let Some(group) = &self.group else { return };
        let (journal, source, record) = (self.journal.clone(), self.source, group.record.clone());
        // A task, since what the journal has begun must be seen to its end even if this actor is at something else.
        self.append = Some(tokio::spawn(async move { journal.append(source, vec![record]).await }));
        self.again = None;
    }

    fn next_group(&mut self, budget: &Budget) -> Option<Group> {
        let Piece { batch, sequence, checkpoint, memory } = self.pop()?;
        let (mut events, mut bytes) = (batch.len(), batch.bytes() as u64);
        let mut batches = vec![batch];
        let mut sequences: Vec<u64> = sequence.into_iter().collect();
        let (mut checkpoint, mut charges) = (checkpoint, vec![memory]);
        while let Some(next) = self.waiting.front() {
            events += next.batch.len();
            bytes += next.batch.bytes() as u64;
            let fits = events <= limits::BATCH_EVENTS && bytes <= self.group_bytes;
            if !fits || !Batch::may_join(&batches, &next.batch) {
                break;
            }
            let Some(piece) = self.pop() else { break };
            batches.push(piece.batch);
            sequences.extend(piece.sequence);
            checkpoint = piece.checkpoint.or(checkpoint);
            charges.push(piece.memory);
        }
        let (batch, memory) = match (batches.pop(), charges.pop()) {
            (Some(batch), Some(memory)) if batches.is_empty() => (batch, memory),
            (last, _) => {
                batches.extend(last);
                let batch = Batch::concat(&batches);
                let memory = budget.take(batch.bytes() as u64);
                (batch, Some(memory))
            }
        };
        drop((batches, charges));
        let record = record::encode(&batch);
        let charge = budget.take(record.len() as u64);
        Some(Group { batch, sequences, checkpoint, memory, record, _charge: charge })
    }

    fn pop(&mut self) -> Option<Piece> {
        let piece = self.waiting.pop_front()?;
        self.events -= piece.batch.len() as u64;
        self.bytes -= piece.batch.bytes() as u64;
        Some(piece)
    }

    /// What the journal says to the group that it has; never, if it has none. To be followed by [`take`](Self::take) or
    /// [`hold`](Self::hold).
    pub(super) async fn answered(&mut self) -> Result<u64, JournalError> {
        let answer = match &mut self.append {
            Some(append) => append.await,
            None => std::future::pending().await,
        };
        self.append = None;
        answer.unwrap_or_else(|error: JoinError| std::panic::resume_unwind(error.into_panic()))
    }

    /// Whether the journal has a group and has not answered.
    pub(super) fn is_asked(&self) -> bool {
        self.append.is_some()
    }

    /// The group that the journal has answered.
    pub(super) fn take(&mut self) -> Option<Group> {
        self.group.take()
    }

    /// Keeps the group, to be handed over again at this time.
    pub(super) fn hold(&mut self, again: Instant) {
        self.again = Some(again);
    }

    /// When the group is handed over again; `None`: it does not wait.
    pub(super) fn held_until(&self) -> Option<Instant> {
        self.again.filter(|_| self.group.is_some() && self.append.is_none())
    }

    /// There may be room for a group that waits.
    pub(super) fn hasten(&mut self) {
        self.again = None;
    }

    /// Everything that is not durable, in its order. Not while the journal has a group.
    pub(super) fn give_up(&mut self) -> Vec<Batch> {
        let group = self.group.take().map(|group| group.batch);
        let mut batches: Vec<Batch> = group.into_iter().collect();
        while let Some(piece) = self.pop() {
            batches.push(piece.batch);
        }
        batches
    }

    /// The stream is gone, and with it the numbers that frames had on it.
    pub(super) fn forget_stream(&mut self) {
        self.waiting.iter_mut().for_each(|piece| piece.sequence = None);
        if let Some(group) = &mut self.group {
            group.sequences.clear();
        }
    }
}
