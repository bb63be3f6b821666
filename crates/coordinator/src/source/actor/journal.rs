//! The part of the actor that the journal has: frames become durable before their source may forget them and before they
//! enter the pipeline, come again from there when they are lost, and are let go of when they have settled.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use meshloom_core::{
    batch::Batch,
    exchange::{NotAccepted, ToSource},
    machine::Letter,
    origin::Origin,
    outputs::Routes,
};
use meshloom_journal::JournalError;
use tokio::time::Instant;

use super::SourceActor;
use crate::{
    error::RunError,
    flow::LetterNote,
    phase::Phase,
    source::{
        SourceJournal,
        frames::Frame,
        intake::{Group, Intake},
        ledger::{FrameLedger, KnownFrames},
        marks::Marks,
        record,
        rereads::{Purpose, Reread, Rereads},
    },
};

/// Time between attempts to hand a group to a journal that did not take it.
const AGAIN: Duration = Duration::from_secs(1);

/// What the actor has of the journal.
#[derive(Debug)]
pub(super) struct Journalling {
    pub(super) intake: Intake,
    pub(super) marks: Marks,
    pub(super) rereads: Rereads,
    /// Of frames that are in the journal.
    stored: Arc<KnownFrames>,
    /// Of frames that are in memory alone.
    pub(super) unstored: Arc<KnownFrames>,
    /// Bytes of the events of one record, at most.
    pub(super) largest: u64,
    /// What the log was told last.
    trouble: Option<std::mem::Discriminant<JournalError>>,
}

/// What the journal has said.
pub(super) enum Said {
    Appended(Result<u64, JournalError>),
    Marked(Result<(), JournalError>),
    Read(Reread),
}

impl Journalling {
    pub(super) fn new(seat: SourceJournal, ledger: &Arc<FrameLedger>) -> Self {
        let known = |redelivers| Arc::new(KnownFrames { ledger: ledger.clone(), redelivers });
        let SourceJournal { journal, source, max_frame_bytes, backlog } = seat;
        let largest = max_frame_bytes.saturating_sub(record::OVERHEAD_BYTES);
        Self {
            intake: Intake::new(journal.clone(), source, largest),
            marks: Marks::new(journal.clone(), source),
            rereads: Rereads::new(journal, source, backlog.map(|backlog| backlog.frames)),
            stored: known(true),
            unstored: known(false),
            largest,
            trouble: None,
        }
    }

    /// What comes first of all that is asked of the journal. `last`: nothing is tried again.
    pub(super) async fn said(&mut self, last: bool) -> Said {
        tokio::select! {
            biased;
            appended = self.intake.answered() => Said::Appended(appended),
            marked = self.marks.answered(last) => Said::Marked(marked),
            read = self.rereads.done() => Said::Read(read),
        }
    }

    /// When something is due that waits; `None`: nothing does.
    pub(super) fn due(&self) -> Option<Instant> {
        self.intake.held_until().into_iter().chain(self.marks.due()).min()
    }
}

impl SourceActor {
    /// Whether everything that came has entered the pipeline.
    pub(super) fn has_entered(&self) -> bool {
        self.journal.as_ref().is_none_or(|journal| journal.intake.is_empty() && journal.rereads.is_idle())
    }

    /// Whether the source has to wait for what the journal has.
    pub(super) fn journal_goes_first(&self) -> bool {
        let Some(journal) = &self.journal else { return false };
        // What is given up when a source is read again must not lie among what is not.
        let unmixed = self.wiring.books.replays.load(Ordering::Relaxed)
            && self.wiring.books.journalled.load(Ordering::Relaxed) > 0;
        journal.rereads.has_backlog() || unmixed || !journal.intake.has_room(self.wiring.window)
    }

