//! Dead letters as a synced NDJSON file.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, BufWriter, Read, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use meshloom_connectors::formats::cloudevents;
use meshloom_core::{
    batch::{Batch, BatchBuilder, Event},
    ids::Uid,
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{LetterFilter, durable};
use crate::flow::with_reason;

/// One dead letter.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LetterRecord {
    /// When it became one: Unix time in nanoseconds.
    pub time: u64,
    /// The node at which it failed.
    pub node: String,
    /// The upstream it came from, where the node has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Identity of the event, 32 hexadecimal digits.
    pub uid: String,
    /// Stable code.
    pub reason: String,
    /// For a person.
    pub message: String,
    /// Attempts made; 0: no handler saw it.
    pub attempts: u32,
    /// Its trace, if it was sampled: 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// The event in the JSON format of CloudEvents, as it was written: no number loses a digit.
    pub event: Box<RawValue>,
}

impl LetterRecord {
    /// The letter of row `row` of a batch.
    pub(crate) fn new(
        time: u64,
        node: &str,
        batch: &Batch,
        row: usize,
        reason: &str,
        message: &str,
        attempts: u32,
    ) -> Self {
        let trace_id = batch.span(row).map(|span| span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect());
        Self {
            time,
            node: node.to_owned(),
            from: batch.from(row).map(str::to_owned),
            uid: batch.uid(row).to_string(),
            reason: reason.to_owned(),
            message: message.to_owned(),
            attempts,
            trace_id,
            event: event_json(batch, row),
        }
    }

    /// The identity, if the file was not tampered with.
    pub fn uid(&self) -> Option<Uid> {
        self.uid.parse().ok()
    }

    /// The event, as a batch of one.
    pub(crate) fn batch(&self) -> Option<Batch> {
        let envelope = cloudevents::parse(self.event.get().as_bytes()).ok()?;
        let mut builder = BatchBuilder::new();
        envelope
            .event(None, |event| builder.push(Event { uid: self.uid(), from: self.from.as_deref(), ..event }))
            .ok()?;
        Some(builder.finish())
    }

    /// The event in the JSON format of CloudEvents, with the extensions by which `NAME.rejected` tells what happened.
    /// `None`: the file was tampered with.
    pub fn cloud_event(&self) -> Option<Vec<u8>> {
        let batch = with_reason(&self.batch()?, &self.node, &self.reason, &self.message, self.attempts);
        let mut text = Vec::new();
        cloudevents::write(&batch, 0, &mut text);
        Some(text)
    }
}

