//! Opening the file, and writing it anew.

use std::{collections::HashMap, io, sync::Arc};

use meshloom_journal::storage::{Storage, StoredFile, write_all_at};

use super::{
    super::StateError,
    LetterStore, NAME,
    format::{self, Content, Line, Scan, VERSION, unusable},
    index::{Index, Place},
    read_line,
    record::LetterRecord,
};

/// Where the file is written anew, until it is whole.
const TEMPORARY: &str = "dead-letters.new";
/// Bytes that are written together.
const BLOCK: usize = 1 << 20;

/// What opening the file has changed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Opened {
    /// Bytes cut off its end, which a crash had left there unfinished. The events of those letters come again.
    pub cut: u64,
    /// How many letters were taken over from the format of an earlier version.
    pub converted: Option<u64>,
}

impl LetterStore {
    pub(crate) fn open_on(storage: Arc<dyn Storage>, max_bytes: u64) -> Result<(Self, Opened), StateError> {
        let path = storage.path(NAME);
        let fail = |source| unusable(&path, source);
        let names = storage.list().map_err(fail)?;
        let (mut opened, mut former, mut found) = (Opened::default(), Vec::new(), None);
        if names.iter().any(|name| name == NAME) {
            let file = storage.open(NAME).map_err(fail)?;
            match format::read(&file, &path)? {
                Content::Current(scan) => {
                    opened.cut = scan.torn;
                    found = Some((file, scan));
                }
                Content::Former(letters, torn) => {
                    opened = Opened { cut: torn, converted: (!letters.is_empty()).then_some(letters.len() as u64) };
                    former = merged(letters);
                }
            }
        }
        // Of a rewriting that a crash ended before it counted.
        if names.iter().any(|name| name == TEMPORARY) {
            storage.remove(TEMPORARY).map_err(fail)?;
        }
        let store = |file, index, next, end| Self {
            storage: storage.clone(),
            file,
            index,
            next,
            end,
            max_bytes,
            torn: false,
            renamed: false,
            rewrite_at: 0,
        };
        let store = match found {
            Some((file, Scan { index, next, last, torn })) => {
                let store = store(file, index, next, last.1);
                store.secure(last, torn).map_err(fail)?;
                store
            }
            None => {
                let next = former.len() as u64 + 1;
                let anew = take_over(&*storage, former, next).map_err(fail)?;
                let mut store = store(anew.file.clone(), Index::default(), next, 0);
                store.replace(anew).map_err(fail)?;
                store
            }
        };
        Ok((store, opened))
    }

    /// Nobody knows whether the last group was synced, or whether its sync had failed. Its bytes are written once more.
    fn secure(&self, (start, end): (u64, u64), torn: u64) -> io::Result<()> {
        if torn > 0 {
            self.file.set_length(end)?;
        }
        let bytes = u32::try_from(end - start).unwrap_or(u32::MAX);
        let last = read_line(&*self.file, Place { key: Default::default(), offset: start, bytes })?;
        write_all_at(&*self.file, &last, start)?;
        self.file.sync_data()?;
        self.storage.sync_folder()
    }

    /// Writes a file that holds the letters and nothing else, and puts it in place of the old one.
    pub(super) fn rewrite(&mut self) -> io::Result<()> {
        let copied = self.copy();
        match copied {
            Ok(anew) => self.replace(anew),
            Err(error) => {
                // It is only in the way.
                let _ = self.storage.remove(TEMPORARY);
                Err(error)
            }
        }
    }

    fn copy(&self) -> io::Result<Anew> {
        let mut anew = Anew::begin(&*self.storage, self.next)?;
        for (generation, place) in self.index.after(0) {
            anew.add(generation, place.key, &read_line(&*self.file, place)?)?;
        }
        Ok(anew)
    }

    fn replace(&mut self, mut anew: Anew) -> io::Result<()> {
        anew.write()?;
        anew.file.sync_data()?;
        self.storage.rename(TEMPORARY, NAME)?;
        (self.file, self.index, self.end) = (anew.file, anew.index, anew.end);
        (self.torn, self.renamed) = (false, true);
        self.mend()
    }
}

/// A file of the letters that another version has kept.
fn take_over(storage: &dyn Storage, letters: Vec<LetterRecord>, next: u64) -> io::Result<Anew> {
    let mut anew = Anew::begin(storage, next)?;
    for (generation, letter) in (1..).zip(letters) {
        let letter = LetterRecord { generation, ..letter };
        let mut line = Vec::new();
        format::push(&mut line, &Line::Letter(&letter))?;
        anew.add(generation, letter.key(), &line)?;
    }
    Ok(anew)
}

/// A file that is being written.
struct Anew {
    file: Arc<dyn StoredFile>,
    index: Index,
    end: u64,
    text: Vec<u8>,
}

impl Anew {
    fn begin(storage: &dyn Storage, next: u64) -> io::Result<Self> {
        let mut text = Vec::new();
        format::push(&mut text, &Line::DeadLetters { version: VERSION, next })?;
        Ok(Self { file: storage.create(TEMPORARY)?, index: Index::default(), end: 0, text })
    }

    fn add(&mut self, generation: u64, key: super::record::Key, line: &[u8]) -> io::Result<()> {
        let place = Place { key, offset: self.end + self.text.len() as u64, bytes: line.len() as u32 };
        self.index.put(generation, place);
        self.text.extend_from_slice(line);
        if self.text.len() < BLOCK { Ok(()) } else { self.write() }
    }

    fn write(&mut self) -> io::Result<()> {
        if !self.text.is_empty() {
            format::seal(&mut self.text)?;
            write_all_at(&*self.file, &self.text, self.end)?;
            self.end += self.text.len() as u64;
            self.text.clear();
        }
        Ok(())
    }
}

/// Letters of the former format, where every failure was one: those of the same event at the same node become one.
pub(super) fn merged(letters: Vec<LetterRecord>) -> Vec<LetterRecord> {
    let mut places = HashMap::new();
    let mut merged: Vec<Option<LetterRecord>> = Vec::with_capacity(letters.len());
    for letter in letters {
        let earlier: Option<usize> = places.insert(letter.key(), merged.len());
        let earlier = earlier.and_then(|at| merged[at].take());
        merged.push(Some(earlier.map_or_else(|| letter.clone(), |earlier| letter.after(&earlier))));
    }
    merged.into_iter().flatten().collect()
}
