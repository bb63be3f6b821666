//! What an expression can see of an event.

use std::{collections::HashMap, sync::OnceLock};

use cel::{
    common::{
        types::{CelBool, CelBytes, CelInt, CelMap, CelMapKey, CelString, CelTimestamp},
        value::{CowVal, Val},
    },
    context::VariableResolver,
};
use chrono::DateTime;
use meshloom_core::batch::{Batch, ExtensionValue};

use super::{Projection, Reads, payload};

/// An event, borrowed. What an expression does not read costs nothing.
#[derive(Debug, Clone, Copy)]
pub struct EventView<'a>(Of<'a>);

#[derive(Debug, Clone, Copy)]
enum Of<'a> {
    Row(&'a Batch, usize),
    Payload(&'a [u8]),
}

impl<'a> EventView<'a> {
    /// A row of a batch.
    ///
    /// # Panics
    /// When it is read, if there is no such row.
    pub fn of(batch: &'a Batch, row: usize) -> Self {
        Self(Of::Row(batch, row))
    }

    /// A payload without attributes.
    pub fn of_payload(payload: &'a [u8]) -> Self {
        Self(Of::Payload(payload))
    }

    fn payload(&self) -> &'a [u8] {
        match self.0 {
            Of::Row(batch, row) => batch.payload(row),
            Of::Payload(payload) => payload,
        }
    }
}

type Entries<'b> = HashMap<CelMapKey<'b>, Box<dyn Val + 'b>>;

/// The variables of one evaluation, made when they are first asked for.
#[derive(Debug)]
pub(super) struct Variables<'a> {
    event: EventView<'a>,
    reads: &'a Reads,
    data: OnceLock<Result<Box<dyn Val + 'a>, serde_json::Error>>,
}

impl<'a> Variables<'a> {
    pub(super) fn new(event: &EventView<'a>, reads: &'a Reads) -> Self {
        Self { event: *event, reads, data: OnceLock::new() }
    }

    /// Why the payload could not be read, if it was asked for and could not.
    pub(super) fn unreadable(&self) -> Option<&serde_json::Error> {
        self.data.get().and_then(|data| data.as_ref().err())
    }

    fn data<'b>(&'b self) -> Option<CowVal<'b, 'b>> {
        let projection = self.reads.data.as_ref()?;
        let data = self.data.get_or_init(|| payload::parse(self.event.payload(), projection));
        data.as_ref().ok().map(|value| CowVal::Borrowed(value.as_ref()))
    }

    fn attributes<'b>(&'b self) -> Option<CowVal<'b, 'b>> {
        let projection = self.reads.event.as_ref()?;
        let mut map = Entries::new();
        if let Of::Row(batch, row) = self.event.0 {
            let mut put = |name: &'static str, text: fn(&Batch, usize) -> Option<&str>| {
                if let Some(text) = projection.reads(name).then(|| text(batch, row)).flatten() {
                    map.insert(CelMapKey::from(name), Box::new(CelString::from(text)));
                }
            };
            put("id", Batch::id);
            put("source", Batch::source);
            put("type", Batch::type_);
            put("subject", Batch::subject);
            put("key", Batch::key);
            if let Some(time) = projection.reads("time").then(|| batch.time_ns(row)).flatten() {
                map.insert(CelMapKey::from("time"), timestamp(time));
            }
        }
        Some(CowVal::owned(CelMap::from(map)))
    }

    fn extensions<'b>(&'b self) -> Option<CowVal<'b, 'b>> {
        let projection = self.reads.ext.as_ref()?;
        let mut map = Entries::new();
        if let Of::Row(batch, row) = self.event.0 {
            for (name, value) in batch.extensions(row).filter(|(name, _)| projection.reads(name)) {
                map.insert(CelMapKey::from(name), extension(value));
            }
        }
        Some(CowVal::owned(CelMap::from(map)))
    }
}

fn extension<'b>(value: ExtensionValue<'b>) -> Box<dyn Val + 'b> {
    match value {
        ExtensionValue::Boolean(truth) => Box::new(CelBool::from(truth)),
        ExtensionValue::Integer(number) => Box::new(CelInt::from(i64::from(number))),
        ExtensionValue::String(text) | ExtensionValue::Uri(text) | ExtensionValue::UriReference(text) => {
            Box::new(CelString::from(text))
        }
        ExtensionValue::Binary(bytes) => Box::new(CelBytes::from(bytes)),
        ExtensionValue::Timestamp(time) => timestamp(time),
    }
}

fn timestamp<'b>(nanoseconds: i64) -> Box<dyn Val + 'b> {
    Box::new(CelTimestamp::from(DateTime::from_timestamp_nanos(nanoseconds).fixed_offset()))
}

impl VariableResolver for Variables<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        match variable {
            "data" => self.data(),
            "event" => self.attributes(),
            "ext" => self.extensions(),
            _ => None,
        }
    }
}

impl Projection {
    /// Whether a field is read.
    pub(super) fn reads(&self, field: &str) -> bool {
        match self {
            Self::All => true,
            Self::Fields(fields) => fields.contains_key(field),
        }
    }
}
