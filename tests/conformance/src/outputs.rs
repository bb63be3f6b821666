//! What a node's outputs mean, and whether they are well-formed.

use bytes::Bytes;
use meshloom_proto::v1::{self, ExtensionType};

use crate::{
    columns::{self, TIME_ABSENT, TIME_INHERITED},
    event::{Event, Value},
};

const BATCH_EVENTS: u32 = 65_536;
const BATCH_BYTES: usize = 32 << 20;
const EVENT_BYTES: usize = 16 << 20;
const ATTRIBUTE_BYTES: usize = 64 << 10;
const KEY_BYTES: usize = 1 << 10;

/// One output, with what it has from its parent.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Row {
    /// The input; `None`: the whole batch.
    pub(crate) parent: Option<u32>,
    /// As a node below would see it. Of `uid`, `source`, `from` and `span` only what the parent has.
    pub(crate) event: Event,
    pub(crate) route: Option<String>,
    /// Whether the result carries a payload, which may be the parent's.
    pub(crate) payload: bool,
    /// Whether the result names the content type.
    pub(crate) typed: bool,
}

/// Reads the outputs of a work. `inputs` may be shorter than `count` where the kit does not know them.
///
/// # Errors
/// The number of the rule that they break, and how.
pub(crate) fn read(outputs: &v1::Outputs, inputs: &[Event], count: u32) -> Result<Vec<Row>, (&'static str, String)> {
    if outputs.count == 0 || outputs.count > BATCH_EVENTS {
        return Err(("W19", format!("outputs with a count of {}", outputs.count)));
    }
    let bytes = bytes_of(outputs);
    if bytes > BATCH_BYTES {
        return Err(("W19", format!("outputs of {bytes} bytes")));
    }
    let rows = outputs.count as usize;
    let parents = parents(outputs, count)?;
    let payload = outputs.payload.as_ref().map(columns::read_values).transpose().map_err(named("W4", "payload"))?;
    if let Some(payload) = &payload {
        if payload.len() != rows {
            return Err(("W4", format!("`payload` has {} values for {rows} outputs", payload.len())));
        }
        if let Some(large) = payload.iter().find(|payload| payload.len() > EVENT_BYTES) {
            return Err(("W19", format!("an output with a payload of {} bytes", large.len())));
        }
    }
    let text = |name: &'static str, column: &Option<v1::Strings>, limit: usize| {
        let cells = columns::read_strings(column.as_ref(), rows).map_err(named("W4", name))?;
        match cells.iter().flatten().find(|cell| cell.len() > limit) {
            Some(long) => Err(("W19", format!("a {name} of {} bytes", long.len()))),
            None => Ok(cells),
        }
    };
    let content_type = text("content_type", &outputs.content_type, ATTRIBUTE_BYTES)?;
    let type_ = text("type", &outputs.r#type, ATTRIBUTE_BYTES)?;
    let subject = text("subject", &outputs.subject, ATTRIBUTE_BYTES)?;
    let key = text("key", &outputs.key, KEY_BYTES)?;
    let id = text("id", &outputs.id, ATTRIBUTE_BYTES)?;
    let route = text("route", &outputs.route, ATTRIBUTE_BYTES)?;
    let data_schema = text("data_schema", &outputs.data_schema, ATTRIBUTE_BYTES)?;
    let time = times(&outputs.time, rows)?;
    let mut found = Vec::with_capacity(rows);
    for row in 0..rows {
        let parent = parents[row];
        let mut event = parent.and_then(|parent| inputs.get(parent as usize)).cloned().unwrap_or_default();
        match &payload {
            Some(payload) => event.payload = payload[row].clone(),
            None if parent.is_none() => return Err(("W10", "an output of the whole batch without a payload".into())),
            None => {}
        }
        let set = |field: &mut Option<String>, cell: &Option<String>| {
            if let Some(text) = cell {
                *field = Some(text.clone()).filter(|text| !text.is_empty());
            }
        };
        let typed = content_type[row].is_some();
        set(&mut event.content_type, &content_type[row]);
        set(&mut event.type_, &type_[row]);
        set(&mut event.subject, &subject[row]);
        set(&mut event.key, &key[row]);
        set(&mut event.id, &id[row]);
        set(&mut event.data_schema, &data_schema[row]);
        match time[row] {
            TIME_INHERITED => {}
            TIME_ABSENT => event.time = None,
            time => event.time = Some(time),
        }
        let route = route[row].clone().filter(|route| !route.is_empty());
        found.push(Row { parent, event, route, payload: payload.is_some(), typed });
    }
    extensions(&outputs.extensions, &mut found).map_err(|error| ("W4", error))?;
    Ok(found)
}

