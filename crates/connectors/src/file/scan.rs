//! The files that the patterns name, in order.

use std::{collections::HashSet, path::PathBuf};

use crate::NodeError;

/// Files of each pattern in the order of the patterns, those of one pattern by name; none twice, folders left out.
///
/// # Errors
/// A pattern that cannot be read, a folder that cannot be listed.
pub(super) fn scan(patterns: &[String]) -> Result<Vec<PathBuf>, NodeError> {
    let mut seen = HashSet::new();
    let mut files = Vec::new();
    for pattern in patterns {
        let paths = glob::glob(pattern).map_err(|error| {
            NodeError::new(
                "BAD_PATTERN",
                format!("path `{pattern}`: {error}"),
                "write [*] for a star that is meant as such",
            )
        })?;
        for path in paths {
            let path = path.map_err(|error| {
                let place = error.path().display().to_string();
                NodeError::new(
                    "FILE_UNREADABLE",
                    format!("{place}: {}", error.error()),
                    "let the user that runs Meshloom read it",
                )
            })?;
            // A name that vanished meanwhile is no file; a folder never was.
            if path.is_file() && seen.insert(path.clone()) {
                files.push(path);
            }
        }
    }
    Ok(files)
}
