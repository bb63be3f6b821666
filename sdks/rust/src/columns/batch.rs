//! A batch as it came: shared columns, validated, read by row.

use std::sync::Arc;

use bytes::Bytes;
use meshloom_proto::v1;
use prost::Message as _;
use uuid::Uuid;

use super::{
    Malformed, NO_TIME,
    extension::{ExtensionColumn, ExtensionValue},
    limits::{
        MAX_ATTRIBUTE_BYTES, MAX_BATCH_BYTES, MAX_BATCH_EVENTS, MAX_EVENT_BYTES, MAX_EXTENSIONS, MAX_KEY_BYTES,
        MAX_TRACE_STATE_BYTES,
    },
    values::{Strings, Values, i64_at},
};
use crate::event::Event;

/// Events in columns, as a batch handler gets them. Cheap to clone; reading never copies and never fails.
///
/// Rows count from 0. Methods that take a row panic when it is not below [`len`](Batch::len), as slices do.
#[derive(Debug, Clone)]
pub struct Batch(Arc<Columns>);

#[derive(Debug)]
struct Columns {
    count: usize,
    payload: Option<Values>,
    content_type: Strings,
    uid: Bytes,
    time: Bytes,
    id: Strings,
    source: Strings,
    kind: Strings,
    subject: Strings,
    key: Strings,
    data_schema: Strings,
    from: Strings,
    extensions: Vec<ExtensionColumn>,
    spans: Vec<SpanRef>,
}

/// Trace context of one sampled event.
#[derive(Debug, Clone)]
pub(crate) struct SpanRef {
    pub(crate) row: u32,
    pub(crate) trace_id: [u8; 16],
    pub(crate) span_id: [u8; 8],
    pub(crate) flags: u8,
    pub(crate) trace_state: String,
}

impl Batch {
    /// Checks everything that the protocol asks of a batch in a work, before anything is allocated for it.
    pub(crate) fn decode(wire: v1::Batch) -> Result<Self, Malformed> {
        let count = wire.count as usize;
        if count == 0 {
            return Err(Malformed::batch("a batch holds at least one event".to_owned()));
        }
        if count > MAX_BATCH_EVENTS {
            return Err(too_large(format!("{count} events; at most {MAX_BATCH_EVENTS} are allowed")));
        }
        let bytes = wire.encoded_len();
        if bytes > MAX_BATCH_BYTES {
            return Err(too_large(format!("{bytes} bytes; at most {MAX_BATCH_BYTES} are allowed")));
        }
        if wire.extensions.len() > MAX_EXTENSIONS {
            return Err(Malformed {
                reason: "TOO_MANY_EXTENSIONS",
                message: format!("{} extension columns; at most {MAX_EXTENSIONS} are allowed", wire.extensions.len()),
            });
        }
        let payload = wire.payload.map(|values| Values::decode(values, "payload", MAX_EVENT_BYTES)).transpose()?;
        if let Some(values) = payload.as_ref().filter(|values| values.len() != count) {
            return Err(Malformed::batch(format!("column `payload` has {} values for {count} events", values.len())));
        }
        if wire.uid.len() != count * 16 {
            return Err(Malformed::batch(format!(
                "column `uid` has {} bytes; {count} events need {}",
                wire.uid.len(),
                count * 16
            )));
        }
        if !wire.time.is_empty() && wire.time.len() != count * 8 {
            return Err(Malformed::batch(format!(
                "column `time` has {} bytes; {count} events need {}",
                wire.time.len(),
                count * 8
            )));
        }
        let strings = |column, name, max| Strings::decode(column, count, name, max);
        Ok(Self(Arc::new(Columns {
            count,
            payload,
            content_type: strings(wire.content_type, "content_type", MAX_ATTRIBUTE_BYTES)?,
            uid: wire.uid,
            time: wire.time,
            id: strings(wire.id, "id", MAX_ATTRIBUTE_BYTES)?,
            source: strings(wire.source, "source", MAX_ATTRIBUTE_BYTES)?,
            kind: strings(wire.r#type, "type", MAX_ATTRIBUTE_BYTES)?,
            subject: strings(wire.subject, "subject", MAX_ATTRIBUTE_BYTES)?,
            key: strings(wire.key, "key", MAX_KEY_BYTES)?,
            data_schema: strings(wire.data_schema, "data_schema", MAX_ATTRIBUTE_BYTES)?,
            from: strings(wire.from, "from", MAX_ATTRIBUTE_BYTES)?,
            extensions: extensions(wire.extensions, count)?,
            spans: spans(wire.spans, count)?,
        })))
    }

    /// Number of events, at least 1.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.count
    }

