//! Tables: the header names the members, each row is a JSON object of strings.

use csv_core::{ReadRecordResult, Reader};

use super::decoder::{FormatError, Found, Place, Step};

/// Rows of a table.
pub(super) struct Csv {
    reader: Reader,
    /// Fields of the row so far, end to end.
    fields: Vec<u8>,
    filled: usize,
    ends: Vec<usize>,
    ended: usize,
    /// The members' names as JSON strings with their colon, once the header was read.
    header: Option<Vec<String>>,
    /// Where the row begins, once its first byte was seen.
    start: Option<u64>,
    scratch: Vec<u8>,
}

impl Default for Csv {
    fn default() -> Self {
        Self {
            reader: Reader::new(),
            fields: vec![0; 1024],
            filled: 0,
            ends: vec![0; 32],
            ended: 0,
            header: None,
            start: None,
            scratch: Vec::new(),
        }
    }
}

impl Csv {
    pub(super) fn has_header(&self) -> bool {
        self.header.is_some()
    }

    pub(super) fn scratch(&self) -> &[u8] {
        &self.scratch
    }

    pub(super) fn resume(&mut self) {
        *self = Self { header: self.header.take(), ..Self::default() };
    }

    pub(super) fn step(&mut self, input: &[u8], offset: u64, end: bool, limit: usize) -> Result<Step, FormatError> {
        if input.is_empty() && !end {
            return Ok(Step::default());
        }
        let start = *self.start.get_or_insert(offset);
        let mut consumed = 0;
        loop {
            let (result, read, wrote, ends) = self.reader.read_record(
                &input[consumed..],
                &mut self.fields[self.filled..],
                &mut self.ends[self.ended..],
            );
            consumed += read;
            self.filled += wrote;
            self.ended += ends;
            if self.filled > limit {
                return Err(FormatError::too_large(limit, start));
            }
            match result {
                ReadRecordResult::OutputFull => self.fields.resize(self.fields.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                // At the end an empty read flushes the last row; before it, it only means "more, please".
                ReadRecordResult::InputEmpty if end && consumed == input.len() && read > 0 => {}
                ReadRecordResult::InputEmpty => {
                    return Ok(Step { consumed, found: None });
                }
                ReadRecordResult::End => {
                    return Ok(Step { consumed, found: None });
                }
                ReadRecordResult::Record => return self.row(consumed, start, limit),
            }
        }
    }

    fn row(&mut self, consumed: usize, start: u64, limit: usize) -> Result<Step, FormatError> {
        let text = std::str::from_utf8(&self.fields[..self.filled]).map_err(|_| {
            FormatError::bad("a row is not UTF-8: convert the file first, for example with iconv", start)
        })?;
        let mut from = 0;
        let fields = self.ends[..self.ended].iter().map(|&to| {
            let field = text.get(from..to);
            from = to;
            // The fields together are UTF-8, but a boundary can still cut a character in two.
            field.ok_or_else(|| {
                FormatError::bad("a row is not UTF-8: convert the file first, for example with iconv", start)
            })
        });
        let fields = fields.collect::<Result<Vec<_>, _>>()?;
        let found = match &self.header {
            None => {
                self.header = Some(names(&fields, start)?);
                None
            }
            Some(header) => {
                if header.len() != fields.len() {
                    let (has, s) = (fields.len(), if fields.len() == 1 { "" } else { "s" });
                    let message = format!("a row has {has} field{s} and the header has {}", header.len());
                    return Err(FormatError::bad(message, start));
                }
                self.scratch.clear();
                for (index, (name, field)) in header.iter().zip(&fields).enumerate() {
                    self.scratch.push(if index == 0 { b'{' } else { b',' });
                    self.scratch.extend_from_slice(name.as_bytes());
                    self.scratch.extend_from_slice(json_string(field).as_bytes());
                }
                self.scratch.push(b'}');
                if self.scratch.len() > limit {
                    return Err(FormatError::too_large(limit, start));
                }
                Some(Found { start, place: Place::Scratch, top_level: true })
            }
        };
        (self.filled, self.ended, self.start) = (0, 0, None);
        Ok(Step { consumed, found })
    }
}

fn names(fields: &[&str], start: u64) -> Result<Vec<String>, FormatError> {
    for (index, name) in fields.iter().enumerate() {
        if fields[..index].contains(name) {
            return Err(FormatError::bad(format!("the header names `{name}` twice"), start));
        }
    }
    Ok(fields.iter().map(|name| json_string(name) + ":").collect())
}

fn json_string(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
