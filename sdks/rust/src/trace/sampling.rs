//! Which events of a source are traced.

use std::time::Instant;

use meshloom_proto::v1::{TraceSampling, trace_sampling::Rule};
use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

use crate::{columns::ExtensionValue, record::Record};

/// New traces per second without a rule.
const DEFAULT_RATE: f64 = 10.0;

/// Decides once per event, before anything is allocated for its trace.
#[derive(Debug)]
pub(crate) struct Sampler {
    rule: Rule,
    /// Traces that may begin now, for a rate; the sum of shares not yet used, for a ratio.
    credit: f64,
    refilled: Instant,
}

impl Sampler {
    pub(crate) fn new(sampling: Option<TraceSampling>) -> Self {
        let rule = sampling.and_then(|sampling| sampling.rule).unwrap_or(Rule::Rate(DEFAULT_RATE));
        let credit = if matches!(rule, Rule::Rate(rate) if rate > 0.0) { 1.0 } else { 0.0 };
        Self { rule, credit, refilled: Instant::now() }
    }

    /// The parent of the event's trace, if it is traced: its own sampled context, else none.
    #[allow(clippy::option_option, reason = "whether it is traced, and whether it has a parent, are two questions")]
    pub(crate) fn sample(&mut self, record: &Record) -> Option<Option<SpanContext>> {
        if let Some(parent) = incoming(record) {
            return Some(Some(parent));
        }
        self.begins_trace().then_some(None)
    }

    fn begins_trace(&mut self) -> bool {
        match self.rule {
            Rule::Rate(rate) if rate > 0.0 => {
                if self.credit < 1.0 {
                    let now = Instant::now();
                    let earned = now.duration_since(self.refilled).as_secs_f64() * rate;
                    self.credit = (self.credit + earned).min(rate.max(1.0));
                    self.refilled = now;
                }
            }
            // Evenly spaced rather than by chance: the same share with less scatter.
            Rule::Ratio(ratio) if ratio > 0.0 => self.credit += ratio.min(1.0),
            _ => return false,
        }
        let begins = self.credit >= 1.0;
        if begins {
            self.credit -= 1.0;
        }
        begins
    }
}

/// The sampled context that an event came with, as its `traceparent` extension.
fn incoming(record: &Record) -> Option<SpanContext> {
    let extensions = &record.output.attributes.as_ref()?.extensions;
    let text = |wanted: &str| {
        extensions.iter().find_map(|(name, value)| match value {
            Some(ExtensionValue::Text(text)) if name == wanted => Some(text.as_str()),
            _ => None,
        })
    };
    let mut parts = text("traceparent")?.split('-');
    let (version, trace_id, span_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    if version.len() != 2 || version == "ff" || trace_id.len() != 32 || span_id.len() != 16 || flags.len() != 2 {
        return None;
    }
    let state: TraceState = text("tracestate").and_then(|state| state.parse().ok()).unwrap_or_default();
    let flags = TraceFlags::new(u8::from_str_radix(flags, 16).ok()?);
    let context =
        SpanContext::new(TraceId::from_hex(trace_id).ok()?, SpanId::from_hex(span_id).ok()?, flags, true, state);
    (context.is_valid() && context.is_sampled()).then_some(context)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Output;

    fn plain() -> Record {
        Output::text("x").into()
    }

    fn share(rule: Rule, of: usize) -> usize {
        let mut sampler = Sampler::new(Some(TraceSampling { rule: Some(rule) }));
        (0..of).filter(|_| sampler.sample(&plain()).is_some()).count()
    }

    #[test]
    fn a_ratio_is_kept_exactly() {
        assert_eq!(share(Rule::Ratio(0.0), 1000), 0);
        assert_eq!(share(Rule::Ratio(0.25), 1000), 250);
        assert_eq!(share(Rule::Ratio(1.0), 1000), 1000);
    }

    #[test]
    fn a_rate_bounds_new_traces() {
        assert_eq!(share(Rule::Rate(0.0), 1000), 0);
        let started = Instant::now();
        let traced = share(Rule::Rate(5.0), 10_000);
        let most = 1.0 + 5.0 * started.elapsed().as_secs_f64();
        assert!(traced >= 1 && traced as f64 <= most + 1.0, "{traced}");
    }

    #[test]
    fn a_sampled_context_of_its_own_is_honoured() {
        let mut sampler = Sampler::new(Some(TraceSampling { rule: Some(Rule::Ratio(0.0)) }));
        let with = |parent: &str| Record::from(Output::text("x").extension("traceparent", parent));
        let sampled = sampler
            .sample(&with("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"))
            .expect("traced")
            .expect("has a parent");
        assert_eq!(sampled.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        for bad in [
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00",
            "00-0-0-01",
            "",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        ] {
            assert!(sampler.sample(&with(bad)).is_none(), "{bad}");
        }
    }
}
