//! Frames on their way into the journal: cut to what it takes, and told to their source once all parts are durable.

use std::ops::Range;

use bytes::Bytes;
use meshloom_core::{
    batch::Batch,
    exchange::{NotAccepted, ToSource},
    machine::Letter,
    origin::Origin,
};

use super::SourceActor;
use crate::source::{admission::Refusal, frames::Frame, intake::Piece};

impl SourceActor {
    /// Makes a frame durable before it is accepted.
    pub(super) fn take_in(
        &mut self,
        sequence: u64,
        batch: Batch,
        mut refused: Vec<Refusal>,
        checkpoint: Option<Bytes>,
    ) {
        let Some(journal) = &self.journal else { return };
        let largest = journal.largest;
        if batch.bytes() as u64 > largest {
            if self.wiring.tells_refusals {
                self.unsent.push_back(ToSource::Refused { sequence, why: NotAccepted::TooLarge });
                return;
            }
            refuse_too_large(&batch, largest, &mut refused);
        }
        let mut passed: Vec<u32> = Vec::new();
        let mut next = 0;
        for refusal in &refused {
            passed.extend(next..refusal.row);
            next = refusal.row + 1;
        }
        passed.extend(next..batch.len() as u32);
        let rest = if refused.is_empty() { batch.clone() } else { batch.select(&passed) };
        let cuts = cut(&rest, largest);
        let parts = cuts.len() + usize::from(!refused.is_empty());
        self.receipts.expect(sequence, parts, checkpoint.clone());
        if !refused.is_empty() {
            let checkpoint = checkpoint.clone().filter(|_| cuts.is_empty());
            self.letter_refused(sequence, &batch, refused, checkpoint);
        }
        let (budget, in_process) = (self.wiring.budget.clone(), self.wiring.in_process);
        let Some(journal) = &mut self.journal else { return };
        let last = cuts.len().saturating_sub(1);
        for (index, rows) in cuts.into_iter().enumerate() {
            let batch = rest.slice(rows);
            let memory = in_process.then(|| budget.take(batch.bytes() as u64));
            let checkpoint = checkpoint.clone().filter(|_| index == last);
            journal.intake.push(Piece { batch, sequence: Some(sequence), checkpoint, memory });
        }
    }

    /// Events that are not let in: a frame of their own, durable as letters.
    fn letter_refused(&mut self, sequence: u64, batch: &Batch, refused: Vec<Refusal>, checkpoint: Option<Bytes>) {
        let Some(journal) = &self.journal else { return };
        let events = refused.len() as u64;
        let rows: Vec<u32> = refused.iter().map(|refusal| refusal.row).collect();
        let mut deliveries = Origin::frame(journal.unstored.clone(), self.frames.next(), events as u32);
        self.push_frame(Frame {
            sequence: Some(sequence),
            journal: None,
            events,
            admitted: self.wiring.clock.now(),
            settled: false,
            kept: Some(batch.select(&rows).detach()),
            memory: None,
            _charge: self.checkpoint_charge(checkpoint.as_ref()),
            checkpoint,
        });
        for (index, refusal) in refused.into_iter().enumerate() {
            let letter = Letter {
                batch: batch.select(&[refusal.row]).detach(),
                deliveries: deliveries.take([index as u32]),
                reason: refusal.reason.into(),
                message: refusal.message,
                attempts: 0,
            };
            self.wiring.router.letter(letter, &mut self.wiring.outbox);
        }
        deliveries.settle();
    }

    /// A part of a frame is durable; with the last one the source may forget it.
    pub(super) fn is_durable(&mut self, sequence: u64) {
        self.unsent.extend(self.receipts.durable(sequence));
    }
}

/// Rows by which a batch is cut into records.
fn cut(batch: &Batch, largest: u64) -> Vec<Range<usize>> {
    if batch.is_empty() {
        return Vec::new();
    }
    let (mut cuts, mut start, mut bytes) = (Vec::with_capacity(1), 0, 0);
    let looked_at = if batch.bytes() as u64 <= largest { 0 } else { batch.len() };
    for row in 0..looked_at {
        let event = batch.bytes_of(row) as u64;
        if row > start && bytes + event > largest {
            cuts.push(start..row);
            (start, bytes) = (row, 0);
        }
        bytes += event;
    }
    cuts.push(start..batch.len());
    cuts
}

/// Adds the events that no record holds.
fn refuse_too_large(batch: &Batch, largest: u64, refused: &mut Vec<Refusal>) {
    for row in 0..batch.len() as u32 {
        let bytes = batch.bytes_of(row as usize) as u64;
        if bytes > largest && refused.iter().all(|refusal| refusal.row != row) {
            let message = format!(
                "the event has {bytes} bytes, and the journal takes {largest} at once; raise `journal: {{ size }}`, of which that is about a quarter"
            );
            refused.push(Refusal { row, reason: "EVENT_TOO_LARGE", message });
        }
    }
    refused.sort_by_key(|refusal| refusal.row);
}
