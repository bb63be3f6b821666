//! Spans in the order and at the times at which they are shown.

use std::collections::{HashMap, HashSet};

use crate::{Kind, Span, SpanId, Trace, names};

/// How far a child may begin before its parent without its clock being doubted, nanoseconds.
const TOLERANCE: u64 = 100_000;

/// One span, placed.
pub(super) struct Row<'a> {
    pub(super) span: &'a Span,
    /// The tree's lines before its name.
    pub(super) branch: String,
    /// The tree's lines before its notes.
    pub(super) below: String,
    /// Corrected start, nanoseconds since the Unix epoch.
    pub(super) start: u64,
    /// Corrected end.
    pub(super) end: u64,
    /// Added to its own times, nanoseconds.
    pub(super) shift: i64,
    /// Whether that was found here; else it came from its parent, which has the same clock.
    pub(super) shift_is_own: bool,
    /// A parent that is not in the trace.
    pub(super) missing_parent: Option<SpanId>,
}

impl Row<'_> {
    /// When it left the queue, if it waited in one.
    pub(super) fn dispatched(&self) -> Option<u64> {
        let dispatch = self.span.event_time(names::event::DISPATCH)?;
        Some(dispatch.saturating_add_signed(self.shift).clamp(self.start, self.end))
    }
}

struct Visit<'a> {
    span: &'a Span,
    ancestors: String,
    is_last: bool,
    parent: Option<usize>,
}

/// Depth first, siblings by start. Every span is shown exactly once, whatever its parents claim.
pub(super) fn rows(trace: &Trace) -> Vec<Row<'_>> {
    let spans: Vec<&Span> = trace.spans.iter().map(AsRef::as_ref).collect();
    let present: HashSet<SpanId> = spans.iter().map(|span| span.span_id).collect();
    let parent_of = |span: &Span| span.parent.filter(|parent| *parent != span.span_id && present.contains(parent));
    let mut children: HashMap<SpanId, Vec<&Span>> = HashMap::new();
    let mut roots = Vec::new();
    for span in &spans {
        match parent_of(span) {
            Some(parent) => children.entry(parent).or_default().push(span),
            None => roots.push(*span),
        }
    }

    let mut rows: Vec<Row<'_>> = Vec::with_capacity(spans.len());
    let mut shown = HashSet::new();
    // What no root leads to hangs in a circle: its earliest span is shown as a root.
    for root in roots.into_iter().chain(spans.iter().copied()) {
        let mut stack = vec![Visit { span: root, ancestors: String::new(), is_last: true, parent: None }];
        while let Some(visit) = stack.pop() {
            if !shown.insert(visit.span.span_id) {
                continue;
            }
            let (row, ancestors) = place(&visit, visit.parent.map(|index| &rows[index]), &present);
            let index = rows.len();
            rows.push(row);
            let below = children.get(&visit.span.span_id).map_or(&[][..], Vec::as_slice);
            // The stack gives them back in reverse.
            for (place, child) in below.iter().enumerate().rev() {
                let is_last = place + 1 == below.len();
                stack.push(Visit { span: child, ancestors: ancestors.clone(), is_last, parent: Some(index) });
            }
        }
    }
    rows
}

/// A row, and the lines that its children begin with.
fn place<'a>(visit: &Visit<'a>, parent: Option<&Row<'a>>, present: &HashSet<SpanId>) -> (Row<'a>, String) {
    let span = visit.span;
    let (branch, ancestors) = match parent {
        None => (String::new(), String::new()),
        Some(_) => (
            format!("{}{}", visit.ancestors, if visit.is_last { "└ " } else { "├ " }),
            format!("{}{}", visit.ancestors, if visit.is_last { "  " } else { "│ " }),
        ),
    };
    let (shift, shift_is_own) = parent.map_or((0, false), |parent| shift(span, parent));
    let start = span.start.saturating_add_signed(shift);
    let row = Row {
        span,
        branch,
        below: ancestors.clone(),
        start,
        end: span.end.saturating_add_signed(shift).max(start),
        shift,
        shift_is_own,
        missing_parent: span.parent.filter(|parent| !present.contains(parent)),
    };
    (row, ancestors)
}

/// A call lies within its caller; where it does not, another machine's clock is wrong, and that of all it says.
fn shift(span: &Span, parent: &Row<'_>) -> (i64, bool) {
    if span.service == parent.span.service {
        return (parent.shift, false);
    }
    let is_call = parent.span.kind == Kind::Client && matches!(span.kind, Kind::Server | Kind::Consumer);
    let is_within =
        span.start.saturating_add(TOLERANCE) >= parent.start && span.start <= parent.end.saturating_add(TOLERANCE);
    if !is_call || is_within {
        return (0, false);
    }
    let slack = (parent.end - parent.start).saturating_sub(span.duration());
    let target = parent.dispatched().unwrap_or(parent.start).max(parent.start) + slack / 2;
    let target = target.min(parent.end.saturating_sub(span.duration()).max(parent.start));
    (target.wrapping_sub(span.start).cast_signed(), true)
}
