//! Building of answers output by output, for nodes in the coordinator's own process.

use thiserror::Error;

use super::{OutputColumns, Outputs, WHOLE};
use crate::{
    batch::{
        Attribute, Batch, EventError, ExtensionBuilder, ExtensionType, ExtensionValue, TIME_ABSENT, TIME_INHERITED,
        event::{check_attribute, check_extensions, check_payload},
        values::{StringsBuilder, ValuesBuilder},
    },
    limits,
};

/// What an output has different from its parent. `None`: as the parent's; "": none.
#[derive(Debug, Clone, Copy, Default)]
pub struct OutputEvent<'a> {
    /// Media type of the payload, RFC 2046.
    pub content_type: Option<&'a str>,
    /// CloudEvents `type`.
    pub type_: Option<&'a str>,
    /// CloudEvents `subject`.
    pub subject: Option<&'a str>,
    /// Ordering key.
    pub key: Option<&'a str>,
    /// CloudEvents `dataschema`.
    pub data_schema: Option<&'a str>,
    /// UTC nanoseconds since the Unix epoch; `Some(None)`: none.
    pub time_ns: Option<Option<i64>>,
    /// An id that is the same at every attempt; the uid is made from it.
    pub id: Option<&'a str>,
    /// The route that the output takes.
    pub route: Option<&'a str>,
    /// Extensions that are set, or with `None` removed.
    pub extensions: &'a [(&'a str, Option<ExtensionValue<'a>>)],
}

/// Why an output was not appended. The builder is as it was before.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EmitError {
    /// Outputs must come in the order of their inputs, those of the whole batch last.
    #[error("an output of input {parent} comes after one of input {previous}; emit in the order of inputs")]
    Order {
        /// The input that came before; `u32::MAX`: the whole batch.
        previous: u32,
        /// The input that is out of order.
        parent: u32,
    },
    /// There is no such input.
    #[error("there is no input {parent}: the batch has {inputs}")]
    Parent {
        /// The input named.
        parent: u32,
        /// Number of inputs.
        inputs: usize,
    },
    /// An output of the whole batch must have a payload.
    #[error("an output of the whole batch has no parent to take its payload from")]
    NoPayload,
    /// The output itself is illegal, or the answer is full: finish it and emit into the next.
    #[error(transparent)]
    Event(#[from] EventError),
}

const ATTRIBUTES: [Attribute; 6] =
    [Attribute::ContentType, Attribute::Type, Attribute::Subject, Attribute::Key, Attribute::DataSchema, Attribute::Id];

/// Appends outputs to an answer, within the limits of the protocol.
pub struct OutputsBuilder {
    input: Batch,
    parents: Vec<u32>,
    bytes: usize,
    /// `None` while every output has its parent's payload.
    payload: Option<ValuesBuilder>,
    strings: [StringsBuilder; ATTRIBUTES.len()],
    route: StringsBuilder,
    time: Vec<u8>,
    extensions: Vec<(ExtensionType, ExtensionBuilder)>,
}

impl OutputsBuilder {
    /// An empty answer to a work with these inputs.
    #[must_use]
    pub fn new(input: &Batch) -> Self {
        Self {
            input: input.clone(),
            parents: Vec::new(),
            bytes: 0,
            payload: None,
            strings: Default::default(),
            route: StringsBuilder::default(),
            time: Vec::new(),
            extensions: Vec::new(),
        }
    }

