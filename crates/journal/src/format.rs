//! What is on the disk, byte by byte. Pure: encodes to and decodes from memory.
//!
//! A segment is a header and blocks; a block is what one group commit wrote: a header, a directory of entries, and the
//! frames' bytes one after the other. All numbers are little endian, all checksums CRC-32C.
//!
//! ```text
//! segment header  40  magic 8 | version u16 | 0 u16 | segment u64 | salt u64 | end of the segment before u64 | crc u32
//! block header    28  magic 4 | ordinal u32 | entries u32 | directory bytes u32 | frame bytes u32 | directory crc u32
//!                     | crc u32, over the segment's salt and the fields above
//! entry: source       1 | source u32 | mark u64 | last u64 | name length u8 | name
//! entry: frame        2 | source u32 | sequence u64 | length u32 | crc u32
//! entry: mark         3 | source u32 | through u64
//! ```
//!
//! The salt is random and known to nobody who writes payloads, so no payload can be taken for a block.

/// Version of the format that is written, and the newest that is read.
pub const VERSION: u16 = 1;
/// Bytes of a segment's header.
pub(crate) const SEGMENT_HEADER: usize = 40;
/// Bytes of a block's header.
pub(crate) const BLOCK_HEADER: usize = 28;
/// Bytes of a frame's entry.
pub(crate) const FRAME_ENTRY: usize = 21;
/// Bytes of a mark's entry.
pub(crate) const MARK_ENTRY: usize = 13;
/// Bytes of a source's entry, besides its name.
pub(crate) const SOURCE_ENTRY: usize = 22;

const SEGMENT_MAGIC: &[u8; 8] = b"MESHJRNL";
const BLOCK_MAGIC: &[u8; 4] = b"MJBK";
const SOURCE: u8 = 1;
const FRAME: u8 = 2;
const MARK: u8 = 3;

/// Why bytes are not what they should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Not as written.
    Damaged(&'static str),
    /// Written by a newer version, whose number this is.
    Newer(u16),
}

/// The start of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    /// Number of the segment, from 1.
    pub(crate) segment: u64,
    /// Random; part of every block's checksum.
    pub(crate) salt: u64,
    /// Where the segment before ends: what is behind that was never acknowledged, or is in this segment too.
    pub(crate) previous_end: u64,
}

/// One thing that a block says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A source and where it stands before this block's other entries.
    Source { source: u32, mark: u64, last: u64, name: String },
    /// A frame; its bytes are in the block's payload, in the order of the entries.
    Frame { source: u32, sequence: u64, length: u32, crc: u32 },
    /// All frames up to and with `through` are settled.
    Mark { source: u32, through: u64 },
}

/// The start of a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BlockHeader {
    pub(crate) ordinal: u32,
    pub(crate) entries: u32,
    pub(crate) directory: u32,
    pub(crate) payload: u32,
    directory_crc: u32,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> [u8; SEGMENT_HEADER] {
        let mut out = Vec::with_capacity(SEGMENT_HEADER);
        out.extend_from_slice(SEGMENT_MAGIC);
        out.extend_from_slice(&VERSION.to_le_bytes());
        out.extend_from_slice(&[0; 2]);
        for number in [self.segment, self.salt, self.previous_end] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out.extend_from_slice(&crc32c::crc32c(&out).to_le_bytes());
        out.try_into().expect("the fields above add up to the header")
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Fault> {
        let mut reader = Reader(bytes);
        if reader.take(8) != Some(SEGMENT_MAGIC) {
            return Err(Fault::Damaged("it does not begin like a segment of a journal"));
        }
        // Before the checksum: a newer version may have another header.
        let version = reader.u16().ok_or(Fault::Damaged("its header is cut off"))?;
        if version > VERSION {
            return Err(Fault::Newer(version));
        }
        let header = bytes.get(..SEGMENT_HEADER).ok_or(Fault::Damaged("its header is cut off"))?;
        let (fields, crc) = header.split_at(SEGMENT_HEADER - 4);
        if version == 0 || crc != crc32c::crc32c(fields).to_le_bytes() {
            return Err(Fault::Damaged("the checksum of its header is wrong"));
        }
        let mut reader = Reader(&fields[12..]);
        let mut number = || reader.u64().ok_or(Fault::Damaged("its header is cut off"));
        Ok(Self { segment: number()?, salt: number()?, previous_end: number()? })
    }
}

impl BlockHeader {
    /// Reads a header and checks it, and nothing behind it.
    pub(crate) fn decode(bytes: &[u8], salt: u64) -> Option<Self> {
        let (fields, crc) = bytes.get(..BLOCK_HEADER)?.split_at(BLOCK_HEADER - 4);
        if !fields.starts_with(BLOCK_MAGIC) || crc != salted(salt, fields).to_le_bytes() {
            return None;
        }
        let mut reader = Reader(&fields[4..]);
        Some(Self {
            ordinal: reader.u32()?,
            entries: reader.u32()?,
            directory: reader.u32()?,
            payload: reader.u32()?,
            directory_crc: reader.u32()?,
        })
    }

