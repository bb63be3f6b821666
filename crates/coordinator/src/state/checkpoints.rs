//! Positions of sources: one file each, replaced as a whole.

use std::{io, path::Path, sync::Arc};

use bytes::Bytes;
use meshloom_journal::storage::{Folders, Storage, read_all, write_all_at};
use serde::{Deserialize, Serialize};

use super::StateError;

/// Format number of the files.
const VERSION: u32 = 1;

/// The positions of one pipeline's sources.
#[derive(Debug, Clone)]
pub(crate) struct Checkpoints {
    storage: Arc<dyn Storage>,
}

/// What a position's file holds. JSON, so that an operator can read it; the checksum is over the checkpoint.
#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    version: u32,
    source: String,
    /// Hexadecimal.
    checkpoint: String,
    /// Events settled below it, over all runs.
    settled: u64,
    /// Unix time of the write, nanoseconds.
    written: u64,
    checksum: String,
}

/// A position as it was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Position {
    /// The checkpoint.
    pub(crate) checkpoint: Bytes,
    /// Events settled below it, over all runs.
    pub(crate) settled: u64,
    /// Unix time of the write, nanoseconds.
    pub(crate) written: u64,
}

impl Checkpoints {
    /// Below a state directory.
    pub(crate) fn open(folders: &dyn Folders, state: &Path) -> Result<Self, StateError> {
        let folder = state.join("checkpoints");
        let storage = folders.folder(&folder).map_err(|source| StateError::Unusable { path: folder, source })?;
        Ok(Self { storage })
    }

    /// The position of a source; `None`: it has none yet.
    pub(crate) fn read(&self, source: &str) -> Result<Option<Position>, StateError> {
        let name = file_name(source);
        let path = self.storage.path(&name);
        let text = match self.storage.open(&name).and_then(|file| read_all(&*file)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(StateError::Unusable { path, source }),
        };
        let damaged = |problem: String| StateError::Damaged { path: path.clone(), problem };
        let stored: Stored =
            serde_json::from_slice(&text).map_err(|error| damaged(format!("it is damaged ({error})")))?;
        if stored.version != VERSION {
            let version = stored.version;
            return Err(damaged(format!("it has format {version}, this version of Meshloom reads {VERSION}")));
        }
        if stored.checksum != checksum(&stored.checkpoint, stored.settled) {
            return Err(damaged("its checksum is wrong".into()));
        }
        let checkpoint =
            unhex(&stored.checkpoint).ok_or_else(|| damaged("its checkpoint is not hexadecimal".into()))?;
        Ok(Some(Position { checkpoint: checkpoint.into(), settled: stored.settled, written: stored.written }))
    }

    /// Makes a position durable. Blocks on the disk.
    pub(crate) fn write(&self, source: &str, position: &Position) -> io::Result<()> {
        let checkpoint: String = position.checkpoint.iter().map(|byte| format!("{byte:02x}")).collect();
        let stored = Stored {
            version: VERSION,
            source: source.to_owned(),
            checksum: checksum(&checkpoint, position.settled),
            checkpoint,
            settled: position.settled,
            written: position.written,
        };
        self.replace(&file_name(source), &serde_json::to_vec_pretty(&stored)?)
    }

    /// Replaces a file, which is there as a whole, as it was or as it is to be, after a crash at any moment.
    fn replace(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let temporary = format!("{name}.new");
        let file = self.storage.create(&temporary)?;
        write_all_at(&*file, content, 0)?;
        file.sync_data()?;
        self.storage.rename(&temporary, name)?;
        self.storage.sync_folder()
    }

    /// The sources that have a position.
    pub(crate) fn sources(&self) -> Result<Vec<String>, StateError> {
        let unusable = |source| StateError::Unusable { path: self.storage.path(""), source };
        let names = self.storage.list().map_err(unusable)?.into_iter();
        Ok(names.filter_map(|name| Some(name.strip_suffix(".json")?.to_owned())).collect())
    }
}

fn file_name(source: &str) -> String {
    format!("{source}.json")
}

fn checksum(checkpoint: &str, settled: u64) -> String {
    meshloom_core::ids::hash(&[checkpoint.as_bytes(), &settled.to_le_bytes()]).to_string()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    digits.len().is_multiple_of(2).then_some(())?;
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use meshloom_journal::storage::{Call, Disks, Faults, Lasting, Memory, Trouble};

    use super::*;

    fn position() -> Position {
        Position { checkpoint: Bytes::from_static(b"\x00\xff42"), settled: 7, written: 9 }
    }

    #[test]
    fn a_position_is_read_as_written() {
        let folder = tempfile::tempdir().unwrap();
        let store = Checkpoints::open(&Disks, folder.path()).unwrap();
        assert_eq!(store.read("ingest").unwrap(), None);
        store.write("ingest", &position()).unwrap();
        assert_eq!(store.read("ingest").unwrap(), Some(position()));
        assert_eq!(store.sources().unwrap(), ["ingest"]);
    }

    #[test]
    fn a_position_that_cannot_be_read_is_no_position_that_is_not_there() {
        let faults = Faults::new(Memory::new());
        let store = Checkpoints { storage: Arc::new(faults.clone()) };
        store.write("ingest", &position()).unwrap();
        faults.last(Lasting { failing: [(Call::Read, Trouble::Io)].into(), ..Lasting::default() });
        let error = store.read("ingest").unwrap_err();
        assert!(matches!(&error, StateError::Unusable { path, .. } if path.ends_with("ingest.json")), "{error}");
        faults.last(Lasting::default());
        assert_eq!(store.read("ingest").unwrap(), Some(position()));
    }

    #[test]
    fn a_damaged_or_newer_file_is_refused_and_left_untouched() {
        let folder = tempfile::tempdir().unwrap();
        let store = Checkpoints::open(&Disks, folder.path()).unwrap();
        store.write("ingest", &position()).unwrap();
        let path = folder.path().join("checkpoints/ingest.json");
        let good = fs::read_to_string(&path).unwrap();
        for (from, to, says) in [
            ("00ff3432", "00ff3433", "checksum"),
            ("\"version\": 1", "\"version\": 2", "format 2"),
            ("{", "", "damaged"),
        ] {
            let bad = good.replacen(from, to, 1);
            fs::write(&path, &bad).unwrap();
            let error = store.read("ingest").unwrap_err().to_string();
            assert!(error.contains(says) && error.contains("--fresh"), "{error}");
            assert_eq!(fs::read_to_string(&path).unwrap(), bad);
        }
    }

    #[test]
    fn a_write_that_fails_leaves_the_old_position_whole() {
        let later = Position { checkpoint: Bytes::from_static(b"later"), settled: 8, written: 10 };
        for call in [Call::Create, Call::Write, Call::Sync, Call::Rename] {
            let faults = Faults::new(Memory::new());
            let store = Checkpoints { storage: Arc::new(faults.clone()) };
            store.write("ingest", &position()).unwrap();
            faults.last(Lasting { failing: [(call, Trouble::Io)].into(), ..Lasting::default() });
            assert!(store.write("ingest", &later).is_err(), "{call:?}");
            let left = Checkpoints { storage: Arc::new(faults.memory().crash(|| false)) };
            assert_eq!(left.read("ingest").unwrap(), Some(position()), "{call:?}");
            faults.last(Lasting::default());
            store.write("ingest", &later).unwrap();
            let left = Checkpoints { storage: Arc::new(faults.memory().crash(|| false)) };
            assert_eq!(left.read("ingest").unwrap(), Some(later.clone()), "{call:?}");
        }
    }
}
