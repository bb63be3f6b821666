//! Which file is which: by its first bytes, and by those before the position, never by its name.

use std::{
    collections::HashMap,
    fs::File,
    io,
    os::unix::fs::{FileExt, MetadataExt},
};

use super::position::{Position, hash};

/// How much of its beginning tells a file from others.
pub(super) const PREFIX: usize = 1024;
/// How much before the position is looked at.
const TAIL: u64 = 256;

/// A file on the disk as it is now.
pub(super) struct Glimpse {
    head: Vec<u8>,
    length: u64,
    pub(super) inode: u64,
    prints: HashMap<usize, String>,
}

impl Glimpse {
    /// Looks at a file.
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let meta = file.metadata()?;
        let mut head = vec![0; PREFIX];
        let read = read_full(file, &mut head, 0)?;
        head.truncate(read);
        Ok(Self { head, length: meta.len(), inode: meta.ino(), prints: HashMap::new() })
    }

    fn print(&mut self, prefix: usize) -> Option<&str> {
        let bytes = self.head.get(..prefix).filter(|bytes| !bytes.is_empty())?;
        Some(self.prints.entry(prefix).or_insert_with(|| hash(bytes)))
    }

    /// Whether it is the file of a position: it begins the same, and goes on the same up to the position.
    pub(super) fn is(&mut self, file: &File, position: &Position) -> io::Result<bool> {
        if self.length < position.offset || self.print(position.prefix) != Some(position.print()) {
            return Ok(false);
        }
        Ok(tail(file, position.offset)? == position.tail)
    }

    /// The position of a file that was never seen: its beginning. `None`: too little of it is there to know it again.
    ///
    /// A file that grows is known by its first `lines` lines, which do not change when more comes; any other by its
    /// first [`PREFIX`] bytes.
    pub(super) fn fresh(&mut self, lines: Option<usize>, taken: impl Fn(&str) -> bool) -> Option<Position> {
        let prefix = match lines {
            Some(lines) if self.head.len() < PREFIX => {
                memchr::memchr_iter(b'\n', &self.head).nth(lines.saturating_sub(1))? + 1
            }
            Some(lines) => {
                memchr::memchr_iter(b'\n', &self.head).nth(lines.saturating_sub(1)).map_or(PREFIX, |at| at + 1)
            }
            None => self.head.len(),
        };
        let inode = self.inode;
        let print = self.print(prefix)?.to_owned();
        let mut identity = print.clone();
        let mut number = 2;
        while taken(&identity) {
            identity = format!("{print}~{number}");
            number += 1;
        }
        Some(Position { identity, prefix, offset: 0, tail: hash(b""), inode })
    }
}

/// Hash of what stands before an offset.
pub(super) fn tail(file: &File, offset: u64) -> io::Result<String> {
    let from = offset.saturating_sub(TAIL);
    let mut bytes = vec![0; usize::try_from(offset - from).unwrap_or_default()];
    let read = read_full(file, &mut bytes, from)?;
    bytes.truncate(read);
    Ok(hash(&bytes))
}

/// Reads until the buffer is full or the file ends.
pub(super) fn read_full(file: &File, buffer: &mut [u8], mut offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset) {
            Ok(0) => break,
            Ok(read) => {
                filled += read;
                offset += read as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
