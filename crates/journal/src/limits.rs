//! Every bound of the journal, and what follows from its size.

/// Bytes of a source's name.
pub const MAX_SOURCE_NAME_BYTES: usize = 128;
/// Sources in one journal, those of earlier runs included.
pub const MAX_SOURCES: usize = 512;
/// Bytes of one frame, whatever the journal's size.
pub const MAX_FRAME_BYTES: u64 = 64 << 20;
/// The least size of a journal, bytes.
pub const MIN_SIZE_BYTES: u64 = 4 << 20;
/// Bytes of frames after which a group takes no further one.
pub const GROUP_BYTES: u64 = 1 << 20;
/// Requests that wait for the writer, and most that one group takes; further ones wait with their callers.
pub const QUEUE_REQUESTS: usize = 1024;

/// How large a journal may be on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// `journal: { size }` in bytes: what all segments take together, at most. At least [`MIN_SIZE_BYTES`].
    pub size: u64,
}

impl Options {
    /// Bytes at which a segment is closed.
    pub(crate) fn segment_bytes(self) -> u64 {
        (self.size / 16).min(64 << 20)
    }

    /// Bytes that frames may fill; two segments are left for marks, so that a full journal can be emptied.
    pub(crate) fn frames_limit(self) -> u64 {
        self.size - 2 * self.segment_bytes()
    }

    /// Bytes of the largest frame.
    pub fn max_frame_bytes(self) -> u64 {
        (self.size / 4).min(MAX_FRAME_BYTES)
    }
}
