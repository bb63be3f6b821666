//! Events to bytes.

use meshloom_core::{batch::Batch, exchange::Failure};

use super::{check_json, cloudevents, compact};
use crate::calls::reject;

/// How events are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Encoder {
    /// The payload, which must be JSON, in one line.
    Ndjson,
    /// The payload as it is, in one line; it must not hold a newline.
    Text,
    /// One array of the payloads, which must be JSON.
    JsonArray,
    /// Each event in CloudEvents' JSON format, in one line.
    CloudEvents,
    /// One array of events in CloudEvents' JSON format: its batch format.
    CloudEventsArray,
}

/// Why an event cannot be written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Unwritable {
    /// Reason of the rejection.
    pub reason: &'static str,
    /// What is wrong, and what to do.
    pub message: String,
}

impl Encoder {
    /// Whether an event can be written.
    ///
    /// # Errors
    /// `NOT_JSON`, `RAW_NEWLINE`.
    pub fn check(self, batch: &Batch, row: usize) -> Result<(), Unwritable> {
        match self {
            Self::Ndjson | Self::JsonArray => check_json(batch.payload(row)).map_err(|error| Unwritable {
                reason: "NOT_JSON",
                message: format!(
                    "the payload is not JSON: {error}; write other payloads as text, or in an envelope of CloudEvents"
                ),
            }),
            Self::Text if memchr::memchr(b'\n', batch.payload(row)).is_some() => Err(Unwritable {
                reason: "RAW_NEWLINE",
                message: "the payload holds a newline and would be more than one line; \
                          write JSON compact, or choose a format or mode that is not made of lines"
                    .into(),
            }),
            Self::Text | Self::CloudEvents | Self::CloudEventsArray => Ok(()),
        }
    }

    /// The events that can be written, and the rejections of the others by their index in the batch.
    pub fn split(self, batch: &Batch) -> (Batch, Vec<Failure>) {
        let mut rejected = Vec::new();
        let mut rows = Vec::new();
        for row in 0..batch.len() {
            match self.check(batch, row) {
                Ok(()) => rows.extend(u32::try_from(row)),
                Err(unwritable) => rejected.push(reject(row, unwritable.reason, unwritable.message)),
            }
        }
        (if rejected.is_empty() { batch.clone() } else { batch.select(&rows) }, rejected)
    }

    fn is_array(self) -> bool {
        matches!(self, Self::JsonArray | Self::CloudEventsArray)
    }

    /// Writes what stands before the first event.
    pub fn begin(self, out: &mut Vec<u8>) {
        if self.is_array() {
            out.push(b'[');
        }
    }

    /// Writes an event that [`Encoder::check`] has passed.
    pub fn write(self, batch: &Batch, row: usize, first: bool, out: &mut Vec<u8>) {
        if self.is_array() {
            out.extend_from_slice(if first { b"\n" } else { b",\n" });
        }
        let payload = batch.payload(row);
        match self {
            Self::CloudEvents | Self::CloudEventsArray => cloudevents::write(batch, row, out),
            Self::Ndjson | Self::JsonArray if memchr::memchr2(b'\n', b'\r', payload).is_some() => compact(payload, out),
            Self::Ndjson | Self::JsonArray | Self::Text => out.extend_from_slice(payload),
        }
        if !self.is_array() {
            out.push(b'\n');
        }
    }

    /// Writes what stands behind the last event.
    pub fn end(self, out: &mut Vec<u8>) {
        if self.is_array() {
            out.extend_from_slice(b"\n]\n");
        }
    }
}

#[cfg(test)]
mod tests {
    use meshloom_core::batch::{BatchBuilder, Event};

    use super::*;

    fn batch(payloads: &[&str]) -> Batch {
        let mut builder = BatchBuilder::new();
        for payload in payloads {
            builder.push(Event { payload: payload.as_bytes(), id: Some("i"), ..Event::default() }).unwrap();
        }
        builder.finish()
    }

    fn encode(encoder: Encoder, batch: &Batch) -> String {
        let mut out = Vec::new();
        encoder.begin(&mut out);
        for row in 0..batch.len() {
            encoder.write(batch, row, row == 0, &mut out);
        }
        encoder.end(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn pretty_printed_json_becomes_one_line() {
        let events = batch(&["{\n  \"a\": \"x y\"\n}", "1.50"]);
        assert_eq!(encode(Encoder::Ndjson, &events), "{\"a\":\"x y\"}\n1.50\n");
        assert_eq!(encode(Encoder::JsonArray, &events), "[\n{\"a\":\"x y\"},\n1.50\n]\n");
        assert_eq!(encode(Encoder::JsonArray, &batch(&[])), "[\n]\n");
    }

    #[test]
    fn what_cannot_be_written_is_rejected_by_its_index() {
        let (rest, rejected) = Encoder::Ndjson.split(&batch(&["1", "no json", "2"]));
        assert_eq!(encode(Encoder::Ndjson, &rest), "1\n2\n");
        assert_eq!((rejected.len(), rejected[0].index, &*rejected[0].reason), (1, Some(1), "NOT_JSON"));
        let (rest, rejected) = Encoder::Text.split(&batch(&["a\nb", "c"]));
        assert_eq!(encode(Encoder::Text, &rest), "c\n");
        assert_eq!((rejected[0].index, &*rejected[0].reason), (Some(0), "RAW_NEWLINE"));
        assert!(Encoder::CloudEvents.split(&batch(&["a\nb", "no json"])).1.is_empty());
    }
}
