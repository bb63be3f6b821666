//! A folder in memory that fails when a test wants it to.

use std::{
    collections::BTreeMap,
    io,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
};

use super::{Memory, Storage, StoredFile, memory::MemoryFile};

/// Wraps a [`Memory`]. Clones are the same folder with the same plan.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    memory: Memory,
    plan: Arc<Plan>,
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
    /// EIO. A sync that fails like this has lost what it was to make durable.
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
    max_write: Option<usize>,
    held: bool,
    waiting: usize,
    counts: BTreeMap<Call, u64>,
}

impl Faults {
    /// Over a folder, without a plan.
    pub fn new(memory: Memory) -> Self {
        Self { memory, plan: Arc::default() }
    }

    /// The folder below.
    pub fn memory(&self) -> &Memory {
        &self.memory
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

    fn pass(&self, call: Call) -> io::Result<()> {
        let mut state = self.lock();
        if matches!(call, Call::Write | Call::Sync) && state.held {
            state.waiting += 1;
            while state.held {
                state = self.released.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            state.waiting -= 1;
        }
        *state.counts.entry(call).or_default() += 1;
        let Some((after, trouble)) = state.armed.get_mut(&call) else { return Ok(()) };
        if let Some(fewer) = after.checked_sub(1) {
            *after = fewer;
            return Ok(());
        }
        let trouble = *trouble;
        state.armed.remove(&call);
        let kind = if trouble == Trouble::NoSpace { io::ErrorKind::StorageFull } else { io::ErrorKind::Other };
        Err(io::Error::new(kind, format!("injected {trouble:?} into {call:?}")))
    }
}

impl Storage for Faults {
    fn list(&self) -> io::Result<Vec<String>> {
        self.memory.list()
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn StoredFile>> {
        self.plan.pass(Call::Create)?;
        self.memory.create(name)?;
        self.open(name)
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn StoredFile>> {
        Ok(Arc::new(FaultyFile { file: self.memory.file(name)?, plan: Arc::clone(&self.plan) }))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        self.plan.pass(Call::Rename)?;
        self.memory.rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        self.plan.pass(Call::Remove)?;
        self.memory.remove(name)
    }
    fn sync_folder(&self) -> io::Result<()> {
        self.plan.pass(Call::SyncFolder)?;
        self.memory.sync_folder()
    }
    fn path(&self, name: &str) -> PathBuf {
        self.memory.path(name)
    }
}

#[derive(Debug)]
struct FaultyFile {
    file: Arc<MemoryFile>,
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
        let taken = self.plan.lock().max_write.unwrap_or(bytes.len()).min(bytes.len());
        self.file.write_at(&bytes[..taken], offset)
    }
    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.plan.pass(Call::SetLength)?;
        self.file.set_length(bytes)
    }
    fn sync_data(&self) -> io::Result<()> {
        let lost = matches!(self.plan.lock().armed.get(&Call::Sync), Some((0, Trouble::Io)));
        self.plan.pass(Call::Sync).inspect_err(|_| {
            if lost {
                self.file.fail_sync()
            }
        })?;
        self.file.sync_data()
    }
}
