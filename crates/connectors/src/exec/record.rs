//! Which output files are ours: an `output` found at the start is refused unless an earlier run of this node made it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::{OpenContext, OpenError};

/// Refuses a foreign output, and records that this node writes there from now on.
pub(super) fn claim(context: &OpenContext, output: &Path) -> Result<(), OpenError> {
    let folder = context.state_dir.join("exec");
    let record = folder.join(format!("{}.output", context.node));
    let claimed = match fs::read_to_string(&record) {
        Ok(text) => Some(PathBuf::from(text)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => return Err(state_error(&record, &error)),
    };
    if claimed.as_deref() == Some(output) {
        return Ok(());
    }
    if output.symlink_metadata().is_ok() {
        return Err(OpenError::new(
            "OUTPUT_EXISTS",
            format!(
                "node {}: its output {} is there already, and no run of this node made it",
                context.node,
                output.display()
            ),
            "it would be removed before the first batch: move it away, or name another `output`",
        ));
    }
    fs::create_dir_all(&folder).map_err(|error| state_error(&folder, &error))?;
    // Written whole or not at all: a torn record would let us remove a foreign file.
    let fresh = record.with_extension("new");
    fs::write(&fresh, output.as_os_str().as_encoded_bytes())
        .and_then(|()| fs::rename(&fresh, &record))
        .map_err(|error| state_error(&record, &error))
}

pub(super) fn state_error(path: &Path, error: &io::Error) -> OpenError {
    OpenError::new(
        "STATE_DIR",
        format!("the state directory cannot be used: {}: {error}", path.display()),
        "give it to the user that runs Meshloom, or choose another with --state",
    )
}
