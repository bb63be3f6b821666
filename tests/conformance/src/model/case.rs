//! What a random case is.

use std::collections::BTreeMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Serialize;
use serde_json::{Map, Value as Json, json};

/// Streams that run beside each other.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Case {
    pub(super) streams: Vec<Stream>,
    /// The process is killed while works are in hand, and the works are sent again to the next.
    pub(super) death: bool,
}

/// One stream.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Stream {
    pub(super) handler: &'static str,
    /// As on the wire.
    pub(super) ordering: i32,
    pub(super) concurrency: u32,
    pub(super) works: Vec<Work>,
    /// Responses are left unread until all works are sent.
    pub(super) slow: bool,
    /// The stream is cut once so many works are sent.
    pub(super) cut: Option<usize>,
}

/// One work.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Work {
    pub(super) events: Vec<Input>,
    pub(super) style: u8,
    pub(super) trouble: Trouble,
}

/// What is done to a work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) enum Trouble {
    None,
    /// It is taken back once it is sent.
    Cancelled,
    /// One of its columns is malformed.
    Malformed,
    /// It is beyond the protocol's number of events.
    TooLarge,
}

/// One event.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Input {
    pub(super) command: Command,
    pub(super) key: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) time: Option<i64>,
    pub(super) extensions: BTreeMap<String, i32>,
    pub(super) attempt: u32,
}

/// What the interpreter is to do.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) enum Command {
    Pass,
    Drop,
    Emit(Vec<Out>),
    Reject,
    Retry { until: Option<u32> },
    Throw { until: Option<u32> },
    Sleep { ms: u32 },
}

/// An output; what is `None` is the parent's.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub(super) struct Out {
    pub(super) payload: Option<Payload>,
    pub(super) subject: Option<String>,
    pub(super) type_: Option<String>,
    pub(super) route: Option<&'static str>,
    /// `Some(None)` clears.
    pub(super) time: Option<Option<i64>>,
    /// A value, or `None` removes.
    pub(super) extension: Option<(String, Option<i32>)>,
}

/// A new payload.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) enum Payload {
    Value(Json),
    Bytes(Vec<u8>),
}

impl Command {
    /// As the interpreter reads it.
    pub(super) fn to_json(&self) -> Json {
        let with_until = |command: Json, until: &Option<u32>| match (command, until) {
            (Json::Object(mut command), Some(until)) => {
                command.insert("until".into(), json!(until));
                Json::Object(command)
            }
            (command, _) => command,
        };
        match self {
            Self::Pass => json!({"do": "pass"}),
            Self::Drop => json!({"do": "drop"}),
            Self::Emit(outs) => json!({"do": "emit", "outputs": outs.iter().map(Out::to_json).collect::<Vec<_>>()}),
            Self::Reject => json!({"do": "reject", "reason": "MODEL", "message": "as asked"}),
            Self::Retry { until } => with_until(json!({"do": "retry", "reason": "BUSY"}), until),
            Self::Throw { until } => with_until(json!({"do": "throw", "message": "as asked"}), until),
            Self::Sleep { ms } => json!({"do": "sleep", "ms": ms}),
        }
    }
}

impl Out {
    fn to_json(&self) -> Json {
        let mut out = Map::new();
        match &self.payload {
            Some(Payload::Value(value)) => out.insert("value".into(), value.clone()),
            Some(Payload::Bytes(bytes)) => out.insert("base64".into(), json!(STANDARD.encode(bytes))),
            None => None,
        };
        for (name, text) in [("subject", &self.subject), ("type", &self.type_)] {
            if let Some(text) = text {
                out.insert(name.into(), json!(text));
            }
        }
        if let Some(route) = self.route {
            out.insert("route".into(), json!(route));
        }
        if let Some(time) = self.time {
            out.insert("time".into(), json!(time.map(|time| time.to_string())));
        }
        if let Some((name, value)) = &self.extension {
            let value = value.map(|value| json!({"type": "integer", "value": value}));
            out.insert("extensions".into(), json!({ name: value }));
        }
        Json::Object(out)
    }
}
