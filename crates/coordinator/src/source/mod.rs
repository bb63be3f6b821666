//! The actor of one source: takes frames in, gives them identity and an origin, and moves the source's position when
//! all that came from a frame has settled.

mod actor;
mod admission;
mod books;
mod credit;
mod frames;
mod intake;
#[cfg(test)]
mod journal_tests;
mod ledger;
mod marks;
mod receipts;
mod record;
mod rereads;
#[cfg(test)]
mod tests;

pub(crate) use self::{
    actor::{FromStream, SourceActor, SourceWiring},
    admission::Admission,
    books::SourceBooks,
    credit::Window,
    ledger::FrameLedger,
    record::{RecordError, decode as decode_record},
};

/// What a source has of the journal.
#[derive(Debug)]
pub(crate) struct SourceJournal {
    pub(crate) journal: meshloom_journal::Journal,
    pub(crate) source: meshloom_journal::SourceId,
    /// Bytes of the largest frame that the journal takes.
    pub(crate) max_frame_bytes: u64,
    /// What earlier runs have left.
    pub(crate) backlog: Option<Backlog>,
}

/// Frames of earlier runs that have not settled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Backlog {
    /// Their sequences.
    pub(crate) frames: std::ops::RangeInclusive<u64>,
    /// Their events.
    pub(crate) events: u64,
}
