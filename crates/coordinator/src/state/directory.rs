//! The state directory of a pipeline, held by one coordinator at a time.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
    time::SystemTime,
};

use rustix::fs::{FlockOperation, flock};

/// Why a state directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It cannot be made or written.
    #[error("the state directory {} cannot be used: {source}; make it writable or name another with `--state DIR`", path.display())]
    Unusable {
        /// The directory or the file in it.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Another coordinator has it.
    #[error(
        "another coordinator (process {holder}) runs on the state directory {}; stop it, or name another directory with `--state DIR`",
        path.display()
    )]
    Held {
        /// The directory.
        path: PathBuf,
        /// Its process id as it wrote it.
        holder: String,
    },
    /// A file in it was not written by this version, or is damaged.
    #[error("{} cannot be read: {problem}; it was left untouched. Move it away, or start over with `--fresh`", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

/// A state directory that this process holds.
#[derive(Debug)]
pub struct StateDir {
    path: PathBuf,
    lock: File,
    /// Removed at the end: `--ephemeral`.
    ephemeral: bool,
}

impl StateDir {
    /// Makes the directory where needed and takes its lock.
    pub fn open(path: &Path) -> Result<Self, StateError> {
        let unusable = |source| StateError::Unusable { path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(unusable)?;
        // Absolute, since nodes run in folders of their own.
        let path = fs::canonicalize(path).map_err(unusable)?;
        let unusable = |source| StateError::Unusable { path: path.clone(), source };
        let lock_path = path.join("coordinator.lock");
        let mut lock = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&lock_path)
            .map_err(unusable)?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            let mut holder = String::new();
            lock.read_to_string(&mut holder).map_err(unusable)?;
            return Err(StateError::Held { path: path.clone(), holder: holder.trim().to_owned() });
        }
        lock.set_len(0).map_err(unusable)?;
        lock.rewind().map_err(unusable)?;
        writeln!(lock, "{}", std::process::id()).map_err(unusable)?;
        Ok(Self { path, lock, ephemeral: false })
    }

    /// As [`open`](Self::open), after what is there was moved aside (`--fresh`). Returns where it went.
    pub fn fresh(path: &Path) -> Result<(Self, Option<PathBuf>), StateError> {
        // Held while it moves, so that no running coordinator loses its state.
        let held = Self::open(path)?;
        let unusable = |source| StateError::Unusable { path: path.to_owned(), source };
        let used = fs::read_dir(&held.path).map_err(unusable)?.filter_map(Result::ok);
        if used.filter(|entry| entry.file_name() != "coordinator.lock").count() == 0 {
            return Ok((held, None));
        }
        let stamp = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let name = held.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let aside = held.path.with_file_name(format!("{name}.old-{stamp}"));
        fs::rename(&held.path, &aside).map_err(unusable)?;
        drop(held);
        Ok((Self::open(path)?, Some(aside)))
    }

    /// A directory of its own that goes when the run ends (`--ephemeral`).
    pub fn ephemeral() -> Result<Self, StateError> {
        let path = std::env::temp_dir();
        let unusable = |source| StateError::Unusable { path: path.clone(), source };
        let made = tempfile::Builder::new().prefix("meshloom-state-").tempdir().map_err(unusable)?;
        let mut state = Self::open(&made.keep())?;
        state.ephemeral = true;
        Ok(state)
    }

    /// Its absolute path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the admin socket's path is recorded.
    pub fn admin_record(path: &Path) -> PathBuf {
        path.join("admin")
    }
}

impl Drop for StateDir {
    fn drop(&mut self) {
        // The lock itself goes with the file; only the name of its holder must not mislead.
        let _ = self.lock.set_len(0);
        if self.ephemeral {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_coordinator_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let held = StateDir::open(&folder.path().join("p")).unwrap();
        let error = StateDir::open(&folder.path().join("p")).unwrap_err().to_string();
        assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
        drop(held);
        StateDir::open(&folder.path().join("p")).unwrap();
    }

    #[test]
    fn fresh_moves_the_old_state_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p");
        let state = StateDir::open(&path).unwrap();
        fs::write(state.path().join("x"), "kept").unwrap();
        drop(state);
        let (state, aside) = StateDir::fresh(&path).unwrap();
        assert!(!state.path().join("x").exists());
        assert_eq!(fs::read_to_string(aside.unwrap().join("x")).unwrap(), "kept");
    }

    #[test]
    fn an_unwritable_place_names_the_remedy() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let error = StateDir::open(&file.path().join("p")).unwrap_err().to_string();
        assert!(error.contains("--state DIR"), "{error}");
    }
}
