//! What a coordinator uses: appends, marks and reads, from any task.

use std::{
    io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use crate::{
    error::{JournalError, OpenError, SourceError},
    index::{Index, Source},
    limits::{MAX_SOURCE_NAME_BYTES, MAX_SOURCES, Options, QUEUE_REQUESTS},
    log::{Frame, locked, segment_name},
    recover::{self, Torn},
    storage::{Storage, read_all_at},
    writer::{self, Request},
};

/// A source in one journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SourceId(u32);

/// What opening found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// Sources with frames that have not settled, in the order in which they were first seen.
    pub backlog: Vec<Backlog>,
    /// The tail that was cut, if there was one: worth a line in the log.
    pub torn: Option<Torn>,
}

/// Frames of a source that lie above its mark: all from `first` to `last`, to be read and delivered in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backlog {
    /// The source.
    pub source: SourceId,
    /// Its name.
    pub name: String,
    /// Sequence of the first.
    pub first: u64,
    /// Sequence of the last.
    pub last: u64,
}

/// Figures of a journal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// Bytes of all segments.
    pub bytes: u64,
    /// Segments.
    pub segments: usize,
    /// Frames that have not settled.
    pub open: u64,
    /// Groups that were written and synced since it was opened.
    pub commits: u64,
    /// Time spent writing and syncing since it was opened, microseconds.
    pub commit_micros: u64,
}

/// Tells of a journal without holding it open.
#[derive(Debug, Clone)]
pub struct Meter {
    index: Arc<Mutex<Index>>,
    counters: Arc<Counters>,
}

impl Meter {
    /// Figures, as of now.
    pub fn stats(&self) -> Stats {
        let index = locked(&self.index);
        Stats {
            bytes: index.bytes(),
            segments: index.segments.len(),
            open: index.open(),
            commits: self.counters.commits.load(Ordering::Relaxed),
            commit_micros: self.counters.commit_micros.load(Ordering::Relaxed),
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) commits: AtomicU64,
    pub(crate) commit_micros: AtomicU64,
}

/// A handle on an open journal. Clones are the same journal; its thread ends after the last one is dropped and everything
/// that was handed over is written. Only one journal may be open on a folder: the caller holds a lock that says so.
#[derive(Debug, Clone)]
pub struct Journal {
    requests: mpsc::Sender<Request>,
    ended: Arc<Mutex<Option<oneshot::Receiver<()>>>>,
    index: Arc<Mutex<Index>>,
    storage: Arc<dyn Storage>,
    counters: Arc<Counters>,
}

impl Journal {
    /// Opens a journal, or begins one. Blocks: reads everything that is there, one segment in memory at a time
    /// (a sixteenth of the size, 64 MiB at most, and a frame).
    ///
    /// # Errors
    /// What is damaged, newer, or refused by the system. The journal is left untouched unless the disk fails halfway.
    pub fn open(storage: impl Storage, options: Options) -> Result<(Self, Recovery), OpenError> {
        let storage: Arc<dyn Storage> = Arc::new(storage);
        let (log, torn) = recover::open(Arc::clone(&storage), options)?;
        let index = Arc::clone(&log.index);
        let backlog = backlog(&locked(&index));
        let (requests, received) = mpsc::channel(QUEUE_REQUESTS);
        let (end, ended) = oneshot::channel();
        let counters = Arc::new(Counters::default());
        let writer = thread::Builder::new().name("journal".to_owned()).spawn({
            let counters = Arc::clone(&counters);
            move || {
                writer::run(log, received, &counters);
                // Nobody has to be there to hear it.
                let _ = end.send(());
            }
        });
        writer.map_err(|source| OpenError::Storage {
            action: "starting the writer of",
            path: storage.path(""),
            source,
        })?;
        let ended = Arc::new(Mutex::new(Some(ended)));
        Ok((Self { requests, ended, index, storage, counters }, Recovery { backlog, torn }))
    }

    /// The source with this name; a new one if the journal does not know it. It becomes durable with its first frame.
    ///
    /// # Errors
    /// The name is empty or too long, or there are too many sources.
    pub fn source(&self, name: &str) -> Result<SourceId, SourceError> {
        if name.is_empty() || name.len() > MAX_SOURCE_NAME_BYTES {
            return Err(SourceError::Name { bytes: name.len() });
        }
        let mut index = locked(&self.index);
        let known = index.sources.iter().position(|source| source.name == name);
        let id = known.unwrap_or(index.sources.len());
        if id == MAX_SOURCES {
            return Err(SourceError::TooMany);
        }
        if known.is_none() {
            index.sources.push(Source::new(name));
        }
        Ok(SourceId(id as u32))
    }

