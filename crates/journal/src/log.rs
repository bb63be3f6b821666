//! The log over a storage: one caller, blocking. What is decided about frames and segments is in [`Index`].

use std::{
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;

use crate::{
    error::JournalError,
    format::{BLOCK_HEADER, Entry, FRAME_ENTRY, SegmentHeader, encode_block},
    index::{Index, MAX_SOURCE_BYTES, Segment},
    limits::Options,
    storage::{Storage, StoredFile, is_full, write_all_at},
};

/// A frame on its way to the disk.
#[derive(Debug)]
pub(crate) struct Frame {
    pub(crate) source: u32,
    /// Its bytes, in parts that follow one another.
    pub(crate) parts: Vec<Bytes>,
}

impl Frame {
    pub(crate) fn bytes(&self) -> u64 {
        self.parts.iter().map(|part| part.len() as u64).sum()
    }
}

/// The segment that is written.
#[derive(Debug)]
pub(crate) struct Current {
    pub(crate) header: SegmentHeader,
    pub(crate) file: Arc<dyn StoredFile>,
    /// Where the next block begins: everything before it is synced.
    pub(crate) end: u64,
    pub(crate) ordinal: u32,
}

/// The log. The index is shared with those who read frames back; it is locked only in memory, never over I/O.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) storage: Arc<dyn Storage>,
    pub(crate) options: Options,
    pub(crate) index: Arc<Mutex<Index>>,
    pub(crate) current: Current,
    /// Why the storage cannot be trusted any more.
    pub(crate) failed: Option<String>,
    pub(crate) buffer: Vec<u8>,
}

pub(crate) fn locked(index: &Mutex<Index>) -> MutexGuard<'_, Index> {
    index.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The name of a segment's file.
pub(crate) fn segment_name(segment: u64) -> String {
    format!("{segment:016x}.segment")
}

/// The number in such a name.
pub(crate) fn segment_number(name: &str) -> Option<u64> {
    let number = u64::from_str_radix(name.strip_suffix(".segment")?, 16).ok()?;
    (segment_name(number) == name).then_some(number)
}

/// A segment is written under this name until its first block is synced.
pub(crate) const UNFINISHED: &str = "unfinished";

impl Log {
    /// Whether a frame can be taken beside `group` bytes of others, now. Closes the current segment if that makes room.
    pub(crate) fn admit(&mut self, bytes: u64, group: u64) -> Result<(), JournalError> {
        let (size, limit) = (self.options.size, self.options.max_frame_bytes());
        if bytes > limit {
            return Err(JournalError::TooLarge { bytes, limit, size });
        }
        self.check()?;
        let full = |index: &Index| index.bytes() + group + bytes + FRAME_OVERHEAD > self.options.frames_limit();
        let (is_full, current) = {
            let index = locked(&self.index);
            (full(&index), index.segments.get(&self.current.header.segment).copied().unwrap_or_default())
        };
        if is_full && group == 0 && current.open == 0 && self.current.ordinal > 1 {
            self.rotate()?;
            self.reclaim()?;
        }
        let index = locked(&self.index);
        if index.bytes() + group + bytes + FRAME_OVERHEAD <= self.options.frames_limit() {
            return Ok(());
        }
        Err(JournalError::Full { bytes: index.bytes(), size, open: index.open() })
    }

    /// Writes frames and marks as one block and syncs it. Returns the frames' sequences, in their order.
    ///
    /// After an error none of them counts; after [`JournalError::DiskFull`] the call may be repeated.
    pub(crate) fn commit(&mut self, frames: &[Frame], marks: &[(u32, u64)]) -> Result<Vec<u64>, JournalError> {
        self.check()?;
        if self.current.ordinal > 1 && self.current.end >= self.options.segment_bytes() {
            self.rotate()?;
        }
        let (entries, sequences) = self.entries(frames, marks);
        let Current { header, file, end, ordinal } = &self.current;
        self.buffer.clear();
        let parts = frames.iter().flat_map(|frame| frame.parts.iter().map(Bytes::as_ref));
        encode_block(&mut self.buffer, header.salt, *ordinal, &entries, parts);
        if let Err(error) = write_all_at(&**file, &self.buffer, *end) {
            let cut = if is_full(&error) { file.set_length(*end).map_err(|cut| (cut, "cutting")) } else { Ok(()) };
            return Err(match cut {
                Err((cut, action)) => self.fail(action, &cut),
                Ok(()) => self.refuse("writing", &error),
            });
        }
        if let Err(error) = file.sync_data() {
            return Err(self.fail("syncing", &error));
        }
        let (segment, written) = (header.segment, self.buffer.len() as u64);
        let payload = end + written - frames.iter().map(Frame::bytes).sum::<u64>();
        let mut index = locked(&self.index);
        index.apply(segment, payload, &entries).expect("entries were made from this index and checked marks");
        index.segments.entry(segment).or_default().bytes += written;
        drop(index);
        (self.current.end, self.current.ordinal) = (self.current.end + written, self.current.ordinal + 1);
        Ok(sequences)
    }

