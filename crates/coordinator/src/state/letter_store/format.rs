//! The file: JSON lines in groups, each of which counts only with the line that ends it.
//!
//! | line | |
//! | --- | --- |
//! | `{"dead_letters": {"version": 2, "next": G}}` | the first of the file: its format, and the next generation |
//! | `{"letter": {..}}` | a letter; one with the same key stands in place of an earlier one |
//! | `{"removed": [G, ..]}` | the letters with these generations are gone |
//! | `{"commit": {"bytes": N, "crc": C}}` | ends a group: the length and the CRC-32C of the lines before it |
//!
//! A group is written and synced before the next begins. So a group that is not whole is what a crash left, if no whole
//! group follows it, and damage if one does. Format 1 was a letter per line and nothing else.

use std::{
    io::{self, BufRead as _, BufReader, Read},
    path::Path,
    sync::Arc,
};

use meshloom_journal::storage::StoredFile;
use serde::{Deserialize, Serialize};

use super::{
    super::StateError,
    index::{Index, Place},
    record::{LetterRecord, key},
};

/// Format number of the file.
pub(super) const VERSION: u32 = 2;

/// A line as it is written.
#[derive(Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Line<'a> {
    DeadLetters { version: u32, next: u64 },
    Letter(&'a LetterRecord),
    Removed(&'a [u64]),
    Commit { bytes: u64, crc: u32 },
}

/// A line as opening the file needs it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Found {
    DeadLetters { next: u64 },
    Letter(Named),
    Removed(Vec<u64>),
    Commit { bytes: u64, crc: u32 },
}

/// What a letter is known by.
#[derive(Debug, Deserialize)]
struct Named {
    node: String,
    #[serde(default)]
    from: Option<String>,
    #[serde(default)]
    route: Option<String>,
    uid: String,
    generation: u64,
}

/// A line that holds a letter.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Stored {
    Letter(LetterRecord),
}

/// Adds a line; returns where it lies in the text.
pub(super) fn push(text: &mut Vec<u8>, line: &Line<'_>) -> io::Result<(usize, usize)> {
    let start = text.len();
    serde_json::to_writer(&mut *text, line)?;
    text.push(b'\n');
    Ok((start, text.len() - start))
}

/// Ends a group.
pub(super) fn seal(text: &mut Vec<u8>) -> io::Result<()> {
    let commit = Line::Commit { bytes: text.len() as u64, crc: crc32c::crc32c(text) };
    push(text, &commit).map(|_| ())
}

/// The letter of a line.
pub(super) fn letter(line: &[u8]) -> io::Result<LetterRecord> {
    let Stored::Letter(letter) = serde_json::from_slice(line)?;
    Ok(letter)
}

/// What a file holds.
#[derive(Debug)]
pub(super) enum Content {
    /// Its letters are found by an index.
    Current(Scan),
    /// All letters of a file of format 1, and the bytes of a line that was not finished.
    Former(Vec<LetterRecord>, u64),
}

/// A file of this format.
#[derive(Debug, Default)]
pub(super) struct Scan {
    pub(super) index: Index,
    pub(super) next: u64,
    /// Where its last whole group begins and ends.
    pub(super) last: (u64, u64),
    /// Bytes behind that.
    pub(super) torn: u64,
}

/// Reads a file to its end. Nothing is changed.
///
/// # Errors
/// It cannot be read, is damaged, or was written by a newer version.
pub(super) fn read(file: &Arc<dyn StoredFile>, path: &Path) -> Result<Content, StateError> {
    let mut lines = Lines::new(file.clone());
    let first = lines.next(path)?;
    let header = first.as_ref().map(|line| serde_json::from_slice::<serde_json::Value>(&line.text));
    match header {
        Some(Ok(header)) if header.get("dead_letters").is_some() => {
            let version = &header["dead_letters"]["version"];
            if version.as_u64() != Some(VERSION.into()) {
                return Err(damaged(
                    path,
                    format!("it has format {version}, this version of Meshloom reads {VERSION} and 1"),
                ));
            }
            scan(file, path).map(Content::Current)
        }
        // A former version made it empty.
        None => Ok(Content::Former(Vec::new(), 0)),
        Some(_) => former(file, path),
    }
}