    /// Always false: a batch holds at least one event.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.count == 0
    }

    /// One event, as a handler of single events gets it.
    #[must_use]
    pub fn event(&self, row: usize) -> Event {
        assert!(row < self.len(), "row {row} of a batch of {}", self.len());
        Event::new(self.clone(), row)
    }

    /// Every event in order. Each shares the columns.
    pub fn events(&self) -> impl ExactSizeIterator<Item = Event> + '_ {
        (0..self.len()).map(|row| Event::new(self.clone(), row))
    }

    /// The payload of one event.
    #[must_use]
    pub fn payload(&self, row: usize) -> &[u8] {
        assert!(row < self.len(), "row {row} of a batch of {}", self.len());
        self.0.payload.as_ref().map_or(&[], |values| values.get(row))
    }

    /// The payload of one event as a slice that shares the received buffer.
    #[must_use]
    pub fn payload_bytes(&self, row: usize) -> Bytes {
        assert!(row < self.len(), "row {row} of a batch of {}", self.len());
        self.0.payload.as_ref().map_or_else(Bytes::new, |values| values.get_bytes(row))
    }

    /// Every payload in order.
    pub fn payloads(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.len()).map(|row| self.payload(row))
    }

    /// The identity of one event: the idempotency key.
    #[must_use]
    pub fn uid(&self, row: usize) -> Uuid {
        Uuid::from_bytes(self.0.uid[row * 16..row * 16 + 16].try_into().expect("a slice of sixteen bytes"))
    }

    /// The time of occurrence in UTC nanoseconds since the Unix epoch.
    #[must_use]
    pub fn time_ns(&self, row: usize) -> Option<i64> {
        if self.0.time.is_empty() { None } else { Some(i64_at(&self.0.time, row)).filter(|&time| time != NO_TIME) }
    }

    /// Media type of the payload.
    #[must_use]
    pub fn content_type(&self, row: usize) -> Option<&str> {
        self.0.content_type.get(row)
    }

    /// CloudEvents `id`.
    #[must_use]
    pub fn id(&self, row: usize) -> Option<&str> {
        self.0.id.get(row)
    }

    /// CloudEvents `source`.
    #[must_use]
    pub fn source(&self, row: usize) -> Option<&str> {
        self.0.source.get(row)
    }

    /// CloudEvents `type`.
    #[must_use]
    pub fn kind(&self, row: usize) -> Option<&str> {
        self.0.kind.get(row)
    }

    /// CloudEvents `subject`.
    #[must_use]
    pub fn subject(&self, row: usize) -> Option<&str> {
        self.0.subject.get(row)
    }

    /// Ordering key.
    #[must_use]
    pub fn key(&self, row: usize) -> Option<&str> {
        self.0.key.get(row)
    }

    /// CloudEvents `dataschema`.
    #[must_use]
    pub fn data_schema(&self, row: usize) -> Option<&str> {
        self.0.data_schema.get(row)
    }

    /// The upstream as the pipeline file writes it; set when the node has several.
    #[must_use]
    pub fn from(&self, row: usize) -> Option<&str> {
        self.0.from.get(row)
    }

    /// One extension attribute of one event.
    #[must_use]
    pub fn extension(&self, row: usize, name: &str) -> Option<ExtensionValue> {
        self.0.extensions.iter().filter(|column| column.name == name).find_map(|column| column.get(row))
    }

    /// Every extension attribute of one event.
    pub fn extensions(&self, row: usize) -> impl Iterator<Item = (&str, ExtensionValue)> {
        self.0.extensions.iter().filter_map(move |column| column.get(row).map(|value| (column.name.as_str(), value)))
    }

    /// Trace contexts of the sampled events, by ascending row.
    pub(crate) fn spans(&self) -> &[SpanRef] {
        &self.0.spans
    }
}

fn too_large(message: String) -> Malformed {
    Malformed { reason: "BATCH_TOO_LARGE", message }
}

fn extensions(wire: Vec<v1::Extension>, count: usize) -> Result<Vec<ExtensionColumn>, Malformed> {
    let mut columns: Vec<ExtensionColumn> = Vec::with_capacity(wire.len());
    for extension in wire {
        let column = ExtensionColumn::decode(extension, count)?;
        if columns.iter().any(|other| other.name == column.name && other.overlaps(&column, count)) {
            return Err(Malformed::batch(format!("extension `{}` is given twice for one event", column.name)));
        }
        columns.push(column);
    }
    Ok(columns)
}

/// Positions must be right; a context that is no valid W3C one is left out, for it must never fail work.
fn spans(wire: Vec<v1::SpanContext>, count: usize) -> Result<Vec<SpanRef>, Malformed> {
    let mut spans = Vec::with_capacity(wire.len().min(count));
    let mut above = None;
    for span in wire {
        if span.index as usize >= count || above.is_some_and(|last| span.index <= last) {
            return Err(Malformed::batch(format!(
                "column `spans`: indexes must ascend and stay below {count}; found {}",
                span.index
            )));
        }
        above = Some(span.index);
        let (Ok(trace_id), Ok(span_id)) =
            (<[u8; 16]>::try_from(&span.trace_id[..]), <[u8; 8]>::try_from(&span.span_id[..]))
        else {
            return Err(Malformed::batch(format!(
                "column `spans`: the context of event {} has {} and {} bytes of ids; they have 16 and 8",
                span.index,
                span.trace_id.len(),
                span.span_id.len()
            )));
        };
        if trace_id == [0; 16] || span_id == [0; 8] || span.trace_state.len() > MAX_TRACE_STATE_BYTES {
            continue;
        }
        spans.push(SpanRef {
            row: span.index,
            trace_id,
            span_id,
            flags: span.flags as u8,
            trace_state: span.trace_state,
        });
    }
    Ok(spans)
}
