//! The source's loop.

mod journal;
mod settlement;
mod take_in;

use std::{
    collections::VecDeque,
    sync::{Arc, atomic::Ordering},
};

use bytes::Bytes;
use meshloom_config::spec::Durability;
use meshloom_core::{
    batch::Batch,
    exchange::{FromSource, ToSource},
    machine::Letter,
    moment::Moment,
    origin::Origin,
    outputs::Routes,
};
use tokio::{
    sync::{Notify, mpsc, oneshot, watch},
    task::JoinHandle,
    time::Instant,
};

use self::journal::{Journalling, Said};
use super::{
    SourceJournal,
    admission::{Admission, Admitted},
    books::SourceBooks,
    credit::{Credit, Window},
    frames::{Frame, Frames},
    ledger::FrameLedger,
    receipts::Receipts,
};
use crate::{
    clock::{Clock, sleep_until},
    error::RunError,
    flow::{Budget, Charge, Outbox, Router},
    phase::Phase,
    spans::SourceSpans,
    state::{Checkpoints, Position},
};

/// Frames that a source may be ahead of its position.
const MAX_FRAMES_AHEAD: usize = 1 << 20;
/// Violations in a row that fail the pipeline.
const MAX_VIOLATIONS: u32 = 3;

/// What the actor hears of the source's stream.
#[derive(Debug)]
pub(crate) enum FromStream {
    /// It is ready; its credit is zero.
    Opened {
        /// Whether it sends lost events again.
        replays: bool,
        /// Where it resumed.
        resumed: Option<Bytes>,
        /// Where commands go.
        commands: mpsc::Sender<ToSource>,
    },
    /// It said something.
    Said(FromSource),
    /// It sent a frame that breaks a rule of the protocol, and which.
    Malformed(String),
    /// It ended behind `Exhausted`. The driver waits for the answer: sent, it is over; dropped, it is opened again.
    Ended(oneshot::Sender<()>),
    /// It is over. The driver opens it again unless it was told to stop.
    Down,
}

/// Everything around a source's state.
pub(crate) struct SourceWiring {
    pub(crate) node: Arc<str>,
    pub(crate) stream: mpsc::Receiver<FromStream>,
    /// Where the driver resumes when it opens the stream again.
    pub(crate) resume: watch::Sender<Option<Bytes>>,
    /// Asks the driver to end the stream and open it again; holds the reason.
    pub(crate) reopen: mpsc::Sender<String>,
    pub(crate) router: Router,
    pub(crate) outbox: Outbox,
    pub(crate) freed: Arc<Notify>,
    pub(crate) ledger: Arc<FrameLedger>,
    pub(crate) admission: Admission,
    pub(crate) window: Window,
    pub(crate) budget: Budget,
    pub(crate) checkpoints: Checkpoints,
    pub(crate) position: Position,
    pub(crate) clock: Clock,
    pub(crate) spans: SourceSpans,
    pub(crate) books: Arc<SourceBooks>,
    pub(crate) phase: watch::Receiver<Phase>,
    pub(crate) fatal: mpsc::Sender<RunError>,
    /// It is part of the coordinator.
    pub(crate) in_process: bool,
    /// What its user wants; `None`: the journal, if it cannot send events again.
    pub(crate) durability: Option<Durability>,
    /// `None`: no source of the pipeline needs one.
    pub(crate) journal: Option<SourceJournal>,
    /// It passes on to others that a frame was not accepted.
    pub(crate) tells_refusals: bool,
}

/// One source at work.
pub(crate) struct SourceActor {
    wiring: SourceWiring,
    frames: Frames,
    credit: Credit,
    commands: Option<mpsc::Sender<ToSource>>,
    unsent: VecDeque<ToSource>,
    last_sequence: u64,
    violations: u32,
    /// No more frames will come.
    ended: bool,
    stopping: bool,
    stream_closed: bool,
    announced: bool,
    edges_ended: bool,
    /// The newest position, and whether it is on disk.
    dirty: bool,
    settled_sequence: Option<u64>,
    /// Counts streams, so that no stream hears of another's frames.
    generation: u64,
    /// The stream must be opened anew before the source may end.
    write: Option<JoinHandle<Written>>,
    /// The next write comes no earlier.
    next_write: Instant,
    /// Whether the last write failed.
    write_failed: bool,
    journal: Option<Journalling>,
    /// Whether the frames of its stream go into the journal.
    journalled: bool,
    /// What its stream is told of frames that go into the journal.
    receipts: Receipts,
}

/// A position that was written, or not.
struct Written {
    position: Position,
    /// The last frame below it, on stream `generation`.
    sequence: Option<u64>,
    generation: u64,
    result: std::io::Result<()>,
}

