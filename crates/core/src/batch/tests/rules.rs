use bytes::Bytes;
use proptest::{collection::vec, prelude::*, sample::Index};

use super::model;
use crate::{
    batch::{Batch, Columns, Extension, ExtensionType, Malformed, Rule, SpanContext, Strings, Values},
    limits,
};

fn u32s(numbers: &[u32]) -> Bytes {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect::<Vec<_>>().into()
}

fn values(data: &'static [u8], ends: &[u32]) -> Values {
    Values { data: Bytes::from_static(data), ends: u32s(ends) }
}

fn strings(data: &'static [u8], ends: &[u32], index: &[u32]) -> Option<Strings> {
    Some(Strings { values: values(data, ends), index: u32s(index) })
}

fn extension(kind: ExtensionType, values: Values, index: &[u32]) -> Extension {
    Extension { name: "ext".into(), kind, values, index: u32s(index) }
}

/// Two events.
fn columns() -> Columns {
    Columns { count: 2, payload: Some(values(b"abcd", &[1, 4])), ..Columns::default() }
}

fn refused(change: impl FnOnce(&mut Columns)) -> (String, Rule) {
    let mut columns = columns();
    change(&mut columns);
    let Malformed { column, rule } = Batch::from_columns(columns).unwrap_err();
    (column.into_owned(), rule)
}

fn is(column: &str, rule: Rule) -> (String, Rule) {
    (column.to_owned(), rule)
}

#[test]
fn count() {
    assert_eq!(refused(|c| c.count = 0), is("count", Rule::Count { count: 0 }));
    assert_eq!(refused(|c| c.count = 65_537), is("count", Rule::Count { count: 65_537 }));
    let most = Columns { count: 65_536, ..Columns::default() };
    assert_eq!(Batch::from_columns(most).unwrap().len(), 65_536);
}

#[test]
fn payload() {
    let with = |payload| refused(|c| c.payload = Some(payload));
    assert_eq!(with(values(b"abcd", &[4])), is("payload", Rule::Length { found: 1, expected: 2 }));
    assert_eq!(with(values(b"abcd", &[4, 1])), is("payload", Rule::EndsFall { value: 1, previous: 4, end: 1 }));
    assert_eq!(with(values(b"abcd", &[1, 5])), is("payload", Rule::EndsData { end: 5, data: 4 }));
    assert_eq!(with(values(b"abcd", &[1, 3])), is("payload", Rule::EndsData { end: 3, data: 4 }));
    let ragged = Values { data: Bytes::new(), ends: Bytes::from_static(&[0; 7]) };
    assert_eq!(with(ragged), is("payload", Rule::Ragged { bytes: 7, size: 4 }));
}

#[test]
fn sizes_of_events_and_batches() {
    let payload = |sizes: &[u32]| {
        let ends: Vec<_> = sizes
            .iter()
            .scan(0, |end, size| {
                *end += size;
                Some(*end)
            })
            .collect();
        Some(Values { data: vec![0; sizes.iter().sum::<u32>() as usize].into(), ends: u32s(&ends) })
    };
    let (limit, most) = (limits::EVENT_BYTES, limits::EVENT_BYTES as u32);
    let event = refused(|c| c.payload = payload(&[0, most + 1]));
    assert_eq!(event, is("payload", Rule::ValueBytes { value: 1, bytes: limit + 1, limit }));
    let batch = refused(|c| c.payload = payload(&[most, most]));
    assert_eq!(batch, is("batch", Rule::BatchBytes { bytes: 2 * limit + 8 }));
    assert!(Batch::from_columns(Columns { payload: payload(&[0, most]), ..columns() }).is_ok());
}

#[test]
fn fixed_columns() {
    assert_eq!(refused(|c| c.uid = vec![0; 31].into()), is("uid", Rule::Ragged { bytes: 31, size: 16 }));
    assert_eq!(refused(|c| c.uid = vec![0; 48].into()), is("uid", Rule::Length { found: 3, expected: 2 }));
    assert_eq!(refused(|c| c.time = vec![0; 8].into()), is("time", Rule::Length { found: 1, expected: 2 }));
}

