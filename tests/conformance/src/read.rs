//! Batches as rows, held against the rules of Batch.

use bytes::Bytes;
use meshloom_proto::v1::{self, ExtensionType};

use crate::{
    columns::{self, TIME_ABSENT},
    event::{Event, Span, Value},
};

const EVENTS: u32 = 65_536;
const PAYLOAD_BYTES: usize = 16 << 20;
const ATTRIBUTE_BYTES: usize = 64 << 10;
const KEY_BYTES: usize = 1 << 10;
const EXTENSIONS: usize = 64;

/// The events of a batch. A batch without `uid` is that of a source: its events have none.
///
/// # Errors
/// Says what is malformed.
pub(crate) fn batch(batch: &v1::Batch) -> Result<Vec<Event>, String> {
    if batch.count == 0 || batch.count > EVENTS {
        return Err(format!("a batch with a count of {}", batch.count));
    }
    let count = batch.count as usize;
    let mut events = vec![Event::default(); count];
    if let Some(column) = &batch.payload {
        let payloads = columns::read_values(column).map_err(|error| format!("`payload`: {error}"))?;
        if payloads.len() != count || payloads.iter().any(|payload| payload.len() > PAYLOAD_BYTES) {
            return Err(format!("`payload` has {} values for {count} events, or one beyond 16 MiB", payloads.len()));
        }
        for (event, payload) in events.iter_mut().zip(payloads) {
            event.payload = payload;
        }
    }
    uids(&batch.uid, &mut events)?;
    times(&batch.time, &mut events)?;
    texts(batch, &mut events)?;
    extensions(&batch.extensions, &mut events)?;
    spans(&batch.spans, &mut events)?;
    Ok(events)
}

fn uids(column: &Bytes, events: &mut [Event]) -> Result<(), String> {
    if column.is_empty() {
        return Ok(());
    }
    let (uids, rest) = column.as_chunks::<16>();
    if uids.len() != events.len() || !rest.is_empty() {
        return Err(format!("`uid` has {} bytes for {} events", column.len(), events.len()));
    }
    events.iter_mut().zip(uids).for_each(|(event, uid)| event.uid = *uid);
    Ok(())
}

fn times(column: &Bytes, events: &mut [Event]) -> Result<(), String> {
    if column.is_empty() {
        return Ok(());
    }
    let (times, rest) = column.as_chunks::<8>();
    if times.len() != events.len() || !rest.is_empty() {
        return Err(format!("`time` has {} bytes for {} events", column.len(), events.len()));
    }
    for (event, time) in events.iter_mut().zip(times) {
        event.time = Some(i64::from_le_bytes(*time)).filter(|time| *time != TIME_ABSENT);
    }
    Ok(())
}

/// Where an event has a text.
type Place = fn(&mut Event) -> &mut Option<String>;

fn texts(batch: &v1::Batch, events: &mut [Event]) -> Result<(), String> {
    let columns: [(&str, &Option<v1::Strings>, Place, usize); 8] = [
        ("content_type", &batch.content_type, |event| &mut event.content_type, ATTRIBUTE_BYTES),
        ("id", &batch.id, |event| &mut event.id, ATTRIBUTE_BYTES),
        ("source", &batch.source, |event| &mut event.source, ATTRIBUTE_BYTES),
        ("type", &batch.r#type, |event| &mut event.type_, ATTRIBUTE_BYTES),
        ("subject", &batch.subject, |event| &mut event.subject, ATTRIBUTE_BYTES),
        ("key", &batch.key, |event| &mut event.key, KEY_BYTES),
        ("data_schema", &batch.data_schema, |event| &mut event.data_schema, ATTRIBUTE_BYTES),
        ("from", &batch.from, |event| &mut event.from, ATTRIBUTE_BYTES),
    ];
    for (name, column, place, limit) in columns {
        let cells =
            columns::read_strings(column.as_ref(), events.len()).map_err(|error| format!("`{name}`: {error}"))?;
        // A value that no index names is still checked.
        let values = column.as_ref().and_then(|column| column.values.as_ref()).map(columns::read_values).transpose()?;
        if values.into_iter().flatten().any(|value| value.len() > limit) {
            return Err(format!("`{name}` has a value beyond {limit} bytes"));
        }
        for (event, cell) in events.iter_mut().zip(cells) {
            *place(event) = cell;
        }
    }
    Ok(())
}

fn extensions(found: &[v1::Extension], events: &mut [Event]) -> Result<(), String> {
    if found.len() > EXTENSIONS {
        return Err(format!("{} extension columns", found.len()));
    }
    for column in found {
        let name = &column.name;
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if !(1..=64).contains(&name.len()) || !name.bytes().all(legal) {
            return Err(format!("an extension of the name {name:?}"));
        }
        let kind =
            ExtensionType::try_from(column.r#type).map_err(|_| format!("{name} has the type {}", column.r#type))?;
        let rows = match column.index.is_empty() {
            true => (0..events.len() as u32).collect(),
            false => {
                columns::read_u32s(&column.index).ok_or(format!("the `index` of {name} is no multiple of 4 bytes"))?
            }
        };
        let values = column.values.as_ref().map(columns::read_values).transpose()?.unwrap_or_default();
        if values.len() != rows.len() || rows.windows(2).any(|pair| pair[1] <= pair[0]) {
            return Err(format!("{name} has {} values for the rows {rows:?}", values.len()));
        }
        for (row, value) in rows.into_iter().zip(values) {
            let event = events.get_mut(row as usize).ok_or(format!("{name} is of the row {row}"))?;
            if value.len() > ATTRIBUTE_BYTES {
                return Err(format!("{name} has a value of {} bytes", value.len()));
            }
            if event.extensions.insert(name.clone(), Value::decode(kind, &value)?).is_some() {
                return Err(format!("event {row} has {name} twice"));
            }
        }
    }
    Ok(())
}

fn spans(found: &[v1::SpanContext], events: &mut [Event]) -> Result<(), String> {
    let mut before = None;
    for span in found {
        if before.is_some_and(|before| span.index <= before) {
            return Err(format!("a span of event {} after one of {before:?}", span.index));
        }
        before = Some(span.index);
        let event = events.get_mut(span.index as usize).ok_or(format!("a span of event {}", span.index))?;
        let trace_id = span.trace_id.as_ref().try_into();
        let span_id = span.span_id.as_ref().try_into();
        let (Ok(trace_id), Ok(span_id)) = (trace_id, span_id) else {
            return Err(format!("ids of {} and {} bytes", span.trace_id.len(), span.span_id.len()));
        };
        event.span = Some(Span { trace_id, span_id, flags: span.flags });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{columns::Style, event};

    #[test]
    fn what_was_written_is_read() {
        let mut first = Event::new("one");
        first.extensions.insert("part".into(), Value::Integer(3));
        first.time = Some(-1);
        first.span = Some(Span { trace_id: [1; 16], span_id: [2; 8], flags: 1 });
        let events = vec![first.key("k"), Event::new(""), Event::new("three").key("k")];
        for style in [Style::Short, Style::Dictionary, Style::Plain] {
            assert_eq!(batch(&event::batch(&events, style)).unwrap(), events, "{style:?}");
        }
    }

    #[test]
    fn every_malformed_batch_is_seen() {
        for case in crate::malformed::cases().into_iter().filter(|case| case.rule != "B9") {
            let found = case.work.batch.as_ref().map(batch);
            let seen = match found {
                None => true,
                // What only a node may not take: a source's batch has no uid.
                Some(Ok(_)) => case.name == "b5-uid-missing",
                Some(Err(_)) => true,
            };
            assert!(seen, "{}", case.name);
        }
    }
}
