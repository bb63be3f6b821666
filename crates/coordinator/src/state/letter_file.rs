//! Dead letters as a synced NDJSON file.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Read, Seek as _, SeekFrom, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use meshloom_connectors::formats::cloudevents;
use meshloom_core::{
    batch::{Batch, BatchBuilder, Event},
    ids::Uid,
};
use serde::{Deserialize, Serialize};

/// One dead letter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// The event in the JSON format of CloudEvents.
    pub event: serde_json::Value,
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
        let text = serde_json::to_vec(&self.event).ok()?;
        let envelope = cloudevents::parse(&text).ok()?;
        let mut builder = BatchBuilder::new();
        envelope
            .event(None, |event| builder.push(Event { uid: self.uid(), from: self.from.as_deref(), ..event }))
            .ok()?;
        Some(builder.finish())
    }
}

fn event_json(batch: &Batch, row: usize) -> serde_json::Value {
    let mut text = Vec::new();
    cloudevents::write(batch, row, &mut text);
    // What cannot be read back as JSON would be a fault of ours; the letter is kept all the same.
    serde_json::from_slice(&text).unwrap_or_else(|_| String::from_utf8_lossy(&text).into())
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
    file: File,
    end: u64,
    max_bytes: u64,
}

impl LetterFile {
    /// Where it is in a state directory.
    pub fn path(state: &Path) -> PathBuf {
        state.join("dead-letters.ndjson")
    }

    /// Opens the file to append. A torn last line, left by a crash before its sync, is cut; the bytes cut are returned.
    pub fn open(state: &Path, max_bytes: u64) -> io::Result<(Self, u64)> {
        let path = Self::path(state);
        let mut file = OpenOptions::new().create(true).read(true).append(true).open(&path)?;
        let length = file.metadata()?.len();
        let whole = whole_lines(&mut file, length)?;
        if whole < length {
            file.set_len(whole)?;
            file.sync_data()?;
        }
        super::durable::sync_folder(state)?;
        Ok((Self { file, end: whole, max_bytes }, length - whole))
    }

    /// All letters of a state directory, oldest first. A line that is being written is left out.
    pub fn read(state: &Path) -> io::Result<Vec<LetterRecord>> {
        let file = match File::open(Self::path(state)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            file => file?,
        };
        let mut letters = Vec::new();
        let mut reader = BufReader::new(file);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line)? > 0 && line.ends_with(b"\n") {
            letters.push(serde_json::from_slice(&line)?);
            line.clear();
        }
        Ok(letters)
    }
}

impl StoreLetters for LetterFile {
    fn append(&mut self, letters: &[LetterRecord]) -> io::Result<()> {
        let mut text = Vec::new();
        for letter in letters {
            serde_json::to_writer(&mut text, letter)?;
            text.push(b'\n');
        }
        if self.end + text.len() as u64 > self.max_bytes {
            return Err(io::Error::other(format!(
                "the dead letters would pass `dead_letters: {{ size }}` of {} bytes; raise it, or move the file away after a drain",
                self.max_bytes
            )));
        }
        let written = self.file.write_all(&text).and_then(|()| self.file.sync_data());
        if let Err(error) = written {
            // What was written in part must not become half a line in the middle.
            self.file.set_len(self.end)?;
            return Err(error);
        }
        self.end += text.len() as u64;
        Ok(())
    }
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
mod tests {
    use super::*;

    fn letter(n: u32) -> LetterRecord {
        LetterRecord {
            time: n.into(),
            node: "filter".into(),
            from: None,
            uid: format!("{n:032x}"),
            reason: "BAD_LINE".into(),
            message: "why".into(),
            attempts: 1,
            trace_id: None,
            event: serde_json::json!({ "data": n }),
        }
    }

    #[test]
    fn letters_are_read_as_written_and_a_torn_line_is_cut() {
        let state = tempfile::tempdir().unwrap();
        let (mut store, cut) = LetterFile::open(state.path(), 1 << 20).unwrap();
        assert_eq!(cut, 0);
        store.append(&[letter(1), letter(2)]).unwrap();
        drop(store);
        let path = LetterFile::path(state.path());
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"time\":3").unwrap();
        assert_eq!(LetterFile::read(state.path()).unwrap(), [letter(1), letter(2)]);
        let (mut store, cut) = LetterFile::open(state.path(), 1 << 20).unwrap();
        assert_eq!(cut, 9);
        store.append(&[letter(4)]).unwrap();
        assert_eq!(LetterFile::read(state.path()).unwrap(), [letter(1), letter(2), letter(4)]);
    }

    #[test]
    fn a_full_store_refuses_and_says_what_to_do() {
        let state = tempfile::tempdir().unwrap();
        let (mut store, _) = LetterFile::open(state.path(), 100).unwrap();
        let error = store.append(&[letter(1)]).unwrap_err().to_string();
        assert!(error.contains("dead_letters"), "{error}");
        assert!(LetterFile::read(state.path()).unwrap().is_empty());
    }
}