#[test]
fn string_columns() {
    assert_eq!(
        refused(|c| c.subject = strings(b"ab", &[1, 2], &[0, 2])),
        is("subject", Rule::IndexRange { row: 1, slot: 2, values: 2 })
    );
    assert_eq!(refused(|c| c.id = strings(b"ab", &[1, 2], &[0])), is("id", Rule::Length { found: 1, expected: 2 }));
    assert_eq!(
        refused(|c| c.source = strings(b"abc", &[1, 2, 3], &[])),
        is("source", Rule::Length { found: 3, expected: 2 })
    );
    assert_eq!(refused(|c| c.from = strings(b"a\xff", &[1, 2], &[])), is("from", Rule::Utf8 { value: 1 }));
    // A character cut in two: the data is valid as a whole.
    assert_eq!(refused(|c| c.type_ = strings("é".as_bytes(), &[1, 2], &[])), is("type", Rule::Utf8 { value: 0 }));
    let long = |bytes: usize| {
        Some(Strings {
            values: Values { data: vec![b'a'; bytes].into(), ends: u32s(&[bytes as u32]) },
            index: Bytes::new(),
        })
    };
    assert_eq!(
        refused(|c| c.key = long(1025)),
        is("key", Rule::ValueBytes { value: 0, bytes: 1025, limit: limits::KEY_BYTES })
    );
    assert_eq!(
        refused(|c| c.data_schema = long(65_537)),
        is("data_schema", Rule::ValueBytes { value: 0, bytes: 65_537, limit: limits::ATTRIBUTE_BYTES })
    );
}

