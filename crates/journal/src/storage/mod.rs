//! Where the journal lies. The log only sees these two traits.

mod disk;
mod faults;
mod memory;

use std::{
    fmt::Debug,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

pub use disk::{Disk, Disks};
pub use faults::{Call, Fallible, FallibleFile, Faults, Lasting, Trouble};
pub use memory::Memory;

/// Gives folders: those of the disk, or of whatever a test puts before it.
pub trait Folders: Debug + Send + Sync + 'static {
    /// The folder at this path, which is created if it is not there; its parent has to exist. Blocks.
    ///
    /// # Errors
    /// What the system said.
    fn folder(&self, path: &Path) -> io::Result<Arc<dyn Storage>>;
}

/// A folder of files. Calls block. Names have no separators.
///
/// A name that was created, renamed or removed survives a crash only after [`Storage::sync_folder`].
pub trait Storage: Debug + Send + Sync + 'static {
    /// The names of all files, in any order.
    ///
    /// # Errors
    /// What the system said; so for all others.
    fn list(&self) -> io::Result<Vec<String>>;
    /// Creates an empty file, or empties one that is there.
    fn create(&self, name: &str) -> io::Result<Arc<dyn StoredFile>>;
    /// Opens a file to read, and to cut.
    fn open(&self, name: &str) -> io::Result<Arc<dyn StoredFile>>;
    /// Gives a file another name, in place of what has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;
    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;
    /// Makes names durable.
    fn sync_folder(&self) -> io::Result<()>;
    /// How to call a file in messages.
    fn path(&self, name: &str) -> PathBuf;
}

/// A file. What was written survives a crash only after [`StoredFile::sync_data`] succeeded.
pub trait StoredFile: Debug + Send + Sync {
    /// Its length in bytes.
    ///
    /// # Errors
    /// What the system said; so for all others.
    fn length(&self) -> io::Result<u64>;
    /// Reads what is there from `offset`, perhaps less than asked for; 0: the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes, perhaps less than asked for.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize>;
    /// Cuts or extends.
    fn set_length(&self, bytes: u64) -> io::Result<()>;
    /// Makes content and length durable. After an error nobody knows what is; a second call proves nothing.
    fn sync_data(&self) -> io::Result<()>;
}

/// Writes all of it, whatever the pieces that the system takes.
///
/// # Errors
/// What the system said.
pub fn write_all_at(file: &dyn StoredFile, mut bytes: &[u8], mut offset: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        match file.write_at(bytes, offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

impl Storage for Arc<dyn Storage> {
    fn list(&self) -> io::Result<Vec<String>> {
        (**self).list()
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn StoredFile>> {
        (**self).create(name)
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn StoredFile>> {
        (**self).open(name)
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        (**self).rename(from, to)
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        (**self).remove(name)
    }
    fn sync_folder(&self) -> io::Result<()> {
        (**self).sync_folder()
    }
    fn path(&self, name: &str) -> PathBuf {
        (**self).path(name)
    }
}

/// Fills the buffer, or says how much there is.
pub(crate) fn read_all_at(file: &dyn StoredFile, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// What a file holds.
///
/// # Errors
/// What the system said.
pub fn read_all(file: &dyn StoredFile) -> io::Result<Vec<u8>> {
    let length = usize::try_from(file.length()?).map_err(|_| io::ErrorKind::FileTooLarge)?;
    let mut bytes = vec![0; length];
    let read = read_all_at(file, &mut bytes, 0)?;
    bytes.truncate(read);
    Ok(bytes)
}

/// Whether this says that there is no room, and nothing worse.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge)
}