enum Turn {
    Stream(Option<FromStream>),
    Settled,
    Placed,
    Written(Written),
    CommandRoom,
    Phase,
    BudgetRoom,
    Due,
    Journal(Said),
}

impl SourceActor {
    pub(crate) fn new(mut wiring: SourceWiring) -> Self {
        wiring.books.position.store(wiring.position.settled, Ordering::Relaxed);
        wiring.books.checkpointed.store(wiring.position.written, Ordering::Relaxed);
        let seat = wiring.journal.take();
        if let Some(backlog) = seat.as_ref().and_then(|seat| seat.backlog.as_ref()) {
            wiring.books.accepted.store(backlog.events, Ordering::Relaxed);
            wiring.books.journalled.store(backlog.events, Ordering::Relaxed);
        }
        Self {
            journal: seat.map(|seat| Journalling::new(seat, &wiring.ledger)),
            journalled: false,
            receipts: Receipts::default(),
            wiring,
            frames: Frames::default(),
            credit: Credit::default(),
            commands: None,
            unsent: VecDeque::new(),
            last_sequence: 0,
            violations: 0,
            ended: false,
            stopping: false,
            stream_closed: false,
            announced: false,
            edges_ended: false,
            dirty: false,
            settled_sequence: None,
            generation: 0,
            write: None,
            next_write: Instant::now(),
            write_failed: false,
        }
    }

    /// Runs until the source has ended and everything from it has settled, or the pipeline is given up.
    pub(crate) async fn run(mut self) {
        loop {
            let no_room = self.grant() | self.ask_journal();
            self.send_commands();
            // Asked only now, since what has just been sent may have been the last thing to do.
            if self.is_done() {
                break;
            }
            match self.next_turn(no_room).await {
                Turn::Stream(Some(FromStream::Opened { replays, resumed, commands })) => {
                    self.opened(replays, resumed.as_ref(), commands);
                }
                Turn::Stream(Some(FromStream::Said(FromSource::Produced { sequence, batch, checkpoint }))) => {
                    self.produced(sequence, &batch, checkpoint).await;
                }
                // What a stream says after it was to be opened anew is not heard.
                Turn::Stream(Some(FromStream::Malformed(_) | FromStream::Said(FromSource::Exhausted)))
                    if self.commands.is_none() => {}
                Turn::Stream(Some(FromStream::Malformed(why))) => self.violated("FRAME_REFUSED", &why).await,
                Turn::Stream(Some(FromStream::Said(FromSource::Exhausted))) => {
                    self.wiring.books.exhaust();
                    self.ended = true;
                }
                Turn::Stream(Some(FromStream::Ended(agreed))) => {
                    if self.ended {
                        // A driver that no longer waits is stopping.
                        let _ = agreed.send(());
                    }
                }
                Turn::Stream(Some(FromStream::Down)) => {
                    self.commands = None;
                    self.unsent.clear();
                    self.forget_stream();
                    self.ended |= self.stopping;
                }
                Turn::Stream(None) => {
                    self.commands = None;
                    self.stream_closed = true;
                    self.ended = true;
                }
                Turn::Settled => self.settle().await,
                Turn::Journal(said) => self.journal_said(said).await,
                Turn::Placed | Turn::BudgetRoom | Turn::CommandRoom | Turn::Due => {}
                Turn::Written(written) => self.written(written),
                Turn::Phase => {
                    let phase = *self.wiring.phase.borrow_and_update();
                    if phase == Phase::Abandoned {
                        break;
                    }
                    if phase == Phase::Draining && !self.stopping {
                        self.stopping = true;
                        self.stop_reading();
                        self.unsent.push_back(ToSource::Stop);
                        self.ended |= self.commands.is_none();
                    }
                }
            }
            self.wiring.outbox.place(self.wiring.router.edges());
            if self.ended && !self.edges_ended && self.has_entered() && self.wiring.outbox.is_empty() {
                self.edges_ended = true;
                for edge in self.wiring.router.edges() {
                    edge.end().await;
                }
            }
            self.begin_write();
            let oldest = self.frames.oldest().map_or(0, |Moment(nanos)| nanos);
            self.wiring.books.oldest_open.store(oldest, Ordering::Relaxed);
        }
        if let Some(write) = self.write.take()
            && let Ok(written) = write.await
        {
            self.written(written);
        }
        self.end_journal().await;
        self.send_commands();
        self.wiring.outbox.abandon(self.wiring.router.edges());
        if !self.edges_ended {
            for edge in self.wiring.router.edges() {
                edge.end().await;
            }
        }
    }