#[test]
fn string_forms() {
    let read = |column: Option<Strings>| {
        let batch = Batch::from_columns(Columns { subject: column, ..columns() }).unwrap();
        [batch.subject(0).map(str::to_owned), batch.subject(1).map(str::to_owned)]
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(read(None), [None, None]);
    assert_eq!(read(Some(Strings::default())), [None, None]);
    assert_eq!(read(strings(b"ab", &[2], &[])), [some("ab"), some("ab")]);
    assert_eq!(read(strings(b"ab", &[1, 2], &[])), [some("a"), some("b")]);
    assert_eq!(read(strings(b"ab", &[1, 2], &[1, u32::MAX])), [some("b"), None]);
    assert_eq!(read(strings(b"b", &[0, 1], &[])), [None, some("b")], "an empty value is an absent one");
    assert_eq!(read(strings(b"", &[], &[u32::MAX, u32::MAX])), [None, None]);
}

#[test]
fn extensions() {
    let with = |column: Extension| refused(|c| c.extensions = vec![column]);
    let boolean = |data, ends: &[u32], index: &[u32]| extension(ExtensionType::Boolean, values(data, ends), index);
    let name = "extensions.ext";
    assert_eq!(with(boolean(b"\x01", &[1], &[])), is(name, Rule::Length { found: 1, expected: 2 }));
    assert_eq!(with(boolean(b"\x01\x02", &[1, 2], &[])), is(name, Rule::Boolean { value: 1 }));
    assert_eq!(with(boolean(b"\x01", &[1], &[2])), is(name, Rule::RowRange { entry: 0, row: 2, count: 2 }));
    assert_eq!(with(boolean(b"\x01\x01", &[1, 2], &[1, 1])), is(name, Rule::RowOrder { entry: 1, row: 1 }));
    let fixed = |kind, expected| {
        let rule = Rule::Fixed { value: 0, bytes: 3, expected };
        assert_eq!(with(extension(kind, values(b"abc", &[3]), &[0])), is(name, rule));
    };
    fixed(ExtensionType::Integer, 4);
    fixed(ExtensionType::Timestamp, 8);
    for kind in [ExtensionType::String, ExtensionType::Uri, ExtensionType::UriReference] {
        assert_eq!(with(extension(kind, values(b"\xff", &[1]), &[0])), is(name, Rule::Utf8 { value: 0 }));
    }
    let untyped = extension(ExtensionType::Unspecified, Values::default(), &[]);
    assert_eq!(with(untyped), is(name, Rule::ExtensionUntyped));
    let named = Extension { name: "Ext".into(), ..boolean(b"\x01", &[1], &[0]) };
    assert_eq!(with(named), is("extensions.Ext", Rule::ExtensionName { name: "Ext".to_owned() }));
}

#[test]
fn extensions_of_one_name() {
    let boolean = |index| extension(ExtensionType::Boolean, values(b"\x01", &[1]), index);
    let text = |index| extension(ExtensionType::String, values(b"a", &[1]), index);
    let of = |columns: [Extension; 2]| Batch::from_columns(Columns { extensions: columns.into(), ..self::columns() });
    assert!(of([boolean(&[0]), text(&[1])]).is_ok());
    assert_eq!(of([boolean(&[1]), text(&[1])]).unwrap_err().rule, Rule::ExtensionTwice { row: 1 });
    assert_eq!(of([boolean(&[0]), boolean(&[1])]).unwrap_err().rule, Rule::ExtensionColumnTwice);
    let many = |count: usize| {
        let column = |n: usize| Extension { name: format!("e{n}").into(), ..boolean(&[0]) };
        Columns { extensions: (0..count).map(column).collect(), ..columns() }
    };
    assert!(Batch::from_columns(many(64)).is_ok());
    assert_eq!(Batch::from_columns(many(65)).unwrap_err().rule, Rule::Extensions { found: 65 });
}

#[test]
fn spans() {
    let span = |trace: u8, id: u8| SpanContext { trace_id: [trace; 16], span_id: [id; 8], flags: 1, trace_state: None };
    let with = |spans| refused(|c| c.spans = spans).1;
    assert_eq!(with(vec![(2, span(1, 1))]), Rule::RowRange { entry: 0, row: 2, count: 2 });
    assert_eq!(with(vec![(1, span(1, 1)), (1, span(1, 1))]), Rule::RowOrder { entry: 1, row: 1 });
    assert_eq!(with(vec![(1, span(0, 1))]), Rule::SpanZero { row: 1 });
    assert_eq!(with(vec![(1, span(1, 0))]), Rule::SpanZero { row: 1 });
    let state = SpanContext { trace_state: Some("a".repeat(513).into()), ..span(1, 1) };
    assert_eq!(with(vec![(0, state)]), Rule::TraceState { row: 0, bytes: 513 });
    assert_eq!(
        SpanContext::from_parts(3, &[1; 15], &[1; 8], 1, "").unwrap_err().rule,
        Rule::TraceId { row: 3, bytes: 15 }
    );
    assert_eq!(SpanContext::from_parts(3, &[1; 16], &[], 1, "").unwrap_err().rule, Rule::SpanId { row: 3, bytes: 0 });
}

#[test]
fn messages_name_column_rule_and_place() {
    let error = Batch::from_columns(Columns { payload: Some(values(b"abcd", &[4, 1])), ..columns() }).unwrap_err();
    assert_eq!(error.to_string(), "column `payload`: value 1 ends at 1, before the value ahead of it, which ends at 4");
}

/// Changes one byte, or cuts or lengthens a column.
pub(crate) fn corrupt(column: &mut Bytes, at: Index, to: u8) {
    let mut bytes = column.to_vec();
    match (to % 4, bytes.len()) {
        (0, _) => bytes.push(to),
        (_, 0) => {}
        (1, len) => bytes.truncate(at.index(len)),
        (_, len) => bytes[at.index(len)] = to,
    }
    *column = bytes.into();
}

fn byte_columns(columns: &mut Columns) -> Vec<&mut Bytes> {
    let mut found = vec![&mut columns.uid, &mut columns.time];
    if let Some(payload) = &mut columns.payload {
        found.extend([&mut payload.data, &mut payload.ends]);
    }
    let strings = [&mut columns.content_type, &mut columns.id, &mut columns.source, &mut columns.type_];
    let more = [&mut columns.subject, &mut columns.key, &mut columns.data_schema, &mut columns.from];
    for column in strings.into_iter().chain(more).flatten() {
        found.extend([&mut column.values.data, &mut column.values.ends, &mut column.index]);
    }
    for column in &mut columns.extensions {
        found.extend([&mut column.values.data, &mut column.values.ends, &mut column.index]);
    }
    found
}

proptest! {
    #[test]
    fn corruption_is_refused_or_readable_and_never_panics(
        rows in model::rows(1..8),
        count in prop_oneof![4 => Just(None), 1 => any::<u32>().prop_map(Some), 1 => (0..10u32).prop_map(Some)],
        damage in vec((any::<Index>(), any::<Index>(), any::<u8>()), 0..4),
    ) {
        let mut columns = model::build(&rows).to_columns();
        columns.count = count.unwrap_or(columns.count);
        for (column, at, to) in damage {
            let mut columns = byte_columns(&mut columns);
            let column = column.index(columns.len());
            corrupt(columns[column], at, to);
        }
        if let Ok(batch) = Batch::from_columns(columns) {
            let copy = batch.detach();
            prop_assert_eq!(model::read(&batch), model::read(&copy));
        }
    }
}