fn named(rule: &'static str, name: &'static str) -> impl Fn(String) -> (&'static str, String) {
    move |error| (rule, format!("`{name}` of the outputs: {error}"))
}

fn parents(outputs: &v1::Outputs, count: u32) -> Result<Vec<Option<u32>>, (&'static str, String)> {
    if outputs.parent.is_empty() {
        if outputs.count > count {
            return Err(("W3", format!("{} outputs without `parent` for {count} inputs", outputs.count)));
        }
        return Ok((0..outputs.count).map(Some).collect());
    }
    let parents = columns::read_u32s(&outputs.parent).ok_or(("W3", "`parent` is no multiple of 4 bytes".to_owned()))?;
    if parents.len() != outputs.count as usize {
        return Err(("W3", format!("`parent` has {} entries for {} outputs", parents.len(), outputs.count)));
    }
    if let Some(pair) = parents.windows(2).find(|pair| pair[1] < pair[0]) {
        return Err(("W3", format!("parent {} after parent {}", pair[1], pair[0])));
    }
    if let Some(beyond) = parents.iter().find(|parent| **parent != u32::MAX && **parent >= count) {
        return Err(("W3", format!("parent {beyond} of {count} inputs")));
    }
    Ok(parents.into_iter().map(|parent| (parent != u32::MAX).then_some(parent)).collect())
}

fn times(column: &Bytes, rows: usize) -> Result<Vec<i64>, (&'static str, String)> {
    if column.is_empty() {
        return Ok(vec![TIME_INHERITED; rows]);
    }
    let (times, rest) = column.as_chunks::<8>();
    if !rest.is_empty() || times.len() != rows {
        return Err(("W4", format!("`time` has {} bytes for {rows} outputs", column.len())));
    }
    Ok(times.iter().map(|time| i64::from_le_bytes(*time)).collect())
}

fn extensions(columns: &[v1::Extension], rows: &mut [Row]) -> Result<(), String> {
    if columns.len() > 64 {
        return Err(format!("{} extension columns", columns.len()));
    }
    let mut seen = std::collections::HashSet::new();
    for column in columns {
        let name = &column.name;
        let legal = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if !(1..=64).contains(&name.len()) || !name.bytes().all(legal) {
            return Err(format!("an extension of the name {name:?}"));
        }
        let kind =
            ExtensionType::try_from(column.r#type).map_err(|_| format!("{name} has the type {}", column.r#type))?;
        let covered = match column.index.is_empty() {
            true => (0..rows.len() as u32).collect(),
            false => {
                columns::read_u32s(&column.index).ok_or(format!("the `index` of {name} is no multiple of 4 bytes"))?
            }
        };
        if covered.windows(2).any(|pair| pair[1] <= pair[0])
            || covered.last().is_some_and(|row| *row as usize >= rows.len())
        {
            return Err(format!("the `index` of {name} does not ascend within the outputs"));
        }
        let values = column.values.as_ref().map(columns::read_values).transpose()?.unwrap_or_default();
        if kind == ExtensionType::Unspecified {
            if !values.is_empty() {
                return Err(format!("{name} is removed, and has {} values", values.len()));
            }
        } else if values.len() != covered.len() {
            return Err(format!("{name} has {} values for {} outputs", values.len(), covered.len()));
        }
        for (at, row) in covered.into_iter().enumerate() {
            if !seen.insert((name, row)) {
                return Err(format!("output {row} has {name} twice"));
            }
            let extensions = &mut rows[row as usize].event.extensions;
            if kind == ExtensionType::Unspecified {
                extensions.remove(name);
            } else if values[at].len() > ATTRIBUTE_BYTES {
                return Err(format!("{name} has a value of {} bytes", values[at].len()));
            } else {
                extensions.insert(name.clone(), Value::decode(kind, &values[at])?);
            }
        }
    }
    Ok(())
}

fn bytes_of(outputs: &v1::Outputs) -> usize {
    let values = |values: Option<&v1::Values>| values.map_or(0, |values| values.data.len() + values.ends.len());
    let strings = [
        &outputs.content_type,
        &outputs.r#type,
        &outputs.subject,
        &outputs.key,
        &outputs.id,
        &outputs.route,
        &outputs.data_schema,
    ];
    let strings = strings.into_iter().flatten().map(|column| values(column.values.as_ref()) + column.index.len());
    let extensions = outputs.extensions.iter();
    let extensions = extensions.map(|column| column.name.len() + values(column.values.as_ref()) + column.index.len());
    outputs.parent.len()
        + outputs.time.len()
        + values(outputs.payload.as_ref())
        + strings.sum::<usize>()
        + extensions.sum::<usize>()
}
