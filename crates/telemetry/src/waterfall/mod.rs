//! A trace as text: who did what when, for `meshloom trace`.

mod line;
mod style;
mod tree;

use std::fmt::Write;

use chrono::DateTime;

use self::{
    line::Layout,
    style::Style,
    tree::{Row, rows},
};
use crate::{Event, Span, Status, Trace, Value, names};

/// Draws a trace within `width` columns (at least 60), with ANSI colours if `colour`.
///
/// One line per span, indented under its parent: service, name, a bar on the trace's time axis, time in the queue, time
/// in all. In a bar `░` is waiting in the queue and `█` everything after it. Below a span: `✗` errors, `•` span events,
/// `⇢` links, `!` what is odd about it.
pub fn waterfall(trace: &Trace, width: usize, colour: bool) -> String {
    let style = Style::new(colour);
    let rows = rows(trace);
    let mut text = header(trace, &rows, style);
    let layout = Layout::new(&rows, width);
    for row in &rows {
        layout.span(&mut text, row, style);
        for note in notes(row, trace) {
            layout.note(&mut text, row, &note, style);
        }
    }
    if trace.left_out > 0 {
        push_line(&mut text, &format!("{} more spans were not kept", trace.left_out));
    }
    text
}

fn push_line(text: &mut String, line: &str) {
    text.push_str(line.trim_end());
    text.push('\n');
}

fn header(trace: &Trace, rows: &[Row<'_>], style: Style) -> String {
    let mut text = String::new();
    push_line(&mut text, &format!("{} {}", style.dim("trace"), style.bold(&trace.id.to_string())));
    let mut uids: Vec<String> = rows
        .iter()
        .filter_map(|row| match row.span.attribute(names::MESSAGE_ID) {
            Some(Value::Text(uid)) => Some(style::clean(uid)),
            _ => None,
        })
        .collect();
    let mut seen = std::collections::HashSet::new();
    uids.retain(|uid| seen.insert(uid.clone()));
    if let Some(first) = uids.first() {
        let more = if uids.len() > 1 { format!(" and {} made from it", uids.len() - 1) } else { String::new() };
        push_line(&mut text, &format!("{} {first}{more}", style.dim("event")));
    }
    let start = rows.iter().map(|row| row.start).min().unwrap_or(0);
    let end = rows.iter().map(|row| row.end).max().unwrap_or(0);
    let began = i64::try_from(start).map(DateTime::from_timestamp_nanos).unwrap_or_default();
    let spans = if rows.len() == 1 { "1 span".to_owned() } else { format!("{} spans", rows.len()) };
    let took = style::duration(end.saturating_sub(start));
    push_line(
        &mut text,
        &format!("{} {}, {spans}, {took}", style.dim("began"), began.format("%Y-%m-%d %H:%M:%S%.3f UTC")),
    );
    text.push('\n');
    text
}

/// A line below a span.
enum Note {
    Error(String),
    Event(String),
    Link(String),
    Odd(String),
}

fn notes(row: &Row<'_>, trace: &Trace) -> Vec<Note> {
    let span = row.span;
    let mut notes = Vec::new();
    if let Some(parent) = row.missing_parent {
        notes.push(Note::Odd(format!(
            "its parent {parent} is not here: it came from outside, was not sampled, or is still on its way"
        )));
    }
    if row.shift != 0 && row.shift_is_own {
        let (by, way) = (style::duration(row.shift.unsigned_abs()), if row.shift > 0 { "behind" } else { "ahead" });
        notes.push(Note::Odd(format!("its clock is {by} {way}: shown where its parent says that it was")));
    }
    notes.extend(verdict(span));
    notes.extend(error(span).map(Note::Error));
    let hop = [names::event::ENQUEUE, names::event::DISPATCH, names::event::VERDICT];
    for event in span.events.iter().filter(|event| !hop.contains(&event.name.as_ref())) {
        notes.push(describe(event, span));
    }
    for link in &span.links {
        let name = trace.spans.iter().find(|other| other.span_id == link.to.span_id && link.to.trace_id == trace.id);
        notes.push(Note::Link(match name {
            Some(other) => format!("{} {}", style::clean(&other.name), link.to.span_id),
            None if link.to.trace_id == trace.id => format!("span {}", link.to.span_id),
            None => format!("trace {} span {}", link.to.trace_id, link.to.span_id),
        }));
    }
    notes
}

/// Only what is out of the ordinary: a later attempt, or an end that is not "went on".
fn verdict(span: &Span) -> Option<Note> {
    let attempt = match span.attribute(names::ATTEMPT) {
        Some(Value::Int(attempt)) if *attempt > 1 => Some(format!("attempt {attempt}")),
        _ => None,
    };
    let verdict = span.attribute(names::VERDICT).map(|verdict| style::clean(&verdict.to_string()));
    let verdict = verdict.filter(|verdict| verdict != names::verdict::DELIVERED);
    let parts: Vec<String> = attempt.into_iter().chain(verdict).collect();
    (!parts.is_empty()).then(|| Note::Event(parts.join(", ")))
}

fn error(span: &Span) -> Option<String> {
    let kind = span.attribute(names::ERROR_TYPE).map(|kind| style::clean(&kind.to_string()));
    let message = match &span.status {
        Status::Error(message) if !message.is_empty() => Some(style::clean(message)),
        Status::Error(_) if kind.is_none() => Some("failed".into()),
        _ => None,
    };
    match (kind, message) {
        (Some(kind), Some(message)) => Some(format!("{kind}: {message}")),
        (kind, message) => kind.or(message),
    }
}

fn describe(event: &Event, span: &Span) -> Note {
    let after = style::duration(event.time.saturating_sub(span.start));
    let find = |name: &str| {
        event.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| style::clean(&value.to_string()))
    };
    if event.name == "exception" {
        let what: Vec<String> = [find("exception.type"), find("exception.message")].into_iter().flatten().collect();
        return Note::Error(format!("+{after} {}", if what.is_empty() { "exception".into() } else { what.join(": ") }));
    }
    let mut text = format!("+{after} {}", style::clean(&event.name));
    for (key, value) in &event.attributes {
        // Writing to a string cannot fail.
        let _ = write!(text, " {}={}", style::clean(key), style::clean(&value.to_string()));
    }
    Note::Event(text)
}

#[cfg(test)]
mod tests;
