//! The writer of dead letters: groups what has come, makes it durable, then settles it.

use std::{
    collections::{BTreeMap, VecDeque},
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use meshloom_core::origin::Deliveries;
use tokio::time::{Instant, sleep_until};

use super::{
    complaint::Complaint,
    letter_store::{Bound, LetterRecord, SharedLetters, Why, now_nanos},
};
use crate::flow::{Charge, LetterNote, LettersIn};

/// Most letters in one write.
const GROUP: usize = 1024;
/// Bytes of events in one write, if there are several.
const GROUP_BYTES: usize = 4 << 20;
/// Time between attempts while the disk refuses. Letters wait meanwhile, and with them their sources.
const AGAIN: Duration = Duration::from_secs(1);
/// Attempts to store what is left when the pipeline has ended.
const LAST_ATTEMPTS: u32 = 3;

/// Letters that were stored, by node and reason.
pub(crate) type Stored = BTreeMap<(String, String), u64>;

/// What waits for the store, for those who ask.
#[derive(Debug, Default)]
pub(crate) struct LettersWaiting {
    /// Letters that are not durable yet.
    pub(crate) letters: AtomicU64,
    /// Whether they wait for room.
    pub(crate) full: AtomicBool,
}

/// Stores letters until every desk is gone, and counts them. Nothing settles before it is durable.
pub(crate) async fn run_letters(store: SharedLetters, desk: LettersIn, waiting: Arc<LettersWaiting>) -> Stored {
    let writer = Writer {
        store,
        desk,
        waiting,
        pending: VecDeque::new(),
        full: Complaint::default(),
        failing: Complaint::default(),
        again: None,
        stored: Stored::new(),
    };
    writer.run().await
}

struct Writer {
    store: SharedLetters,
    desk: LettersIn,
    waiting: Arc<LettersWaiting>,
    pending: VecDeque<Pending>,
    full: Complaint,
    failing: Complaint,
    /// When to try again what the disk has refused.
    again: Option<Instant>,
    stored: Stored,
}

/// A letter that is not durable.
struct Pending {
    record: Arc<LetterRecord>,
    deliveries: Deliveries,
    _charge: Option<Arc<Charge>>,
}

impl Writer {
    async fn run(mut self) -> Stored {
        let mut holding = self.store.holding();
        loop {
            let (full, again) = (self.full.again(), self.again);
            let open = tokio::select! {
                open = self.desk.come() => open,
                // Room may have come.
                changed = holding.changed(), if full.is_some() => changed.is_ok(),
                () = until(full) => true,
                () = until(again) => true,
            };
            let come = self.desk.take();
            self.pending.extend(come.into_iter().flat_map(pending));
            if open {
                // Before it looks, so that room which comes meanwhile is not missed.
                holding.mark_unchanged();
                self.store_what_fits().await;
            } else {
                return self.close().await;
            }
        }
    }

    async fn store_what_fits(&mut self) {
        self.tell();
        if self.again.is_some_and(|again| again > Instant::now()) {
            return;
        }
        self.again = None;
        let now = Instant::now();
        match self.store_all(Bound::Size).await {
            Ok(()) if self.pending.is_empty() => {
                self.recovered();
                if self.full.ends() {
                    let super::Holding { bytes, max_bytes, .. } = *self.store.holding().borrow();
                    tracing::info!("the store of dead letters has room again: {bytes} of {max_bytes} bytes are used");
                }
            }
            Ok(()) => {
                self.recovered();
                if self.full.is_due(now) {
                    let super::Holding { letters, max_bytes, .. } = *self.store.holding().borrow();
                    tracing::error!(
                        "the store of dead letters is full: {letters} letters take up `dead_letters: {{ size }}` of {max_bytes} bytes, {} more wait, and the sources with them; make room with `meshloom dead-letters replay`, or with `export` and `discard`, or drain and raise the size",
                        self.pending.len()
                    );
                }
            }
            Err(error) => {
                self.full.ends();
                self.again = Some(now + AGAIN);
                if self.failing.is_due(now) {
                    tracing::error!(
                        "{} dead letters cannot be stored and wait, and the sources with them: {error}; make room on the disk or mend it: they are tried again each second",
                        self.pending.len()
                    );
                }
            }
        }
        self.tell();
    }

    fn recovered(&mut self) {
        if self.failing.ends() {
            tracing::info!("dead letters can be stored again");
        }
    }

    /// Tells the sources and those who ask how things stand.
    fn tell(&self) {
        let troubled = self.full.again().is_some() || self.failing.again().is_some();
        self.waiting.full.store(self.full.again().is_some(), Ordering::Relaxed);
        self.waiting.letters.store((self.pending.len() + self.desk.len()) as u64, Ordering::Relaxed);
        self.desk.stop_sources(troubled);
    }

    /// Stores what there is room for, in the order in which it came; the rest goes on waiting.
    async fn store_all(&mut self, bound: Bound) -> io::Result<()> {
        let mut left = self.pending.len();
        while left > 0 {
            let group = self.group(left);
            left -= group.len();
            let records: Vec<_> = group.iter().map(|pending| pending.record.clone()).collect();
            let store = self.store.clone();
            let written = tokio::task::spawn_blocking(move || store.append(&records, bound)).await;
            let taken = written.unwrap_or_else(|error| Err(io::Error::other(error)));
            let taken = match taken {
                Ok(taken) => taken,
                Err(error) => {
                    group.into_iter().rev().for_each(|pending| self.pending.push_front(pending));
                    return Err(error);
                }
            };
            for (pending, taken) in group.into_iter().zip(taken) {
                if taken {
                    let Pending { record, deliveries, .. } = pending;
                    *self.stored.entry((record.node.clone(), record.reason.clone())).or_default() += 1;
                    deliveries.settle();
                } else {
                    self.pending.push_back(pending);
                }
            }
        }
        Ok(())
    }

    /// The next of the first `left` letters.
    fn group(&mut self, left: usize) -> Vec<Pending> {
        let mut bytes = 0;
        let sizes = self.pending.iter().take(left.min(GROUP)).take_while(|pending| {
            let fits = bytes == 0 || bytes + pending.record.event.get().len() <= GROUP_BYTES;
            bytes += pending.record.event.get().len();
            fits
        });
        let count = sizes.count();
        self.pending.drain(..count).collect()
    }

    /// The pipeline has ended. What cannot come again is stored whatever the bound, the rest is left to its source.
    async fn close(mut self) -> Stored {
        let first = self.store_all(Bound::Size).await;
        if first.is_ok() && self.pending.is_empty() {
            return self.stored;
        }
        let (keep, mut leave): (VecDeque<_>, VecDeque<_>) =
            self.pending.drain(..).partition(|pending| !pending.deliveries.irreplaceable().is_empty());
        self.pending = keep;
        let mut last = first;
        for attempt in 1..=LAST_ATTEMPTS {
            last = self.store_all(Bound::None).await;
            if last.is_ok() {
                break;
            }
            if attempt < LAST_ATTEMPTS {
                tokio::time::sleep(AGAIN).await;
            }
        }
        if let Err(error) = last {
            tracing::error!(
                "{} events are lost: they are dead letters that could not be stored, and their sources cannot send them again: {error}",
                self.pending.len()
            );
        }
        if !leave.is_empty() {
            tracing::error!(
                "{} dead letters could not be stored; their events come again with the next run",
                leave.len()
            );
        }
        leave.append(&mut self.pending);
        self.stored
    }
}

/// A note's letters.
fn pending(note: LetterNote) -> Vec<Pending> {
    let LetterNote { node, letter, route, charge } = note;
    let (time, charge) = (now_nanos(), charge.map(Arc::new));
    let mut deliveries = letter.deliveries;
    let why =
        Why { route: route.as_deref(), reason: &letter.reason, message: &letter.message, attempts: letter.attempts };
    let rows = 0..letter.batch.len();
    let pending = rows.map(|row| Pending {
        record: Arc::new(LetterRecord::new(time, &node, &letter.batch, row, &why)),
        deliveries: deliveries.take([row as u32]),
        _charge: charge.clone(),
    });
    let pending = pending.collect();
    deliveries.settle();
    pending
}

async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}