fn event_json(batch: &Batch, row: usize) -> Box<RawValue> {
    let mut text = Vec::new();
    cloudevents::write(batch, row, &mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    // What cannot be read back as JSON would be a fault of ours; the letter is kept all the same.
    RawValue::from_string(text.clone()).unwrap_or_else(|_| {
        let quoted = serde_json::Value::from(text).to_string();
        RawValue::from_string(quoted).expect("a JSON string is JSON")
    })
}

/// Where letters are kept. Blocks on the disk.
pub trait StoreLetters: Send {
    /// Makes letters durable, all or none of them as far as a reader can tell.
    ///
    /// # Errors
    /// What the system said; nothing was stored, and the call may be repeated.
    fn append(&mut self, letters: &[LetterRecord]) -> io::Result<()>;
}

/// An NDJSON file: a line per letter, synced before any of them counts.
#[derive(Debug)]
pub struct LetterFile {
    state: PathBuf,
    file: File,
    end: u64,
    max_bytes: u64,
    /// A failed write may have left a part of itself behind `end`.
    torn: bool,
    /// The name of the file is not known to lead to `file` after a crash.
    renamed: bool,
}

impl LetterFile {
    /// Where it is in a state directory.
    pub fn path(state: &Path) -> PathBuf {
        state.join("dead-letters.ndjson")
    }

    /// Where those that stay are written while others are discarded.
    fn temporary(state: &Path) -> PathBuf {
        state.join("dead-letters.new")
    }

    /// Opens the file to append. A torn last line, left by a crash before its sync, is cut; the bytes cut are returned.
    ///
    /// # Errors
    /// What the system said.
    pub fn open(state: &Path, max_bytes: u64) -> io::Result<(Self, u64)> {
        // Of a removal that a crash ended before it counted.
        match fs::remove_file(Self::temporary(state)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let path = Self::path(state);
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(&path)?;
        let length = file.metadata()?.len();
        let whole = whole_lines(&mut file, length)?;
        if whole < length {
            file.set_len(whole)?;
            file.sync_data()?;
        }
        durable::sync_folder(state)?;
        let state = state.to_owned();
        Ok((Self { state, file, end: whole, max_bytes, torn: false, renamed: false }, length - whole))
    }

    /// All letters of a state directory, oldest first. A line that is being written is left out.
    ///
    /// # Errors
    /// What the system said, or which line is no letter.
    pub fn read(state: &Path) -> io::Result<Vec<LetterRecord>> {
        let file = match File::open(Self::path(state)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            file => file?,
        };
        let mut letters = Vec::new();
        each_letter(file, |_, letter| {
            letters.push(letter);
            Ok(())
        })?;
        Ok(letters)
    }

    /// Removes the letters that `filter` takes and says how many they were. They are gone for good when it returns: those
    /// that stay are written to a file beside it, synced, and renamed over it.
    ///
    /// # Errors
    /// What the system said, or which line is no letter. Either every letter is still there or all that were meant are
    /// gone, after a crash too, and the call may be repeated.
    pub fn discard(&mut self, filter: &LetterFilter) -> io::Result<u64> {
        self.mend()?;
        let temporary = Self::temporary(&self.state);
        let kept = self.keep(&temporary, filter);
        let (file, end, discarded) = match kept {
            Ok(kept) if kept.2 > 0 => kept,
            other => {
                // Nothing has changed, and what was begun is only in the way.
                let _ = fs::remove_file(&temporary);
                return other.map(|_| 0);
            }
        };
        fs::rename(&temporary, Self::path(&self.state))?;
        (self.file, self.end, self.renamed) = (file, end, true);
        self.mend()?;
        Ok(discarded)
    }

    /// Writes what stays. Returns the file, its length, and how many letters are not in it.
    fn keep(&self, temporary: &Path, filter: &LetterFilter) -> io::Result<(File, u64, u64)> {
        let file = OpenOptions::new().create(true).read(true).append(true).open(temporary)?;
        file.set_len(0)?;
        let mut kept = BufWriter::new(file);
        let (mut end, mut discarded) = (0, 0);
        each_letter(File::open(Self::path(&self.state))?, |line, letter| {
            if filter.takes(&letter) {
                discarded += 1;
                return Ok(());
            }
            end += line.len() as u64;
            kept.write_all(line)
        })?;
        let file = kept.into_inner().map_err(io::IntoInnerError::into_error)?;
        file.sync_data()?;
        Ok((file, end, discarded))
    }

    /// Makes good what an earlier failure left, before anything else is trusted to the file.
    fn mend(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.set_len(self.end)?;
            self.torn = false;
        }
        if self.renamed {
            durable::sync_folder(&self.state)?;
            self.renamed = false;
        }
        Ok(())
    }
}

impl StoreLetters for LetterFile {
    fn append(&mut self, letters: &[LetterRecord]) -> io::Result<()> {
        self.mend()?;
        let mut text = Vec::new();
        for letter in letters {
            serde_json::to_writer(&mut text, letter)?;
            text.push(b'\n');
        }
        if self.end + text.len() as u64 > self.max_bytes {
            return Err(io::Error::other(format!(
                "the dead letters would pass `dead_letters: {{ size }}` of {} bytes; make room with `meshloom dead-letters discard` (`export` keeps a copy), or drain and raise the size",
                self.max_bytes
            )));
        }
        let written = self.file.write_all(&text).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // What was written in part must not become half a line in the middle.
            self.torn = true;
            self.mend()?;
            return Err(error);
        }
        self.end += text.len() as u64;
        Ok(())
    }
}

/// A store that its writer and the admin service share. Blocks on the disk, so it is for threads that may.
#[derive(Debug, Clone)]
pub(crate) struct SharedLetters(Arc<Mutex<LetterFile>>);

impl SharedLetters {
    pub(crate) fn new(file: LetterFile) -> Self {
        Self(Arc::new(Mutex::new(file)))
    }

    /// See [`LetterFile::discard`]. Letters that come meanwhile wait.
    pub(crate) fn discard(&self, filter: &LetterFilter) -> io::Result<u64> {
        self.file().discard(filter)
    }

    fn file(&self) -> MutexGuard<'_, LetterFile> {
        // Each step leaves the file whole, so a panic in another thread does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StoreLetters for SharedLetters {
    fn append(&mut self, letters: &[LetterRecord]) -> io::Result<()> {
        self.file().append(letters)
    }
}

/// Reads whole lines; what is behind the last line end is being written, or was never finished.
fn each_letter(file: File, mut take: impl FnMut(&[u8], LetterRecord) -> io::Result<()>) -> io::Result<()> {
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    let mut number = 0u64;
    while reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
        number += 1;
        let letter = serde_json::from_slice(&line).map_err(|error| {
            io::Error::new(io::ErrorKind::InvalidData, format!("line {number} is no dead letter: {error}"))
        })?;
        take(&line, letter)?;
        line.clear();
    }
    Ok(())
}

/// The length up to and including the last line end.
fn whole_lines(file: &mut File, length: u64) -> io::Result<u64> {
    const BLOCK: u64 = 64 << 10;
    let mut end = length;
    let mut block = Vec::new();
    while end > 0 {
        let start = end.saturating_sub(BLOCK);
        file.seek(SeekFrom::Start(start))?;
        block.clear();
        Read::by_ref(file).take(end - start).read_to_end(&mut block)?;
        if let Some(place) = block.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + place as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Now, for a letter that no clock of the pipeline's has stamped.
pub(crate) fn now_nanos() -> u64 {
    let unix = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(unix.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
pub(super) mod tests;
