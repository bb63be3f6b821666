//! One decoder for every format: chunks in, records out, never more than a record and a chunk in memory.

use std::ops::Range;

use meshloom_config::connector::ReadFormat;

use super::{csv::Csv, json::Json, lengths::Lengths, lines::Lines};

const BOM: &[u8] = b"\xEF\xBB\xBF";

/// One record, with where it stood.
#[derive(Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// The event's payload.
    pub payload: &'a [u8],
    /// Offset of its first byte.
    pub start: u64,
    /// Offset behind it: where to go on after it.
    pub end: u64,
    /// Whether it stands by itself, not inside an array.
    pub top_level: bool,
}

/// Why bytes are no record of the format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}, at byte {offset}")]
pub struct FormatError {
    /// `EVENT_TOO_LARGE` or `BAD_FORMAT`.
    pub code: &'static str,
    /// What is wrong.
    pub message: String,
    /// Where the record begins.
    pub offset: u64,
}

impl FormatError {
    pub(super) fn too_large(limit: usize, offset: u64) -> Self {
        Self { code: "EVENT_TOO_LARGE", message: format!("an event is larger than the limit of {limit} bytes"), offset }
    }

    pub(super) fn bad(message: impl Into<String>, offset: u64) -> Self {
        Self { code: "BAD_FORMAT", message: message.into(), offset }
    }
}

/// What a splitter made of its input. Nothing consumed and nothing found: it needs more.
#[derive(Default)]
pub(super) struct Step {
    pub(super) consumed: usize,
    pub(super) found: Option<Found>,
}

/// A record that a splitter found.
pub(super) struct Found {
    pub(super) start: u64,
    pub(super) place: Place,
    pub(super) top_level: bool,
}

/// Where the payload of a record is.
pub(super) enum Place {
    /// In the input of the step.
    Input(Range<usize>),
    /// In the splitter's own scratch.
    Scratch,
}

enum Splitter {
    Lines(Lines),
    Json(Box<Json>),
    Csv(Box<Csv>),
    Lengths(Lengths),
}

impl Splitter {
    fn step(&mut self, input: &[u8], offset: u64, end: bool, limit: usize) -> Result<Step, FormatError> {
        match self {
            Self::Lines(lines) => lines.step(input, offset, end, limit),
            Self::Json(json) => json.step(input, offset, end, limit),
            Self::Csv(csv) => csv.step(input, offset, end, limit),
            Self::Lengths(lengths) => lengths.step(input, offset, end, limit),
        }
    }

    fn scratch(&self) -> &[u8] {
        match self {
            Self::Lines(_) | Self::Lengths(_) => &[],
            Self::Json(json) => json.scratch(),
            Self::Csv(csv) => csv.scratch(),
        }
    }
}

/// Cuts a stream of bytes into records.
///
/// Call [`Decoder::next_record`] until it gives nothing, then [`Decoder::feed`] the next chunk, or
/// [`Decoder::finish`] when there is none. So at most one record and one chunk are held.
pub struct Decoder {
    splitter: Splitter,
    limit: usize,
    buffer: Vec<u8>,
    position: usize,
    /// Offset of `buffer[0]`.
    base: u64,
    ended: bool,
}

impl Decoder {
    /// A decoder whose records are at most `limit` bytes large.
    pub fn new(format: ReadFormat, limit: usize) -> Self {
        let splitter = match format {
            ReadFormat::Ndjson => Splitter::Lines(Lines::skipping_blank()),
            ReadFormat::Text => Splitter::Lines(Lines::default()),
            ReadFormat::Json => Splitter::Json(Box::default()),
            ReadFormat::Csv => Splitter::Csv(Box::default()),
        };
        Self::with(splitter, limit)
    }

    /// A decoder of records that stand behind their lengths, four bytes big-endian; at most `limit` bytes each.
    pub fn of_lengths(limit: usize) -> Self {
        Self::with(Splitter::Lengths(Lengths), limit)
    }

