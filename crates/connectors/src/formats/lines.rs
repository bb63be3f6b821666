//! Records that are lines.

use super::decoder::{FormatError, Found, Place, Step};

/// Cuts at `\n`; a `\r` before it is cut off too.
#[derive(Default)]
pub(super) struct Lines {
    skip_blank: bool,
    /// How much of the input is known to hold no newline, so that a long line is looked through once.
    scanned: usize,
}

impl Lines {
    pub(super) fn skipping_blank() -> Self {
        Self { skip_blank: true, scanned: 0 }
    }

    pub(super) fn reset(&mut self) {
        self.scanned = 0;
    }

    pub(super) fn step(&mut self, input: &[u8], offset: u64, end: bool, limit: usize) -> Result<Step, FormatError> {
        let newline = memchr::memchr(b'\n', &input[self.scanned..]).map(|at| self.scanned + at);
        let (mut length, consumed) = match newline {
            Some(at) => (at, at + 1),
            None if end && !input.is_empty() => (input.len(), input.len()),
            None => {
                self.scanned = input.len();
                // One more for the `\r` of a line whose newline has not come yet.
                if input.len() > limit + 1 {
                    return Err(FormatError::too_large(limit, offset));
                }
                return Ok(Step::default());
            }
        };
        self.scanned = 0;
        if newline.is_some() && input[..length].ends_with(b"\r") {
            length -= 1;
        }
        if length > limit {
            return Err(FormatError::too_large(limit, offset));
        }
        if self.skip_blank && input[..length].trim_ascii().is_empty() {
            return Ok(Step { consumed, found: None });
        }
        let found = Found { start: offset, place: Place::Input(0..length), top_level: true };
        Ok(Step { consumed, found: Some(found) })
    }
}
