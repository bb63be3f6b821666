//! What an expression can see of an event.

use std::{collections::HashMap, sync::OnceLock};

use cel::{
    common::{
        types::{CelMap, CelMapKey, CelString, CelTimestamp},
        value::{CowVal, Val},
    },
    context::VariableResolver,
};
use chrono::DateTime;

use super::{Projection, Reads, payload};

/// An event, borrowed. Attributes that an expression does not read cost nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct EventView<'a> {
    /// The payload; JSON, if the expression reads `data`.
    pub payload: &'a [u8],
    /// CloudEvents `id`.
    pub id: Option<&'a str>,
    /// CloudEvents `source`.
    pub source: Option<&'a str>,
    /// CloudEvents `type`.
    pub type_: Option<&'a str>,
    /// CloudEvents `subject`.
    pub subject: Option<&'a str>,
    /// The ordering key.
    pub key: Option<&'a str>,
    /// UTC nanoseconds since the Unix epoch.
    pub time_ns: Option<i64>,
}

impl<'a> EventView<'a> {
    /// A view of a payload alone.
    pub fn of_payload(payload: &'a [u8]) -> Self {
        Self { payload, ..Self::default() }
    }
}

/// The variables of one evaluation, made when they are first asked for.
#[derive(Debug)]
pub(super) struct Variables<'a> {
    event: &'a EventView<'a>,
    reads: &'a Reads,
    data: OnceLock<Result<Box<dyn Val + 'a>, serde_json::Error>>,
}

impl<'a> Variables<'a> {
    pub(super) fn new(event: &'a EventView<'a>, reads: &'a Reads) -> Self {
        Self { event, reads, data: OnceLock::new() }
    }

    /// Why the payload could not be read, if it was asked for and could not.
    pub(super) fn unreadable(&self) -> Option<&serde_json::Error> {
        self.data.get().and_then(|data| data.as_ref().err())
    }

    fn data<'b>(&'b self) -> Option<CowVal<'b, 'b>> {
        let projection = self.reads.data.as_ref()?;
        let data = self.data.get_or_init(|| payload::parse(self.event.payload, projection));
        data.as_ref().ok().map(|value| CowVal::Borrowed(value.as_ref()))
    }

    fn attributes<'b>(&'b self) -> Option<CowVal<'b, 'b>> {
        let projection = self.reads.event.as_ref()?;
        let event = self.event;
        let texts = [
            ("id", event.id),
            ("source", event.source),
            ("type", event.type_),
            ("subject", event.subject),
            ("key", event.key),
        ];
        let mut map: HashMap<CelMapKey<'b>, Box<dyn Val + 'b>> = HashMap::new();
        for (name, text) in texts {
            if let (true, Some(text)) = (projection.reads(name), text) {
                map.insert(CelMapKey::from(name), Box::new(CelString::from(text)));
            }
        }
        if let (true, Some(time)) = (projection.reads("time"), event.time_ns) {
            let time = DateTime::from_timestamp_nanos(time).fixed_offset();
            map.insert(CelMapKey::from("time"), Box::new(CelTimestamp::from(time)));
        }
        Some(CowVal::owned(CelMap::from(map)))
    }
}

impl VariableResolver for Variables<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        match variable {
            "data" => self.data(),
            "event" => self.attributes(),
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
