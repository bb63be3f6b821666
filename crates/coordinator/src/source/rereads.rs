//! Frames that are read from the journal: the backlog of earlier runs, in its order, and what was lost on its way.

use std::{collections::VecDeque, ops::RangeInclusive};

use bytes::Bytes;
use meshloom_core::batch::Batch;
use meshloom_journal::{Journal, SourceId};
use tokio::task::{JoinError, JoinHandle};

use super::record;
use crate::flow::{Budget, Charge};

/// Why a frame is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// It is the next of the backlog.
    Backlog,
    /// It was lost; its number among the open frames.
    Lost(u64),
}

/// A frame that was read.
#[derive(Debug)]
pub(super) struct Reread {
    pub(super) purpose: Purpose,
    /// Its sequence in the journal.
    pub(super) sequence: u64,
    /// Its events, or for a person why not.
    pub(super) batch: Result<Batch, String>,
}

/// What has to be read; one frame at a time, so that no more is in memory than goes on at once.
#[derive(Debug)]
pub(super) struct Rereads {
    journal: Journal,
    source: SourceId,
    backlog: Option<RangeInclusive<u64>>,
    lost: VecDeque<(u64, u64)>,
    reading: Option<(Purpose, JoinHandle<Reread>)>,
}

/// A frame's bytes and their charge.
struct Charged {
    bytes: Bytes,
    _charge: Charge,
}

impl AsRef<[u8]> for Charged {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Rereads {
    pub(super) fn new(journal: Journal, source: SourceId, backlog: Option<RangeInclusive<u64>>) -> Self {
        Self { journal, source, backlog: backlog.filter(|left| !left.is_empty()), lost: VecDeque::new(), reading: None }
    }

    /// A frame was lost.
    pub(super) fn push(&mut self, number: u64, sequence: u64) {
        self.lost.push_back((number, sequence));
    }

    /// Whether some of the backlog has not been read.
    pub(super) fn has_backlog(&self) -> bool {
        self.backlog.is_some()
    }

    /// Lost frames that have not been read.
    pub(super) fn lost(&self) -> usize {
        self.lost.len()
    }

    /// Whether a frame is being read.
    pub(super) fn is_reading(&self) -> bool {
        self.reading.is_some()
    }

    /// Whether there is nothing to read and nothing being read.
    pub(super) fn is_idle(&self) -> bool {
        self.backlog.is_none() && self.lost.is_empty() && self.reading.is_none()
    }

    /// Reads no more: what is left stays in the journal. Says whether a frame that was lost is among it.
    pub(super) fn stop(&mut self) -> bool {
        self.backlog = None;
        let reading = self.reading.take().is_some_and(|(purpose, _)| purpose != Purpose::Backlog);
        let waiting = !std::mem::take(&mut self.lost).is_empty();
        reading || waiting
    }

    /// Begins to read the next frame; not while one is being read.
    pub(super) fn begin(&mut self, budget: &Budget) {
        let next = match self.lost.pop_front() {
            Some((number, sequence)) => Some((Purpose::Lost(number), sequence)),
            None => self.backlog.as_mut().and_then(Iterator::next).map(|sequence| (Purpose::Backlog, sequence)),
        };
        self.backlog.take_if(|left| left.is_empty());
        let Some((purpose, sequence)) = next else { return };
        let (journal, source, budget) = (self.journal.clone(), self.source, budget.clone());
        let reading = tokio::task::spawn_blocking(move || {
            let read = journal.read(source, sequence).map_err(|error| error.to_string());
            let batch = read.and_then(|bytes| {
                let charge = budget.take(bytes.len() as u64);
                let record = Bytes::from_owner(Charged { bytes, _charge: charge });
                record::decode(record).map_err(|error| format!("frame {sequence} in the journal: {error}"))
            });
            Reread { purpose, sequence, batch }
        });
        self.reading = Some((purpose, reading));
    }

    /// The frame that is being read; never, if there is none.
    pub(super) async fn done(&mut self) -> Reread {
        let done = match &mut self.reading {
            Some((_, reading)) => reading.await,
            None => std::future::pending().await,
        };
        self.reading = None;
        done.unwrap_or_else(|error: JoinError| std::panic::resume_unwind(error.into_panic()))
    }
}
