//! Trace context of a sampled event.

use std::sync::Arc;

use super::error::{Malformed, Rule};
use crate::limits;

/// Trace context as in W3C Trace Context: the parent of the next hop's span.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanContext {
    /// Not all zero.
    pub trace_id: [u8; 16],
    /// Not all zero.
    pub span_id: [u8; 8],
    /// W3C trace flags; bit 0 is `sampled`.
    pub flags: u8,
    /// W3C tracestate of at most 512 bytes; `None`: none.
    pub trace_state: Option<Arc<str>>,
}

impl SpanContext {
    /// From the parts of a frame; `row` is named in the error. Unknown higher flag bits are dropped.
    pub fn from_parts(
        row: u32,
        trace_id: &[u8],
        span_id: &[u8],
        flags: u32,
        trace_state: &str,
    ) -> Result<Self, Malformed> {
        let malformed = |rule| Malformed::new("spans", rule);
        let trace_id: [u8; 16] =
            trace_id.try_into().map_err(|_| malformed(Rule::TraceId { row, bytes: trace_id.len() }))?;
        let span_id: [u8; 8] = span_id.try_into().map_err(|_| malformed(Rule::SpanId { row, bytes: span_id.len() }))?;
        let flags = (flags & 0xff) as u8;
        let trace_state = (!trace_state.is_empty()).then(|| trace_state.into());
        Ok(Self { trace_id, span_id, flags, trace_state })
    }

    /// Whether it keeps the rules: ids that are not all zero, a trace state within its limit.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        let state = self.trace_state.as_ref().map_or(0, |state| state.len());
        self.trace_id != [0; 16] && self.span_id != [0; 8] && state <= limits::TRACE_STATE_BYTES
    }

    /// Whether the trace is recorded.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & 1 == 1
    }

    pub(crate) fn bytes(&self) -> usize {
        // Ids, flags, index and the tags of the message.
        40 + self.trace_state.as_ref().map_or(0, |state| state.len())
    }
}
