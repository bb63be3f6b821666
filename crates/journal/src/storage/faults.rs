//! A folder that fails when a test wants it to.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use super::{Memory, Storage, StoredFile};

/// Wraps a folder in memory or on the disk. Clones are the same folder with the same plan.
#[derive(Debug, Clone, Default)]
pub struct Faults<S = Memory> {
    below: S,
    plan: Arc<Plan>,
}

/// A storage of which it is known what a failed sync does to it.
pub trait Fallible: Storage {
    /// As [`Storage::open`].
    ///
    /// # Errors
    /// What the system said.
    fn open_fallible(&self, name: &str) -> io::Result<Arc<dyn FallibleFile>>;
}

/// A file of such a storage.
pub trait FallibleFile: StoredFile {
    /// Loses what a sync was to make durable. `synced`: the length in bytes after the last one that succeeded.
    fn fail_sync(&self, synced: u64);
}

/// What can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    /// [`Storage::create`].
    Create,
    /// [`Storage::rename`].
    Rename,
    /// [`Storage::remove`].
    Remove,
    /// [`Storage::sync_folder`].
    SyncFolder,
    /// [`StoredFile::read_at`].
    Read,
    /// [`StoredFile::write_at`].
    Write,
    /// [`StoredFile::set_length`].
    SetLength,
    /// [`StoredFile::sync_data`].
    Sync,
}

/// How it fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// ENOSPC.
    NoSpace,
    /// EIO. A sync that fails like this has lost what it was to make durable: in memory it can still be read, and is gone
    /// after a crash; on the disk it is gone at once.
    Io,
    /// The machine stops before the call does anything; what was not synced may be on the disk in part.
    /// The test then goes on with what [`Memory::crash`] leaves.
    Crash,
}

#[derive(Debug, Default)]
struct Plan {
    state: Mutex<State>,
    released: Condvar,
}

#[derive(Debug, Default)]
struct State {
    armed: BTreeMap<Call, (u32, Trouble)>,
    lasting: Lasting,
    max_write: Option<usize>,
    held: bool,
    waiting: usize,
    counts: BTreeMap<Call, u64>,
    struck: u64,
}

/// What is wrong with a disk until it is not.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lasting {
    /// Calls of which every one fails.
    pub failing: BTreeMap<Call, Trouble>,
    /// Bytes that there is still room for: the write that meets the end is short, those behind it are ENOSPC.
    pub room: Option<u64>,
    /// Every write takes at most so many bytes.
    pub max_write: Option<usize>,
    /// How long every write and every sync takes.
    pub delay: Duration,
}

impl Faults<Memory> {
    /// The folder below.
    pub fn memory(&self) -> &Memory {
        &self.below
    }
}

impl<S> Faults<S> {
    /// Over a folder, without a plan.
    pub fn new(below: S) -> Self {
        Self { below, plan: Arc::default() }
    }

    /// Another folder with the same plan.
    pub fn over<T>(&self, below: T) -> Faults<T> {
        Faults { below, plan: Arc::clone(&self.plan) }
    }

    /// Lets one call fail, after `after` further ones that succeed.
    pub fn arm(&self, call: Call, after: u32, trouble: Trouble) {
        self.plan.lock().armed.insert(call, (after, trouble));
    }

    /// Takes back what was armed and did not come.
    pub fn disarm(&self) {
        self.plan.lock().armed.clear();
    }

    /// Every write takes at most so many bytes.
    pub fn shorten_writes(&self, max_bytes: usize) {
        self.plan.lock().max_write = Some(max_bytes);
    }

    /// What is wrong from now on, in place of what was.
    pub fn last(&self, lasting: Lasting) {
        self.plan.lock().lasting = lasting;
    }

    /// Calls that failed, were cut short or took longer, so far.
    pub fn struck(&self) -> u64 {
        self.plan.lock().struck
    }

    /// A disk that takes its time: writes and syncs wait until [`Faults::release`].
    pub fn hold(&self) {
        self.plan.lock().held = true;
    }

    /// Lets them go on.
    pub fn release(&self) {
        self.plan.lock().held = false;
        self.plan.released.notify_all();
    }

    /// Writes and syncs that wait now.
    pub fn waiting(&self) -> usize {
        self.plan.lock().waiting
    }

    /// Calls so far.
    pub fn count(&self, call: Call) -> u64 {
        self.plan.lock().counts.get(&call).copied().unwrap_or_default()
    }
}

impl Plan {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What becomes of a call that comes now; `None`: it is let through.
    fn trouble(&self, call: Call) -> Option<Trouble> {
        let mut state = self.lock();
        if matches!(call, Call::Write | Call::Sync) {
            while state.held {
                state.waiting += 1;
                state = self.released.wait(state).unwrap_or_else(PoisonError::into_inner);
                state.waiting -= 1;
            }
            if let Some(delay) = Some(state.lasting.delay).filter(|delay| !delay.is_zero()) {
                state.struck += 1;
                drop(state);
                thread::sleep(delay);
                state = self.lock();
            }
        }
        *state.counts.entry(call).or_default() += 1;
        let armed = match state.armed.get_mut(&call) {
            Some((0, trouble)) => Some(*trouble),
            Some((after, _)) => {
                *after -= 1;
                None
            }
            None => None,
        };
        if armed.is_some() {
            state.armed.remove(&call);
        }
        let trouble = armed.or_else(|| state.lasting.failing.get(&call).copied());
        state.struck += u64::from(trouble.is_some());
        trouble
    }

