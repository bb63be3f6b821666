//! The durable log of what sources that cannot replay have handed over.
//!
//! [`Journal::append`] resolves once a frame is on the disk; [`Journal::settle`] moves a source's mark, the frame up to and
//! with which everything has settled, and lets go of the files in which nothing else is. After a crash
//! [`Journal::open`] says what lies above the marks, to be read with [`Journal::read`].
//!
//! - **Group commit.** One thread owns the file. What many callers hand over while it writes and syncs becomes the next
//!   block: one write, one `fdatasync`, then all of them are answered.
//! - **Order.** A frame is durable before it is acknowledged, a mark before a segment is unlinked, a segment's first block
//!   before the segment has its name, and a name before it is relied on.
//! - **Failed sync.** Nobody knows what is on the disk then, and a second sync would not say. The log takes nothing more
//!   until it is opened again; opening writes what is not proven to be synced once more, into a new file.
//! - **Refusal.** Opening reads and checks everything before it changes anything. What is newer or damaged is left as it is.
//!   Only the tail behind the last synced group is cut, since nobody was told that it is there.
//!
//! Pure parts: `format` (bytes), `scan` (blocks of a segment), `index` (open frames, marks, segments).

mod error;
mod format;
mod index;
mod journal;
mod limits;
mod log;
mod recover;
mod scan;
pub mod storage;
mod writer;

#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod refusal_tests;

pub use error::{JournalError, OpenError, SourceError};
pub use format::VERSION;
pub use journal::{Backlog, Journal, Meter, Recovery, SourceId, Stats};
pub use limits::{
    GROUP_BYTES, MAX_FRAME_BYTES, MAX_SOURCE_NAME_BYTES, MAX_SOURCES, MIN_SIZE_BYTES, Options, QUEUE_REQUESTS,
};
pub use recover::Torn;
