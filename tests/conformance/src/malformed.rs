//! Every way in which a work can be malformed.

use bytes::Bytes;
use meshloom_proto::v1::{self, ExtensionType, Strings, Values};

use crate::{
    columns::{ABSENT, Style, u32s, values},
    event::{Event, batch},
};

/// A work that breaks one rule.
#[derive(Debug, Clone)]
pub(crate) struct Case {
    /// `rule-how`.
    pub(crate) name: String,
    /// The rule.
    pub(crate) rule: &'static str,
    pub(crate) work: v1::Work,
    /// What it may be answered with, the plainest first.
    pub(crate) reasons: &'static [&'static str],
}

const PLAIN: &[&str] = &["BATCH_MALFORMED"];
const LARGE_BATCH: &[&str] = &["BATCH_MALFORMED", "BATCH_TOO_LARGE"];
const LARGE_EVENT: &[&str] = &["BATCH_MALFORMED", "EVENT_TOO_LARGE", "BATCH_TOO_LARGE"];
const LARGE_TEXT: &[&str] = &["BATCH_MALFORMED", "ATTRIBUTE_TOO_LARGE"];
const MANY_EXTENSIONS: &[&str] = &["BATCH_MALFORMED", "TOO_MANY_EXTENSIONS"];

/// Two events that are well-formed.
fn good() -> v1::Batch {
    let event = |n: u8, payload| Event { uid: [n; 16], ..Event::new(payload) };
    batch(&[event(1, "one"), event(2, "two")], Style::Short)
}

fn raw(data: &'static [u8], ends: Bytes) -> Values {
    Values { data: Bytes::from_static(data), ends }
}

fn text(data: &'static [u8], ends: &[u32], index: &[u32]) -> Strings {
    Strings { values: Some(raw(data, u32s(ends.iter().copied()))), index: u32s(index.iter().copied()) }
}

