//! The last words of a process: what it wrote to standard error before it ended.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

/// Kept lines.
const LINES: usize = 20;
/// Kept bytes per line; a reason on the wire has room for 4 KiB in all.
const LINE_BYTES: usize = 512;

#[derive(Debug, Default)]
pub(super) struct LastWords(Mutex<VecDeque<String>>);

impl LastWords {
    pub(super) fn push(&self, line: &str) {
        if line.trim().is_empty() {
            return;
        }
        let mut end = line.len().min(LINE_BYTES);
        while !line.is_char_boundary(end) {
            end -= 1;
        }
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == LINES {
            lines.pop_front();
        }
        lines.push_back(line[..end].to_owned());
    }

    /// Oldest first.
    pub(super) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

#[test]
fn keeps_the_last_lines_within_bounds() {
    let words = LastWords::default();
    words.push("  ");
    for number in 0..25 {
        words.push(&format!("{number}"));
    }
    words.push(&"ä".repeat(LINE_BYTES));
    let lines = words.lines();
    assert_eq!((lines.len(), lines[0].as_str()), (LINES, "6"));
    assert_eq!(lines[LINES - 1].len(), LINE_BYTES);
}
