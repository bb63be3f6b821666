//! Every rule that a batch can break.

use bytes::Bytes;
use meshloom_proto::v1::{self, ExtensionType};

use super::{Batch, ExtensionValue, limits};

fn values(each: &[&[u8]]) -> v1::Values {
    let mut end = 0u32;
    let ends: Vec<u8> = each
        .iter()
        .flat_map(|value| {
            end += value.len() as u32;
            end.to_le_bytes()
        })
        .collect();
    v1::Values { data: each.concat().into(), ends: ends.into() }
}

fn strings(each: &[&str], index: &[u32]) -> v1::Strings {
    let each: Vec<&[u8]> = each.iter().map(|text| text.as_bytes()).collect();
    v1::Strings { values: Some(values(&each)), index: indexes(index) }
}

fn indexes(index: &[u32]) -> Bytes {
    index.iter().flat_map(|at| at.to_le_bytes()).collect()
}

fn batch(count: u32) -> v1::Batch {
    v1::Batch {
        count,
        payload: Some(values(&vec![&b"p"[..]; count as usize])),
        uid: vec![7; 16 * count as usize].into(),
        ..v1::Batch::default()
    }
}

fn extension(name: &str, kind: ExtensionType, each: &[&[u8]], index: &[u32]) -> v1::Extension {
    v1::Extension { name: name.to_owned(), r#type: kind.into(), values: Some(values(each)), index: indexes(index) }
}

fn refused(change: impl FnOnce(&mut v1::Batch)) -> (&'static str, String) {
    let mut wire = batch(2);
    change(&mut wire);
    let malformed = Batch::decode(wire).expect_err("malformed");
    (malformed.reason, malformed.message)
}

fn assert_malformed(change: impl FnOnce(&mut v1::Batch), message: &str) {
    let (reason, told) = refused(change);
    assert_eq!(reason, "BATCH_MALFORMED", "{told}");
    assert!(told.contains(message), "{told}");
}

#[test]
fn a_full_batch_is_read_back() {
    let mut wire = batch(3);
    wire.payload = Some(values(&[b"a", b"", b"ccc"]));
    wire.time = [1i64, i64::MIN, -5].iter().flat_map(|time| time.to_le_bytes()).collect();
    wire.content_type = Some(strings(&["text/plain"], &[]));
    wire.id = Some(strings(&["i0", "i1", "i2"], &[]));
    wire.key = Some(strings(&["k"], &[0, u32::MAX, 0]));
    wire.extensions = vec![
        extension("site", ExtensionType::String, &[b"north"], &[1]),
        extension("site", ExtensionType::Integer, &[&7i32.to_le_bytes()], &[2]),
        extension("flag", ExtensionType::Boolean, &[&[1], &[0], &[1]], &[]),
    ];
    wire.spans = vec![v1::SpanContext {
        index: 1,
        trace_id: vec![1; 16].into(),
        span_id: vec![2; 8].into(),
        flags: 1,
        trace_state: String::new(),
    }];
    let batch = Batch::decode(wire).expect("well formed");
    assert_eq!(batch.payloads().collect::<Vec<_>>(), [&b"a"[..], b"", b"ccc"]);
    assert_eq!([0, 1, 2].map(|row| batch.time_ns(row)), [Some(1), None, Some(-5)]);
    assert_eq!([0, 1, 2].map(|row| batch.key(row)), [Some("k"), None, Some("k")]);
    assert_eq!([0, 2].map(|row| batch.id(row)), [Some("i0"), Some("i2")]);
    assert_eq!(batch.content_type(2), Some("text/plain"));
    assert_eq!(batch.subject(0), None);
    assert_eq!(batch.extension(0, "site"), None);
    assert_eq!(batch.extension(1, "site"), Some(ExtensionValue::from("north")));
    assert_eq!(batch.extension(2, "site"), Some(ExtensionValue::Integer(7)));
    assert_eq!(batch.extensions(1).count(), 2);
    assert_eq!(batch.spans().len(), 1);
}

#[test]
fn counts_and_sizes_are_bounded() {
    assert_malformed(|wire| wire.count = 0, "at least one event");
    let (reason, _) = refused(|wire| wire.count = limits::MAX_BATCH_EVENTS as u32 + 1);
    assert_eq!(reason, "BATCH_TOO_LARGE");
    let (reason, message) = refused(|wire| wire.payload = Some(values(&[b"", &vec![0; limits::MAX_EVENT_BYTES + 1]])));
    assert_eq!((reason, message.contains("value 1")), ("EVENT_TOO_LARGE", true));
    let mut three = batch(3);
    three.payload = Some(values(&[&vec![0; limits::MAX_EVENT_BYTES], &vec![0; limits::MAX_EVENT_BYTES], b""]));
    assert_eq!(Batch::decode(three).expect_err("33 MiB").reason, "BATCH_TOO_LARGE");
    let (reason, _) =
        refused(|wire| wire.subject = Some(strings(&[&"s".repeat(limits::MAX_ATTRIBUTE_BYTES + 1)], &[])));
    assert_eq!(reason, "ATTRIBUTE_TOO_LARGE");
    let (reason, _) = refused(|wire| wire.key = Some(strings(&[&"k".repeat(limits::MAX_KEY_BYTES + 1)], &[])));
    assert_eq!(reason, "ATTRIBUTE_TOO_LARGE");
    let (reason, _) = refused(|wire| {
        wire.extensions = (0..=limits::MAX_EXTENSIONS)
            .map(|at| extension(&format!("e{at}"), ExtensionType::String, &[b"x"], &[0]))
            .collect();
    });
    assert_eq!(reason, "TOO_MANY_EXTENSIONS");
    let mut largest = batch(1);
    largest.key = Some(strings(&[&"k".repeat(limits::MAX_KEY_BYTES)], &[]));
    largest.payload = Some(values(&[&vec![0; limits::MAX_EVENT_BYTES]]));
    assert!(Batch::decode(largest).is_ok());
}

#[test]
fn ends_never_fall_and_stay_within_the_data() {
    let ends = |ends: &[u32], data: &'static [u8]| v1::Values { data: data.into(), ends: indexes(ends) };
    assert_malformed(|wire| wire.payload = Some(ends(&[2, 1], b"ab")), "value 1 ends at 1");
    assert_malformed(|wire| wire.payload = Some(ends(&[1, 9], b"ab")), "value 1 ends at 9");
    assert_malformed(|wire| wire.payload = Some(ends(&[0, 1], b"ab")), "1 bytes of `data` belong to no value");
    assert_malformed(
        |wire| wire.payload = Some(v1::Values { data: Bytes::new(), ends: vec![0; 7].into() }),
        "no multiple of 4",
    );
}

#[test]
fn columns_are_as_long_as_the_batch() {
    assert_malformed(|wire| wire.payload = Some(values(&[b"a"])), "`payload` has 1 values for 2");
    assert_malformed(|wire| wire.uid = vec![0; 31].into(), "`uid` has 31 bytes");
    assert_malformed(|wire| wire.time = vec![0; 15].into(), "`time` has 15 bytes");
    assert_malformed(|wire| wire.subject = Some(strings(&["a", "b", "c"], &[])), "3 values without an index");
    assert_malformed(|wire| wire.subject = Some(strings(&["a"], &[0])), "`index` has 4 bytes");
    assert_malformed(|wire| wire.subject = Some(strings(&["a"], &[0, 1])), "points at value 1 of 1");
}

#[test]
fn strings_are_utf8() {
    let latin = v1::Strings { values: Some(values(&[b"\xe9"])), index: Bytes::new() };
    assert_malformed(|wire| wire.source = Some(latin), "column `source`: value 0 is not UTF-8");
    // Two values that are UTF-8 only together are not.
    let split = v1::Strings { values: Some(values(&[b"\xc3", b"\xa9"])), index: Bytes::new() };
    assert_malformed(|wire| wire.id = Some(split), "not UTF-8");
}

#[test]
fn extensions_are_typed_and_given_once() {
    let with = |extensions: Vec<v1::Extension>| move |wire: &mut v1::Batch| wire.extensions = extensions;
    assert_malformed(with(vec![extension("Site", ExtensionType::String, &[b"x", b"y"], &[])]), "[a-z0-9]");
    assert_malformed(with(vec![extension("", ExtensionType::String, &[b"x", b"y"], &[])]), "[a-z0-9]");
    assert_malformed(with(vec![extension("site", ExtensionType::Unspecified, &[], &[])]), "no known type");
    assert_malformed(
        with(vec![v1::Extension { r#type: 99, ..extension("site", ExtensionType::String, &[], &[]) }]),
        "no known type",
    );
    assert_malformed(with(vec![extension("site", ExtensionType::String, &[b"x"], &[])]), "1 values for 2 events");
    assert_malformed(with(vec![extension("site", ExtensionType::String, &[b"x", b"y"], &[1, 1])]), "must ascend");
    assert_malformed(with(vec![extension("site", ExtensionType::String, &[b"x"], &[2])]), "stay below 2");
    assert_malformed(with(vec![extension("site", ExtensionType::String, &[b"\xff"], &[0])]), "not UTF-8");
    assert_malformed(with(vec![extension("flag", ExtensionType::Boolean, &[&[2]], &[0])]), "does not encode its type");
    assert_malformed(
        with(vec![extension("flag", ExtensionType::Integer, &[&[1, 2]], &[0])]),
        "does not encode its type",
    );
    assert_malformed(
        with(vec![extension("at", ExtensionType::Timestamp, &[&[1; 4]], &[0])]),
        "does not encode its type",
    );
    let twice = vec![
        extension("site", ExtensionType::String, &[b"x"], &[1]),
        extension("site", ExtensionType::Binary, &[b"x"], &[1]),
    ];
    assert_malformed(with(twice), "twice for one event");
}

#[test]
fn spans_are_in_order_and_a_bad_context_is_left_out() {
    let span = |index: u32, trace: u8| v1::SpanContext {
        index,
        trace_id: vec![trace; 16].into(),
        span_id: vec![1; 8].into(),
        flags: 1,
        trace_state: String::new(),
    };
    assert_malformed(|wire| wire.spans = vec![span(2, 1)], "stay below 2");
    assert_malformed(|wire| wire.spans = vec![span(1, 1), span(0, 1)], "must ascend");
    assert_malformed(|wire| wire.spans = vec![span(1, 1), span(1, 1)], "must ascend");
    let mut wire = batch(2);
    let short = v1::SpanContext { trace_id: vec![1; 15].into(), ..span(1, 1) };
    wire.spans = vec![span(0, 0)];
    assert!(Batch::decode(wire).expect("work never fails for it").spans().is_empty());
    assert_malformed(move |wire| wire.spans = vec![short.clone()], "they have 16 and 8");
}
