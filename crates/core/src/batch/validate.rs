//! The rules that columns must keep. After this the readers of a batch cannot fail.

use std::borrow::Cow;

use super::{
    columns::{ABSENT, Attribute, Columns, Extension, ExtensionType, Strings, Values},
    error::{Malformed, Rule},
    span::SpanContext,
    values::u32_at,
};
use crate::limits;

/// Checks every rule of a batch.
pub(super) fn batch(columns: &Columns) -> Result<(), Malformed> {
    count(columns.count)?;
    let bytes = columns.bytes();
    if bytes > limits::BATCH_BYTES {
        return Err(Malformed::new("batch", Rule::BatchBytes { bytes }));
    }
    let rows = columns.count as usize;
    if let Some(payload) = &columns.payload {
        payloads("payload", payload, rows)?;
    }
    fixed("uid", &columns.uid, 16, rows)?;
    fixed("time", &columns.time, 8, rows)?;
    for (attribute, column) in Attribute::ALL.into_iter().zip(columns.strings()) {
        if let Some(column) = column {
            strings(attribute.name(), column, rows, attribute.limit())?;
        }
    }
    extensions(&columns.extensions, columns.count, false)?;
    spans(&columns.spans, columns.count)
}

pub(crate) fn count(count: u32) -> Result<(), Malformed> {
    if count == 0 || count as usize > limits::BATCH_EVENTS {
        return Err(Malformed::new("count", Rule::Count { count }));
    }
    Ok(())
}

/// A column of `size` bytes per row, or empty.
pub(crate) fn fixed(name: &'static str, column: &[u8], size: usize, rows: usize) -> Result<(), Malformed> {
    if column.is_empty() {
        return Ok(());
    }
    length(column, size, rows).map_err(|rule| Malformed::new(name, rule))
}

pub(crate) fn payloads(name: &'static str, column: &Values, rows: usize) -> Result<(), Malformed> {
    values(column, limits::EVENT_BYTES)
        .and_then(|()| length(&column.ends, 4, rows))
        .map_err(|rule| Malformed::new(name, rule))
}

pub(crate) fn strings(name: &'static str, column: &Strings, rows: usize, limit: usize) -> Result<(), Malformed> {
    let check = || {
        values(&column.values, limit)?;
        utf8(&column.values)?;
        let distinct = column.values.len();
        if column.index.is_empty() {
            return if distinct <= 1 { Ok(()) } else { length(&column.values.ends, 4, rows) };
        }
        length(&column.index, 4, rows)?;
        for row in 0..rows {
            let slot = u32_at(&column.index, row);
            if slot != ABSENT && slot as usize >= distinct {
                return Err(Rule::IndexRange { row, slot, values: distinct });
            }
        }
        Ok(())
    };
    check().map_err(|rule| Malformed::new(name, rule))
}

/// Extension columns of a batch or, with `removals`, of outputs.
pub(crate) fn extensions(columns: &[Extension], count: u32, removals: bool) -> Result<(), Malformed> {
    if columns.len() > limits::EXTENSIONS {
        return Err(Malformed::new("extensions", Rule::Extensions { found: columns.len() }));
    }
    for (at, column) in columns.iter().enumerate() {
        extension(column, count, removals)
            .and_then(|()| twice(&columns[..at], column, count))
            .map_err(|rule| Malformed::new(extension_name(column), rule))?;
    }
    Ok(())
}

fn extension_name(column: &Extension) -> Cow<'static, str> {
    format!("extensions.{}", limits::truncate(&column.name, limits::EXTENSION_NAME_CHARS)).into()
}

fn extension(column: &Extension, count: u32, removals: bool) -> Result<(), Rule> {
    if !limits::is_extension_name(&column.name) {
        let name = limits::truncate(&column.name, limits::EXTENSION_NAME_CHARS).to_owned();
        return Err(Rule::ExtensionName { name });
    }
    let covered = if column.index.is_empty() { count as usize } else { column.index.len() / 4 };
    rows(&column.index, count)?;
    if column.kind == ExtensionType::Unspecified {
        if !removals {
            return Err(Rule::ExtensionUntyped);
        }
        return match column.values.len() + column.values.data.len() {
            0 => Ok(()),
            _ => Err(Rule::ExtensionRemovesValues { values: column.values.len() }),
        };
    }
    values(&column.values, limits::ATTRIBUTE_BYTES)?;
    length(&column.values.ends, 4, covered)?;
    encoding(column.kind, &column.values)
}