fn scan(file: &Arc<dyn StoredFile>, path: &Path) -> Result<Scan, StateError> {
    let mut lines = Lines::new(file.clone());
    let mut scan = Scan::default();
    let mut group: Vec<(Found, u64, u32)> = Vec::new();
    let mut crc = 0;
    let mut broken: Option<String> = None;
    while let Some(Text { start, text, whole }) = lines.next(path)? {
        let found = if whole { serde_json::from_slice::<Found>(&text) } else { break };
        match (found, &broken) {
            (Ok(Found::Commit { bytes, crc: sum }), None) if bytes == start - scan.last.1 && sum == crc => {
                scan.apply(std::mem::take(&mut group));
                scan.last = (scan.last.1, start + text.len() as u64);
                crc = 0;
            }
            (Ok(Found::Commit { .. }), None) => broken = Some("its checksum is wrong".into()),
            (Ok(found), None) => {
                crc = crc32c::crc32c_append(crc, &text);
                group.push((found, start, text.len() as u32));
            }
            (Err(error), None) => broken = Some(error.to_string()),
            (Ok(Found::Commit { bytes, crc }), Some(why)) => {
                let before = start.checked_sub(bytes).filter(|_| bytes > 0);
                if before.is_some_and(|before| checksum(file, before, bytes).is_ok_and(|found| found == crc)) {
                    return Err(damaged(path, format!("the letters at byte {} are damaged ({why})", scan.last.1)));
                }
            }
            (_, Some(_)) => {}
        }
    }
    if scan.last.1 == 0 {
        // It got its name with its first group whole.
        return Err(damaged(path, "its beginning is damaged".into()));
    }
    let length = file.length().map_err(|source| unusable(path, source))?;
    scan.torn = length.saturating_sub(scan.last.1);
    Ok(scan)
}

impl Scan {
    fn apply(&mut self, group: Vec<(Found, u64, u32)>) {
        for (found, offset, bytes) in group {
            match found {
                Found::DeadLetters { next } => self.next = next,
                Found::Letter(named) => {
                    let Named { node, from, route, uid, generation } = named;
                    let key = key(&node, from.as_deref(), route.as_deref(), &uid);
                    self.index.put(generation, Place { key, offset, bytes });
                    self.next = self.next.max(generation + 1);
                }
                Found::Removed(generations) => generations.iter().for_each(|generation| {
                    self.index.remove(*generation);
                }),
                Found::Commit { .. } => {}
            }
        }
    }
}

fn former(file: &Arc<dyn StoredFile>, path: &Path) -> Result<Content, StateError> {
    let mut lines = Lines::new(file.clone());
    let mut letters: Vec<LetterRecord> = Vec::new();
    let (mut number, mut torn) = (0u64, 0);
    while let Some(Text { text, whole, .. }) = lines.next(path)? {
        if !whole {
            torn = text.len() as u64;
            break;
        }
        number += 1;
        let letter = serde_json::from_slice(&text)
            .map_err(|error| damaged(path, format!("line {number} is no dead letter ({error})")))?;
        letters.push(letter);
    }
    Ok(Content::Former(letters, torn))
}

fn checksum(file: &Arc<dyn StoredFile>, from: u64, bytes: u64) -> io::Result<u32> {
    let mut crc = 0;
    let mut block = [0; 16 << 10];
    let mut part = At { file: file.clone(), offset: from }.take(bytes);
    loop {
        match part.read(&mut block)? {
            0 => return Ok(crc),
            read => crc = crc32c::crc32c_append(crc, &block[..read]),
        }
    }
}

pub(super) fn damaged(path: &Path, problem: String) -> StateError {
    StateError::Damaged { path: path.to_owned(), problem }
}

pub(super) fn unusable(path: &Path, source: io::Error) -> StateError {
    StateError::Unusable { path: path.to_owned(), source }
}

/// A line, with its end if it has one.
struct Text {
    start: u64,
    text: Vec<u8>,
    whole: bool,
}

struct Lines {
    reader: BufReader<At>,
    offset: u64,
}

impl Lines {
    fn new(file: Arc<dyn StoredFile>) -> Self {
        Self { reader: BufReader::with_capacity(64 << 10, At { file, offset: 0 }), offset: 0 }
    }

    fn next(&mut self, path: &Path) -> Result<Option<Text>, StateError> {
        let mut text = Vec::new();
        let read = self.reader.read_until(b'\n', &mut text).map_err(|source| unusable(path, source))?;
        let start = self.offset;
        self.offset += read as u64;
        let whole = text.ends_with(b"\n");
        Ok((read > 0).then_some(Text { start, text, whole }))
    }
}

/// A file from a place on.
struct At {
    file: Arc<dyn StoredFile>,
    offset: u64,
}

impl Read for At {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read_at(buffer, self.offset)?;
        self.offset += read as u64;
        Ok(read)
    }
}
