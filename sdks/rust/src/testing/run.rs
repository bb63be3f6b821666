//! What a node made of its events.

use std::collections::BTreeMap;

use bytes::Bytes;
use meshloom_proto::v1::{self, WorkResult};
use serde::de::DeserializeOwned;

use super::{TestError, TestSpan};
use crate::columns::{ABSENT, ExtensionValue, read, u32_at};

/// What a node made of its events. Indexes count the events of the run from 0.
#[derive(Debug, Default)]
pub struct Run {
    /// Outputs, in the order in which they were answered.
    pub outputs: Vec<TestOutput>,
    /// Events that ended without an output, on purpose: drops, and what a sink delivered.
    pub dropped: Vec<usize>,
    /// Events that became dead letters.
    pub rejected: Vec<TestFailure>,
    /// Every retry that was asked for.
    pub retried: Vec<TestFailure>,
    /// With [`Runner::traced`](super::Runner::traced): the spans, in the order in which they ended.
    pub spans: Vec<TestSpan>,
    /// With [`Runner::redeliver`](super::Runner::redeliver): what the node made of the same events the second time.
    pub redelivered: Option<Box<Run>>,
}

/// An output event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestOutput {
    /// The event that it came from; `None`: the whole batch, or a source.
    pub parent: Option<usize>,
    /// The payload, the parent's if it was not changed.
    pub payload: Bytes,
    /// Media type of the payload, the parent's if it was not changed.
    pub content_type: Option<String>,
    /// The ordering key, the parent's if it was not changed.
    pub key: Option<String>,
    /// The route; `None`: the main output.
    pub route: Option<String>,
    /// CloudEvents `type`, the parent's if it was not changed.
    pub kind: Option<String>,
    /// CloudEvents `subject`, the parent's if it was not changed.
    pub subject: Option<String>,
    /// CloudEvents `dataschema`, the parent's if it was not changed.
    pub data_schema: Option<String>,
    /// CloudEvents `id`, if the node set one; of a source, the one that the event has.
    pub id: Option<String>,
    /// Time of occurrence in UTC nanoseconds since the Unix epoch, the parent's if it was not changed.
    pub time_ns: Option<i64>,
    /// Every CloudEvents extension by its name, those of the parent that were not changed among them.
    pub extensions: BTreeMap<String, ExtensionValue>,
}

impl TestOutput {
    /// The payload as JSON.
    ///
    /// # Errors
    /// A payload that does not fit.
    pub fn json<T: DeserializeOwned>(&self) -> serde_json::Result<T> {
        serde_json::from_slice(&self.payload)
    }

    /// The payload as text; what is no UTF-8 is replaced.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.payload).into_owned()
    }
}

/// A retry or a reject.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestFailure {
    /// The event; `None`: the whole batch.
    pub index: Option<usize>,
    /// The stable code.
    pub reason: String,
    /// What is told to a person.
    pub message: String,
    /// For a retry: the time before which it is not tried again.
    pub after: Option<std::time::Duration>,
}

impl Run {
    /// The payload of every output as JSON.
    ///
    /// # Errors
    /// A payload that does not fit.
    pub fn json<T: DeserializeOwned>(&self) -> serde_json::Result<Vec<T>> {
        self.outputs.iter().map(TestOutput::json).collect()
    }

    /// The payload of every output as text.
    #[must_use]
    pub fn texts(&self) -> Vec<String> {
        self.outputs.iter().map(TestOutput::text).collect()
    }

    /// The outputs of one event, in order.
    pub fn outputs_of(&self, event: usize) -> impl Iterator<Item = &TestOutput> {
        self.outputs.iter().filter(move |output| output.parent == Some(event))
    }

    /// Checks that events which come twice, as they do when a process dies before it has answered, give the same outputs,
    /// drops and rejects again.
    ///
    /// # Panics
    /// When they do not, or when the run was made without [`Runner::redeliver`](super::Runner::redeliver).
    #[track_caller]
    pub fn assert_idempotent(&self) {
        let again = self.redelivered.as_ref().expect("make the run with `.redeliver()`");
        assert_eq!(again.outputs, self.outputs, "the outputs differ when the events come again");
        assert_eq!(again.dropped, self.dropped, "other events are dropped when they come again");
        assert_eq!(again.rejected, self.rejected, "other events are rejected when they come again");
    }

    pub(super) fn take(
        &mut self,
        result: &WorkResult,
        events: &[usize],
        batch: &v1::Batch,
        open: &mut [bool],
    ) -> Result<(), TestError> {
        for failure in &result.failures {
            let index = (failure.index != ABSENT).then(|| events[failure.index as usize]);
            match index {
                Some(_) => open[failure.index as usize] = false,
                None => open.fill(false),
            }
            let seen = TestFailure {
                index,
                reason: failure.reason.clone(),
                message: failure.message.clone(),
                after: failure.retry_after.and_then(|after| after.try_into().ok()),
            };
            let list =
                if failure.action() == v1::FailureAction::Reject { &mut self.rejected } else { &mut self.retried };
            list.push(seen);
        }
        let Some(outputs) = &result.outputs else {
            return Ok(());
        };
        let unfit =
            |error: &dyn std::fmt::Display| TestError::Unfit(format!("the node's answer is malformed: {error}"));
        let columns = read::Outputs::new(outputs, batch).map_err(|error| unfit(&error))?;
        for i in 0..outputs.count as usize {
            let parent = if outputs.parent.is_empty() { i as u32 } else { u32_at(&outputs.parent, i) };
            if parent != ABSENT {
                open[parent as usize] = false;
            }
            self.outputs.push(columns.output(i, parent, (parent != ABSENT).then(|| events[parent as usize])));
        }
        Ok(())
    }
}
