//! The answer to a work while it is being made: output rows in columns, and failures.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use meshloom_proto::v1::{self, EventFailure, FailureAction, Ordering, WorkResult};
use serde::Serialize;

use crate::{
    columns::{
        ABSENT, Batch, ColumnsBuilder, PARENT_TIME, Text, ValuesBuilder,
        limits::{
            HELD_OUTPUT_BYTES, MAX_ATTRIBUTE_BYTES, MAX_BATCH_EVENTS, MAX_EVENT_BYTES, MAX_EXTENSIONS, MAX_KEY_BYTES,
        },
        name_is_valid,
    },
    error::{Error, reason, reject},
    handler::lanes,
    output::{Attributes, Output, Payload},
};

/// Payload bytes of one result; with one event more it stays under the limit of a batch.
const MAX_RESULT_BYTES: usize = 8 << 20;

/// Output rows in columns.
#[doc(hidden)]
#[derive(Debug, Default)]
pub struct Rows {
    rows: Vec<Row>,
    payload: ValuesBuilder,
    columns: ColumnsBuilder,
    falls: bool,
    routes: Routes,
}

/// The routes that a node declared; none declared: any.
pub(crate) type Routes = Option<Arc<[String]>>;

#[derive(Debug, Clone, Copy)]
struct Row {
    parent: u32,
    /// Position in the payload column; `ABSENT`: the parent's payload.
    payload: u32,
}