    /// Asks the journal for what there is to ask. Says whether memory is what keeps it from more.
    pub(super) fn ask_journal(&mut self) -> bool {
        let idle = self.frames.is_empty();
        let hurried = self.edges_ended && idle;
        let running = *self.wiring.phase.borrow() == Phase::Running && !self.stopping;
        let Some(journal) = &mut self.journal else { return false };
        journal.intake.begin(&self.wiring.budget);
        journal.marks.begin(hurried);
        let rereads = &mut journal.rereads;
        let wanted = rereads.has_backlog() || rereads.lost() > 0;
        if !running || !wanted || rereads.is_reading() || !self.wiring.outbox.is_empty() {
            return false;
        }
        self.wiring.budget.mark_seen();
        // Frames that are all lost hold no memory: nobody else could make room.
        let alone = self.frames.len() <= rereads.lost() && journal.intake.is_empty();
        if !alone && self.wiring.budget.room() < self.wiring.window.bytes {
            return true;
        }
        rereads.begin(&self.wiring.budget);
        false
    }

    pub(super) async fn journal_said(&mut self, said: Said) {
        match said {
            Said::Appended(Ok(sequence)) => self.appended(sequence),
            Said::Appended(Err(error)) => self.not_appended(&error),
            Said::Marked(Ok(())) => {
                self.wiring.books.checkpointed.store(self.wiring.clock.now().0, Ordering::Relaxed);
                self.wiring.books.set_trouble("");
                if let Some(journal) = &mut self.journal {
                    journal.intake.hasten();
                }
            }
            Said::Marked(Err(error)) => self.in_trouble(&error),
            Said::Read(read) => self.reread(read).await,
        }
    }

    /// A group is durable: its frames are accepted, and it enters the pipeline.
    fn appended(&mut self, sequence: u64) {
        let Some(journal) = &mut self.journal else { return };
        if journal.trouble.take().is_some() {
            tracing::info!("{}: the journal takes events again", self.wiring.node);
            self.wiring.books.set_trouble("");
        }
        let Some(Group { batch, sequences, checkpoint, memory, .. }) = journal.intake.take() else { return };
        let events = batch.len() as u64;
        for sequence in sequences {
            self.is_durable(sequence);
        }
        self.wiring.books.accepted.fetch_add(events, Ordering::Relaxed);
        self.wiring.books.journalled.fetch_add(events, Ordering::Relaxed);
        self.enter(sequence, batch, checkpoint, memory);
    }

    /// A durable frame enters the pipeline.
    fn enter(&mut self, sequence: u64, batch: Batch, checkpoint: Option<Bytes>, memory: Option<crate::flow::Charge>) {
        let Some(journal) = &self.journal else { return };
        let events = batch.len() as u32;
        let deliveries = Origin::frame(journal.stored.clone(), self.frames.next(), events);
        self.frames.push(Frame {
            sequence: None,
            journal: Some(sequence),
            events: events.into(),
            admitted: self.wiring.clock.now(),
            settled: false,
            kept: None,
            memory,
            _charge: self.checkpoint_charge(checkpoint.as_ref()),
            checkpoint,
        });
        self.wiring.router.route(batch, &Routes::default(), deliveries, &mut self.wiring.outbox);
    }

    /// Nothing of a group is accepted. Who can be told is; everybody else waits, and with them their source.
    fn not_appended(&mut self, error: &JournalError) {
        self.in_trouble(error);
        let Some(journal) = &mut self.journal else { return };
        let full = matches!(error, JournalError::Full { .. });
        if self.wiring.tells_refusals {
            let why = if full { NotAccepted::Full } else { NotAccepted::Failed };
            for sequence in journal.intake.take().map(|group| group.sequences).unwrap_or_default() {
                self.receipts.refuse(sequence);
                self.unsent.push_back(ToSource::Refused { sequence, why });
            }
            return;
        }
        journal.intake.hold(Instant::now() + AGAIN);
        // What drains may make room in a full journal, and in nothing else.
        if self.stopping && !full {
            self.give_up_intake();
        }
    }