fn encoding(kind: ExtensionType, values: &Values) -> Result<(), Rule> {
    let expected = match kind {
        ExtensionType::Unspecified | ExtensionType::Binary => return Ok(()),
        ExtensionType::String | ExtensionType::Uri | ExtensionType::UriReference => {
            return utf8(values);
        }
        ExtensionType::Boolean => 1,
        ExtensionType::Integer => 4,
        ExtensionType::Timestamp => 8,
    };
    for value in 0..values.len() {
        let found = values.get(value);
        match (kind, found) {
            (ExtensionType::Boolean, [0 | 1]) => {}
            (ExtensionType::Boolean, _) => return Err(Rule::Boolean { value }),
            _ if found.len() != expected => {
                return Err(Rule::Fixed { value, bytes: found.len(), expected });
            }
            _ => {}
        }
    }
    Ok(())
}

/// Row numbers that ascend without repetition.
fn rows(index: &[u8], count: u32) -> Result<(), Rule> {
    whole(index, 4)?;
    let mut previous = None;
    for entry in 0..index.len() / 4 {
        let row = u32_at(index, entry);
        if row >= count {
            return Err(Rule::RowRange { entry, row, count });
        }
        if previous.is_some_and(|previous| row <= previous) {
            return Err(Rule::RowOrder { entry, row });
        }
        previous = Some(row);
    }
    Ok(())
}

/// An event has a name at most once: columns of one name must not share a row.
fn twice(before: &[Extension], column: &Extension, count: u32) -> Result<(), Rule> {
    for other in before.iter().filter(|other| other.name == column.name) {
        if other.kind == column.kind {
            return Err(Rule::ExtensionColumnTwice);
        }
        let (mut left, mut right) = (covered(other, count).peekable(), covered(column, count).peekable());
        while let (Some(&a), Some(&b)) = (left.peek(), right.peek()) {
            match a.cmp(&b) {
                std::cmp::Ordering::Less => left.next(),
                std::cmp::Ordering::Greater => right.next(),
                std::cmp::Ordering::Equal => return Err(Rule::ExtensionTwice { row: a }),
            };
        }
    }
    Ok(())
}

fn covered(column: &Extension, count: u32) -> impl Iterator<Item = u32> {
    let all = column.index.is_empty();
    let entries = if all { count as usize } else { column.index.len() / 4 };
    (0..entries).map(move |entry| if all { entry as u32 } else { u32_at(&column.index, entry) })
}

fn spans(spans: &[(u32, SpanContext)], count: u32) -> Result<(), Malformed> {
    let mut previous = None;
    for (entry, (row, span)) in spans.iter().enumerate() {
        let row = *row;
        let broken = if row >= count {
            Some(Rule::RowRange { entry, row, count })
        } else if previous.is_some_and(|previous| row <= previous) {
            Some(Rule::RowOrder { entry, row })
        } else {
            span_rule(row, span)
        };
        if let Some(rule) = broken {
            return Err(Malformed::new("spans", rule));
        }
        previous = Some(row);
    }
    Ok(())
}

fn span_rule(row: u32, span: &SpanContext) -> Option<Rule> {
    if span.trace_id == [0; 16] || span.span_id == [0; 8] {
        return Some(Rule::SpanZero { row });
    }
    let bytes = span.trace_state.as_ref().map_or(0, |state| state.len());
    (bytes > limits::TRACE_STATE_BYTES).then_some(Rule::TraceState { row, bytes })
}

fn whole(column: &[u8], size: usize) -> Result<(), Rule> {
    if !column.len().is_multiple_of(size) {
        return Err(Rule::Ragged { bytes: column.len(), size });
    }
    Ok(())
}

fn length(column: &[u8], size: usize, expected: usize) -> Result<(), Rule> {
    whole(column, size)?;
    let found = column.len() / size;
    if found != expected {
        return Err(Rule::Length { found, expected });
    }
    Ok(())
}

/// Ends that never fall, within and up to the end of the data; values within their limit.
fn values(values: &Values, limit: usize) -> Result<(), Rule> {
    whole(&values.ends, 4)?;
    let mut previous = 0;
    for value in 0..values.len() {
        let end = u32_at(&values.ends, value);
        if end < previous {
            return Err(Rule::EndsFall { value, previous, end });
        }
        let bytes = (end - previous) as usize;
        if bytes > limit {
            return Err(Rule::ValueBytes { value, bytes, limit });
        }
        previous = end;
    }
    let end = previous as usize;
    if end != values.data.len() {
        return Err(Rule::EndsData { end, data: values.data.len() });
    }
    Ok(())
}

/// Each value is UTF-8: all of them together are, and none ends inside a character.
fn utf8(values: &Values) -> Result<(), Rule> {
    let text = match std::str::from_utf8(&values.data) {
        Ok(text) => text,
        Err(error) => {
            let at = error.valid_up_to();
            let value = (0..values.len()).find(|&value| values.end(value) > at).unwrap_or(values.len());
            return Err(Rule::Utf8 { value });
        }
    };
    match (0..values.len()).find(|&value| !text.is_char_boundary(values.end(value))) {
        Some(value) => Err(Rule::Utf8 { value }),
        None => Ok(()),
    }
}