impl Rows {
    pub(crate) fn new(routes: Routes) -> Self {
        Self { routes, ..Self::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Forgets bytes of an output that was begun but never ended.
    pub(crate) fn forget_partial(&mut self) {
        let end = self.payload.len().checked_sub(1).map_or(0, |last| self.payload.range(last).end);
        self.payload.data.truncate(end);
    }

    /// Bytes held, roughly.
    pub(crate) fn bytes(&self) -> usize {
        self.payload.data.len() + self.columns.bytes + self.rows.len() * 8
    }

    fn add(&mut self, parent: u32, payload: u32) {
        self.falls |= self.rows.last().is_some_and(|last| last.parent > parent);
        self.rows.push(Row { parent, payload });
    }

    fn add_payload(&mut self, parent: u32) {
        let at = self.payload.len() as u32;
        self.payload.end();
        self.add(parent, at);
    }

    /// Adds an output with the parent's payload and attributes.
    pub(crate) fn push_unchanged(&mut self, parent: u32) {
        self.add(parent, ABSENT);
    }

    /// Adds an output, or nothing when it breaks a limit.
    pub(crate) fn push(&mut self, parent: u32, output: Output) -> Result<(), Error> {
        let row = self.rows.len();
        let Output { payload, content_type, attributes } = output;
        let data: &[u8] = match &payload {
            Payload::Parent if parent == ABSENT => {
                return Err(invalid("an output of the whole batch needs a payload of its own".to_owned()));
            }
            Payload::Parent => &[],
            Payload::Owned(data) => data,
            Payload::Shared(data) => data,
            Payload::Invalid(why) => return Err(invalid(why.clone())),
        };
        if data.len() > MAX_EVENT_BYTES {
            return Err(too_large(data.len()));
        }
        check_text(Text::ContentType, content_type.as_deref())?;
        if let Some(attributes) = &attributes {
            self.check(attributes)?;
        }
        if matches!(payload, Payload::Parent) {
            self.add(parent, ABSENT);
        } else {
            self.payload.data.extend_from_slice(data);
            self.add_payload(parent);
        }
        if let Some(content_type) = content_type {
            self.columns.set_text(row, Text::ContentType, &content_type);
        }
        if let Some(attributes) = attributes {
            self.set(row, &attributes);
        }
        Ok(())
    }

    /// Adds an output with this payload and nothing else of its own.
    pub(crate) fn push_data(&mut self, parent: u32, data: &[u8], content_type: &'static str) -> Result<(), Error> {
        if data.len() > MAX_EVENT_BYTES {
            return Err(too_large(data.len()));
        }
        let row = self.rows.len();
        self.payload.data.extend_from_slice(data);
        self.add_payload(parent);
        self.columns.set_text(row, Text::ContentType, content_type);
        Ok(())
    }

    /// Adds an output with a JSON payload, written straight into the column.
    pub(crate) fn push_json(&mut self, parent: u32, value: &impl Serialize) -> Result<(), Error> {
        let start = self.payload.data.len();
        let written = serde_json::to_writer(&mut self.payload.data, value);
        let size = self.payload.data.len() - start;
        if written.is_err() || size > MAX_EVENT_BYTES {
            self.payload.data.truncate(start);
            return Err(written.map_or_else(
                |error| invalid(format!("the output cannot be written as JSON: {error}")),
                |()| too_large(size),
            ));
        }
        let row = self.rows.len();
        self.add_payload(parent);
        self.columns.set_text(row, Text::ContentType, "application/json");
        Ok(())
    }

    fn check(&self, attributes: &Attributes) -> Result<(), Error> {
        check_attributes(attributes)?;
        if let (Some(route), Some(routes)) =
            (attributes.route.as_deref().filter(|route| !route.is_empty()), &self.routes)
            && !routes.iter().any(|known| known == route)
        {
            return Err(reject(
                reason::ROUTE_UNDECLARED,
                format!(
                    "the output names route `{route}`, but the node declares {}; add it with `.routes([..])`",
                    routes.join(", ")
                ),
            ));
        }
        match attributes.extensions.iter().find(|(name, _)| !self.columns.has_room_for_extension(name)) {
            Some((name, _)) => Err(reject(
                reason::TOO_MANY_EXTENSIONS,
                format!("extension `{name}` would be one more than the {MAX_EXTENSIONS} names that a result may hold"),
            )),
            None => Ok(()),
        }
    }

    fn set(&mut self, row: usize, attributes: &Attributes) {
        for (column, value) in attributes.texts() {
            if let Some(value) = value {
                self.columns.set_text(row, column, value);
            }
        }
        if let Some(time) = attributes.time {
            self.columns.set_time(row, time, PARENT_TIME);
        }
        for (name, value) in &attributes.extensions {
            self.columns.set_extension(row, name, value.clone());
        }
    }

    /// Takes over the rows of another, in their order.
    pub(crate) fn absorb(&mut self, other: &Self) {
        self.absorb_of(other, |_| true);
    }

    /// Forgets the rows that come from these parents.
    pub(crate) fn remove(&mut self, parents: &BTreeSet<u32>) {
        let mut rows = Self::new(self.routes.clone());
        rows.absorb_of(self, |parent| !parents.contains(&parent));
        *self = rows;
    }

    /// Takes over the rows of another that come from the parents that `chosen` names.
    fn absorb_of(&mut self, other: &Self, chosen: impl Fn(u32) -> bool) {
        for (from, row) in other.rows.iter().enumerate().filter(|(_, row)| chosen(row.parent)) {
            let to = self.rows.len();
            if row.payload == ABSENT {
                self.add(row.parent, ABSENT);
            } else {
                self.payload.data.extend_from_slice(other.payload.get(row.payload as usize));
                self.add_payload(row.parent);
            }
            for column in Text::ALL {
                if let Some(value) = other.columns.text(from, column) {
                    self.columns.set_text(to, column, value);
                }
            }
            if let Some(time) = other.columns.time(from) {
                self.columns.set_time(to, time, PARENT_TIME);
            }
            if other.columns.has_extensions() {
                for (name, value) in other.columns.extensions_of(from) {
                    self.columns.set_extension(to, name, value.clone());
                }
            }
        }
    }

    /// Ends the rows: outputs in the order of their parents, cut into messages of legal size.
    pub(crate) fn finish(&mut self, batch: &Batch) -> Vec<v1::Outputs> {
        let mut done = std::mem::replace(self, Self::new(self.routes.clone()));
        if done.rows.is_empty() {
            return Vec::new();
        }
        let mut order: Vec<u32> = (0..done.rows.len() as u32).collect();
        if done.falls {
            order.sort_by_key(|&row| done.rows[row as usize].parent);
        }
        let mut parts: Vec<&[u32]> = Vec::with_capacity(1);
        let mut start = 0;
        let mut bytes = 0;
        for (at, &row) in order.iter().enumerate() {
            let row = done.rows[row as usize];
            bytes += done.payload_of(row, batch).len();
            let crosses = at > start && row.parent == ABSENT && done.rows[order[at - 1] as usize].parent != ABSENT;
            if at > start && (crosses || at - start == MAX_BATCH_EVENTS || bytes > MAX_RESULT_BYTES) {
                parts.push(&order[start..at]);
                start = at;
                bytes = done.payload_of(row, batch).len();
            }
        }
        parts.push(&order[start..]);
        let whole_column = (parts.len() == 1 && !done.falls && done.payload.len() == done.rows.len())
            .then(|| std::mem::take(&mut done.payload).finish());
        parts
            .iter()
            .enumerate()
            .map(|(at, part)| done.part(part, parts.get(at + 1).map(|next| next[0]), whole_column.clone(), batch))
            .collect()
    }

    fn payload_of<'a>(&'a self, row: Row, batch: &'a Batch) -> &'a [u8] {
        match row.payload {
            ABSENT => batch.payload(row.parent as usize),
            at => self.payload.get(at as usize),
        }
    }

    fn part(&self, part: &[u32], next: Option<u32>, whole_column: Option<v1::Values>, batch: &Batch) -> v1::Outputs {
        let row = |at: u32| self.rows[at as usize];
        let changed = part.iter().any(|&at| row(at).payload != ABSENT);
        let payload = whole_column.or_else(|| {
            changed.then(|| {
                let mut values = ValuesBuilder::default();
                for &at in part {
                    values.push(self.payload_of(row(at), batch));
                }
                values.finish()
            })
        });
        let positional = part.iter().enumerate().all(|(i, &at)| row(at).parent == i as u32);
        let last = row(part[part.len() - 1]).parent;
        v1::Outputs {
            count: part.len() as u32,
            parent: if positional {
                Bytes::new()
            } else {
                part.iter().flat_map(|&at| row(at).parent.to_le_bytes()).collect()
            },
            continued: last != ABSENT && next.is_some_and(|next| row(next).parent == last),
            payload,
            content_type: self.columns.finish_text(part, Text::ContentType),
            r#type: self.columns.finish_text(part, Text::Type),
            subject: self.columns.finish_text(part, Text::Subject),
            key: self.columns.finish_text(part, Text::Key),
            time: self.columns.finish_time(part, PARENT_TIME),
            id: self.columns.finish_text(part, Text::Id),
            route: self.columns.finish_text(part, Text::Route),
            data_schema: self.columns.finish_text(part, Text::DataSchema),
            extensions: self.columns.finish_extensions(part),
        }
    }
}

impl Attributes {
    pub(crate) fn texts(&self) -> [(Text, Option<&str>); 7] {
        [
            (Text::Type, self.kind.as_deref()),
            (Text::Subject, self.subject.as_deref()),
            (Text::Key, self.key.as_deref()),
            (Text::Id, self.id.as_deref()),
            (Text::Route, self.route.as_deref()),
            (Text::DataSchema, self.data_schema.as_deref()),
            (Text::Source, self.source.as_deref()),
        ]
    }
}

/// Checks attributes against the limits of the protocol.
pub(crate) fn check_attributes(attributes: &Attributes) -> Result<(), Error> {
    for (column, value) in attributes.texts() {
        check_text(column, value)?;
    }
    let extensions = &attributes.extensions;
    if extensions.len() > MAX_EXTENSIONS {
        let message = format!("{} extensions are set; at most {MAX_EXTENSIONS} are allowed", extensions.len());
        return Err(reject(reason::TOO_MANY_EXTENSIONS, message));
    }
    for (at, (name, value)) in extensions.iter().enumerate() {
        if !name_is_valid(name) {
            return Err(invalid(format!(
                "extension name `{}` is not 1 to 64 characters of [a-z0-9]",
                name.escape_debug()
            )));
        }
        if extensions[..at].iter().any(|(other, _)| other == name) {
            return Err(invalid(format!("extension `{name}` is set twice")));
        }
        let size = value.as_ref().map_or(0, |value| value.to_wire().len());
        if size > MAX_ATTRIBUTE_BYTES {
            let message = format!("extension `{name}` has {size} bytes; at most {MAX_ATTRIBUTE_BYTES} are allowed");
            return Err(reject(reason::ATTRIBUTE_TOO_LARGE, message));
        }
    }
    Ok(())
}

/// Checks the size of a text attribute.
pub(crate) fn check_text(column: Text, value: Option<&str>) -> Result<(), Error> {
    let max = if column == Text::Key { MAX_KEY_BYTES } else { MAX_ATTRIBUTE_BYTES };
    match value {
        Some(value) if value.len() > max => {
            let message = format!("`{}` has {} bytes; at most {max} are allowed", column.name(), value.len());
            Err(reject(reason::ATTRIBUTE_TOO_LARGE, message))
        }
        _ => Ok(()),
    }
}

pub(crate) fn invalid(message: String) -> Error {
    reject(reason::OUTPUT_INVALID, message)
}

pub(crate) fn too_large(size: usize) -> Error {
    let message = format!("the output has {size} bytes; at most {MAX_EVENT_BYTES} are allowed");
    reject(reason::EVENT_TOO_LARGE, message)
}

/// Rows and failures of a work until they are sent.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) rows: Rows,
    failures: Vec<EventFailure>,
    failure_bytes: usize,
}

impl Answer {
    pub(crate) fn new(routes: Routes) -> Self {
        Self { rows: Rows::new(routes), failures: Vec::new(), failure_bytes: 0 }
    }