fn extension(name: &str, kind: i32, found: &[&[u8]], index: &[u32]) -> v1::Extension {
    v1::Extension { name: name.into(), r#type: kind, values: Some(values(found)), index: u32s(index.iter().copied()) }
}

fn span(index: u32, trace: usize, span: usize) -> v1::SpanContext {
    v1::SpanContext {
        index,
        trace_id: vec![1; trace].into(),
        span_id: vec![1; span].into(),
        flags: 1,
        trace_state: String::new(),
    }
}

struct Cases(Vec<Case>);

impl Cases {
    fn add(&mut self, rule: &'static str, how: &str, reasons: &'static [&'static str], batch: v1::Batch) {
        let work = v1::Work { batch: Some(batch), ..v1::Work::default() };
        self.0.push(Case { name: format!("{}-{how}", rule.to_lowercase()), rule, work, reasons });
    }

    fn attempts(&mut self, how: &str, attempts: Bytes) {
        let work = v1::Work { batch: Some(good()), attempts, ..v1::Work::default() };
        self.0.push(Case { name: format!("b9-{how}"), rule: "B9", work, reasons: PLAIN });
    }
}

/// All of them.
pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Cases(Vec::new());
    counts(&mut cases);
    payloads(&mut cases);
    strings(&mut cases);
    fixed(&mut cases);
    extensions(&mut cases);
    spans(&mut cases);
    cases.attempts("ragged", Bytes::from_static(&[1, 0, 0, 0, 1, 0, 0]));
    cases.attempts("few", u32s([1]));
    cases.attempts("many", u32s([1, 1, 1]));
    cases.attempts("zero", u32s([1, 0]));
    cases.0
}

fn counts(cases: &mut Cases) {
    cases.add("B1", "zero", PLAIN, v1::Batch { count: 0, payload: None, uid: Bytes::new(), ..good() });
    cases.add("B1", "zero-with-columns", PLAIN, v1::Batch { count: 0, ..good() });
    let many = v1::Batch { count: 65_537, payload: None, uid: vec![1; 65_537 * 16].into(), ..good() };
    cases.add("B1", "many", LARGE_BATCH, many);
    cases.add("B1", "largest-number", LARGE_BATCH, v1::Batch { count: u32::MAX, ..good() });
    cases.add("B1", "overflow", LARGE_BATCH, v1::Batch { count: 1 << 28, payload: None, uid: Bytes::new(), ..good() });
    let work = v1::Work { batch: None, ..v1::Work::default() };
    cases.0.push(Case { name: "b1-no-batch".into(), rule: "B1", work, reasons: PLAIN });
}

fn payloads(cases: &mut Cases) {
    let payload = |payload| v1::Batch { payload: Some(payload), ..good() };
    let ends = |ends: &[u32]| u32s(ends.iter().copied());
    cases.add("B2", "ragged", PLAIN, payload(raw(b"onetwo", Bytes::from_static(&[3, 0, 0, 0, 6, 0, 0]))));
    cases.add("B2", "falling", PLAIN, payload(raw(b"onetwo", ends(&[6, 3]))));
    cases.add("B2", "beyond", PLAIN, payload(raw(b"onetwo", ends(&[3, 7]))));
    cases.add("B2", "beyond-by-far", LARGE_EVENT, payload(raw(b"onetwo", ends(&[3, u32::MAX]))));
    cases.add("B2", "before", PLAIN, payload(raw(b"onetwo", ends(&[3, 5]))));
    cases.add("B2", "middle-beyond", PLAIN, payload(raw(b"onetwo", ends(&[9, 6]))));
    cases.add("B2", "data-without-ends", PLAIN, payload(raw(b"onetwo", Bytes::new())));
    cases.add("B3", "few", PLAIN, payload(raw(b"one", ends(&[3]))));
    cases.add("B3", "many", PLAIN, payload(raw(b"onetwo", ends(&[3, 6, 6]))));
    cases.add("B3", "empty", PLAIN, payload(Values::default()));
    let large = vec![b'x'; (16 << 20) + 1];
    cases.add("B3", "large-value", LARGE_EVENT, v1::Batch { payload: Some(values([&large[..], b""])), ..good() });
}

/// A good batch but for this column.
type WithColumn = fn(Strings) -> v1::Batch;

fn strings(cases: &mut Cases) {
    let columns: [(&str, WithColumn); 8] = [
        ("content-type", |column| v1::Batch { content_type: Some(column), ..good() }),
        ("id", |column| v1::Batch { id: Some(column), ..good() }),
        ("source", |column| v1::Batch { source: Some(column), ..good() }),
        ("type", |column| v1::Batch { r#type: Some(column), ..good() }),
        ("subject", |column| v1::Batch { subject: Some(column), ..good() }),
        ("key", |column| v1::Batch { key: Some(column), ..good() }),
        ("data-schema", |column| v1::Batch { data_schema: Some(column), ..good() }),
        ("from", |column| v1::Batch { from: Some(column), ..good() }),
    ];
    for (name, with) in columns {
        let mut add = |how: &str, reasons, column| cases.add("B4", &format!("{name}-{how}"), reasons, with(column));
        add("many-values", PLAIN, text(b"abc", &[1, 2, 3], &[]));
        add("index-ragged", PLAIN, Strings { index: Bytes::from_static(&[0, 0, 0, 0, 0]), ..text(b"a", &[1], &[]) });
        add("index-few", PLAIN, text(b"a", &[1], &[0]));
        add("index-many", PLAIN, text(b"a", &[1], &[0, 0, 0]));
        add("index-beyond", PLAIN, text(b"a", &[1], &[0, 1]));
        add("index-of-no-values", PLAIN, text(b"", &[], &[0, ABSENT]));
        add("no-utf8", PLAIN, text(b"a\xff", &[2], &[]));
        add("character-cut", PLAIN, text("a\u{e9}".as_bytes(), &[2, 3], &[]));
        add("no-utf8-unnamed", PLAIN, text(b"a\xff", &[1, 2], &[0, 0]));
        add("ends-falling", PLAIN, text(b"ab", &[2, 1], &[]));
        add("ends-beyond", PLAIN, text(b"ab", &[1, 3], &[]));
        add(
            "ends-ragged",
            PLAIN,
            Strings { values: Some(raw(b"ab", Bytes::from_static(&[2, 0, 0]))), index: Bytes::new() },
        );
        let limit = if name == "key" { 1 << 10 } else { 64 << 10 };
        let long = "x".repeat(limit + 1);
        add("long", LARGE_TEXT, Strings { values: Some(values([&long])), index: Bytes::new() });
        add("long-unnamed", LARGE_TEXT, Strings { values: Some(values(["a", &long])), index: u32s([0, 0]) });
    }
}

fn fixed(cases: &mut Cases) {
    let uid = |uid: Vec<u8>| v1::Batch { uid: uid.into(), ..good() };
    let time = |time: Vec<u8>| v1::Batch { time: time.into(), ..good() };
    cases.add("B5", "uid-missing", PLAIN, uid(vec![]));
    cases.add("B5", "uid-few", PLAIN, uid(vec![1; 16]));
    cases.add("B5", "uid-many", PLAIN, uid(vec![1; 48]));
    cases.add("B5", "uid-ragged", PLAIN, uid(vec![1; 31]));
    cases.add("B5", "time-few", PLAIN, time(vec![1; 8]));
    cases.add("B5", "time-many", PLAIN, time(vec![1; 24]));
    cases.add("B5", "time-ragged", PLAIN, time(vec![1; 15]));
}

fn extensions(cases: &mut Cases) {
    const STRING: i32 = ExtensionType::String as i32;
    let with = |extensions| v1::Batch { extensions, ..good() };
    let two: &[&[u8]] = &[b"a", b"b"];
    for (how, name) in
        [("name-empty", ""), ("name-upper", "Part"), ("name-underscore", "a_b"), ("name-other", "\u{e9}")]
    {
        cases.add("B6", how, PLAIN, with(vec![extension(name, STRING, two, &[])]));
    }
    cases.add("B6", "name-long", PLAIN, with(vec![extension(&"n".repeat(65), STRING, two, &[])]));
    cases.add("B6", "type-unspecified", PLAIN, with(vec![extension("part", 0, two, &[])]));
    cases.add("B6", "type-unspecified-bare", PLAIN, with(vec![extension("part", 0, &[], &[])]));
    cases.add("B6", "type-unknown", PLAIN, with(vec![extension("part", 99, two, &[])]));
    let many = (0..65).map(|n| extension(&format!("name{n}"), STRING, two, &[])).collect();
    cases.add("B6", "many", MANY_EXTENSIONS, with(many));
    let long = "v".repeat((64 << 10) + 1);
    cases.add("B6", "long", LARGE_TEXT, with(vec![extension("part", STRING, &[b"a", long.as_bytes()], &[])]));
    use ExtensionType::{Boolean, Integer, Timestamp, Uri, UriReference};
    let kinds: [(&str, ExtensionType, &[u8]); 9] = [
        ("boolean-two", Boolean, &[2]),
        ("boolean-empty", Boolean, &[]),
        ("boolean-long", Boolean, &[0, 0]),
        ("integer-short", Integer, &[0; 3]),
        ("integer-long", Integer, &[0; 8]),
        ("timestamp-short", Timestamp, &[0; 4]),
        ("timestamp-long", Timestamp, &[0; 9]),
        ("uri-no-utf8", Uri, b"a\xff"),
        ("uri-reference-no-utf8", UriReference, b"\xfe"),
    ];
    for (how, kind, value) in kinds {
        cases.add("B6", how, PLAIN, with(vec![extension("part", kind.into(), &[value], &[1])]));
    }
    cases.add("B6", "string-no-utf8", PLAIN, with(vec![extension("part", STRING, &[b"\xff"], &[0])]));
    cases.add("B6", "string-character-cut", PLAIN, with(vec![extension("part", STRING, &[b"\xc3", b"\xa9"], &[])]));
    let twice = |first: &[u32], second: &[u32], kind| {
        let column = |kind, rows: &[u32]| extension("part", kind, &vec![&[0, 0, 0, 0][..]; rows.len()], rows);
        with(vec![column(STRING, first), column(kind, second)])
    };
    cases.add("B6", "name-twice", PLAIN, twice(&[0, 1], &[1], Integer.into()));
    cases.add("B6", "name-twice-one-type", PLAIN, twice(&[0], &[0], STRING));
    cases.add("B7", "values-few", PLAIN, with(vec![extension("part", STRING, &[b"a"], &[])]));
    cases.add("B7", "values-many", PLAIN, with(vec![extension("part", STRING, &[b"a", b"b", b"c"], &[])]));
    cases.add("B7", "values-fewer-than-rows", PLAIN, with(vec![extension("part", STRING, &[b"a"], &[0, 1])]));
    cases.add("B7", "values-more-than-rows", PLAIN, with(vec![extension("part", STRING, two, &[1])]));
    cases.add("B7", "row-beyond", PLAIN, with(vec![extension("part", STRING, two, &[0, 2])]));
    cases.add("B7", "row-twice", PLAIN, with(vec![extension("part", STRING, two, &[1, 1])]));
    cases.add("B7", "rows-falling", PLAIN, with(vec![extension("part", STRING, two, &[1, 0])]));
    let ragged = v1::Extension { index: Bytes::from_static(&[0, 0, 0, 0, 1]), ..extension("part", STRING, two, &[]) };
    cases.add("B7", "index-ragged", PLAIN, with(vec![ragged]));
    let ends = v1::Extension { values: Some(raw(b"ab", u32s([2, 1]))), ..extension("part", STRING, two, &[]) };
    cases.add("B2", "extension-falling", PLAIN, with(vec![ends]));
}

fn spans(cases: &mut Cases) {
    let with = |spans| v1::Batch { spans, ..good() };
    cases.add("B8", "row-beyond", PLAIN, with(vec![span(2, 16, 8)]));
    cases.add("B8", "row-twice", PLAIN, with(vec![span(1, 16, 8), span(1, 16, 8)]));
    cases.add("B8", "rows-falling", PLAIN, with(vec![span(1, 16, 8), span(0, 16, 8)]));
    cases.add("B8", "trace-id-short", PLAIN, with(vec![span(0, 15, 8)]));
    cases.add("B8", "trace-id-empty", PLAIN, with(vec![span(0, 0, 8)]));
    cases.add("B8", "span-id-long", PLAIN, with(vec![span(0, 16, 9)]));
    cases.add("B8", "span-id-empty", PLAIN, with(vec![span(0, 16, 0)]));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_column_rule_is_broken_in_ways_of_distinct_names() {
        let names: std::collections::BTreeSet<_> = cases().into_iter().map(|case| case.name).collect();
        assert_eq!(names.len(), cases().len());
        for rule in 1..=9 {
            assert!(names.iter().any(|name| name.starts_with(&format!("b{rule}-"))), "B{rule}");
        }
    }
}
