//! The newest traces of a run, kept for the time when its coordinator has gone.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use meshloom_telemetry::{TraceStore, Traces, archive};

/// Most bytes that are read back. What a run keeps is bounded by the memory for its traces.
const BYTES: usize = 1 << 30;

fn path(state: &Path) -> PathBuf {
    state.join("traces.otlp")
}

/// Keeps the newest traces in a state directory. Those of an earlier run stay if there are none.
pub(crate) fn save(state: &Path, traces: &Traces) -> anyhow::Result<()> {
    let bytes = archive::encode(&traces.newest(usize::MAX), BYTES);
    if bytes.is_empty() {
        return Ok(());
    }
    let path = path(state);
    replace(state, &path, &bytes).with_context(|| format!("{} cannot be written; is the disk full?", path.display()))
}

/// As a whole or not at all.
fn replace(state: &Path, path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = tempfile::NamedTempFile::new_in(state)?;
    file.write_all(bytes)?;
    file.persist(path)?;
    Ok(())
}

/// The traces that were kept; `None`: none ever were.
pub(crate) fn load(state: &Path) -> anyhow::Result<Option<TraceStore>> {
    let path = path(state);
    let remedy = || format!("{} cannot be read; remove it, and the next run writes a new one", path.display());
    match fs::metadata(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Ok(found) if found.len() > BYTES as u64 => {
            anyhow::bail!("{} ({} bytes; the most is {BYTES})", remedy(), found.len())
        }
        found => found.with_context(remedy)?,
    };
    let bytes = fs::read(&path).with_context(remedy)?;
    archive::decode(&bytes).map(Some).with_context(remedy)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_file_is_told_with_its_remedy() {
        let state = tempfile::tempdir().unwrap();
        assert!(load(state.path()).unwrap().is_none());
        fs::write(path(state.path()), [0, 0, 0, 9, 1]).unwrap();
        let error = format!("{:#}", load(state.path()).unwrap_err());
        assert!(error.contains("traces.otlp") && error.contains("remove it") && error.contains("cut off"), "{error}");
        // Sparse: it takes no room on the disk.
        fs::File::create(path(state.path())).unwrap().set_len(BYTES as u64 + 1).unwrap();
        assert!(format!("{:#}", load(state.path()).unwrap_err()).contains("the most is"));
    }
}
