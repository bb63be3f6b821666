//! A folder on the disk.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Fallible, FallibleFile, Folders, Storage, StoredFile};

/// A folder of the file system.
#[derive(Debug, Clone)]
pub struct Disk {
    folder: PathBuf,
}

impl Disk {
    /// Uses a folder, which is created if it is not there; its parent has to exist.
    ///
    /// # Errors
    /// What the system said.
    pub fn new(folder: &Path) -> io::Result<Self> {
        if !folder.is_dir() {
            fs::create_dir(folder)?;
            let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        Ok(Self { folder: folder.to_owned() })
    }
}

/// The folders of the file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disks;

impl Folders for Disks {
    fn folder(&self, path: &Path) -> io::Result<Arc<dyn Storage>> {
        Ok(Arc::new(Disk::new(path)?))
    }
}

impl Storage for Disk {
    fn list(&self) -> io::Result<Vec<String>> {
        let names = fs::read_dir(&self.folder)?.map(|entry| Ok(entry?.file_name().into_string()));
        // A name that is not text is none of ours.
        names.filter_map(|name| name.map(Result::ok).transpose()).collect()
    }
    fn create(&self, name: &str) -> io::Result<Arc<dyn StoredFile>> {
        let mut options = OpenOptions::new();
        Ok(Arc::new(options.read(true).write(true).create(true).truncate(true).open(self.path(name))?))
    }
    fn open(&self, name: &str) -> io::Result<Arc<dyn StoredFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).open(self.path(name))?))
    }
    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.path(from), self.path(to))
    }
    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path(name))
    }
    fn sync_folder(&self) -> io::Result<()> {
        File::open(&self.folder)?.sync_all()
    }
    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }
}

impl StoredFile for File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(self, buffer, offset)
    }
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<usize> {
        std::os::unix::fs::FileExt::write_at(self, bytes, offset)
    }
    fn set_length(&self, bytes: u64) -> io::Result<()> {
        self.set_len(bytes)
    }
    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }
}

impl Fallible for Disk {
    fn open_fallible(&self, name: &str) -> io::Result<Arc<dyn FallibleFile>> {
        Ok(Arc::new(OpenOptions::new().read(true).write(true).open(self.path(name))?))
    }
}

impl FallibleFile for File {
    /// What a machine that stops now might leave: nothing of what was not synced.
    fn fail_sync(&self, synced: u64) {
        // One that cannot even be cut has not become durable either.
        let _ = self.set_len(synced);
    }
}
