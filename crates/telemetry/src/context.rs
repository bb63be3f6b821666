//! The W3C trace context of one span, as events bring it along.

use std::fmt;

use crate::ids::{SpanId, TraceId, hex};

/// A span that others refer to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SpanRef {
    /// Its trace.
    pub trace_id: TraceId,
    /// The span.
    pub span_id: SpanId,
}

impl SpanRef {
    /// A span of its own in a trace of its own.
    pub fn new_root() -> Self {
        Self { trace_id: TraceId::random(), span_id: SpanId::random() }
    }

    /// A new span of the same trace.
    pub fn new_child(self) -> Self {
        Self { trace_id: self.trace_id, span_id: SpanId::random() }
    }

    /// Reads a `traceparent`; `None` if it is bad, which never fails the work that came with it. The second part says
    /// whether it is sampled.
    pub fn parse(traceparent: &str) -> Option<(Self, bool)> {
        let mut parts = traceparent.trim().split('-');
        let version: [u8; 1] = hex(parts.next()?)?;
        let trace_id = lower(parts.next()?)?.parse().ok()?;
        let span_id = lower(parts.next()?)?.parse().ok()?;
        let flags: [u8; 1] = hex(parts.next()?)?;
        // A later version may append parts; version 0 must not, and 0xff is forbidden.
        if version[0] == 0xff || (version[0] == 0 && parts.next().is_some()) {
            return None;
        }
        Some((Self { trace_id, span_id }, flags[0] & 1 == 1))
    }
}

fn lower(text: &str) -> Option<&str> {
    (!text.bytes().any(|byte| byte.is_ascii_uppercase())).then_some(text)
}

/// The `traceparent` of a sampled span.
impl fmt::Display for SpanRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{}-{}-01", self.trace_id, self.span_id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn reads_what_it_writes() {
        let (span, sampled) = SpanRef::parse(GOOD).unwrap();
        assert!(sampled);
        assert_eq!(span.to_string(), GOOD);
        assert!(!SpanRef::parse(&GOOD.replace("-01", "-00")).unwrap().1);
    }

    #[test]
    fn a_later_version_may_be_longer() {
        assert!(SpanRef::parse(&format!("cc{}-what-ever", &GOOD[2..])).is_some());
        assert!(SpanRef::parse(&format!("{GOOD}-what-ever")).is_none());
    }

    #[test]
    fn bad_context_is_no_context() {
        let zero_trace = "00-00000000000000000000000000000000-b7ad6b7169203331-01".to_owned();
        let zero_span = "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01".to_owned();
        let bad = ["".to_owned(), "00".into(), format!("ff{}", &GOOD[2..]), GOOD.to_uppercase(), GOOD[..54].into()];
        for bad in bad.into_iter().chain([zero_trace, zero_span]) {
            assert_eq!(SpanRef::parse(&bad), None, "{bad}");
        }
    }
}
