//! A naive batch, row by row, that the real one must equal.

use std::collections::BTreeMap;

use proptest::{collection::vec, option, prelude::*};

use crate::{
    batch::{Attribute, Batch, BatchBuilder, Event, ExtensionType, ExtensionValue, SpanContext},
    ids::Uid,
};

#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Row {
    pub(crate) payload: Vec<u8>,
    pub(crate) attributes: [Option<String>; 8],
    pub(crate) time_ns: Option<i64>,
    pub(crate) uid: Uid,
    pub(crate) extensions: BTreeMap<String, Value>,
    pub(crate) span: Option<SpanContext>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Boolean(bool),
    Integer(i32),
    String(String),
    Binary(Vec<u8>),
    Timestamp(i64),
}

impl Value {
    pub(crate) fn borrow(&self) -> ExtensionValue<'_> {
        match self {
            Self::Boolean(value) => ExtensionValue::Boolean(*value),
            Self::Integer(value) => ExtensionValue::Integer(*value),
            Self::String(value) => ExtensionValue::String(value),
            Self::Binary(value) => ExtensionValue::Binary(value),
            Self::Timestamp(value) => ExtensionValue::Timestamp(*value),
        }
    }

    fn from(value: ExtensionValue<'_>) -> Self {
        match value {
            ExtensionValue::Boolean(value) => Self::Boolean(value),
            ExtensionValue::Integer(value) => Self::Integer(value),
            ExtensionValue::Binary(value) => Self::Binary(value.to_vec()),
            ExtensionValue::Timestamp(value) => Self::Timestamp(value),
            ExtensionValue::String(text) => {
                assert_eq!(value.kind(), ExtensionType::String);
                Self::String(text.to_owned())
            }
            other => panic!("the model makes no {other:?}"),
        }
    }
}

pub(crate) fn build(rows: &[Row]) -> Batch {
    let mut builder = BatchBuilder::new();
    for row in rows {
        let extensions: Vec<_> = row.extensions.iter().map(|(name, value)| (name.as_str(), value.borrow())).collect();
        let attribute = |attribute: Attribute| row.attributes[attribute as usize].as_deref();
        let event = Event {
            payload: &row.payload,
            content_type: attribute(Attribute::ContentType),
            id: attribute(Attribute::Id),
            source: attribute(Attribute::Source),
            type_: attribute(Attribute::Type),
            subject: attribute(Attribute::Subject),
            key: attribute(Attribute::Key),
            data_schema: attribute(Attribute::DataSchema),
            from: attribute(Attribute::From),
            time_ns: row.time_ns,
            extensions: &extensions,
            span: row.span.as_ref(),
            uid: (!row.uid.is_nil()).then_some(row.uid),
        };
        builder.push(event).unwrap();
    }
    let bytes = builder.bytes();
    let batch = builder.finish();
    assert_eq!(batch.bytes(), bytes, "builder and batch count alike");
    batch
}

/// Reads every cell through every accessor.
pub(crate) fn read(batch: &Batch) -> Vec<Row> {
    let mut rows: Vec<_> = (0..batch.len())
        .map(|row| {
            assert_eq!(batch.payload(row), batch.payload_bytes(row));
            Row {
                payload: batch.payload(row).to_vec(),
                attributes: Attribute::ALL.map(|attribute| batch.attribute(attribute, row).map(str::to_owned)),
                time_ns: batch.time_ns(row),
                uid: batch.uid(row),
                extensions: batch.extensions(row).map(|(name, value)| (name.to_owned(), Value::from(value))).collect(),
                span: batch.span(row).cloned(),
            }
        })
        .collect();
    let spans: Vec<_> = batch.spans().map(|(row, span)| (row, span.clone())).collect();
    let expected = rows.iter_mut().enumerate().filter_map(|(row, model)| Some((row, model.span.clone()?)));
    assert_eq!(spans, expected.collect::<Vec<_>>());
    assert_eq!(batch.has_spans(), !spans.is_empty());
    rows
}

pub(crate) fn check(batch: &Batch, model: &[Row]) {
    assert_eq!(read(batch), model);
    assert_eq!(batch.bytes(), (0..batch.len()).map(|row| batch.bytes_of(row)).sum::<usize>());
    assert_eq!(batch.payload_size(), model.iter().map(|row| row.payload.len()).sum::<usize>());
}

/// Few distinct values, so that sharing and neighbours occur.
fn text() -> impl Strategy<Value = Option<String>> {
    option::of(prop_oneof![Just("a"), Just("bé"), Just("ccc")].prop_map(str::to_owned))
}

pub(crate) fn value() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<bool>().prop_map(Value::Boolean),
        any::<i32>().prop_map(Value::Integer),
        "[a-c]{0,3}".prop_map(Value::String),
        vec(any::<u8>(), 0..4).prop_map(Value::Binary),
        any::<i64>().prop_map(Value::Timestamp),
    ]
}

pub(crate) fn extension_name() -> impl Strategy<Value = String> {
    prop_oneof![Just("one"), Just("two"), Just("three")].prop_map(str::to_owned)
}

fn span() -> impl Strategy<Value = SpanContext> {
    (1u8.., option::of(Just("k=v"))).prop_map(|(id, state)| SpanContext {
        trace_id: [id; 16],
        span_id: [id; 8],
        flags: 1,
        trace_state: state.map(Into::into),
    })
}

/// `columns`: which attributes any row may have; absent columns are as common as full ones.
fn row(columns: [bool; 8], sampled: bool) -> impl Strategy<Value = Row> {
    let attributes = std::array::from_fn::<_, 8, _>(|_| text());
    let extensions = proptest::collection::btree_map(extension_name(), value(), 0..2);
    let span = if sampled { option::weighted(0.3, span()).boxed() } else { Just(None).boxed() };
    (vec(any::<u8>(), 0..6), attributes, option::of(-3..3i64), any::<[u8; 16]>(), extensions, span).prop_map(
        move |(payload, attributes, time_ns, uid, extensions, span)| Row {
            payload,
            attributes: std::array::from_fn(|at| attributes[at].clone().filter(|_| columns[at])),
            time_ns,
            uid: Uid::from_bytes(uid),
            extensions,
            span,
        },
    )
}

pub(crate) fn rows(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<Row>> {
    (any::<[bool; 8]>(), any::<bool>())
        .prop_flat_map(move |(columns, sampled)| vec(row(columns, sampled), count.clone()))
}