    /// Whether a block's header may begin at these bytes: cheap, for a search.
    pub(crate) fn may_begin(bytes: &[u8]) -> bool {
        bytes.starts_with(BLOCK_MAGIC)
    }

    /// Bytes of the whole block.
    pub(crate) fn block_bytes(&self) -> u64 {
        BLOCK_HEADER as u64 + u64::from(self.directory) + u64::from(self.payload)
    }

    /// The entries, from the bytes of the whole block; every checksum is looked at.
    pub(crate) fn entries(&self, block: &[u8]) -> Option<Vec<Entry>> {
        let (directory, mut payload) = block.get(BLOCK_HEADER..)?.split_at_checked(self.directory as usize)?;
        if crc32c::crc32c(directory) != self.directory_crc {
            return None;
        }
        let mut reader = Reader(directory);
        let mut entries = Vec::new();
        for _ in 0..self.entries {
            let entry = Entry::decode(&mut reader)?;
            if let Entry::Frame { length, crc, .. } = entry {
                let (frame, rest) = payload.split_at_checked(length as usize)?;
                if crc32c::crc32c(frame) != crc {
                    return None;
                }
                payload = rest;
            }
            entries.push(entry);
        }
        (reader.0.is_empty() && payload.is_empty()).then_some(entries)
    }
}

impl Entry {
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Source { source, mark, last, name } => {
                out.push(SOURCE);
                out.extend_from_slice(&source.to_le_bytes());
                out.extend_from_slice(&mark.to_le_bytes());
                out.extend_from_slice(&last.to_le_bytes());
                out.push(u8::try_from(name.len()).expect("names are bounded where sources are registered"));
                out.extend_from_slice(name.as_bytes());
            }
            Self::Frame { source, sequence, length, crc } => {
                out.push(FRAME);
                out.extend_from_slice(&source.to_le_bytes());
                out.extend_from_slice(&sequence.to_le_bytes());
                out.extend_from_slice(&length.to_le_bytes());
                out.extend_from_slice(&crc.to_le_bytes());
            }
            Self::Mark { source, through } => {
                out.push(MARK);
                out.extend_from_slice(&source.to_le_bytes());
                out.extend_from_slice(&through.to_le_bytes());
            }
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Option<Self> {
        match reader.take(1)?[0] {
            SOURCE => {
                let (source, mark, last) = (reader.u32()?, reader.u64()?, reader.u64()?);
                let length = reader.take(1)?[0];
                let name = String::from_utf8(reader.take(length.into())?.to_vec()).ok()?;
                Some(Self::Source { source, mark, last, name })
            }
            FRAME => Some(Self::Frame {
                source: reader.u32()?,
                sequence: reader.u64()?,
                length: reader.u32()?,
                crc: reader.u32()?,
            }),
            MARK => Some(Self::Mark { source: reader.u32()?, through: reader.u64()? }),
            _ => None,
        }
    }
}

/// Writes a block: entries, then the bytes of its frames.
///
/// `payload` has the parts of all frames, in the order of their entries.
pub(crate) fn encode_block<'a>(
    out: &mut Vec<u8>,
    salt: u64,
    ordinal: u32,
    entries: &[Entry],
    payload: impl Iterator<Item = &'a [u8]>,
) {
    let start = out.len();
    out.resize(start + BLOCK_HEADER, 0);
    for entry in entries {
        entry.encode(out);
    }
    let directory_end = out.len();
    for part in payload {
        out.extend_from_slice(part);
    }
    let bounded = |bytes: usize| u32::try_from(bytes).expect("a group is bounded far below 4 GiB");
    let numbers = [
        ordinal,
        bounded(entries.len()),
        bounded(directory_end - start - BLOCK_HEADER),
        bounded(out.len() - directory_end),
        crc32c::crc32c(&out[start + BLOCK_HEADER..directory_end]),
    ];
    let header = &mut out[start..start + BLOCK_HEADER];
    header[..4].copy_from_slice(BLOCK_MAGIC);
    for (place, number) in header[4..].chunks_exact_mut(4).zip(numbers) {
        place.copy_from_slice(&number.to_le_bytes());
    }
    let crc = salted(salt, &header[..BLOCK_HEADER - 4]);
    header[BLOCK_HEADER - 4..].copy_from_slice(&crc.to_le_bytes());
}

fn salted(salt: u64, fields: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), fields)
}

/// Takes numbers off the front of bytes.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }
    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.take(2)?.try_into().ok()?))
    }
    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.take(4)?.try_into().ok()?))
    }
    fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.take(8)?.try_into().ok()?))
    }
}

#[cfg(test)]
#[path = "format_tests.rs"]
mod tests;