    /// Number of outputs so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.parents.len()
    }

    /// Whether there are none yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parents.is_empty()
    }

    /// Bytes so far; the parents' payloads do not count while every output keeps them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends an output of input `parent`, or with `None` of the whole batch. Without a payload it has its parent's.
    pub fn emit(
        &mut self,
        parent: Option<u32>,
        payload: Option<&[u8]>,
        event: OutputEvent<'_>,
    ) -> Result<(), EmitError> {
        self.check_parent(parent, payload)?;
        check(payload, &event)?;
        let bytes = self.cost(parent, payload, &event);
        if self.len() == limits::BATCH_EVENTS
            || self.bytes + bytes > limits::BATCH_BYTES
            || self.extensions.len() + self.new_extensions(&event) > limits::EXTENSIONS
        {
            return Err(EventError::Full.into());
        }
        self.push_payload(parent, payload);
        let row = self.len();
        for (column, (_, value)) in self.strings.iter_mut().zip(attributes(&event)) {
            push(column, value);
        }
        push(&mut self.route, event.route);
        if let Some(time) = event.time_ns {
            inherited_times(&mut self.time, row);
            self.time.extend_from_slice(&time.unwrap_or(TIME_ABSENT).to_le_bytes());
        }
        for (name, value) in event.extensions {
            let kind = value.map_or(ExtensionType::Unspecified, |value| value.kind());
            let column = self.extension(name, kind);
            match value {
                Some(value) => value.encode(|bytes| column.push(row, bytes)),
                None => column.remove(row),
            }
        }
        self.parents.push(parent.unwrap_or(WHOLE));
        self.bytes += bytes;
        Ok(())
    }

    /// The answer; `None`: there are no outputs. `continued`: the last input named goes on in the next result.
    #[must_use]
    pub fn finish(mut self, continued: bool) -> Option<Outputs> {
        let rows = self.len();
        if rows == 0 {
            return None;
        }
        if !self.time.is_empty() {
            inherited_times(&mut self.time, rows);
        }
        // Output i of input i, for every input, is the wire's default.
        let plain = rows == self.input.len() && self.parents.iter().zip(0..).all(|(&parent, row)| parent == row);
        let parent: Vec<u8> =
            if plain { Vec::new() } else { self.parents.iter().flat_map(|parent| parent.to_le_bytes()).collect() };
        let [content_type, type_, subject, key, data_schema, id] = self.strings.map(StringsBuilder::finish);
        Some(Outputs::from_valid(OutputColumns {
            count: rows as u32,
            parent: parent.into(),
            continued,
            payload: self.payload.map(ValuesBuilder::finish),
            content_type,
            type_,
            subject,
            key,
            time: self.time.into(),
            id,
            route: self.route.finish(),
            data_schema,
            extensions: self.extensions.into_iter().filter_map(|(_, column)| column.finish(rows)).collect(),
        }))
    }

    fn check_parent(&self, parent: Option<u32>, payload: Option<&[u8]>) -> Result<(), EmitError> {
        let inputs = self.input.len();
        match parent {
            Some(parent) if parent as usize >= inputs => {
                return Err(EmitError::Parent { parent, inputs });
            }
            None if payload.is_none() => return Err(EmitError::NoPayload),
            _ => {}
        }
        let parent = parent.unwrap_or(WHOLE);
        match self.parents.last() {
            Some(&previous) if parent < previous => Err(EmitError::Order { previous, parent }),
            _ => Ok(()),
        }
    }

    /// Bytes that the output adds, that of the parents' payloads included when this is the first with one of its own.
    fn cost(&self, parent: Option<u32>, payload: Option<&[u8]>, event: &OutputEvent<'_>) -> usize {
        let inherited = |parent: u32| self.input.payload(parent as usize).len() + 4;
        let payload = match (payload, &self.payload) {
            (None, None) => 0,
            (None, Some(_)) => parent.map_or(0, inherited),
            (Some(own), Some(_)) => own.len() + 4,
            (Some(own), None) => own.len() + 4 + self.parents.iter().map(|&parent| inherited(parent)).sum::<usize>(),
        };
        let strings = attributes(event).into_iter().map(|(_, value)| value).chain([event.route]);
        let extensions = event.extensions.iter().map(|(name, value)| name.len() + 8 + encoded_size(*value));
        payload
            + strings.flatten().map(|value| value.len() + 8).sum::<usize>()
            + extensions.sum::<usize>()
            + event.time_ns.map_or(0, |_| 8)
            + 4
    }

    fn push_payload(&mut self, parent: Option<u32>, payload: Option<&[u8]>) {
        let Self { input, parents, payload: column, .. } = self;
        let parent_payload = |parent: u32| input.payload(parent as usize);
        match (payload, column) {
            (None, None) => {}
            (None, Some(column)) => column.push(parent.map_or(&[], parent_payload)),
            (Some(own), Some(column)) => column.push(own),
            (Some(own), column) => {
                let mut values = ValuesBuilder::default();
                parents.iter().for_each(|&parent| values.push(parent_payload(parent)));
                values.push(own);
                *column = Some(values);
            }
        }
    }

    fn extension(&mut self, name: &str, kind: ExtensionType) -> &mut ExtensionBuilder {
        let at = self.extensions.iter().position(|(_, column)| column.is(name, kind)).unwrap_or_else(|| {
            self.extensions.push((kind, ExtensionBuilder::new(name.into(), kind)));
            self.extensions.len() - 1
        });
        &mut self.extensions[at].1
    }

    fn new_extensions(&self, event: &OutputEvent<'_>) -> usize {
        let known = |name: &str, value: Option<ExtensionValue<'_>>| {
            let kind = value.map_or(ExtensionType::Unspecified, |value| value.kind());
            self.extensions.iter().any(|(_, column)| column.is(name, kind))
        };
        event.extensions.iter().filter(|(name, value)| !known(name, *value)).count()
    }
}

fn attributes<'a>(event: &OutputEvent<'a>) -> [(Attribute, Option<&'a str>); ATTRIBUTES.len()] {
    let values = [event.content_type, event.type_, event.subject, event.key, event.data_schema, event.id];
    std::array::from_fn(|at| (ATTRIBUTES[at], values[at]))
}

fn push(column: &mut StringsBuilder, value: Option<&str>) {
    match value {
        Some(value) => {
            column.push_value(value);
        }
        None => column.push_absent(1),
    }
}

fn encoded_size(value: Option<ExtensionValue<'_>>) -> usize {
    value.map_or(0, |value| value.encode(<[u8]>::len))
}

fn check(payload: Option<&[u8]>, event: &OutputEvent<'_>) -> Result<(), EventError> {
    check_payload(payload.unwrap_or_default())?;
    for (attribute, value) in attributes(event) {
        check_attribute(attribute.name(), value.unwrap_or_default(), attribute.limit())?;
    }
    check_attribute("route", event.route.unwrap_or_default(), limits::ATTRIBUTE_BYTES)?;
    let extensions = event.extensions.iter().map(|(name, value)| (*name, encoded_size(*value)));
    check_extensions(extensions)
}

/// Extends a column of times to `rows` rows.
fn inherited_times(times: &mut Vec<u8>, rows: usize) {
    let missing = rows - times.len() / 8;
    times.extend(std::iter::repeat_n(TIME_INHERITED.to_le_bytes(), missing).flatten());
}
