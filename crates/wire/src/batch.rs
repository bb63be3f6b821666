//! Batches and their columns. Byte columns change hands without a copy.

use meshloom_core::batch::{Batch, Columns, Extension, ExtensionType, Malformed, Rule, SpanContext, Strings, Values};
use meshloom_proto::v1;

use crate::WireError;

/// Reason of a work whose batch breaks a rule of the protocol.
pub const BATCH_MALFORMED: &str = "BATCH_MALFORMED";

/// Validates a batch.
///
/// # Errors
/// [`WireError::Columns`] naming column, rule and place.
pub fn decode(batch: v1::Batch) -> Result<Batch, WireError> {
    columns(batch).and_then(Batch::from_columns).map_err(WireError::columns("batch"))
}

fn columns(batch: v1::Batch) -> Result<Columns, Malformed> {
    let spans = batch.spans.into_iter().map(|span| {
        let context =
            SpanContext::from_parts(span.index, &span.trace_id, &span.span_id, span.flags, &span.trace_state)?;
        Ok((span.index, context))
    });
    Ok(Columns {
        count: batch.count,
        payload: batch.payload.map(values),
        content_type: batch.content_type.map(strings),
        uid: batch.uid,
        time: batch.time,
        id: batch.id.map(strings),
        source: batch.source.map(strings),
        type_: batch.r#type.map(strings),
        subject: batch.subject.map(strings),
        key: batch.key.map(strings),
        data_schema: batch.data_schema.map(strings),
        from: batch.from.map(strings),
        extensions: extensions(batch.extensions)?,
        spans: spans.collect::<Result<_, _>>()?,
    })
}

/// A batch for the wire. Whole columns are shared; the others are gathered here, in one copy.
#[must_use]
pub fn encode(batch: &Batch) -> v1::Batch {
    let columns = batch.to_columns();
    let spans = columns.spans.into_iter().map(|(index, span)| v1::SpanContext {
        index,
        trace_id: span.trace_id.to_vec().into(),
        span_id: span.span_id.to_vec().into(),
        flags: span.flags.into(),
        trace_state: span.trace_state.as_deref().unwrap_or_default().to_owned(),
    });
    v1::Batch {
        count: columns.count,
        payload: columns.payload.map(values_to_wire),
        content_type: columns.content_type.map(strings_to_wire),
        uid: columns.uid,
        time: columns.time,
        id: columns.id.map(strings_to_wire),
        source: columns.source.map(strings_to_wire),
        r#type: columns.type_.map(strings_to_wire),
        subject: columns.subject.map(strings_to_wire),
        key: columns.key.map(strings_to_wire),
        data_schema: columns.data_schema.map(strings_to_wire),
        from: columns.from.map(strings_to_wire),
        extensions: columns.extensions.into_iter().map(extension_to_wire).collect(),
        spans: spans.collect(),
    }
}

pub(crate) fn values(values: v1::Values) -> Values {
    Values { data: values.data, ends: values.ends }
}

pub(crate) fn strings(strings: v1::Strings) -> Strings {
    Strings { values: strings.values.map(values).unwrap_or_default(), index: strings.index }
}

pub(crate) fn extensions(extensions: Vec<v1::Extension>) -> Result<Vec<Extension>, Malformed> {
    let extension = |extension: v1::Extension| {
        let code = extension.r#type;
        let kind = ExtensionType::from_code(code)
            .ok_or_else(|| Malformed { column: "extensions".into(), rule: Rule::ExtensionType { code } })?;
        let values = extension.values.map(values).unwrap_or_default();
        Ok(Extension { name: extension.name.into(), kind, values, index: extension.index })
    };
    extensions.into_iter().map(extension).collect()
}

pub(crate) fn values_to_wire(values: Values) -> v1::Values {
    v1::Values { data: values.data, ends: values.ends }
}

pub(crate) fn strings_to_wire(strings: Strings) -> v1::Strings {
    v1::Strings { values: Some(values_to_wire(strings.values)), index: strings.index }
}

pub(crate) fn extension_to_wire(extension: Extension) -> v1::Extension {
    v1::Extension {
        name: (*extension.name).to_owned(),
        r#type: extension.kind.code(),
        values: Some(values_to_wire(extension.values)),
        index: extension.index,
    }
}
