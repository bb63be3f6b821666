//! A folder in memory that knows what a crash would leave of it.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{Fallible, FallibleFile, Storage, StoredFile};

/// A folder in memory. Clones are the same folder.
#[derive(Debug, Clone, Default)]
pub struct Memory(Arc<Mutex<Folder>>);

#[derive(Debug, Default)]
struct Folder {
    now: Names,
    /// The names after each change since the last sync; the first are the durable ones.
    unsynced: Vec<Names>,
    durable: Names,
}

type Names = BTreeMap<String, Arc<MemoryFile>>;

/// A file in memory.
#[derive(Debug, Default)]
pub(crate) struct MemoryFile(Mutex<Content>);

#[derive(Debug, Default)]
struct Content {
    now: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Change>,
}

#[derive(Debug)]
enum Change {
    Write { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

/// Unit in which an unsynced write is on the disk or not.
const SECTOR: usize = 512;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Memory {
    /// An empty folder.
    pub fn new() -> Self {
        Self::default()
    }

    /// The folder after a crash. What was synced is there; of what was not, `survives` decides sector by sector and name
    /// by name. `|| false` is a crash that loses everything unsynced. Files that are still open keep the old content.
    pub fn crash(&self, mut survives: impl FnMut() -> bool) -> Self {
        let folder = locked(&self.0);
        // Changes of names reach the disk in their order.
        let reached = folder.unsynced.iter().take_while(|_| survives()).last();
        let names = reached.unwrap_or(&folder.durable).iter();
        let names: Names = names.map(|(name, file)| (name.clone(), Arc::new(file.crash(&mut survives)))).collect();
        Self(Arc::new(Mutex::new(Folder { now: names.clone(), unsynced: Vec::new(), durable: names })))
    }

    /// Changes bytes that are on the disk, as a failing disk does.
    ///
    /// # Errors
    /// There is no such file.
    pub fn corrupt(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) -> io::Result<()> {
        let file = self.file(name)?;
        let mut content = locked(&file.0);
        change(&mut content.now);
        content.durable = content.now.clone();
        Ok(())
    }

    /// What a file holds now.
    ///
    /// # Errors
    /// There is no such file.
    pub fn content(&self, name: &str) -> io::Result<Vec<u8>> {
        Ok(locked(&self.file(name)?.0).now.clone())
    }

    fn file(&self, name: &str) -> io::Result<Arc<MemoryFile>> {
        locked(&self.0).now.get(name).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn change(&self, change: impl FnOnce(&mut Names) -> io::Result<()>) -> io::Result<()> {
        let mut folder = locked(&self.0);
        change(&mut folder.now)?;
        let now = folder.now.clone();
        folder.unsynced.push(now);
        Ok(())
    }
}

impl Storage for Memory {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(locked(&self.0).now.keys().cloned().collect())
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn StoredFile>> {
        let file = Arc::new(MemoryFile::default());
        self.change(|names| {
            names.insert(name.to_owned(), Arc::clone(&file));
            Ok(())
        })?;
        Ok(file)
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn StoredFile>> {
        Ok(self.file(name)?)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.change(|names| {
            let file = names.remove(from).ok_or(io::ErrorKind::NotFound)?;
            names.insert(to.to_owned(), file);
            Ok(())
        })
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.change(|names| names.remove(name).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into()))
    }
    fn sync_folder(&self) -> io::Result<()> {
        let mut folder = locked(&self.0);
        folder.durable = folder.now.clone();
        folder.unsynced.clear();
        Ok(())
    }
    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from("memory").join(name)
    }
}

impl MemoryFile {
    fn crash(&self, survives: &mut impl FnMut() -> bool) -> Self {
        let content = locked(&self.0);
        let mut durable = content.durable.clone();
        for change in &content.pending {
            match change {
                Change::Length(length) if survives() => durable.resize(*length, 0),
                Change::Length(_) => {}
                Change::Write { offset, bytes } => {
                    for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                        if survives() {
                            put(&mut durable, offset + number * SECTOR, sector);
                        }
                    }
                }
            }
        }
        Self(Mutex::new(Content { now: durable.clone(), durable, pending: Vec::new() }))
    }
}

impl Fallible for Memory {
    fn open_fallible(&self, name: &str) -> io::Result<Arc<dyn FallibleFile>> {
        Ok(self.file(name)?)
    }
}

impl FallibleFile for MemoryFile {
    /// What Linux does: the unsynced content counts as clean, can be read, and never gets to the disk.
    fn fail_sync(&self, _: u64) {
        locked(&self.0).pending.clear();
    }
}

impl StoredFile for MemoryFile {
    fn length(&self) -> io::Result<u64> {
        Ok(locked(&self.0).now.len() as u64)
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let content = locked(&self.0);
        let rest = content.now.get(position(offset)?..).unwrap_or_default();
        let read = rest.len().min(buffer.len());
        buffer[..read].copy_from_slice(&rest[..read]);
        Ok(read)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        let (mut content, offset) = (locked(&self.0), position(offset)?);
        put(&mut content.now, offset, bytes);
        content.pending.push(Change::Write { offset, bytes: bytes.to_vec() });
        Ok(bytes.len())
    }
    fn set_length(&self, bytes: u64) -> io::Result<()> {
        let (mut content, length) = (locked(&self.0), position(bytes)?);
        content.now.resize(length, 0);
        content.pending.push(Change::Length(length));
        Ok(())
    }
    fn sync_data(&self) -> io::Result<()> {
        let content = &mut *locked(&self.0);
        for change in content.pending.drain(..) {
            match change {
                Change::Length(length) => content.durable.resize(length, 0),
                Change::Write { offset, bytes } => put(&mut content.durable, offset, &bytes),
            }
        }
        Ok(())
    }
}

fn position(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge.into())
}

fn put(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}