    pub(crate) fn fail(&mut self, index: u32, error: Error) {
        let failure = error.into_failure(index);
        self.failure_bytes += failure.reason.len() + failure.message.len();
        self.failures.push(failure);
    }

    /// Turns the rows behind one of their key that will come again into rows that are held; these are returned.
    pub(crate) fn hold(&mut self, batch: &Batch, ordering: Ordering) -> BTreeSet<u32> {
        let mut first: HashMap<&str, u32> = HashMap::new();
        for failure in self.failures.iter().filter(|failure| failure.action() != FailureAction::Reject) {
            if let Some(key) = lanes::key_of(ordering, batch, failure.index) {
                first.entry(key).and_modify(|row| *row = failure.index.min(*row)).or_insert(failure.index);
            }
        }
        if first.is_empty() {
            return BTreeSet::new();
        }
        let is_behind = |row: &u32| {
            lanes::key_of(ordering, batch, *row).and_then(|key| first.get(key)).is_some_and(|first| first < row)
        };
        let held: BTreeSet<u32> = (0..batch.len() as u32).filter(is_behind).collect();
        self.rows.remove(&held);
        self.failures.retain(|failure| !held.contains(&failure.index));
        held.iter().for_each(|row| self.fail(*row, lanes::held()));
        held
    }

    pub(crate) fn failures(&self) -> &[EventFailure] {
        &self.failures
    }

    /// Whether enough is held that it should go out.
    pub(crate) fn is_large(&self) -> bool {
        self.rows.bytes() + self.failure_bytes >= HELD_OUTPUT_BYTES
    }

    /// Ends what is held as results of which none is the last.
    pub(crate) fn finish(&mut self, sequence: u64, batch: &Batch) -> Vec<WorkResult> {
        let mut results: Vec<WorkResult> = self
            .rows
            .finish(batch)
            .into_iter()
            .map(|outputs| WorkResult { sequence, outputs: Some(outputs), ..WorkResult::default() })
            .collect();
        let mut failures = std::mem::take(&mut self.failures);
        self.failure_bytes = 0;
        if failures.is_empty() {
            return results;
        }
        // 4,096 failures with the longest messages stay under half of a message's limit.
        while failures.len() > 4096 {
            let rest = failures.split_off(4096);
            results.push(WorkResult { sequence, failures, ..WorkResult::default() });
            failures = rest;
        }
        match results.last_mut() {
            Some(last) if last.failures.is_empty() => last.failures = failures,
            _ => results.push(WorkResult { sequence, failures, ..WorkResult::default() }),
        }
        results
    }
}
