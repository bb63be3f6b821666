//! Dead letters in a synced file of JSON lines, with an index in memory.

mod format;
mod index;
mod record;
mod rewrite;
mod shared;
#[cfg(test)]
pub(crate) mod tests;

use std::{
    borrow::Borrow,
    collections::HashMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use meshloom_journal::storage::{Disks, Folders, Storage, StoredFile, write_all_at};

use self::{
    format::{Content, Line, Scan, unusable},
    index::{Index, Place},
    record::Key,
};
pub(crate) use self::{
    record::Why,
    shared::{SharedLetters, now_nanos},
};
pub use self::{
    record::{EarlierFailure, LetterRecord},
    rewrite::Opened,
};
use super::{LetterFilter, StateError};

/// The file in a state directory.
const NAME: &str = "dead-letters.ndjson";
/// What has no place any more may take half of what the letters take, and this.
const IDLE_BYTES: u64 = 64 << 10;
/// Letters that are looked at in one go: others wait for the store meanwhile.
const LOOK: usize = 8192;

/// The dead letters of a pipeline. Every call blocks on the disk.
///
/// What a call has made durable stays; one that fails has changed nothing that counts, and may be repeated.
#[derive(Debug)]
pub struct LetterStore {
    storage: Arc<dyn Storage>,
    file: Arc<dyn StoredFile>,
    index: Index,
    /// Generation of the next letter.
    next: u64,
    /// Where the last group ends.
    end: u64,
    max_bytes: u64,
    /// A failed write may have left a part of itself behind `end`.
    torn: bool,
    /// The name of the file is not known to lead to `file` after a crash.
    renamed: bool,
    /// Bytes of lines that say nothing any more, from which on the file is written anew.
    rewrite_at: u64,
}

/// Which letters a store takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    /// Those for which there is room, and every repeat of one that it holds.
    Size,
    /// All: they would be lost otherwise.
    None,
}

/// Some letters, and where the next ones begin.
#[derive(Debug, Default)]
pub(crate) struct Page {
    pub(crate) letters: Vec<LetterRecord>,
    /// The generation behind which to go on; `None`: there are no more.
    pub(crate) next: Option<u64>,
}

/// How much a store holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Holding {
    pub(crate) letters: u64,
    pub(crate) bytes: u64,
    pub(crate) max_bytes: u64,
}

impl LetterStore {
    /// Where it is in a state directory.
    pub fn path(state: &Path) -> PathBuf {
        state.join(NAME)
    }

    /// Opens the store of a state directory, to hold letters of `max_bytes`. See [`Opened`] for what may be done to it.
    ///
    /// # Errors
    /// What the system said, or that the file is damaged or of a newer format; it is left untouched then.
    pub fn open(state: &Path, max_bytes: u64) -> Result<(Self, Opened), StateError> {
        Self::open_in(&Disks, state, max_bytes)
    }

