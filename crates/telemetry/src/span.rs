//! A span, filled in after the fact.

use std::{borrow::Cow, fmt, sync::Arc};

use crate::{SpanId, SpanRef, TraceId, ids::hex, names};

/// Whose span it is: an OpenTelemetry resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Service {
    /// `service.name`: `PIPELINE/NODE`.
    pub name: String,
    /// `service.instance.id`: the replica, or [`names::COORDINATOR`].
    pub instance: String,
}

impl Service {
    /// What the coordinator's spans about a node belong to. Made once per node and shared by its spans.
    pub fn of_coordinator(pipeline: &str, node: &str) -> Arc<Self> {
        Arc::new(Self { name: names::service_name(pipeline, node), instance: names::COORDINATOR.into() })
    }
}

/// What a span's peer does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Work without a peer.
    Internal,
    /// Serves a call.
    Server,
    /// Calls: a hop, seen from the coordinator.
    Client,
    /// Sends an event: a source.
    Producer,
    /// Handles an event: a node.
    Consumer,
}

/// How a span ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Nothing was said, which means well.
    Unset,
    /// Explicitly well.
    Ok,
    /// Badly, and why.
    Error(String),
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// Text.
    Text(Cow<'static, str>),
    /// A whole number.
    Int(i64),
    /// A number.
    Float(f64),
    /// Yes or no.
    Bool(bool),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => f.write_str(text),
            Value::Int(number) => number.fmt(f),
            Value::Float(number) => number.fmt(f),
            Value::Bool(flag) => flag.fmt(f),
        }
    }
}

impl From<&'static str> for Value {
    fn from(text: &'static str) -> Self {
        Value::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Value::Text(Cow::Owned(text))
    }
}

impl From<i64> for Value {
    fn from(number: i64) -> Self {
        Value::Int(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Value::Int(number.into())
    }
}

impl From<usize> for Value {
    fn from(number: usize) -> Self {
        Value::Int(i64::try_from(number).unwrap_or(i64::MAX))
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Value::Float(number)
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Value::Bool(flag)
    }
}

/// Attributes, in the order in which they were set.
pub type Attributes = Vec<(Cow<'static, str>, Value)>;

/// A moment within a span.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Nanoseconds since the Unix epoch.
    pub time: u64,
    /// What happened.
    pub name: Cow<'static, str>,
    /// Details.
    pub attributes: Attributes,
}

impl Event {
    /// An event with nothing more to say.
    pub fn new(time: u64, name: impl Into<Cow<'static, str>>) -> Self {
        Self { time, name: name.into(), attributes: Vec::new() }
    }
}

/// Another span that has to do with this one.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// That span.
    pub to: SpanRef,
    /// Details.
    pub attributes: Attributes,
}

/// One piece of work.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Its trace.
    pub trace_id: TraceId,
    /// Itself.
    pub span_id: SpanId,
    /// What it is part of; `None`: the root.
    pub parent: Option<SpanId>,
    /// W3C tracestate, as it came; "" if none.
    pub trace_state: Arc<str>,
    /// Whose it is.
    pub service: Arc<Service>,
    /// `{operation} {node}`.
    pub name: Cow<'static, str>,
    /// What its peer does.
    pub kind: Kind,
    /// Nanoseconds since the Unix epoch.
    pub start: u64,
    /// Nanoseconds since the Unix epoch.
    pub end: u64,
    /// Details.
    pub attributes: Attributes,
    /// Moments within it.
    pub events: Vec<Event>,
    /// Spans that have to do with it.
    pub links: Vec<Link>,
    /// How it ended.
    pub status: Status,
}

impl Span {
    /// A span with the given identity, and no details yet.
    pub fn new(
        identity: SpanRef,
        parent: Option<SpanId>,
        service: Arc<Service>,
        kind: Kind,
        name: impl Into<Cow<'static, str>>,
    ) -> Self {
        Self {
            trace_id: identity.trace_id,
            span_id: identity.span_id,
            parent,
            trace_state: Arc::from(""),
            service,
            name: name.into(),
            kind,
            start: 0,
            end: 0,
            attributes: Vec::new(),
            events: Vec::new(),
            links: Vec::new(),
            status: Status::Unset,
        }
    }

    /// Adds an attribute.
    pub fn set(&mut self, name: &'static str, value: impl Into<Value>) {
        self.attributes.push((Cow::Borrowed(name), value.into()));
    }

    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&Value> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// When a span event of that name first happened.
    pub fn event_time(&self, name: &str) -> Option<u64> {
        self.events.iter().find(|event| event.name == name).map(|event| event.time)
    }

    /// The uid of the event that it is about.
    pub fn uid(&self) -> Option<[u8; 16]> {
        match self.attribute(names::MESSAGE_ID)? {
            Value::Text(text) => hex(text),
            _ => None,
        }
    }

    /// How long it took, nanoseconds.
    pub fn duration(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// About how many bytes of memory it takes.
    pub fn size(&self) -> usize {
        let details: usize = attributes_size(&self.attributes)
            + self
                .events
                .iter()
                .map(|event| size_of::<Event>() + event.name.len() + attributes_size(&event.attributes))
                .sum::<usize>()
            + self.links.iter().map(|link| size_of::<Link>() + attributes_size(&link.attributes)).sum::<usize>();
        let status = if let Status::Error(message) = &self.status { message.len() } else { 0 };
        size_of::<Self>() + self.name.len() + self.trace_state.len() + status + details
    }
}

fn attributes_size(attributes: &Attributes) -> usize {
    attributes
        .iter()
        .map(|(name, value)| {
            let text = if let Value::Text(text) = value { text.len() } else { 0 };
            size_of::<(Cow<'static, str>, Value)>() + name.len() + text
        })
        .sum()
}
