//! The blocks of one segment, and where they end. Pure.

use crate::format::{BLOCK_HEADER, BlockHeader, Entry, SEGMENT_HEADER};

/// A whole block.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Block {
    /// Where it begins in the segment.
    pub(crate) start: u64,
    /// Where its frames' bytes begin.
    pub(crate) payload: u64,
    /// Where it ends.
    pub(crate) end: u64,
    pub(crate) entries: Vec<Entry>,
}

/// What a segment holds.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scan {
    pub(crate) blocks: Vec<Block>,
    /// Bytes behind the last whole block that a crash left: a group that was never acknowledged.
    pub(crate) torn: u64,
}

/// A segment that is not as it was written, from this byte on.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Broken {
    pub(crate) offset: u64,
}

/// Reads the blocks of a segment, given as a whole.
///
/// `may_be_torn`: it is the last segment. A block is written only once the one before it is synced, so in the last
/// segment a bad block is a torn tail if it is the last one; any trace of a later block proves that it was synced, and is
/// damaged. A segment gets its name after its first block is synced, so that one is never torn.
pub(crate) fn scan(bytes: &[u8], salt: u64, may_be_torn: bool) -> Result<Scan, Broken> {
    let mut blocks: Vec<Block> = Vec::new();
    let mut start = SEGMENT_HEADER;
    while start < bytes.len() {
        let Some(block) = whole(&bytes[start..], start as u64, salt, blocks.len()) else {
            let torn = may_be_torn && !blocks.is_empty() && !later_block(&bytes[start + 1..], salt, blocks.len());
            let torn = torn.then_some((bytes.len() - start) as u64);
            return torn.map(|torn| Scan { blocks, torn }).ok_or(Broken { offset: start as u64 });
        };
        start = usize::try_from(block.end).map_err(|_| Broken { offset: start as u64 })?;
        blocks.push(block);
    }
    if blocks.is_empty() { Err(Broken { offset: start as u64 }) } else { Ok(Scan { blocks, torn: 0 }) }
}

fn whole(bytes: &[u8], start: u64, salt: u64, ordinal: usize) -> Option<Block> {
    let header = BlockHeader::decode(bytes, salt)?;
    let block = bytes.get(..usize::try_from(header.block_bytes()).ok()?)?;
    if header.ordinal as usize != ordinal {
        return None;
    }
    let entries = header.entries(block)?;
    let payload = start + BLOCK_HEADER as u64 + u64::from(header.directory);
    Some(Block { start, payload, end: start + header.block_bytes(), entries })
}

fn later_block(bytes: &[u8], salt: u64, ordinal: usize) -> bool {
    (0..bytes.len()).any(|at| {
        BlockHeader::may_begin(&bytes[at..])
            && BlockHeader::decode(&bytes[at..], salt).is_some_and(|header| header.ordinal as usize > ordinal)
    })
}