    /// As [`open`](Self::open), written through what `folders` gives.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub(crate) fn open_in(folders: &dyn Folders, state: &Path, max_bytes: u64) -> Result<(Self, Opened), StateError> {
        let storage = folders.folder(state).map_err(|source| unusable(state, source))?;
        Self::open_on(storage, max_bytes)
    }

    /// Reads all letters of a state directory, oldest first, whether or not a coordinator writes them meanwhile.
    ///
    /// # Errors
    /// As [`open`](Self::open), or what `take` said.
    pub fn each(state: &Path, mut take: impl FnMut(LetterRecord) -> Result<(), StateError>) -> Result<(), StateError> {
        let path = Self::path(state);
        let file: Arc<dyn StoredFile> = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            file => Arc::new(file.map_err(|source| unusable(&path, source))?),
        };
        match format::read(&file, &path)? {
            Content::Former(letters, _) => rewrite::merged(letters).into_iter().try_for_each(take),
            Content::Current(Scan { index, .. }) => index
                .after(0)
                .try_for_each(|(_, place)| take(read_letter(&*file, place).map_err(|source| unusable(&path, source))?)),
        }
    }

    /// Makes letters durable, as far as there is room, and says which. A repeat is added to the letter that it repeats.
    ///
    /// # Errors
    /// What the system said.
    pub(crate) fn append<L: Borrow<LetterRecord>>(&mut self, letters: &[L], bound: Bound) -> io::Result<Vec<bool>> {
        self.mend()?;
        let mut group = Group::default();
        let mut staged: HashMap<Key, usize> = HashMap::new();
        let mut full = false;
        let mut taken = Vec::with_capacity(letters.len());
        for letter in letters.iter().map(Borrow::borrow) {
            let key = letter.key();
            let earlier = match staged.get(&key) {
                Some(at) => Some((group.letters[*at].0.clone(), group.letters[*at].1.bytes)),
                None => match self.index.find(key) {
                    Some(place) => Some((read_letter(&*self.file, place)?, place.bytes)),
                    None => None,
                },
            };
            if earlier.is_none() && full {
                taken.push(false);
                continue;
            }
            let generation = self.next + group.letters.len() as u64;
            let mut record = earlier.as_ref().map_or_else(|| letter.clone(), |(earlier, _)| letter.after(earlier));
            record.generation = generation;
            let replaced = earlier.as_ref().map_or(0, |(_, bytes)| i64::from(*bytes));
            let before = group.text.len();
            let mut line = format::push(&mut group.text, &Line::Letter(&record))?;
            let room = i64::try_from(self.max_bytes.saturating_sub(self.index.bytes())).unwrap_or(i64::MAX);
            if bound == Bound::Size && group.growth + line.1 as i64 - replaced > room {
                group.text.truncate(before);
                if earlier.is_none() {
                    full = true;
                    taken.push(false);
                    continue;
                }
                // A repeat is always taken, but a full store keeps no more of it than it must.
                record.history.clear();
                line = format::push(&mut group.text, &Line::Letter(&record))?;
            }
            group.growth += line.1 as i64 - replaced;
            let place = Place { key, offset: self.end + line.0 as u64, bytes: line.1 as u32 };
            staged.insert(key, group.letters.len());
            group.letters.push((record, place));
            taken.push(true);
        }
        if !group.letters.is_empty() {
            self.commit(group.text)?;
            self.next += group.letters.len() as u64;
            group.letters.into_iter().for_each(|(record, place)| self.index.put(record.generation, place));
            self.tidy();
        }
        Ok(taken)
    }

    /// Removes the letters that have these very generations and says how many there were: one that has failed again
    /// since has another. They are gone for good when it returns.
    ///
    /// # Errors
    /// What the system said. After a crash all are there or none.
    pub(crate) fn remove(&mut self, generations: &[u64]) -> io::Result<u64> {
        self.mend()?;
        let there: Vec<u64> = generations.iter().copied().filter(|generation| self.index.holds(*generation)).collect();
        if there.is_empty() {
            return Ok(0);
        }
        let mut text = Vec::new();
        format::push(&mut text, &Line::Removed(&there))?;
        self.commit(text)?;
        let removed = there.iter().filter(|generation| self.index.remove(**generation)).count();
        self.tidy();
        Ok(removed as u64)
    }

    /// Removes the letters that `filter` takes and says how many they were. They are gone for good when it returns.
    ///
    /// # Errors
    /// As [`LetterStore::open`] and `remove`.
    pub fn discard(&mut self, filter: &LetterFilter) -> io::Result<u64> {
        let mut chosen = Vec::new();
        for (generation, place) in self.index.after(0) {
            if *filter == LetterFilter::default() || filter.takes(&read_letter(&*self.file, place)?) {
                chosen.push(generation);
            }
        }
        self.remove(&chosen)
    }

    /// Letters that `filter` takes, of those behind a generation, oldest first: at most `count`, and of `bytes` together
    /// if it is more than one. There may be none in a page, and more behind it.
    ///
    /// # Errors
    /// What the system said.
    pub(crate) fn page(&self, after: u64, count: usize, bytes: u64, filter: &LetterFilter) -> io::Result<Page> {
        let mut page = Page::default();
        let mut left = bytes;
        let mut last = after;
        for (looked_at, (generation, place)) in self.index.after(after).enumerate() {
            if looked_at == LOOK
                || page.letters.len() == count
                || (!page.letters.is_empty() && u64::from(place.bytes) > left)
            {
                page.next = Some(last);
                break;
            }
            let letter = read_letter(&*self.file, place)?;
            last = generation;
            if filter.takes(&letter) {
                left = left.saturating_sub(place.bytes.into());
                page.letters.push(letter);
            }
        }
        Ok(page)
    }

    /// The generation that the next letter gets.
    pub(crate) fn next_generation(&self) -> u64 {
        self.next
    }

    pub(crate) fn holding(&self) -> Holding {
        Holding { letters: self.index.len(), bytes: self.index.bytes(), max_bytes: self.max_bytes }
    }

    /// Writes a group and makes it durable.
    fn commit(&mut self, mut text: Vec<u8>) -> io::Result<()> {
        format::seal(&mut text)?;
        // What may be written in part must not become half a group in the middle.
        self.torn = true;
        write_all_at(&*self.file, &text, self.end)?;
        self.file.sync_data()?;
        self.torn = false;
        self.end += text.len() as u64;
        Ok(())
    }

    /// Makes good what an earlier failure left, before anything else is trusted to the file.
    fn mend(&mut self) -> io::Result<()> {
        if self.torn {
            self.file.set_length(self.end)?;
            self.torn = false;
        }
        if self.renamed {
            self.storage.sync_folder()?;
            self.renamed = false;
        }
        Ok(())
    }

    /// Writes the file anew when too much in it says nothing any more.
    fn tidy(&mut self) {
        let idle = self.end.saturating_sub(self.index.bytes());
        let allowed = self.rewrite_at.max(self.index.bytes() / 2 + IDLE_BYTES);
        if idle <= allowed {
            return;
        }
        self.rewrite_at = match self.rewrite() {
            Ok(()) => 0,
            Err(error) => {
                tracing::warn!("{} stays larger than it must be: {error}", self.storage.path(NAME).display());
                2 * idle
            }
        };
    }
}

/// Letters that are written together.
#[derive(Debug, Default)]
struct Group {
    text: Vec<u8>,
    letters: Vec<(LetterRecord, Place)>,
    /// Bytes by which the letters of the store grow.
    growth: i64,
}

fn read_line(file: &dyn StoredFile, place: Place) -> io::Result<Vec<u8>> {
    let mut line = vec![0; place.bytes as usize];
    let mut filled = 0;
    while filled < line.len() {
        match file.read_at(&mut line[filled..], place.offset + filled as u64) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(line)
}

fn read_letter(file: &dyn StoredFile, place: Place) -> io::Result<LetterRecord> {
    format::letter(&read_line(file, place)?)
}
