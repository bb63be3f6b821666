//! Traces as a file, for the time after the run.
//!
//! One record per trace, oldest first: four bytes of big-endian length, then an OTLP `ExportTraceServiceRequest`. That is
//! what the OpenTelemetry collector's file exporter writes with `format: proto`, so other tools can read it too.

use std::{collections::VecDeque, sync::Arc};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use thiserror::Error;

use crate::{Trace, TraceStore, proto};

/// Why a file holds no traces.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("record {record} is damaged: {problem}")]
pub struct ArchiveError {
    /// Which record, from 1.
    pub record: usize,
    /// What is wrong with it.
    pub problem: String,
}

/// The newest of `traces` (newest first, as the store lists them) that fit into `max_bytes`.
pub fn encode(traces: &[Trace], max_bytes: usize) -> Vec<u8> {
    let mut records = VecDeque::new();
    let mut left = max_bytes;
    for trace in traces {
        let request = proto::request(&trace.spans, &[]);
        let Some(rest) = left.checked_sub(4 + request.encoded_len()) else { break };
        left = rest;
        records.push_front(request);
    }
    let mut bytes = Vec::with_capacity(max_bytes - left);
    for request in records {
        let Ok(length) = u32::try_from(request.encoded_len()) else { continue };
        bytes.extend_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(&request.encode_to_vec());
    }
    bytes
}

/// A store with the traces of a file, in the order in which they came.
///
/// # Errors
/// The first record that cannot be read.
pub fn decode(mut bytes: &[u8]) -> Result<TraceStore, ArchiveError> {
    let mut store = TraceStore::new(usize::MAX);
    let mut record = 0;
    while !bytes.is_empty() {
        record += 1;
        let damaged = |problem: &str| ArchiveError { record, problem: problem.to_owned() };
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(|| damaged("its length is cut off"))?;
        let length = u32::from_be_bytes(*length) as usize;
        let (request, rest) = rest.split_at_checked(length).ok_or_else(|| damaged("it is cut off"))?;
        let request =
            ExportTraceServiceRequest::decode(request).map_err(|error| damaged(&format!("it is no OTLP ({error})")))?;
        proto::spans(&request).for_each(|span| store.insert(Arc::new(span)));
        bytes = rest;
    }
    Ok(store)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, Service, Span, SpanId, SpanRef, TraceId, names};

    fn store() -> TraceStore {
        let mut store = TraceStore::new(1 << 20);
        for trace in 1..=3 {
            for number in 1..=2 {
                let identity = SpanRef {
                    trace_id: TraceId::from_bytes([trace; 16]).unwrap(),
                    span_id: SpanId::from_bytes([number; 8]).unwrap(),
                };
                let node = ["in", "out"][usize::from(number) - 1];
                let mut span = Span::new(identity, None, Service::of_coordinator("p", node), Kind::Client, "receive");
                span.start = number.into();
                span.set(names::MESSAGE_ID, format!("{trace:02x}").repeat(16));
                store.insert(Arc::new(span));
            }
        }
        store
    }

    fn ids(traces: &[Trace]) -> Vec<u8> {
        traces.iter().map(|trace| trace.id.to_bytes()[0]).collect()
    }

    #[test]
    fn traces_come_back_as_they_were() {
        let traces = store().newest(10);
        let read = decode(&encode(&traces, 1 << 20)).unwrap();
        let again = read.newest(10);
        assert_eq!(ids(&again), [3, 2, 1]);
        assert!(traces.iter().zip(&again).all(|(before, after)| before.spans == after.spans));
        assert_eq!(ids(&read.by_uid([2; 16])), [2]);
        assert!(decode(&[]).unwrap().is_empty());
    }

    #[test]
    fn the_oldest_are_left_out_of_what_is_bounded() {
        let traces = store().newest(10);
        let all = encode(&traces, usize::MAX >> 1).len();
        let bytes = encode(&traces, all - 1);
        assert!(bytes.len() < all);
        assert_eq!(ids(&decode(&bytes).unwrap().newest(10)), [3, 2]);
        assert!(encode(&traces, 10).is_empty());
    }

    #[test]
    fn a_damaged_file_is_told_by_its_record() {
        let bytes = encode(&store().newest(10), 1 << 20);
        for (bytes, says) in [
            (&bytes[..bytes.len() - 1], "record 3 is damaged: it is cut off"),
            (&[0, 0], "record 1 is damaged: its length is cut off"),
            (&[0, 0, 0, 1, 0xff], "record 1 is damaged: it is no OTLP"),
        ] {
            assert!(decode(bytes).unwrap_err().to_string().starts_with(says), "{:?}", decode(bytes));
        }
    }
}