    fn with(splitter: Splitter, limit: usize) -> Self {
        Self { splitter, limit, buffer: Vec::new(), position: 0, base: 0, ended: false }
    }

    /// Gives memory back that holds nothing: for streams that are silent for long.
    pub fn shrink(&mut self) {
        if self.position == self.buffer.len() {
            self.base += self.position as u64;
            self.position = 0;
            self.buffer = Vec::new();
        }
    }

    /// Whether [`Decoder::jump`] may be used: a table must have seen its header.
    pub fn can_jump(&self) -> bool {
        match &self.splitter {
            Splitter::Csv(csv) => csv.has_header(),
            Splitter::Lines(_) | Splitter::Json(_) | Splitter::Lengths(_) => true,
        }
    }

    /// Goes on at another offset, one that was the `end` of a record.
    pub fn jump(&mut self, offset: u64) {
        self.buffer.clear();
        self.position = 0;
        self.base = offset;
        match &mut self.splitter {
            Splitter::Lines(lines) => lines.reset(),
            Splitter::Json(json) => json.resume(),
            Splitter::Csv(csv) => csv.resume(),
            Splitter::Lengths(_) => {}
        }
    }

    /// Takes the next bytes.
    pub fn feed(&mut self, chunk: &[u8]) {
        if self.position > 0 {
            self.buffer.drain(..self.position);
            self.base += self.position as u64;
            self.position = 0;
        }
        self.buffer.extend_from_slice(chunk);
    }

    /// Says that no more bytes come.
    pub fn finish(&mut self) {
        self.ended = true;
    }

    /// Offset of the next byte to be fed.
    pub fn fed(&self) -> u64 {
        self.base + self.buffer.len() as u64
    }

