//! Files of a round, read while others write them.

use std::{
    fs,
    io::{Read as _, Seek as _, SeekFrom},
    path::{Path, PathBuf},
};

use meshloom_e2e::Project;

use crate::pipeline;

/// Bytes of each log that a failure shows.
const TAIL: usize = 4_000;

/// Counts the lines of a growing file.
#[derive(Default)]
pub(super) struct Lines {
    offset: u64,
    lines: u64,
}

impl Lines {
    pub(super) fn count(&mut self, project: &Project) -> u64 {
        if let Ok(mut file) = fs::File::open(project.path(pipeline::OUT)) {
            let mut more = Vec::new();
            file.seek(SeekFrom::Start(self.offset)).and_then(|_| file.read_to_end(&mut more)).unwrap();
            self.offset += more.len() as u64;
            self.lines += more.iter().filter(|byte| **byte == b'\n').count() as u64;
        }
        self.lines
    }
}

/// The ends of all logs of a folder.
pub(super) fn tails(folder: &Path) -> String {
    let files = fs::read_dir(folder).into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path());
    let mut logs: Vec<_> = files.filter(|path| path.extension().is_some_and(|ext| ext == "log")).collect();
    logs.sort();
    let tail = |path: &PathBuf| {
        let text = String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned();
        let from = text.char_indices().map(|(at, _)| at).find(|at| text.len() - at <= TAIL).unwrap_or(text.len());
        format!("--- {} ---\n{}", path.display(), &text[from..])
    };
    logs.iter().map(tail).collect::<Vec<_>>().join("\n")
}