    fn is_done(&self) -> bool {
        let written = !self.dirty && self.write.is_none();
        let marked = self.journal.as_ref().is_none_or(|journal| journal.marks.is_idle());
        self.edges_ended && self.frames.is_empty() && written && marked && self.unsent.is_empty()
    }

    async fn next_turn(&mut self, no_room: bool) -> Turn {
        let full = !self.wiring.outbox.is_empty();
        let must_write = (self.dirty && self.write.is_none()).then_some(self.next_write);
        let due = must_write.into_iter().chain(self.journal.as_ref().and_then(Journalling::due)).min();
        let edges_ended = self.edges_ended;
        let Self { wiring, write, commands, unsent, stream_closed, journal, .. } = self;
        tokio::select! {
            biased;
            changed = wiring.phase.changed() => match changed {
                Ok(()) => Turn::Phase,
                Err(_) => std::future::pending().await,
            },
            () = wiring.ledger.changed() => Turn::Settled,
            written = join(write) => match written {
                Ok(written) => { *write = None; Turn::Written(written) }
                Err(error) => std::panic::resume_unwind(error.into_panic()),
            },
            said = said(journal.as_mut(), edges_ended) => Turn::Journal(said),
            () = wiring.freed.notified(), if full => Turn::Placed,
            () = command_room(commands.as_ref()), if !unsent.is_empty() => Turn::CommandRoom,
            said = wiring.stream.recv(), if !full && !*stream_closed => Turn::Stream(said),
            () = wiring.budget.freed(), if no_room => Turn::BudgetRoom,
            () = sleep_until(due) => Turn::Due,
        }
    }

    /// The numbers that frames had on a stream say nothing to the next.
    fn forget_stream(&mut self) {
        self.frames.forget_stream();
        if let Some(journal) = &mut self.journal {
            journal.intake.forget_stream();
        }
        self.receipts.forget_stream();
        self.settled_sequence = None;
        self.generation += 1;
    }

    /// Grants credit while what was sent has been placed and there is room. Says whether room is what is missing.
    fn grant(&mut self) -> bool {
        let running = *self.wiring.phase.borrow() == Phase::Running;
        let free = self.wiring.outbox.is_empty() && !self.journal_goes_first();
        let ready = running && !self.stopping && !self.ended && free;
        if !ready || self.commands.is_none() || self.frames.len() >= MAX_FRAMES_AHEAD {
            return false;
        }
        self.wiring.budget.mark_seen();
        let alone = self.frames.is_empty() && self.has_entered();
        let fits = alone || self.wiring.budget.room() >= self.wiring.window.bytes;
        if !fits {
            return true;
        }
        if let Some((events, bytes)) = self.credit.top_up(self.wiring.window) {
            self.unsent.push_back(ToSource::Demand { events, bytes });
        }
        false
    }