    /// Hands over a frame, whose bytes are those of `parts` one after the other. Resolves once it is on the disk, with its
    /// sequence: 1 for a source's first, and one more for each further one, over all runs.
    ///
    /// Frames of one source have the order in which these calls were first polled. Once polled, the future is to be
    /// awaited to its end: if it is dropped, the frame may have been stored, holds the source's mark, and is replayed by
    /// the next opening.
    ///
    /// # Errors
    /// The frame was not accepted. After [`JournalError::Failed`] it may be on the disk all the same, and come up in the
    /// backlog of the next opening.
    pub async fn append(&self, source: SourceId, parts: Vec<Bytes>) -> Result<u64, JournalError> {
        let (reply, answer) = oneshot::channel();
        self.request(Request::Append(Frame { source: source.0, parts }, reply)).await?;
        answer.await.map_err(|_| JournalError::Closed)?
    }

    /// Says that all frames of a source up to and with `through` have settled. Resolves once that is on the disk; segments
    /// in which nothing else is are unlinked after that.
    ///
    /// # Errors
    /// The mark was not stored; after [`JournalError::DiskFull`] the call may be repeated.
    pub async fn settle(&self, source: SourceId, through: u64) -> Result<(), JournalError> {
        let (reply, answer) = oneshot::channel();
        self.request(Request::Settle(source.0, through, reply)).await?;
        answer.await.map_err(|_| JournalError::Closed)?
    }

    /// Reads an unsettled frame back: for the backlog after opening, and for a frame that was lost on its way. Blocks.
    ///
    /// # Errors
    /// The frame is settled or unknown, or the disk does not give back what was written.
    pub fn read(&self, source: SourceId, sequence: u64) -> Result<Bytes, JournalError> {
        let (name, place) = {
            let index = locked(&self.index);
            (index.sources[source.0 as usize].name.clone(), index.place(source.0, sequence))
        };
        let Some(place) = place else { return Err(JournalError::NotOpen { name, sequence }) };
        let mut bytes = vec![0; place.length as usize];
        let read = self.storage.open(&segment_name(place.segment)).and_then(|file| {
            let read = read_all_at(&*file, &mut bytes, place.offset)?;
            if read < bytes.len() { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
        });
        let sound =
            || if crc32c::crc32c(&bytes) == place.crc { Ok(()) } else { Err("its checksum is wrong".to_owned()) };
        match read.map_err(|error: io::Error| error.to_string()).and_then(|()| sound()) {
            Ok(()) => Ok(bytes.into()),
            // Settled meanwhile, and its segment gone.
            Err(_) if locked(&self.index).place(source.0, sequence).is_none() => {
                Err(JournalError::NotOpen { name, sequence })
            }
            Err(reason) => Err(JournalError::Unreadable { name, sequence, reason }),
        }
    }

    /// Figures, as of now.
    pub fn stats(&self) -> Stats {
        self.meter().stats()
    }

    /// What goes on telling the figures while and after this is closed.
    pub fn meter(&self) -> Meter {
        Meter { index: Arc::clone(&self.index), counters: Arc::clone(&self.counters) }
    }

    /// Drops this handle and waits until the writer has ended, which it does once all other handles are dropped too.
    pub async fn close(self) {
        let ended = self.ended.lock().ok().and_then(|mut ended| ended.take());
        drop(self);
        if let Some(ended) = ended {
            // An error is a thread that is gone: ended as well.
            let _ = ended.await;
        }
    }

    async fn request(&self, request: Request) -> Result<(), JournalError> {
        self.requests.send(request).await.map_err(|_| JournalError::Closed)
    }
}

fn backlog(index: &Index) -> Vec<Backlog> {
    let open = index.sources.iter().enumerate().filter(|(_, source)| source.mark < source.last);
    let backlog = open.map(|(id, source)| Backlog {
        source: SourceId(id as u32),
        name: source.name.clone(),
        first: source.mark + 1,
        last: source.last,
    });
    backlog.collect()
}