    /// The next record; nothing: more bytes are needed, or, after [`Decoder::finish`], it was the last.
    ///
    /// # Errors
    /// When the bytes are no record of the format, or it is too large. The decoder is then of no more use.
    pub fn next_record(&mut self) -> Result<Option<Record<'_>>, FormatError> {
        let text = !matches!(self.splitter, Splitter::Lengths(_));
        if text && self.base == 0 && self.position == 0 && self.buffer.starts_with(BOM) {
            self.position = BOM.len();
        }
        loop {
            let at = self.position;
            let offset = self.base + at as u64;
            if text && offset == 0 && !self.ended && BOM.starts_with(&self.buffer) {
                return Ok(None);
            }
            let step = self.splitter.step(&self.buffer[at..], offset, self.ended, self.limit)?;
            self.position += step.consumed;
            let Some(found) = step.found else {
                if step.consumed == 0 {
                    return Ok(None);
                }
                continue;
            };
            let payload = match found.place {
                Place::Input(range) => &self.buffer[at + range.start..at + range.end],
                Place::Scratch => self.splitter.scratch(),
            };
            let end = self.base + self.position as u64;
            return Ok(Some(Record { payload, start: found.start, end, top_level: found.top_level }));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Decodes with chunks of every size, which must all agree.
    fn decode(format: ReadFormat, input: &[u8], limit: usize) -> Result<Vec<(String, u64, u64)>, FormatError> {
        let whole = run(format, input, limit, input.len().max(1));
        for chunk in 1..input.len().min(40) {
            assert_eq!(run(format, input, limit, chunk), whole, "chunks of {chunk}");
        }
        whole
    }

    fn run(
        format: ReadFormat,
        input: &[u8],
        limit: usize,
        chunk: usize,
    ) -> Result<Vec<(String, u64, u64)>, FormatError> {
        let mut decoder = Decoder::new(format, limit);
        let mut found = Vec::new();
        let mut chunks = input.chunks(chunk);
        loop {
            while let Some(record) = decoder.next_record()? {
                found.push((String::from_utf8_lossy(record.payload).into_owned(), record.start, record.end));
            }
            match chunks.next() {
                Some(chunk) => decoder.feed(chunk),
                None if decoder.ended => return Ok(found),
                None => decoder.finish(),
            }
        }
    }

    fn payloads(format: ReadFormat, input: &str) -> Vec<String> {
        decode(format, input.as_bytes(), 1000).unwrap().into_iter().map(|record| record.0).collect()
    }

    #[test]
    fn lines_are_cut_at_newlines_and_blank_ones_skipped_in_ndjson() {
        assert_eq!(payloads(ReadFormat::Ndjson, "{\"a\":1}\r\n\n  \n2\n3"), ["{\"a\":1}", "2", "3"]);
        assert_eq!(payloads(ReadFormat::Text, "one\n\ntwo"), ["one", "", "two"]);
        assert_eq!(payloads(ReadFormat::Text, "\u{feff}one\n"), ["one"]);
        assert!(payloads(ReadFormat::Text, "").is_empty());
    }

    #[test]
    fn offsets_allow_to_go_on_behind_any_record() {
        for (format, input) in [
            (ReadFormat::Ndjson, "{\"n\":1}\n\n{\"n\":2}\n{\"n\":3}"),
            (ReadFormat::Text, "one\ntwo\r\n\nfour\n"),
            (ReadFormat::Json, " [ {\"n\": 1} , [2], \"x\\\"]\" ,\n4 ]\n"),
            (ReadFormat::Json, "{\"n\": 1} [2, 3]\n[]4"),
            (ReadFormat::Csv, "a,b\n1,2\n\n\"x\n\"\"y\",z\n5,6"),
        ] {
            let all = decode(format, input.as_bytes(), 1000).unwrap();
            for (index, (_, _, end)) in all.iter().enumerate() {
                let mut decoder = Decoder::new(format, 1000);
                for byte in input.as_bytes() {
                    if decoder.can_jump() {
                        break;
                    }
                    decoder.feed(&[*byte]);
                    decoder.next_record().unwrap();
                }
                decoder.jump(*end);
                decoder.feed(&input.as_bytes()[usize::try_from(*end).unwrap()..]);
                decoder.finish();
                let mut rest = Vec::new();
                while let Some(record) = decoder.next_record().unwrap() {
                    rest.push((String::from_utf8_lossy(record.payload).into_owned(), record.start, record.end));
                }
                assert_eq!(rest, all[index + 1..], "{input:?} from {end}");
            }
        }
    }

    #[test]
    fn json_is_cut_into_values_and_made_compact() {
        let pretty = "[\n  {\n    \"text\": \"a b\\\" ]}\",\n    \"n\": [1.50, 2]\n  },\n  null,\n  \"x\"\n]\n";
        assert_eq!(payloads(ReadFormat::Json, pretty), ["{\"text\":\"a b\\\" ]}\",\"n\":[1.50,2]}", "null", "\"x\""]);
        assert_eq!(payloads(ReadFormat::Json, "{\"a\": 1}\n{\"a\": 2}"), ["{\"a\":1}", "{\"a\":2}"]);
        assert_eq!(payloads(ReadFormat::Json, "1 2.5e3 true"), ["1", "2.5e3", "true"]);
        assert!(payloads(ReadFormat::Json, " [ ] ").is_empty());
    }

    #[test]
    fn bad_json_is_refused_with_its_place() {
        for (input, words) in [
            ("[1, 2", "array is not closed"),
            ("[1 2]", "expected `,` or `]`"),
            ("[1,]", "expected a value"),
            ("[,1]", "expected a value"),
            ("{\"a\":", "ends inside a value"),
            ("\"abc", "ends inside a value"),
            ("{\"a\" 1}", "not JSON"),
            ("hello", "not JSON"),
            ("{\"a\": 1 2}", "not JSON"),
            ("[[1 2]]", "not JSON"),
            ("]", "expected a value"),
            ("01x", "not JSON"),
        ] {
            let error = decode(ReadFormat::Json, input.as_bytes(), 1000).unwrap_err();
            assert_eq!(error.code, "BAD_FORMAT", "{input}");
            assert!(error.message.contains(words), "{input}: {error}");
        }
    }

    #[test]
    fn csv_rows_become_objects_under_the_header() {
        assert_eq!(
            payloads(ReadFormat::Csv, "id,na\"me\n1,\"a,\"\"b\"\"\"\n\n2,\r\n"),
            ["{\"id\":\"1\",\"na\\\"me\":\"a,\\\"b\\\"\"}", "{\"id\":\"2\",\"na\\\"me\":\"\"}"]
        );
        assert!(payloads(ReadFormat::Csv, "only,a,header").is_empty());
    }

    #[test]
    fn bad_csv_is_refused_with_its_place() {
        for (input, words) in [
            (&b"a,b\n1\n"[..], "has 1 field and the header has 2"),
            (b"a,b\n1,2,3\n", "has 3 fields and the header has 2"),
            (b"a\n\xff\n", "not UTF-8"),
            (b"a,a\n1,2\n", "`a` twice"),
        ] {
            let error = decode(ReadFormat::Csv, input, 1000).unwrap_err();
            assert_eq!(error.code, "BAD_FORMAT");
            assert!(error.message.contains(words), "{error}");
        }
    }

    fn lengths(input: &[u8], chunk: usize) -> Result<Vec<Vec<u8>>, FormatError> {
        let (mut decoder, mut records, mut chunks) = (Decoder::of_lengths(10), Vec::new(), input.chunks(chunk));
        loop {
            while let Some(record) = decoder.next_record()? {
                records.push(record.payload.to_vec());
            }
            decoder.shrink();
            match chunks.next() {
                Some(chunk) => decoder.feed(chunk),
                None if decoder.ended => return Ok(records),
                None => decoder.finish(),
            }
        }
    }

    #[test]
    fn records_behind_their_lengths_are_cut_whatever_bytes_they_hold() {
        let input = b"\0\0\0\x03\xEF\xBB\xBF\0\0\0\0\0\0\0\x0a\n123456789";
        for chunk in 1..input.len() {
            assert_eq!(
                lengths(input, chunk).unwrap(),
                [&b"\xEF\xBB\xBF"[..], b"", b"\n123456789"],
                "chunks of {chunk}"
            );
        }
        for (input, code, offset) in [
            (&b"\0\0\0\x01x\0\0\0\x0b"[..], "EVENT_TOO_LARGE", 5),
            (b"\xEF\xBB\xBF\0", "EVENT_TOO_LARGE", 0),
            (b"\0\0\0\x01x\0\0", "BAD_FORMAT", 5),
            (b"\0\0\0\x03xy", "BAD_FORMAT", 0),
        ] {
            let error = lengths(input, 1).unwrap_err();
            assert_eq!((error.code, error.offset), (code, offset), "{input:?}");
        }
    }

    #[test]
    fn a_record_over_the_limit_is_refused_before_it_is_whole() {
        for (format, input) in [
            (ReadFormat::Ndjson, "[1]\n[1,2,3,4,5,6,7,8,9,10,11]\n"),
            (ReadFormat::Text, "short\nlonger than twenty bytes\n"),
            (ReadFormat::Json, "[1, \"longer than twenty bytes\"]"),
            (ReadFormat::Csv, "a\n1\nlonger than twenty bytes\n"),
        ] {
            let error = decode(format, input.as_bytes(), 20).unwrap_err();
            assert_eq!(error.code, "EVENT_TOO_LARGE", "{format:?}");
            let mut decoder = Decoder::new(format, 20);
            let unfinished = input.trim_end_matches(['\n', ']', '"']);
            decoder.feed(unfinished.as_bytes());
            assert!(
                (0..3).any(|_| decoder.next_record().is_err()),
                "{format:?}: refused only once it has ended, so held without bound"
            );
        }
    }
}