    /// What could not be made durable before the end: letters, if nobody else has it.
    pub(super) fn give_up_intake(&mut self) {
        let Some(journal) = &mut self.journal else { return };
        let batches = journal.intake.give_up();
        let events: usize = batches.iter().map(Batch::len).sum();
        if events == 0 || self.wiring.tells_refusals {
            return;
        }
        let (node, ledger) = (self.wiring.node.clone(), journal.unstored.clone());
        if !self.wiring.in_process {
            tracing::warn!(
                "{node}: {events} events were not accepted; the source was not told that it may forget them"
            );
            return;
        }
        tracing::warn!("{node}: {events} events that were read could not be made durable and become dead letters");
        for batch in batches {
            let deliveries = Origin::frame(ledger.clone(), self.frames.next(), batch.len() as u32);
            self.frames.push(Frame {
                sequence: None,
                journal: None,
                // They were never accepted.
                events: 0,
                admitted: self.wiring.clock.now(),
                settled: false,
                kept: Some(batch.clone()),
                memory: None,
                _charge: self.checkpoint_charge(None),
                checkpoint: None,
            });
            let message = "the pipeline ended before the journal could take this event";
            let letter = Letter {
                batch: batch.detach(),
                deliveries,
                reason: "DRAINED".into(),
                message: message.into(),
                attempts: 0,
            };
            self.wiring.outbox.push_letter(LetterNote::new(node.clone(), letter));
        }
    }

    fn in_trouble(&mut self, error: &JournalError) {
        let node = &self.wiring.node;
        let Some(journal) = &mut self.journal else { return };
        if journal.trouble.replace(std::mem::discriminant(error)) != journal.trouble {
            tracing::error!("{node}: {error}");
        }
        self.wiring.books.set_trouble(&format!("{node}: {error}"));
    }

    /// A frame was read back.
    async fn reread(&mut self, Reread { purpose, sequence, batch }: Reread) {
        let batch = match batch {
            Ok(batch) => batch,
            Err(why) => {
                let error = RunError { kind: crate::FailureKind::System, ..self.unreadable(why) };
                // The run is failing already if nobody listens.
                let _ = self.wiring.fatal.send(error).await;
                return;
            }
        };
        match purpose {
            Purpose::Backlog => self.enter(sequence, batch, None, None),
            Purpose::Lost(number) => {
                let Some(journal) = &self.journal else { return };
                let deliveries = Origin::frame(journal.stored.clone(), number, batch.len() as u32);
                self.wiring.router.route(batch, &Routes::default(), deliveries, &mut self.wiring.outbox);
            }
        }
    }

    fn unreadable(&self, why: String) -> RunError {
        let error = RunError::node(&self.wiring.node, "JOURNAL_UNREADABLE", why);
        error.with_remedy("look at the disk; the journal was left as it is")
    }

    /// Frames that the journal has were lost: they are read from there, unless this run is past it.
    pub(super) async fn journalled_lost(&mut self, lost: Vec<(u64, u64)>) {
        if self.stopping {
            self.leave_to_the_next_run();
        } else if self.edges_ended {
            self.cannot_read_again().await;
        } else if let Some(journal) = &mut self.journal {
            tracing::warn!(
                "{}: frames were lost on the way and are sent again from the journal: {}",
                self.wiring.node,
                lost.len()
            );
            lost.into_iter().for_each(|(number, sequence)| journal.rereads.push(number, sequence));
        }
    }

    /// Reads no more of what the journal has. Frames that were lost, and those behind them, stay in it.
    pub(super) fn leave_to_the_next_run(&mut self) {
        if let Some(journal) = &mut self.journal {
            journal.rereads.stop();
        }
        let (_, settled) = self.frames.give_up();
        // What is in the journal stays accepted.
        self.wiring.books.give_up(0, settled);
    }

    /// The source is being stopped.
    pub(super) fn stop_reading(&mut self) {
        if self.journal.as_mut().is_some_and(|journal| journal.rereads.stop()) {
            self.leave_to_the_next_run();
        }
    }

    /// What was asked of the journal is seen to its end, so that the books say what it has.
    pub(super) async fn end_journal(&mut self) {
        let Some(journal) = &mut self.journal else { return };
        if journal.intake.is_asked()
            && let Ok(sequence) = journal.intake.answered().await
        {
            self.appended(sequence);
        }
        self.give_up_intake();
        if let Some(journal) = &mut self.journal
            && journal.marks.is_asked()
        {
            // An error: what it was about comes again.
            let _ = journal.marks.answered(true).await;
        }
    }
}
