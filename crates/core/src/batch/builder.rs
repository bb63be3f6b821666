//! Building of batches event by event.

use super::{
    Attribute, Batch, Columns, Event, EventError, ExtensionValue, SpanContext, TIME_ABSENT,
    gather::ExtensionBuilder,
    values::{StringsBuilder, ValuesBuilder},
};
use crate::limits;

/// Appends events to a batch, within the limits of the protocol.
#[derive(Default)]
pub struct BatchBuilder {
    rows: usize,
    bytes: usize,
    payload: ValuesBuilder,
    strings: [StringsBuilder; Attribute::COUNT],
    uid: Vec<u8>,
    time: Vec<u8>,
    extensions: Vec<ExtensionBuilder>,
    spans: Vec<(u32, SpanContext)>,
}

impl BatchBuilder {
    /// An empty one.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty one with room for this many events and bytes of payload.
    #[must_use]
    pub fn with_capacity(events: usize, bytes: usize) -> Self {
        Self { payload: ValuesBuilder::with_capacity(bytes, events), ..Self::default() }
    }

    /// Number of events so far.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether there are none yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Bytes so far, as [`Batch::bytes`] counts them.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Appends an event. Legal events always fit an empty batch.
    pub fn push(&mut self, event: Event<'_>) -> Result<(), EventError> {
        event.check()?;
        let bytes = event.bytes();
        if self.rows == limits::BATCH_EVENTS
            || self.bytes + bytes > limits::BATCH_BYTES
            || self.extensions.len() + self.new_extensions(&event) > limits::EXTENSIONS
        {
            return Err(EventError::Full);
        }
        let row = self.rows;
        self.payload.push(event.payload);
        for (attribute, value) in event.attributes().into_iter().filter(|(_, value)| !value.is_empty()) {
            let column = &mut self.strings[attribute as usize];
            column.push_absent(row - column.len());
            column.push_value(value);
        }
        if let Some(uid) = event.uid {
            self.uid.resize(row * 16, 0);
            self.uid.extend_from_slice(uid.as_bytes());
        }
        if let Some(time) = event.time_ns {
            absent_times(&mut self.time, row);
            self.time.extend_from_slice(&time.to_le_bytes());
        }
        for (name, value) in event.extensions {
            value.encode(|bytes| self.extension(name, value).push(row, bytes));
        }
        // A context that breaks the rules is no reason to refuse the event: it goes untraced.
        if let Some(span) = event.span.filter(|span| span.is_valid()) {
            self.spans.push((row as u32, span.clone()));
        }
        self.rows += 1;
        self.bytes += bytes;
        Ok(())
    }

    /// The batch.
    #[must_use]
    pub fn finish(mut self) -> Batch {
        let rows = self.rows;
        if !self.uid.is_empty() {
            self.uid.resize(rows * 16, 0);
        }
        if !self.time.is_empty() {
            absent_times(&mut self.time, rows);
        }
        let [content_type, id, source, type_, subject, key, data_schema, from] = self.strings.map(|mut column| {
            column.push_absent(rows - column.len());
            column.finish()
        });
        Batch::from_valid(Columns {
            count: rows as u32,
            payload: Some(self.payload.finish()).filter(|payload| !payload.data.is_empty()),
            content_type,
            uid: self.uid.into(),
            time: self.time.into(),
            id,
            source,
            type_,
            subject,
            key,
            data_schema,
            from,
            extensions: self.extensions.into_iter().filter_map(|column| column.finish(rows)).collect(),
            spans: self.spans,
        })
    }

    fn extension(&mut self, name: &str, value: &ExtensionValue<'_>) -> &mut ExtensionBuilder {
        let at = self.extensions.iter().position(|column| column.is(name, value.kind())).unwrap_or_else(|| {
            self.extensions.push(ExtensionBuilder::new(name.into(), value.kind()));
            self.extensions.len() - 1
        });
        &mut self.extensions[at]
    }

    fn new_extensions(&self, event: &Event<'_>) -> usize {
        let known = |name: &str, value: &ExtensionValue<'_>| self.extensions.iter().any(|c| c.is(name, value.kind()));
        event.extensions.iter().filter(|(name, value)| !known(name, value)).count()
    }
}

/// Extends a column of times to `rows` rows.
fn absent_times(times: &mut Vec<u8>, rows: usize) {
    let missing = rows - times.len() / 8;
    times.extend(std::iter::repeat_n(TIME_ABSENT.to_le_bytes(), missing).flatten());
}
