//! What a sampled event went through at this node, for its `receive` span.

use std::{borrow::Cow, time::Duration};

use super::{Action, NodeMachine, accounting::InHand};
use crate::{
    batch::{Batch, SpanContext},
    exchange::Failure,
    ids::Uid,
    moment::Moment,
};

/// New traces that failures may start per second and node.
const NEW_TRACES_PER_SECOND: u32 = 100;

/// Links of one span.
const MAX_LINKS: usize = 128;

/// How one attempt at one node ended for one event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Closed by outputs.
    Answered,
    /// Ended with no output on purpose.
    Consumed,
    /// Will be tried again.
    Retry,
    /// Became a dead letter.
    Rejected,
    /// Taken back: will be delivered again at no cost.
    Redelivered,
}

impl Verdict {
    /// The word used in spans.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Answered => "delivered",
            Self::Consumed => "consumed",
            Self::Retry => "retry",
            Self::Rejected => "rejected",
            Self::Redelivered => "redelivered",
        }
    }
}

/// One attempt of one sampled event at this node: the content of a `receive` span.
#[derive(Debug, Clone)]
pub struct Hop {
    /// The trace.
    pub trace_id: [u8; 16],
    /// This span, which was the event's context in the work.
    pub span_id: [u8; 8],
    /// The span of the hop above; `None`: the trace begins here.
    pub parent: Option<[u8; 8]>,
    /// Identity of the event.
    pub uid: Uid,
    /// CloudEvents id, source and type, where present.
    pub id: Option<String>,
    /// CloudEvents source.
    pub source: Option<String>,
    /// CloudEvents type.
    pub event_type: Option<String>,
    /// When the event began to wait for this attempt.
    pub since: Moment,
    /// When its work was sent.
    pub dispatched: Moment,
    /// When the verdict came.
    pub ended: Moment,
    /// The replica.
    pub replica: u32,
    /// Events in the work.
    pub batch_events: u32,
    /// Which attempt, from 1.
    pub attempt: u32,
    /// The verdict.
    pub verdict: Verdict,
    /// Code of a failure.
    pub reason: Option<Cow<'static, str>>,
    /// Message of a failure.
    pub message: Option<String>,
    /// Trace and span of other events' hops from which outputs of the whole batch came too: they go on in this trace.
    pub links: Vec<([u8; 16], [u8; 8])>,
}

/// The open hop of one row of a work.
#[derive(Debug, Clone)]
pub(super) struct OpenHop {
    pub(super) row: u32,
    pub(super) context: SpanContext,
    pub(super) parent: [u8; 8],
}

impl OpenHop {
    /// The context that the row arrived with: the hop above.
    pub(super) fn above(&self) -> SpanContext {
        SpanContext { span_id: self.parent, ..self.context.clone() }
    }
}

impl InHand {
    /// Gives outputs of the whole batch a context: that of the first sampled input, whose hop is linked with the others'.
    /// As many outputs are sampled as inputs were.
    pub(super) fn join_traces(&mut self, batch: Batch, whole_from: usize) -> Batch {
        let Some(first) = self.hops.first() else { return batch };
        let whole = whole_from..batch.len().min(whole_from + self.hops.len());
        if whole.is_empty() {
            return batch;
        }
        self.joins = true;
        let own = batch.spans().map(|(row, span)| (row as u32, span.clone()));
        let spans = own.chain(whole.map(|row| (row as u32, first.context.clone()))).collect();
        batch.with_spans(spans)
    }

    fn links_of(&self, context: &SpanContext) -> Vec<([u8; 16], [u8; 8])> {
        match self.hops.split_first() {
            Some((first, others)) if self.joins && first.context.span_id == context.span_id => {
                others.iter().take(MAX_LINKS).map(|hop| (hop.context.trace_id, hop.context.span_id)).collect()
            }
            _ => Vec::new(),
        }
    }
}

impl NodeMachine {
    /// Ends the hops of the sampled ones among these (ascending) rows.
    pub(super) fn end_hops(&mut self, replica: u32, work: &InHand, rows: &[u32], verdict: &Verdict, now: Moment) {
        for hop in work.hops.iter().filter(|hop| rows.binary_search(&hop.row).is_ok()) {
            let ended = Hop::new(replica, work, hop.row, &hop.context, Some(hop.parent), verdict.clone(), now);
            self.actions.push(Action::Span(ended));
        }
    }

    /// Ends the hop of an input that failed. One that was not sampled becomes so here, that errors can always be traced:
    /// then the context of the new trace is returned.
    pub(super) fn fail_hop(
        &mut self,
        replica: u32,
        work: &InHand,
        row: u32,
        failure: &Failure,
        verdict: &Verdict,
        now: Moment,
    ) -> Option<SpanContext> {
        let (hop, made) = match work.hop(row) {
            Some(hop) => (Hop::new(replica, work, row, &hop.context, Some(hop.parent), verdict.clone(), now), None),
            None => {
                let context = self.ids.new_trace(now)?;
                (Hop::new(replica, work, row, &context, None, verdict.clone(), now), Some(context))
            }
        };
        let (reason, message) = (Some(failure.reason.clone()), Some(failure.message.clone()));
        self.actions.push(Action::Span(Hop { reason, message, ..hop }));
        made
    }
}

impl Hop {
    fn new(
        replica: u32,
        work: &InHand,
        row: u32,
        context: &SpanContext,
        parent: Option<[u8; 8]>,
        verdict: Verdict,
        now: Moment,
    ) -> Self {
        let at = row as usize;
        Self {
            trace_id: context.trace_id,
            span_id: context.span_id,
            parent,
            uid: work.batch.uid(at),
            id: work.batch.id(at).map(str::to_owned),
            source: work.batch.source(at).map(str::to_owned),
            event_type: work.batch.type_(at).map(str::to_owned),
            since: work.since(row),
            dispatched: work.dispatched,
            ended: now,
            replica,
            batch_events: work.rows(),
            attempt: work.attempts.of(row),
            verdict,
            reason: None,
            message: None,
            links: work.links_of(context),
        }
    }
}

/// Random numbers for ids and jitter: splitmix64 (Steele, Lea, Flood 2014), seeded by the caller.
#[derive(Debug)]
pub(super) struct Ids {
    state: u64,
    second: Moment,
    traces_this_second: u32,
}

impl Ids {
    pub(super) fn new(seed: u64) -> Self {
        Self { state: seed, second: Moment::default(), traces_this_second: 0 }
    }

    pub(super) fn random(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn span_id(&mut self) -> [u8; 8] {
        (self.random() | 1).to_be_bytes()
    }

    /// The context of a new trace, or `None` when this second has had enough of them.
    pub(super) fn new_trace(&mut self, now: Moment) -> Option<SpanContext> {
        if now - self.second >= Duration::from_secs(1) {
            self.second = now;
            self.traces_this_second = 0;
        }
        if self.traces_this_second == NEW_TRACES_PER_SECOND {
            return None;
        }
        self.traces_this_second += 1;
        let mut trace_id = [0; 16];
        trace_id[..8].copy_from_slice(&self.random().to_be_bytes());
        trace_id[8..].copy_from_slice(&(self.random() | 1).to_be_bytes());
        Some(SpanContext { trace_id, span_id: self.span_id(), flags: 1, trace_state: None })
    }
}
