//! Opening: reads all that is there, refuses what is damaged, and begins a new segment.

use std::{
    io,
    sync::{Arc, Mutex},
};

use bytes::Bytes;

use crate::{
    error::OpenError,
    format::{Fault, SEGMENT_HEADER, SegmentHeader, VERSION},
    index::Index,
    limits::{MIN_SIZE_BYTES, Options},
    log::{Log, begin_segment, encode_segment, segment_name, segment_number},
    scan::{Scan, scan},
    storage::{Storage, read_all_at},
};

/// A torn tail: what a crash left of a group that was never acknowledged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Torn {
    /// The file that it was cut off.
    pub path: std::path::PathBuf,
    /// Bytes cut.
    pub bytes: u64,
}

/// A segment as it was read.
struct Read {
    header: SegmentHeader,
    length: u64,
    scan: Scan,
    /// The bytes of the last block's frames.
    last_frames: Bytes,
}

/// Opens the log. Nothing is changed before everything was found to be sound.
pub(crate) fn open(storage: Arc<dyn Storage>, options: Options) -> Result<(Log, Option<Torn>), OpenError> {
    if options.size < MIN_SIZE_BYTES {
        return Err(OpenError::TooSmall { size: options.size });
    }
    let names = storage.list().map_err(|error| failed(&*storage, "listing", "", error))?;
    let mut numbers: Vec<u64> = names.iter().filter_map(|name| segment_number(name)).collect();
    numbers.sort_unstable();
    let mut index = Index::default();
    let mut cuts = Vec::new();
    let mut torn = None;
    let mut header = SegmentHeader { segment: 1, salt: rand::random(), previous_end: 0 };
    let (mut unproven, mut frames) = (Vec::new(), Bytes::new());
    for (position, number) in numbers.iter().enumerate() {
        let next = numbers.get(position + 1);
        let end = match next {
            Some(next) if *next == number + 1 => Some(read_header(&*storage, *next)?.previous_end),
            _ => None,
        };
        let mut read = read_segment(&*storage, *number, end, next.is_none())?;
        if next.is_none() {
            // What no later block proves to be synced is written again, into the new segment: after a failed sync the
            // system may show what is not on the disk, and a second sync would not tell.
            if read.scan.blocks.len() > 1 {
                unproven = read.scan.blocks.pop().map(|block| block.entries).unwrap_or_default();
                frames = read.last_frames;
            }
            let path = storage.path(&segment_name(*number));
            torn = (read.scan.torn > 0).then_some(Torn { path, bytes: read.scan.torn });
        }
        for block in &read.scan.blocks {
            let applied = index.apply(*number, block.payload, &block.entries);
            applied.map_err(|what| damaged(&*storage, &segment_name(*number), block.start, what))?;
        }
        let end = read.scan.blocks.last().map_or(0, |block| block.end);
        index.segments.entry(*number).or_default().bytes = end;
        if end < read.length {
            cuts.push((*number, end));
        }
        (header.segment, header.previous_end) = (read.header.segment + 1, end);
    }
    let mut entries = index.snapshot();
    entries.extend(unproven);
    let first = encode_segment(header, &entries, &frames);
    let payload = (first.len() - frames.len()) as u64;
    let sound = index.apply(header.segment, payload, &entries).and_then(|()| index.complete());
    sound.map_err(|what| damaged(&*storage, "", header.previous_end, what))?;
    let current = begin_segment(&*storage, header, &first)
        .map_err(|(action, error)| failed(&*storage, action, &segment_name(header.segment), error))?;
    index.segments.entry(header.segment).or_default().bytes = current.end;
    for (number, end) in cuts {
        let name = segment_name(number);
        let cut = storage.open(&name).and_then(|file| file.set_length(end).and_then(|()| file.sync_data()));
        cut.map_err(|error| failed(&*storage, "cutting", &name, error))?;
    }
    let index = Arc::new(Mutex::new(index));
    let mut log = Log { storage, options, index, current, failed: None, buffer: Vec::new() };
    log.reclaim().map_err(|error| failed(&*log.storage, "removing", "", io::Error::other(error.to_string())))?;
    Ok((log, torn))
}

fn read_header(storage: &dyn Storage, number: u64) -> Result<SegmentHeader, OpenError> {
    let name = segment_name(number);
    let mut bytes = [0; SEGMENT_HEADER];
    let read = storage.open(&name).and_then(|file| read_all_at(&*file, &mut bytes, 0));
    let read = read.map_err(|error| failed(storage, "reading", &name, error))?;
    let header = SegmentHeader::decode(&bytes[..read]).map_err(|fault| match fault {
        Fault::Newer(found) => OpenError::Newer { path: storage.path(&name), found, reads: VERSION },
        Fault::Damaged(what) => damaged(storage, &name, 0, what.to_owned()),
    })?;
    if header.segment != number {
        let what = format!("it says that it is {}", segment_name(header.segment));
        return Err(damaged(storage, &name, 0, what));
    }
    Ok(header)
}

/// Reads a segment as a whole. `end`: where it ends, as the next one says.
fn read_segment(storage: &dyn Storage, number: u64, end: Option<u64>, last: bool) -> Result<Read, OpenError> {
    let header = read_header(storage, number)?;
    let name = segment_name(number);
    let content = storage.open(&name).and_then(|file| {
        let length = file.length()?;
        let wanted = usize::try_from(end.unwrap_or(length)).map_err(io::Error::other)?;
        let mut bytes = vec![0; wanted.min(usize::try_from(length).map_err(io::Error::other)?)];
        let read = read_all_at(&*file, &mut bytes, 0)?;
        bytes.truncate(read);
        Ok((length, bytes))
    });
    let (length, bytes) = content.map_err(|error| failed(storage, "reading", &name, error))?;
    if let Some(end) = end.filter(|end| *end > bytes.len() as u64) {
        return Err(damaged(storage, &name, bytes.len() as u64, format!("it ends here, and has had {end} bytes")));
    }
    let scan = scan(&bytes, header.salt, last).map_err(|broken| {
        damaged(storage, &name, broken.offset, "a block that was synced is not there as it was written".to_owned())
    })?;
    let range = scan.blocks.last().map(|block| block.payload as usize..block.end as usize).unwrap_or_default();
    let last_frames = Bytes::copy_from_slice(&bytes[range]);
    Ok(Read { header, length, scan, last_frames })
}

fn damaged(storage: &dyn Storage, name: &str, offset: u64, what: String) -> OpenError {
    OpenError::Damaged { path: storage.path(name), offset, what }
}

fn failed(storage: &dyn Storage, action: &'static str, name: &str, source: io::Error) -> OpenError {
    OpenError::Storage { action, path: storage.path(name), source }
}