    fn send_commands(&mut self) {
        let Some(commands) = &self.commands else {
            self.unsent.clear();
            return;
        };
        while let Some(command) = self.unsent.pop_front() {
            match commands.try_send(command) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(command)) => {
                    self.unsent.push_front(command);
                    return;
                }
                // The stream is going down and will say so.
                Err(mpsc::error::TrySendError::Closed(_)) => self.unsent.clear(),
            }
        }
    }

    fn opened(&mut self, replays: bool, resumed: Option<&Bytes>, commands: mpsc::Sender<ToSource>) {
        self.forget_stream();
        if resumed != self.wiring.resume.borrow().as_ref() {
            // It was being opened while events were lost: from there they would never come.
            return self.reopen("it resumed behind events that were lost".into());
        }
        self.journalled = !replays && self.journal.is_some() && self.wiring.durability != Some(Durability::Memory);
        self.wiring.ledger.set_redelivers(replays || self.journalled);
        self.wiring.books.replays.store(replays, Ordering::Relaxed);
        if !replays && !self.journalled && !self.announced {
            self.announced = true;
            tracing::warn!(
                "{}: this source cannot send events again and has `durability: memory`: a crash of the coordinator loses what is on its way",
                self.wiring.node
            );
        }
        self.commands = Some(commands);
        self.credit = Credit::default();
        self.last_sequence = 0;
        if self.stopping {
            self.unsent.push_back(ToSource::Stop);
        }
    }

    async fn produced(&mut self, sequence: u64, batch: &Batch, checkpoint: Option<Bytes>) {
        if self.commands.is_none() || self.ended {
            return;
        }
        let replays = self.wiring.books.replays.load(Ordering::Relaxed);
        let admitted = if sequence == self.last_sequence + 1 {
            self.credit
                .spend(batch)
                .map_err(|why| ("DEMAND_EXCEEDED", why))
                .and_then(|()| self.wiring.admission.admit(batch, replays).map_err(|why| ("FRAME_REFUSED", why)))
        } else {
            Err(("FRAME_REFUSED", format!("frame {sequence} came after frame {}", self.last_sequence)))
        };
        match admitted {
            Ok(admitted) => {
                self.violations = 0;
                self.last_sequence = sequence;
                self.accept(sequence, admitted, checkpoint, replays);
            }
            Err((code, why)) => self.violated(code, &why).await,
        }
    }

    fn accept(&mut self, sequence: u64, admitted: Admitted, checkpoint: Option<Bytes>, replays: bool) {
        let Admitted { batch, refused } = admitted;
        let now = self.wiring.clock.now();
        let batch = self.wiring.spans.sample(batch, now);
        let events = batch.len() as u64;
        if let Some(checkpoint) = &checkpoint {
            self.wiring.resume.send_replace(Some(checkpoint.clone()));
        }
        if self.journalled {
            return self.take_in(sequence, batch, refused, checkpoint);
        }
        let mut deliveries = Origin::frame(self.wiring.ledger.clone(), self.frames.next(), events as u32);
        let told = checkpoint.clone();
        self.push_frame(Frame {
            sequence: replays.then_some(sequence),
            journal: None,
            events,
            admitted: now,
            settled: false,
            kept: (!replays).then(|| batch.clone()),
            memory: self.wiring.in_process.then(|| self.wiring.budget.take(batch.bytes() as u64)),
            _charge: self.checkpoint_charge(checkpoint.as_ref()),
            checkpoint,
        });
        if !replays {
            // Its user wants no more than memory.
            self.unsent.push_back(ToSource::Settled { sequence, checkpoint: told });
        }
        if refused.is_empty() {
            self.wiring.router.route(batch, &Routes::default(), deliveries, &mut self.wiring.outbox);
            return;
        }
        let mut passed: Vec<u32> = Vec::with_capacity(batch.len());
        let mut next = 0;
        for refusal in refused {
            passed.extend(next..refusal.row);
            next = refusal.row + 1;
            let letter = Letter {
                batch: batch.select(&[refusal.row]).detach(),
                deliveries: deliveries.take([refusal.row]),
                reason: refusal.reason.into(),
                message: refusal.message,
                attempts: 0,
            };
            self.wiring.router.letter(letter, &mut self.wiring.outbox);
        }
        passed.extend(next..batch.len() as u32);
        let passing = deliveries.take(passed.iter().copied());
        deliveries.settle();
        if passed.is_empty() {
            passing.settle();
        } else {
            self.wiring.router.route(batch.select(&passed), &Routes::default(), passing, &mut self.wiring.outbox);
        }
    }

    fn push_frame(&mut self, frame: Frame) {
        self.wiring.books.accepted.fetch_add(frame.events, Ordering::Relaxed);
        self.frames.push(frame);
    }

    fn checkpoint_charge(&self, checkpoint: Option<&Bytes>) -> Charge {
        self.wiring.budget.take(checkpoint.map_or(0, Bytes::len) as u64)
    }

    /// A frame that was not accepted: the stream is opened again, and fails the pipeline at the third in a row.
    async fn violated(&mut self, code: &'static str, why: &str) {
        self.violations += 1;
        let node = &self.wiring.node;
        let message = format!("{code}: {why}; the frame was not accepted");
        tracing::warn!("{node}: {message}");
        if self.violations >= MAX_VIOLATIONS {
            self.commands = None;
            let error = RunError::node(node, code, format!("{why}, for the {MAX_VIOLATIONS}rd time in a row"));
            // The run is failing already if nobody listens.
            let _ = self.wiring.fatal.send(error).await;
            return;
        }
        self.reopen(message);
    }

    /// Ends the stream; what it still says is not heard.
    fn reopen(&mut self, why: String) {
        self.commands = None;
        // A full channel holds an earlier request to do the same.
        let _ = self.wiring.reopen.try_send(why);
    }
}

async fn join<T>(task: &mut Option<JoinHandle<T>>) -> Result<T, tokio::task::JoinError> {
    match task {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}

/// What the journal says; never, if there is none or nothing was asked of it.
async fn said(journal: Option<&mut Journalling>, last: bool) -> Said {
    match journal {
        Some(journal) => journal.said(last).await,
        None => std::future::pending().await,
    }
}

async fn command_room(commands: Option<&mpsc::Sender<ToSource>>) {
    match commands {
        // A closed channel says so through the stream.
        Some(commands) if commands.reserve().await.is_ok() => {}
        _ => std::future::pending().await,
    }
}
