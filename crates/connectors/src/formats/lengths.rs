//! Records whose length stands before them: four bytes, big-endian, then the record.

use super::decoder::{FormatError, Found, Place, Step};

/// Bytes of a length.
const PREFIX: usize = 4;

/// Cuts by lengths.
#[derive(Default)]
pub(super) struct Lengths;

impl Lengths {
    pub(super) fn step(&mut self, input: &[u8], offset: u64, end: bool, limit: usize) -> Result<Step, FormatError> {
        let length = input.first_chunk::<PREFIX>().map(|prefix| u32::from_be_bytes(*prefix) as usize);
        match length {
            Some(length) if length > limit => Err(FormatError::too_large(limit, offset)),
            Some(length) if input.len() - PREFIX >= length => {
                let consumed = PREFIX + length;
                let found = Found { start: offset, place: Place::Input(PREFIX..consumed), top_level: true };
                Ok(Step { consumed, found: Some(found) })
            }
            _ if end && !input.is_empty() => Err(FormatError::bad("the stream ends inside a record", offset)),
            _ => Ok(Step::default()),
        }
    }
}
