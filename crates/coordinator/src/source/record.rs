//! What a frame is in the journal: a version, and the events as a batch of the wire with all that admission gave them.

use bytes::Bytes;
use meshloom_core::batch::Batch;
use meshloom_proto::v1;
use meshloom_wire as wire;
use prost::Message as _;

/// Format number, the first byte.
const VERSION: u8 = 1;

/// Bytes that a record may have besides those of its events.
pub(crate) const OVERHEAD_BYTES: u64 = 4 << 10;

/// Why a record cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum RecordError {
    /// A later version wrote it.
    #[error("it was written by a newer version of Meshloom (format {0}, this one reads up to {VERSION})")]
    Newer(u8),
    /// It is not what was written.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

/// The record of these events, in one copy.
pub(crate) fn encode(batch: &Batch) -> Bytes {
    let message = wire::batch::encode(batch);
    let mut bytes = Vec::with_capacity(1 + message.encoded_len());
    bytes.push(VERSION);
    message.encode(&mut bytes).expect("a vector grows as far as needed");
    bytes.into()
}

/// The events of a record, whose columns are slices of it.
pub(crate) fn decode(mut record: Bytes) -> Result<Batch, RecordError> {
    if record.is_empty() {
        return Err(RecordError::Damaged("it is empty".into()));
    }
    match record.split_to(1)[0] {
        VERSION => {}
        0 => return Err(RecordError::Damaged("it has no format".into())),
        newer => return Err(RecordError::Newer(newer)),
    }
    let message = v1::Batch::decode(record).map_err(|error| RecordError::Damaged(error.to_string()))?;
    let batch = wire::batch::decode(message).map_err(|error| RecordError::Damaged(error.to_string()))?;
    if !batch.has_uids() {
        return Err(RecordError::Damaged("its events have no identity".into()));
    }
    Ok(batch)
}

#[cfg(test)]
mod tests {
    use meshloom_core::{
        batch::{BatchBuilder, Event, ExtensionValue, SpanContext},
        ids::Uid,
    };

    use super::*;

    /// Two events with everything that an event can have, and one with nothing but its uid.
    fn events() -> Batch {
        let span = SpanContext { trace_id: [7; 16], span_id: [8; 8], flags: 1, trace_state: Some("a=b".into()) };
        let mut builder = BatchBuilder::new();
        for (byte, id) in [(1, "one"), (2, "two")] {
            let event = Event {
                payload: &[byte; 100],
                content_type: Some("application/json"),
                id: Some(id),
                source: Some("p/source"),
                type_: Some("t"),
                subject: Some("s"),
                key: Some("k"),
                data_schema: Some("d"),
                time_ns: Some(1_700_000_000_000_000_000),
                extensions: &[("level", ExtensionValue::Integer(3)), ("name", ExtensionValue::String("x"))],
                span: (byte == 1).then_some(&span),
                uid: Some(Uid::from_bytes([byte; 16])),
                ..Event::default()
            };
            builder.push(event).unwrap();
        }
        builder.push(Event { uid: Some(Uid::from_bytes([3; 16])), ..Event::default() }).unwrap();
        builder.finish()
    }

    #[test]
    fn events_are_read_back_with_everything_that_they_had() {
        let batch = events();
        let again = decode(encode(&batch)).unwrap();
        assert_eq!(again.to_columns(), batch.to_columns());
        assert_eq!((again.uid(2), again.span(0)), (batch.uid(2), batch.span(0)));
        assert!(encode(&batch).len() as u64 <= batch.bytes() as u64 + OVERHEAD_BYTES);
        // A part of a batch, as a frame that is cut.
        let part = decode(encode(&batch.slice(1..3))).unwrap();
        assert_eq!((part.len(), part.uid(0), part.id(0)), (2, batch.uid(1), Some("two")));
    }

    #[test]
    fn what_is_newer_or_damaged_is_told_apart() {
        let good = encode(&events());
        let with = |at: usize, byte: u8| {
            let mut bytes = good.to_vec();
            bytes[at] = byte;
            decode(bytes.into()).unwrap_err()
        };
        assert_eq!(with(0, 2), RecordError::Newer(2));
        assert!(matches!(with(0, 0), RecordError::Damaged(_)));
        assert!(matches!(with(1, 0xff), RecordError::Damaged(_)));
        assert!(matches!(decode(Bytes::new()), Err(RecordError::Damaged(_))));
        let short = good.slice(..good.len() - 1);
        assert!(matches!(decode(short), Err(RecordError::Damaged(_))));
    }
}
