//! The bounded queue between two nodes.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering},
};

use meshloom_config::{Expression, spec::Overflow};
use meshloom_core::{batch::Batch, origin::Deliveries};
use tokio::sync::{Notify, mpsc};

/// What an actor finds in its inbox.
#[derive(Debug)]
pub(crate) enum Input {
    /// Events that came over the edge with this index among the node's inputs.
    Events {
        /// The edge.
        edge: u32,
        /// The events.
        batch: Batch,
        /// One delivery each.
        deliveries: Deliveries,
    },
    /// Nothing more will come over one of the edges.
    EdgeEnded,
}

/// Receiving end of all edges into a node.
pub(crate) type Inbox = mpsc::Receiver<Input>;

/// Room of one edge. The node above takes it, the node below gives it back.
#[derive(Debug)]
pub(crate) struct Room {
    events: AtomicI64,
    bytes: AtomicI64,
    max_events: i64,
    max_bytes: i64,
    /// Wakes the actor above when room comes free; all edges out of a node share it.
    freed: Arc<Notify>,
    /// Set while the actor above waits.
    wanted: AtomicBool,
    /// Wakes the actor below when somebody begins to wait.
    pressed: Arc<Notify>,
}

impl Room {
    pub(crate) fn new(max_events: u32, max_bytes: u64, freed: Arc<Notify>, pressed: Arc<Notify>) -> Self {
        Self {
            events: AtomicI64::new(0),
            bytes: AtomicI64::new(0),
            max_events: max_events.into(),
            max_bytes: i64::try_from(max_bytes).unwrap_or(i64::MAX),
            freed,
            wanted: AtomicBool::new(false),
            pressed,
        }
    }

    /// How many of the first events of `batch` there is room for. An empty edge takes one whatever its size.
    fn admits(&self, batch: &Batch) -> usize {
        let events = self.max_events - self.events.load(Ordering::Acquire);
        let bytes = self.max_bytes - self.bytes.load(Ordering::Acquire);
        if batch.len() as i64 <= events && batch.bytes() as i64 <= bytes {
            return batch.len();
        }
        let mut left = bytes;
        let fits = (0..batch.len().min(usize::try_from(events).unwrap_or(0))).take_while(|row| {
            left -= batch.bytes_of(*row) as i64;
            left >= 0
        });
        match fits.count() {
            0 if events == self.max_events => 1,
            fits => fits,
        }
    }

    fn take(&self, batch: &Batch) {
        self.events.fetch_add(batch.len() as i64, Ordering::AcqRel);
        self.bytes.fetch_add(batch.bytes() as i64, Ordering::AcqRel);
    }

    /// Gives room back, or takes it (negative) for events that wait again.
    pub(crate) fn give(&self, events: i64, bytes: i64) {
        self.events.fetch_sub(events, Ordering::AcqRel);
        self.bytes.fetch_sub(bytes, Ordering::AcqRel);
        if events > 0 && self.wanted.swap(false, Ordering::AcqRel) {
            self.freed.notify_one();
        }
    }

    /// The most events and bytes in it.
    pub(crate) fn limits(&self) -> (u64, u64) {
        let positive = |value: i64| u64::try_from(value).unwrap_or(0);
        (positive(self.max_events), positive(self.max_bytes))
    }

    /// Events and bytes in it.
    pub(crate) fn used(&self) -> (u64, u64) {
        let positive = |value: &AtomicI64| u64::try_from(value.load(Ordering::Relaxed)).unwrap_or(0);
        (positive(&self.events), positive(&self.bytes))
    }
}

/// The books of an edge: produced = skipped + dropped + queued + received + refused. To an operator what was refused is
/// received: the node has it, as dead letters.
#[derive(Debug, Default)]
pub(crate) struct EdgeBooks {
    pub(crate) produced: AtomicU64,
    pub(crate) skipped: AtomicU64,
    pub(crate) dropped: AtomicU64,
    pub(crate) received: AtomicU64,
    /// Dead-lettered at the node below before it took them: their condition failed, or the pipeline was given up.
    pub(crate) refused: AtomicU64,
}

/// Sending end of one edge.
#[derive(Debug)]
pub(crate) struct Edge {
    /// Its index among the inputs of the node below.
    pub(crate) index: u32,
    /// The node below.
    pub(crate) to_node: Arc<str>,
    /// The upstream as the pipeline file writes it.
    pub(crate) label: Arc<str>,
    /// Whether the node below has several upstreams, so that events must say where they came from.
    pub(crate) labels_events: bool,
    /// Which events pass.
    pub(crate) when: Option<Expression>,
    /// What happens to events for which there is no room.
    pub(crate) overflow: Overflow,
    pub(crate) to: mpsc::Sender<Input>,
    pub(crate) room: Arc<Room>,
    pub(crate) books: Arc<EdgeBooks>,
}

impl Edge {
    /// Places as many of the events as there is room for and returns the rest, unless the edge drops it.
    pub(crate) fn place(&self, batch: Batch, deliveries: Deliveries) -> Option<(Batch, Deliveries)> {
        let (batch, deliveries) = self.try_place(batch, deliveries)?;
        // A node that is gone drops nothing: what was for it is given up as a whole, and that is not overflow.
        if self.overflow == Overflow::DropNewest && !self.to.is_closed() {
            self.room.pressed.notify_one();
            self.books.dropped.fetch_add(batch.len() as u64, Ordering::Relaxed);
            deliveries.settle();
            return None;
        }
        // Said first and looked at again, so that room given back in between is not missed.
        self.room.wanted.store(true, Ordering::Release);
        self.room.pressed.notify_one();
        self.try_place(batch, deliveries)
    }

    fn try_place(&self, batch: Batch, mut deliveries: Deliveries) -> Option<(Batch, Deliveries)> {
        let admitted = self.room.admits(&batch);
        // A node below that is gone has no place either: its pipeline is being given up, and so will be what waits here.
        let Some(place) = (admitted > 0).then(|| self.to.try_reserve().ok()).flatten() else {
            return Some((batch, deliveries));
        };
        let (front, rest) = if admitted == batch.len() {
            (batch, None)
        } else {
            let rest = batch.slice(admitted..batch.len());
            (batch.slice(0..admitted), Some(rest))
        };
        let front_deliveries = deliveries.split_front(admitted as u32);
        self.room.take(&front);
        place.send(Input::Events { edge: self.index, batch: front, deliveries: front_deliveries });
        rest.map(|rest| (rest, deliveries))
    }

    /// Says that nothing more will come.
    pub(crate) async fn end(&self) {
        // A node that is gone needs not be told.
        let _ = self.to.send(Input::EdgeEnded).await;
    }
}