    /// Unlinks segments in which everything is settled. The marks that say so are synced.
    pub(crate) fn reclaim(&mut self) -> Result<(), JournalError> {
        self.check()?;
        let settled = locked(&self.index).wholly_settled(self.current.header.segment);
        for segment in settled {
            let removed = self.storage.remove(&segment_name(segment));
            // Every removal by itself: the order in which they become durable is ours.
            removed.and_then(|()| self.storage.sync_folder()).map_err(|error| self.fail("removing", &error))?;
            locked(&self.index).segments.remove(&segment);
        }
        Ok(())
    }

    /// Whether a mark may be stored; `false`: it says nothing new.
    pub(crate) fn check_mark(&self, source: u32, through: u64) -> Result<bool, JournalError> {
        self.check()?;
        let index = locked(&self.index);
        let known = &index.sources[source as usize];
        if through > known.last {
            return Err(JournalError::Ahead { name: known.name.clone(), through, last: known.last });
        }
        Ok(through > known.mark)
    }

    fn check(&self) -> Result<(), JournalError> {
        self.failed.as_ref().map_or(Ok(()), |reason| Err(JournalError::Failed { reason: reason.clone() }))
    }

    fn entries(&self, frames: &[Frame], marks: &[(u32, u64)]) -> (Vec<Entry>, Vec<u64>) {
        let index = locked(&self.index);
        let mut last: Vec<u64> = index.sources.iter().map(|source| source.last).collect();
        let mut entries = Vec::with_capacity(frames.len() + marks.len());
        let mut sequences = Vec::with_capacity(frames.len());
        // A source's number is its place in the order of declaration.
        let newest = frames.iter().map(|frame| frame.source as usize + 1).max().unwrap_or_default();
        for (id, source) in index.sources.iter().enumerate().take(newest) {
            if !source.declared {
                entries.push(index.source_entry(id as u32));
            }
        }
        drop(index);
        for frame in frames {
            let last = &mut last[frame.source as usize];
            *last += 1;
            sequences.push(*last);
            let crc = frame.parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part));
            let length = u32::try_from(frame.bytes()).expect("frames are bounded when they are admitted");
            entries.push(Entry::Frame { source: frame.source, sequence: *last, length, crc });
        }
        entries.extend(marks.iter().map(|(source, through)| Entry::Mark { source: *source, through: *through }));
        (entries, sequences)
    }

    /// Closes the current segment and begins the next one.
    fn rotate(&mut self) -> Result<(), JournalError> {
        let Current { header, end, .. } = &self.current;
        let header = SegmentHeader { segment: header.segment + 1, salt: rand::random(), previous_end: *end };
        let snapshot = locked(&self.index).snapshot();
        match begin_segment(&*self.storage, header, &encode_segment(header, &snapshot, &[])) {
            Ok(current) => {
                let segment = Segment { bytes: current.end, open: 0 };
                locked(&self.index).segments.insert(header.segment, segment);
                self.current = current;
                Ok(())
            }
            Err((action, error)) if action != "creating" => Err(self.fail(action, &error)),
            Err((action, error)) => Err(self.refuse(action, &error)),
        }
    }

    /// An error after which the log is as before, if it says no more than that there is no room.
    fn refuse(&mut self, action: &str, error: &io::Error) -> JournalError {
        if is_full(error) {
            return JournalError::DiskFull { reason: self.reason(action, error) };
        }
        self.fail(action, error)
    }

    /// An error after which nobody knows what is on the disk: the log is not used again.
    fn fail(&mut self, action: &str, error: &io::Error) -> JournalError {
        let reason = self.reason(action, error);
        self.failed = Some(reason.clone());
        JournalError::Failed { reason }
    }

    fn reason(&self, action: &str, error: &io::Error) -> String {
        let path = self.storage.path(&segment_name(self.current.header.segment));
        format!("{action} {}: {error}", path.display())
    }
}

/// Bytes that a frame takes in a block, besides its own, at most.
pub(crate) const FRAME_OVERHEAD: u64 = (BLOCK_HEADER + FRAME_ENTRY + MAX_SOURCE_BYTES) as u64;

/// A segment's header and first block.
pub(crate) fn encode_segment(header: SegmentHeader, entries: &[Entry], frames: &[u8]) -> Vec<u8> {
    let mut bytes = header.encode().to_vec();
    encode_block(&mut bytes, header.salt, 0, entries, std::iter::once(frames));
    bytes
}

/// Begins a segment with its first bytes, which are durable before it has its name.
///
/// An error in "creating" leaves what was there as it was.
pub(crate) fn begin_segment(
    storage: &dyn Storage,
    header: SegmentHeader,
    bytes: &[u8],
) -> Result<Current, (&'static str, io::Error)> {
    let written = storage.create(UNFINISHED).and_then(|file| write_all_at(&*file, bytes, 0).map(|()| file));
    let file = written.map_err(|error| ("creating", error))?;
    file.sync_data().map_err(|error| ("syncing", error))?;
    storage.rename(UNFINISHED, &segment_name(header.segment)).map_err(|error| ("naming", error))?;
    storage.sync_folder().map_err(|error| ("syncing the folder of", error))?;
    Ok(Current { header, file, end: bytes.len() as u64, ordinal: 1 })
}
