//! The newest traces, in bounded memory.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use crate::{Span, SpanId, TraceId};

/// Most spans kept of one trace; a fan-out without end must not push out every other trace.
const SPANS_PER_TRACE: usize = 4096;
/// What one more trace costs beside its spans, about.
const TRACE_OVERHEAD: usize = 256;

/// A trace, as far as it has arrived.
#[derive(Debug, Clone)]
pub struct Trace {
    /// Its identity.
    pub id: TraceId,
    /// Its spans by start.
    pub spans: Vec<Arc<Span>>,
    /// Spans that were left out because there were too many.
    pub left_out: u64,
}

/// The newest traces: those into which a span came last.
#[derive(Debug)]
pub struct TraceStore {
    limit: usize,
    bytes: usize,
    traces: HashMap<TraceId, Entry>,
    /// By when the last span arrived. Arrival is the store's own count: a node's clock may be wrong, and a trace from
    /// the future would never leave.
    by_arrival: BTreeMap<u64, TraceId>,
    by_uid: HashMap<[u8; 16], Vec<TraceId>>,
    arrivals: u64,
    evicted: u64,
}

#[derive(Debug)]
struct Entry {
    spans: HashMap<SpanId, Arc<Span>>,
    uids: Vec<[u8; 16]>,
    bytes: usize,
    arrival: u64,
    left_out: u64,
}

impl TraceStore {
    /// A store that keeps about `limit` bytes of spans.
    pub fn new(limit: usize) -> Self {
        Self {
            limit,
            bytes: 0,
            traces: HashMap::new(),
            by_arrival: BTreeMap::new(),
            by_uid: HashMap::new(),
            arrivals: 0,
            evicted: 0,
        }
    }

    /// Adds a span; one that was there already (an export that was repeated) changes nothing.
    pub fn insert(&mut self, span: Arc<Span>) {
        self.arrivals += 1;
        let id = span.trace_id;
        let entry = self.traces.entry(id).or_insert_with(|| {
            self.bytes += TRACE_OVERHEAD;
            Entry { spans: HashMap::new(), uids: Vec::new(), bytes: TRACE_OVERHEAD, arrival: 0, left_out: 0 }
        });
        self.by_arrival.remove(&entry.arrival);
        entry.arrival = self.arrivals;
        self.by_arrival.insert(entry.arrival, id);

        if entry.spans.contains_key(&span.span_id) {
            return;
        }
        if entry.spans.len() == SPANS_PER_TRACE {
            entry.left_out += 1;
            return;
        }
        if let Some(uid) = span.uid()
            && !entry.uids.contains(&uid)
        {
            entry.uids.push(uid);
            self.by_uid.entry(uid).or_default().push(id);
        }
        let bytes = span.size();
        entry.bytes += bytes;
        self.bytes += bytes;
        entry.spans.insert(span.span_id, span);
        while self.bytes > self.limit && self.traces.len() > 1 {
            self.evict_oldest();
        }
    }

    fn evict_oldest(&mut self) {
        let Some((_, id)) = self.by_arrival.pop_first() else {
            return;
        };
        let Some(entry) = self.traces.remove(&id) else {
            return;
        };
        self.bytes -= entry.bytes;
        self.evicted += 1;
        for uid in entry.uids {
            if let Some(traces) = self.by_uid.get_mut(&uid) {
                traces.retain(|trace| *trace != id);
                if traces.is_empty() {
                    self.by_uid.remove(&uid);
                }
            }
        }
    }

    /// A trace by its identity.
    pub fn get(&self, id: TraceId) -> Option<Trace> {
        let entry = self.traces.get(&id)?;
        let mut spans: Vec<_> = entry.spans.values().cloned().collect();
        spans.sort_by_key(|span| (span.start, span.end, span.span_id));
        Some(Trace { id, spans, left_out: entry.left_out })
    }

