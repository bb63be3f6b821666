//! What a dead letter holds.

use meshloom_connectors::formats::cloudevents;
use meshloom_core::{
    batch::{Batch, BatchBuilder, Event},
    ids::{self, Uid},
};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::flow::with_reason;

/// Earlier failures that a letter keeps word for word; of those before them it keeps the number.
pub(super) const HISTORY: usize = 8;

/// One dead letter: an event at the node at which it failed, with why it failed there last.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LetterRecord {
    /// When it failed last: Unix time in nanoseconds.
    pub time: u64,
    /// The node at which it failed.
    pub node: String,
    /// The upstream it came from, where the node has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// The route of an output of the node that no other node takes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// Identity of the event, 32 hexadecimal digits.
    pub uid: String,
    /// Stable code.
    pub reason: String,
    /// For a person.
    pub message: String,
    /// Attempts made; 0: no handler saw it.
    pub attempts: u32,
    /// Its trace, if it was sampled: 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    /// Names this state of the letter among all that the store has ever held; a repeat gives the letter a new one.
    #[serde(default)]
    pub generation: u64,
    /// How often it had failed at the node before.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub repeats: u64,
    /// The latest of those failures, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<EarlierFailure>,
    /// The event in the JSON format of CloudEvents, as it was written: no number loses a digit.
    pub event: Box<RawValue>,
}

/// A failure of the same event at the same node, before the one that the letter tells of first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EarlierFailure {
    /// Unix time in nanoseconds.
    pub time: u64,
    /// Stable code.
    pub reason: String,
    /// For a person.
    pub message: String,
    /// Attempts made.
    pub attempts: u32,
}

/// What makes two failures the same letter.
pub(super) type Key = Uid;

fn is_zero(count: &u64) -> bool {
    *count == 0
}

impl LetterRecord {
    /// The letter of row `row` of a batch; it has no generation yet.
    pub(crate) fn new(time: u64, node: &str, batch: &Batch, row: usize, why: &Why<'_>) -> Self {
        let trace_id = batch.span(row).map(|span| span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect());
        Self {
            time,
            node: node.to_owned(),
            from: batch.from(row).map(str::to_owned),
            route: why.route.map(str::to_owned),
            uid: batch.uid(row).to_string(),
            reason: why.reason.to_owned(),
            message: why.message.to_owned(),
            attempts: why.attempts,
            trace_id,
            generation: 0,
            repeats: 0,
            history: Vec::new(),
            event: event_json(batch, row),
        }
    }

    /// The identity, if the file was not tampered with.
    pub fn uid(&self) -> Option<Uid> {
        self.uid.parse().ok()
    }

    /// The event, as a batch of one.
    pub(crate) fn batch(&self) -> Option<Batch> {
        self.batch_from(self.from.as_deref())
    }

    /// The event as it comes from this upstream, as a batch of one.
    pub(crate) fn batch_from(&self, from: Option<&str>) -> Option<Batch> {
        let envelope = cloudevents::parse(self.event.get().as_bytes()).ok()?;
        let mut builder = BatchBuilder::new();
        envelope.event(None, |event| builder.push(Event { uid: self.uid(), from, ..event })).ok()?;
        Some(builder.finish())
    }

    /// The event in the JSON format of CloudEvents, with the extensions by which `NAME.rejected` tells what happened.
    /// `None`: the file was tampered with.
    pub fn cloud_event(&self) -> Option<Vec<u8>> {
        let batch = with_reason(&self.batch()?, &self.node, &self.reason, &self.message, self.attempts);
        let mut text = Vec::new();
        cloudevents::write(&batch, 0, &mut text);
        Some(text)
    }

    pub(super) fn key(&self) -> Key {
        key(&self.node, self.from.as_deref(), self.route.as_deref(), &self.uid)
    }

    /// This failure as a repeat of an earlier one.
    pub(super) fn after(&self, earlier: &Self) -> Self {
        let mut history = earlier.history.clone();
        history.push(EarlierFailure {
            time: earlier.time,
            reason: earlier.reason.clone(),
            message: earlier.message.clone(),
            attempts: earlier.attempts,
        });
        history.drain(..history.len().saturating_sub(HISTORY));
        Self { repeats: earlier.repeats + 1, history, ..self.clone() }
    }
}

/// Why an event failed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Why<'a> {
    pub(crate) route: Option<&'a str>,
    pub(crate) reason: &'a str,
    pub(crate) message: &'a str,
    pub(crate) attempts: u32,
}

/// An output that nobody takes is another event at its node than the input whose uid it may have.
pub(super) fn key(node: &str, from: Option<&str>, route: Option<&str>, uid: &str) -> Key {
    let part = |text: Option<&str>| text.map_or_else(Vec::new, |text| format!("={text}").into_bytes());
    ids::hash(&[node.as_bytes(), &part(from), &part(route), uid.as_bytes()])
}

fn event_json(batch: &Batch, row: usize) -> Box<RawValue> {
    let mut text = Vec::new();
    cloudevents::write(batch, row, &mut text);
    let text = String::from_utf8_lossy(&text).into_owned();
    // What cannot be read back as JSON would be a fault of ours; the letter is kept all the same.
    RawValue::from_string(text.clone()).unwrap_or_else(|_| {
        let quoted = serde_json::Value::from(text).to_string();
        RawValue::from_string(quoted).expect("a JSON string is JSON")
    })
}
