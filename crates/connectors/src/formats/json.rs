//! JSON values, one after the other or in an array, pretty-printed or not; each comes out compact.

use serde::de::IgnoredAny;

use super::decoder::{FormatError, Found, Place, Step};

/// Checks that bytes are exactly one JSON value.
pub(crate) fn check(bytes: &[u8]) -> Result<(), serde_json::Error> {
    serde_json::from_slice::<IgnoredAny>(bytes).map(|_| ())
}

/// Appends JSON without the white space between its tokens; numbers and strings stay as written.
pub(crate) fn compact(json: &[u8], out: &mut Vec<u8>) {
    let mut value = Value::default();
    for &byte in json {
        value.keep(byte, out);
    }
}

/// Where the scanner stands inside a value.
#[derive(Default)]
struct Value {
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// White space was left out just before.
    gap: bool,
}

impl Value {
    /// Takes a byte of a value, leaving white space between tokens out.
    fn keep(&mut self, byte: u8, out: &mut Vec<u8>) {
        if self.in_string {
            if self.escaped {
                self.escaped = false;
            } else if byte == b'\\' {
                self.escaped = true;
            } else if byte == b'"' {
                self.in_string = false;
            }
            out.push(byte);
            return;
        }
        match byte {
            b'"' => self.in_string = true,
            b'{' | b'[' => self.depth += 1,
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        if is_space(byte) {
            self.gap = true;
            return;
        }
        // `1 2` must not become `12`: it stays two tokens, and so an error.
        if std::mem::take(&mut self.gap) && is_word(byte) && out.last().is_some_and(|&last| is_word(last)) {
            out.push(b' ');
        }
        out.push(byte);
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between values, outside an array.
    Top,
    /// Behind `[`.
    ArrayStart,
    /// Behind a value in an array.
    ArrayAfter,
    /// Behind `,`.
    ArrayNext,
    /// Behind a value, not knowing whether in an array.
    Resumed,
    /// In a number, `true`, `false`, `null`, or what pretends to be one.
    Scalar,
    /// In an object, an array or a string.
    Nested,
}

/// The scanner; it finds where values end, and leaves their grammar to serde_json.
pub(super) struct Json {
    state: State,
    in_array: bool,
    value: Value,
    start: u64,
    scratch: Vec<u8>,
}

impl Default for Json {
    fn default() -> Self {
        Self { state: State::Top, in_array: false, value: Value::default(), start: 0, scratch: Vec::new() }
    }
}

impl Json {
    pub(super) fn scratch(&self) -> &[u8] {
        &self.scratch
    }

    pub(super) fn resume(&mut self) {
        *self = Self { state: State::Resumed, ..Self::default() };
    }

    pub(super) fn step(&mut self, input: &[u8], offset: u64, end: bool, limit: usize) -> Result<Step, FormatError> {
        for (index, &byte) in input.iter().enumerate() {
            let here = offset + index as u64;
            match self.state {
                State::Scalar => {
                    if is_space(byte) || matches!(byte, b',' | b']' | b'[' | b'{' | b'"') {
                        return self.found(index);
                    }
                    self.scratch.push(byte);
                }
                State::Nested => {
                    self.value.keep(byte, &mut self.scratch);
                    if self.value.depth == 0 && !self.value.in_string {
                        return self.found(index + 1);
                    }
                }
                _ if is_space(byte) => continue,
                State::Resumed if matches!(byte, b',' | b']') => {
                    self.in_array = byte == b',';
                    self.state = if self.in_array { State::ArrayNext } else { State::Top };
                }
                State::Top | State::Resumed if byte == b'[' => {
                    self.in_array = true;
                    self.state = State::ArrayStart;
                }
                State::ArrayStart | State::ArrayAfter if byte == b']' => {
                    self.in_array = false;
                    self.state = State::Top;
                }
                State::ArrayAfter if byte == b',' => self.state = State::ArrayNext,
                State::ArrayAfter => {
                    return Err(FormatError::bad("expected `,` or `]` after a value", here));
                }
                State::Top | State::Resumed | State::ArrayStart | State::ArrayNext => self.begin(byte, here)?,
            }
            if self.scratch.len() > limit {
                return Err(FormatError::too_large(limit, self.start));
            }
        }
        if end {
            match self.state {
                State::Scalar => return self.found(input.len()),
                State::Nested => {
                    return Err(FormatError::bad("the input ends inside a value", self.start));
                }
                State::ArrayStart | State::ArrayAfter | State::ArrayNext => {
                    return Err(FormatError::bad(
                        "the array is not closed: the input ends before `]`",
                        offset + input.len() as u64,
                    ));
                }
                State::Top | State::Resumed => {}
            }
        }
        Ok(Step { consumed: input.len(), found: None })
    }

    fn begin(&mut self, byte: u8, here: u64) -> Result<(), FormatError> {
        if matches!(byte, b']' | b'}' | b',' | b':') {
            return Err(FormatError::bad(format!("expected a value, found `{}`", char::from(byte)), here));
        }
        self.scratch.clear();
        self.value = Value::default();
        self.start = here;
        self.state = if matches!(byte, b'{' | b'[' | b'"') { State::Nested } else { State::Scalar };
        self.value.keep(byte, &mut self.scratch);
        Ok(())
    }

    fn found(&mut self, consumed: usize) -> Result<Step, FormatError> {
        check(&self.scratch).map_err(|error| FormatError::bad(format!("not JSON: {error}"), self.start))?;
        self.state = if self.in_array { State::ArrayAfter } else { State::Top };
        let found = Found { start: self.start, place: Place::Scratch, top_level: !self.in_array };
        Ok(Step { consumed, found: Some(found) })
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.')
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}
