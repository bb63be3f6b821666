//! A source's end of its two channels: credit, settlement, stop.

use std::{collections::BTreeMap, time::Duration};

use bytes::Bytes;
use meshloom_core::{
    batch::Batch,
    exchange::{FromSource, NotAccepted, ToSource},
};
use tokio::{sync::mpsc, time::timeout};

/// What is left of the coordinator's demand. An event larger than what is left uses it up, and no more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Credit {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
}

impl Credit {
    /// Whether one event may be sent, whatever its size.
    pub(crate) fn any(self) -> bool {
        self.events > 0 && self.bytes > 0
    }

    /// Whether a frame may be sent.
    pub(crate) fn admits(self, events: u64, bytes: u64) -> bool {
        self.any() && (events == 1 || (events <= self.events && bytes <= self.bytes))
    }

    pub(crate) fn add(&mut self, more: Self) {
        self.events = self.events.saturating_add(more.events);
        self.bytes = self.bytes.saturating_add(more.bytes);
    }

    pub(crate) fn spend(&mut self, events: u64, bytes: u64) {
        self.events = self.events.saturating_sub(events);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// Why a source should end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Stopped;

/// The number of a frame.
pub(crate) type Sequence = u64;

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It may be forgotten: it is durable, or has settled, or the user wants no more than memory.
    Settled,
    /// It was not accepted.
    Refused(NotAccepted),
}

/// The channels and what they have said so far.
pub(crate) struct Link {
    input: mpsc::Receiver<ToSource>,
    output: mpsc::Sender<FromSource>,
    credit: Credit,
    /// The most credit there has ever been.
    peak: Credit,
    stopped: bool,
    /// The last frame has waited for the coordinator longer than anybody would.
    stalled: bool,
    sequence: Sequence,
    /// Frames that have not settled, with their size.
    open: BTreeMap<Sequence, Credit>,
    /// Sum of `open`.
    unsettled: Credit,
}

impl Link {
    pub(crate) fn new(input: mpsc::Receiver<ToSource>, output: mpsc::Sender<FromSource>) -> Self {
        Self {
            input,
            output,
            credit: Credit::default(),
            peak: Credit::default(),
            stopped: false,
            stalled: false,
            sequence: 0,
            open: BTreeMap::new(),
            unsettled: Credit::default(),
        }
    }

    /// What may be sent now.
    pub(crate) fn credit(&self) -> Credit {
        self.credit
    }

    /// The most credit there has ever been: what an empty pipeline takes at once.
    pub(crate) fn peak(&self) -> Credit {
        self.peak
    }

    /// What was sent and has not settled.
    pub(crate) fn unsettled(&self) -> Credit {
        self.unsettled
    }

    /// Takes the next word of the coordinator. Safe to cancel.
    pub(crate) async fn hear(&mut self) -> Result<Option<(Sequence, Fate)>, Stopped> {
        if self.stopped {
            return Err(Stopped);
        }
        let heard = self.input.recv().await;
        self.take(heard)
    }

    /// Takes what the coordinator has said already.
    pub(crate) fn catch_up(&mut self) -> Result<(), Stopped> {
        loop {
            match self.input.try_recv() {
                Ok(heard) => self.take(Some(heard)).map(|_| ())?,
                Err(mpsc::error::TryRecvError::Empty) if !self.stopped => return Ok(()),
                Err(_) => return Err(Stopped),
            }
        }
    }

    /// Waits until a frame may be sent: for credit, and until what has not settled is below `window`.
    pub(crate) async fn ready(&mut self, window: Option<Credit>) -> Result<Credit, Stopped> {
        self.catch_up()?;
        while !self.has_room(window) {
            self.hear().await?;
        }
        Ok(self.credit)
    }

    /// Whether a frame may be sent now; see [`ready`](Self::ready).
    pub(crate) fn has_room(&self, window: Option<Credit>) -> bool {
        let room = window.is_none_or(|w| self.unsettled.events < w.events && self.unsettled.bytes < w.bytes);
        room && self.credit.any()
    }

    /// Where frames go: to wait for room there while the coordinator is heard.
    pub(crate) fn output(&self) -> mpsc::Sender<FromSource> {
        self.output.clone()
    }

    fn take(&mut self, heard: Option<ToSource>) -> Result<Option<(Sequence, Fate)>, Stopped> {
        match heard {
            Some(ToSource::Demand { events, bytes }) => {
                self.credit.add(Credit { events, bytes });
                self.peak.events = self.peak.events.max(self.credit.events);
                self.peak.bytes = self.peak.bytes.max(self.credit.bytes);
                Ok(None)
            }
            Some(ToSource::Settled { sequence, .. }) => Ok(Some(self.close(sequence, Fate::Settled))),
            Some(ToSource::Refused { sequence, why }) => Ok(Some(self.close(sequence, Fate::Refused(why)))),
            Some(ToSource::Stop) | None => {
                self.stopped = true;
                Err(Stopped)
            }
        }
    }

    fn close(&mut self, sequence: Sequence, fate: Fate) -> (Sequence, Fate) {
        if let Some(size) = self.open.remove(&sequence) {
            self.unsettled.spend(size.events, size.bytes);
        }
        (sequence, fate)
    }

    /// Whether the coordinator has taken what was sent, or does so within `patience`. It leaves frames where they are
    /// while the pipeline is full, and once it does, nobody else waits until it goes on.
    pub(crate) async fn taken(&mut self, patience: Duration) -> bool {
        let taken = self.output.capacity() > 0
            || !self.stalled && matches!(timeout(patience, self.output.reserve()).await, Ok(Ok(_)));
        self.stalled = !taken;
        taken
    }

    /// Sends a frame, which its caller has seen to be within the credit.
    pub(crate) async fn send(&mut self, batch: Batch, checkpoint: Option<Bytes>) -> Result<Sequence, Stopped> {
        let (events, bytes) = (batch.len() as u64, payload_bytes(&batch));
        debug_assert!(self.credit.admits(events, bytes), "a frame of {events} events beyond the credit");
        self.credit.spend(events, bytes);
        self.sequence += 1;
        self.open.insert(self.sequence, Credit { events, bytes });
        self.unsettled.events += events;
        self.unsettled.bytes += bytes;
        let frame = FromSource::Produced { sequence: self.sequence, batch, checkpoint };
        self.output.send(frame).await.map_err(|_| Stopped)?;
        Ok(self.sequence)
    }

    /// Says that there are no more events, ever; then nothing is left but to see the frames settle.
    pub(crate) async fn exhausted(&mut self) {
        // A coordinator that has gone needs no word.
        let _ = self.output.send(FromSource::Exhausted).await;
    }

    /// Goes on hearing after a stop, until the coordinator ends the channel: settlements still come.
    pub(crate) async fn hear_after_stop(&mut self) -> Option<(Sequence, Fate)> {
        loop {
            match self.input.recv().await? {
                ToSource::Settled { sequence, .. } => return Some((sequence, Fate::Settled)),
                ToSource::Refused { sequence, why } => return Some((sequence, Fate::Refused(why))),
                ToSource::Demand { .. } | ToSource::Stop => {}
            }
        }
    }
}

/// Bytes of a batch as `Demand` counts them.
pub(crate) fn payload_bytes(batch: &Batch) -> u64 {
    (0..batch.len()).map(|row| batch.payload(row).len() as u64).sum()
}