    fn pass(&self, call: Call) -> io::Result<()> {
        self.trouble(call).map_or(Ok(()), |trouble| Err(trouble.into_error(call)))
    }

    /// How many of so many bytes a write takes.
    ///
    /// # Errors
    /// There is no room for any.
    fn take(&self, bytes: usize) -> io::Result<usize> {
        let state = &mut *self.lock();
        let lasting = &mut state.lasting;
        let most = [state.max_write, lasting.max_write].into_iter().flatten().min();
        let mut taken = most.unwrap_or(bytes).min(bytes);
        if let Some(room) = &mut lasting.room {
            taken = taken.min(usize::try_from(*room).unwrap_or(usize::MAX));
            *room -= taken as u64;
        }
        state.struck += u64::from(taken < bytes);
        if taken == 0 && bytes > 0 { Err(Trouble::NoSpace.into_error(Call::Write)) } else { Ok(taken) }
    }
}

impl Trouble {
    fn into_error(self, call: Call) -> io::Error {
        let kind = if self == Self::NoSpace { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
        io::Error::new(kind, format!("injected {self:?} into {call:?}"))
    }
}

impl<S: Fallible> Faults<S> {
    fn file(&self, name: &str) -> io::Result<Arc<dyn StoredFile>> {
        let file = self.below.open_fallible(name)?;
        let synced = AtomicU64::new(file.length()?);
        Ok(Arc::new(FaultyFile { file, synced, plan: Arc::clone(&self.plan) }))
    }
}

impl<S: Fallible> Storage for Faults<S> {
    fn list(&self) -> io::Result<Vec<String>> {
        self.below.list()
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn StoredFile>> {
        self.plan.pass(Call::Create)?;
        self.below.create(name)?;
        self.file(name)
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn StoredFile>> {
        self.file(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.plan.pass(Call::Rename)?;
        self.below.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.plan.pass(Call::Remove)?;
        self.below.remove(name)
    }
    fn sync_folder(&self) -> io::Result<()> {
        self.plan.pass(Call::SyncFolder)?;
        self.below.sync_folder()
    }
    fn path(&self, name: &str) -> PathBuf {
        self.below.path(name)
    }
}

#[derive(Debug)]
struct FaultyFile {
    file: Arc<dyn FallibleFile>,
    /// Bytes that it had when it was opened, or last synced.
    synced: AtomicU64,
    plan: Arc<Plan>,
}

impl StoredFile for FaultyFile {
    fn length(&self) -> io::Result<u64> {
        self.file.length()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        self.plan.pass(Call::Read)?;
        self.file.read_at(buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        self.plan.pass(Call::Write)?;
        let taken = self.plan.take(bytes.len())?;
        self.file.write_at(&bytes[..taken], offset)
    }
    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.plan.pass(Call::SetLength)?;
        self.file.set_length(bytes)
    }
    fn sync_data(&self) -> io::Result<()> {
        match self.plan.trouble(Call::Sync) {
            None => {
                self.file.sync_data()?;
                self.synced.store(self.file.length()?, Ordering::Relaxed);
                Ok(())
            }
            Some(trouble) => {
                if trouble == Trouble::Io {
                    self.file.fail_sync(self.synced.load(Ordering::Relaxed));
                }
                Err(trouble.into_error(Call::Sync))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{super::Disk, *};

    fn content(storage: &impl Storage) -> Vec<u8> {
        let mut bytes = [0; 64];
        let read = storage.open("f").unwrap().read_at(&mut bytes, 0).unwrap();
        bytes[..read].to_vec()
    }

    #[test]
    fn a_full_disk_takes_what_it_has_room_for_and_then_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let faults = Faults::new(Disk::new(folder.path()).unwrap());
        let file = faults.create("f").unwrap();
        faults.last(Lasting { room: Some(3), ..Lasting::default() });
        assert_eq!(file.write_at(b"abcdef", 0).unwrap(), 3);
        assert_eq!(file.write_at(b"def", 3).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!((content(&faults), faults.struck()), (b"abc".to_vec(), 2));
        faults.last(Lasting::default());
        assert_eq!(file.write_at(b"def", 3).unwrap(), 3);
        assert_eq!((content(&faults), faults.struck()), (b"abcdef".to_vec(), 2));
    }

    #[test]
    fn a_failed_sync_on_the_disk_loses_what_was_not_synced() {
        let folder = tempfile::tempdir().unwrap();
        let faults = Faults::new(Disk::new(folder.path()).unwrap());
        let file = faults.create("f").unwrap();
        file.write_at(b"old", 0).unwrap();
        file.sync_data().unwrap();
        file.write_at(b"new", 3).unwrap();
        faults.last(Lasting { failing: [(Call::Sync, Trouble::Io)].into(), ..Lasting::default() });
        assert!(file.sync_data().is_err() && file.sync_data().is_err(), "it lasts");
        assert_eq!(content(&faults), b"old");
        faults.last(Lasting::default());
        file.sync_data().unwrap();
    }

    #[test]
    fn folders_of_one_plan_fail_together() {
        let (one, folder) = (Faults::new(Memory::new()), tempfile::tempdir().unwrap());
        let other = one.over(Disk::new(folder.path()).unwrap());
        one.last(Lasting { failing: [(Call::Create, Trouble::NoSpace)].into(), ..Lasting::default() });
        assert!(one.create("f").is_err() && other.create("f").is_err());
        assert_eq!(other.struck(), 2);
    }
}
