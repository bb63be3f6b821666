//! From the batches of many clients to one stream of frames: each batch waits until there is room for it, and its client
//! hears when it is durable. While there is no room nothing is taken, so that whoever brings batches waits as well.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use meshloom_core::{batch::Batch, exchange::NotAccepted};
use tokio::sync::{mpsc, watch};

use crate::link::{Credit, Fate, Link, Sequence, Stopped};

/// Batches that were brought and not yet taken.
const WAITING: usize = 16;

/// Who is told what becomes of a batch.
pub(crate) trait Receipt: Send + Sync + 'static {
    /// All of it has gone to the coordinator.
    fn forwarded(&self);
    /// All of it is durable: the client may forget it.
    fn settled(&self);
    /// A part of it could not be made durable: the client must send all of it again.
    fn refused(&self, why: NotAccepted);
}

/// A batch that was brought, valid and not empty.
pub(crate) struct Delivery<R> {
    pub(crate) batch: Batch,
    pub(crate) receipt: R,
}

/// What brings batches.
pub(crate) struct Door<R> {
    /// Takes batches while there is room.
    pub(crate) deliveries: mpsc::Sender<Delivery<R>>,
    /// Whether there is room now.
    pub(crate) open: watch::Receiver<bool>,
}

impl<R> Clone for Door<R> {
    fn clone(&self) -> Self {
        Self { deliveries: self.deliveries.clone(), open: self.open.clone() }
    }
}

/// A batch of which a part has gone.
struct Held<R> {
    batch: Batch,
    /// First event that has not gone.
    next: usize,
    settling: Arc<Settling<R>>,
}

/// The parts of a batch share it; the last one to settle has it alone.
struct Settling<R> {
    receipt: R,
    /// A part was refused, so whatever becomes of the others the batch is not settled.
    refused: AtomicBool,
}

/// The side of the source.
pub(crate) struct Intake<R> {
    link: Link,
    /// How far it runs ahead of what is durable; `None`: as far as there is credit.
    window: Option<Credit>,
    deliveries: mpsc::Receiver<Delivery<R>>,
    open: watch::Sender<bool>,
    settling: HashMap<Sequence, Arc<Settling<R>>>,
    /// Outlives `run`: what has not gone whole must not look as if it had settled.
    held: Option<Held<R>>,
}

impl<R: Receipt> Intake<R> {
    pub(crate) fn new(link: Link, window: Option<Credit>) -> (Self, Door<R>) {
        let (sender, deliveries) = mpsc::channel(WAITING);
        let (open, is_open) = watch::channel(false);
        let intake = Self { link, window, deliveries, open, settling: HashMap::new(), held: None };
        (intake, Door { deliveries: sender, open: is_open })
    }

    /// Takes batches until the coordinator wants no more.
    pub(crate) async fn run(&mut self) {
        let output = self.link.output();
        loop {
            let room = self.link.has_room(self.window);
            self.open.send_if_modified(|open| std::mem::replace(open, room) != room);
            tokio::select! {
                heard = self.link.hear() => match heard {
                    Ok(Some((sequence, fate))) => self.settle(sequence, fate),
                    Ok(None) => {}
                    Err(Stopped) => break,
                },
                place = output.reserve(), if room && self.held.is_some() => {
                    if place.is_err() {
                        break;
                    }
                    drop(place);
                    if self.forward().await.is_err() {
                        break;
                    }
                }
                Some(Delivery { batch, receipt }) = self.deliveries.recv(), if room && self.held.is_none() => {
                    let settling = Arc::new(Settling { receipt, refused: AtomicBool::new(false) });
                    self.held = Some(Held { batch, next: 0, settling });
                }
            }
        }
        self.open.send_replace(false);
        self.deliveries.close();
    }

    /// Hears what becomes durable of what has gone, until all is or the coordinator hangs up.
    pub(crate) async fn finish(&mut self) {
        while !self.settling.is_empty()
            && let Some((sequence, fate)) = self.link.hear_after_stop().await
        {
            self.settle(sequence, fate);
        }
    }

    /// Sends as much of the batch in hand as the credit admits.
    async fn forward(&mut self) -> Result<(), Stopped> {
        let Some(held) = &mut self.held else {
            return Ok(());
        };
        let end = held.next + admitted(&held.batch, held.next, self.link.credit());
        let part = held.batch.slice(held.next..end);
        held.next = end;
        let settling = held.settling.clone();
        let whole = end == held.batch.len();
        let sequence = self.link.send(part, None).await?;
        self.settling.insert(sequence, settling.clone());
        if whole {
            settling.receipt.forwarded();
            self.held = None;
        }
        Ok(())
    }

    fn settle(&mut self, sequence: Sequence, fate: Fate) {
        let Some(part) = self.settling.remove(&sequence) else { return };
        if let Fate::Refused(why) = fate
            && !part.refused.swap(true, Ordering::Relaxed)
        {
            part.receipt.refused(why);
        }
        if let Some(Settling { receipt, refused }) = Arc::into_inner(part)
            && !refused.into_inner()
        {
            receipt.settled();
        }
    }
}

/// How many events from `first` on the credit admits; at least one, which any credit does.
fn admitted(batch: &Batch, first: usize, credit: Credit) -> usize {
    let mut bytes = 0;
    let fits = (first..batch.len()).take_while(|row| {
        bytes += batch.payload(*row).len() as u64;
        ((row - first) as u64) < credit.events && bytes <= credit.bytes
    });
    fits.count().max(1)
}
