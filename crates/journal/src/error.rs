//! What can go wrong, and what to do about it.

use std::{io, path::PathBuf};

use crate::limits::{MAX_SOURCE_NAME_BYTES, MAX_SOURCES, MIN_SIZE_BYTES};

/// Why a journal was not opened. Nothing on the disk was changed, but by [`OpenError::Storage`] at most new files.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The size cannot work.
    #[error("`journal: {{ size }}` is {size} bytes; a journal needs at least {MIN_SIZE_BYTES}")]
    TooSmall {
        /// As configured.
        size: u64,
    },
    /// A later version wrote it.
    #[error("{path} was written by a newer version of Meshloom (format {found}, this one reads up to {reads}); it was left as it is. Run the newer version, or drain the pipeline with it and remove the folder then", path = path.display())]
    Newer {
        /// The segment.
        path: PathBuf,
        /// Its format.
        found: u16,
        /// The newest format that this version reads.
        reads: u16,
    },
    /// What was synced is not there as it was written.
    #[error("{path} is damaged at byte {offset}: {what}; it was left as it is. Bring the folder back from a backup, or move it away to start with an empty journal: accepted events in it that had not settled are then not delivered", path = path.display())]
    Damaged {
        /// The segment, or the folder if it is about more than one.
        path: PathBuf,
        /// Where in the segment.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// The system refused.
    #[error("the journal cannot be opened: {action} {path}: {source}; see that this user may write there and that the disk has room", path = path.display())]
    Storage {
        /// What was tried.
        action: &'static str,
        /// With which file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Why a source was not registered.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// The name is empty or too long.
    #[error(
        "a source's name in the journal has 1 to {MAX_SOURCE_NAME_BYTES} bytes, not {bytes}; give it a shorter name"
    )]
    Name {
        /// Its length.
        bytes: usize,
    },
    /// Too many.
    #[error(
        "the journal knows {MAX_SOURCES} sources, those of earlier runs included, and takes no more; drain the pipeline and remove the folder of the journal"
    )]
    TooMany,
}

/// Why a frame was not accepted or a mark not stored. No acknowledged frame is affected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalError {
    /// The bound is reached.
    #[error(
        "the journal is full: {bytes} of `journal: {{ size }}` = {size} bytes hold {open} frames that have not settled; new events are refused until some do. Look with `meshloom status` at what holds them, or raise the size"
    )]
    Full {
        /// Bytes on the disk.
        bytes: u64,
        /// As configured.
        size: u64,
        /// Frames that are not settled.
        open: u64,
    },
    /// One frame is larger than a journal of this size takes.
    #[error(
        "a frame of {bytes} bytes is larger than the {limit} that a journal of {size} bytes takes; raise `journal: {{ size }}` or send smaller events"
    )]
    TooLarge {
        /// Of the frame.
        bytes: u64,
        /// The largest.
        limit: u64,
        /// As configured.
        size: u64,
    },
    /// The disk has no room. Nothing was stored; a later call may succeed.
    #[error(
        "the journal cannot be written: {reason}; what was accepted is safe, new events are refused until the disk has room"
    )]
    DiskFull {
        /// What the system said.
        reason: String,
    },
    /// The storage failed, so nobody knows what is durable of what was being written. Final for this opening.
    #[error(
        "the journal's storage failed: {reason}; what was accepted before is safe, nothing more is accepted. Look at the disk (dmesg), then restart the coordinator, which reads the journal again"
    )]
    Failed {
        /// What was tried and what the system said.
        reason: String,
    },
    /// A mark beyond the last frame: a fault of the caller's, nothing was stored.
    #[error("frame {through} of source `{name}` cannot be settled: {last} is its last")]
    Ahead {
        /// The source.
        name: String,
        /// The mark.
        through: u64,
        /// The last frame.
        last: u64,
    },
    /// The frame is settled, or was never there.
    #[error("frame {sequence} of source `{name}` is not open")]
    NotOpen {
        /// The source.
        name: String,
        /// The frame.
        sequence: u64,
    },
    /// An open frame cannot be read back.
    #[error(
        "frame {sequence} of source `{name}` cannot be read back: {reason}; look at the disk, then restart the coordinator"
    )]
    Unreadable {
        /// The source.
        name: String,
        /// The frame.
        sequence: u64,
        /// What was found.
        reason: String,
    },
    /// The journal was closed.
    #[error("the journal is closed: the coordinator is ending")]
    Closed,
}