    /// The traces that an event is part of, newest first: usually one; more if it was delivered more than once.
    pub fn by_uid(&self, uid: [u8; 16]) -> Vec<Trace> {
        let mut ids = self.by_uid.get(&uid).cloned().unwrap_or_default();
        ids.sort_by_key(|id| std::cmp::Reverse(self.traces[id].arrival));
        ids.into_iter().filter_map(|id| self.get(id)).collect()
    }

    /// The newest traces first, at most `limit`.
    pub fn newest(&self, limit: usize) -> Vec<Trace> {
        self.by_arrival.values().rev().take(limit).filter_map(|id| self.get(*id)).collect()
    }

    /// Kept traces.
    pub fn len(&self) -> usize {
        self.traces.len()
    }

    /// Whether no trace is kept.
    pub fn is_empty(&self) -> bool {
        self.traces.is_empty()
    }

    /// Bytes that the kept spans take, about.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Traces that had to leave.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Kind, Service, SpanRef, names};

    fn span(trace: u8, span: u64, uid: Option<u8>) -> Arc<Span> {
        let identity = SpanRef {
            trace_id: TraceId::from_bytes([trace; 16]).unwrap(),
            span_id: SpanId::from_bytes(span.to_be_bytes()).unwrap(),
        };
        let mut made = Span::new(identity, None, Service::of_coordinator("p", "n"), Kind::Client, "receive n");
        made.start = span;
        if let Some(uid) = uid {
            made.set(names::MESSAGE_ID, format!("{uid:02x}").repeat(16));
        }
        Arc::new(made)
    }

    fn ids(traces: Vec<Trace>) -> Vec<u8> {
        traces.iter().map(|trace| trace.id.to_bytes()[0]).collect()
    }

    #[test]
    fn finds_by_trace_uid_and_age() {
        let mut store = TraceStore::new(1 << 20);
        for (trace, number, uid) in [(1, 2, Some(7)), (2, 1, Some(8)), (3, 1, Some(7)), (1, 1, None)] {
            store.insert(span(trace, number, uid));
        }
        let trace = store.get(TraceId::from_bytes([1; 16]).unwrap()).unwrap();
        assert_eq!(trace.spans.iter().map(|span| span.start).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(ids(store.newest(2)), [1, 3]);
        assert_eq!(ids(store.by_uid([7; 16])), [1, 3]);
        assert_eq!(ids(store.by_uid([9; 16])), [0; 0]);
    }

    #[test]
    fn memory_is_bounded_and_the_oldest_leave_with_their_uids() {
        let one = TRACE_OVERHEAD + span(1, 1, Some(1)).size();
        let mut store = TraceStore::new(one * 10);
        for number in 1..=200 {
            store.insert(span(number, 1, Some(number)));
        }
        assert_eq!((store.len(), store.evicted()), (10, 190));
        assert!(store.bytes() <= one * 10);
        assert_eq!(ids(store.newest(100)), (191..=200).rev().collect::<Vec<_>>());
        assert!(store.by_uid([190; 16]).is_empty());
        assert_eq!(store.by_uid.len(), 10);
        // A span that arrives late keeps its trace.
        store.insert(span(191, 2, None));
        store.insert(span(201, 1, None));
        assert!(store.get(TraceId::from_bytes([191; 16]).unwrap()).is_some());
        assert!(store.get(TraceId::from_bytes([192; 16]).unwrap()).is_none());
    }

    #[test]
    fn a_repeated_export_changes_nothing_and_one_trace_cannot_take_all() {
        let mut store = TraceStore::new(64 << 20);
        store.insert(span(1, 1, None));
        let before = store.bytes();
        store.insert(span(1, 1, None));
        assert_eq!(store.bytes(), before);
        for number in 2..=SPANS_PER_TRACE as u64 + 5 {
            store.insert(span(1, number, None));
        }
        let trace = &store.newest(1)[0];
        assert_eq!((trace.spans.len(), trace.left_out), (SPANS_PER_TRACE, 5));
    }
}
