//! What can be wrong with a frame.

use meshloom_core::{batch::Malformed, limits};
use thiserror::Error;

/// A frame that breaks the protocol.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WireError {
    /// The columns of a batch or of outputs break a rule.
    #[error("`{field}`: {malformed}")]
    Columns {
        /// The field that holds the columns.
        field: &'static str,
        /// The rule.
        malformed: Malformed,
    },
    /// A field that must be set is not.
    #[error("`{field}` is missing")]
    Missing {
        /// The field.
        field: &'static str,
    },
    /// A duration is negative or not normalised.
    #[error("`{field}` of {seconds} s and {nanos} ns is no duration: neither may be negative, nanoseconds below 10^9")]
    Duration {
        /// The field.
        field: &'static str,
        /// Its seconds.
        seconds: i64,
        /// Its nanoseconds.
        nanos: i32,
    },
    /// A failure's reason is no stable code.
    #[error("failure {failure}: reason `{reason}` must be 1 to {} characters of [A-Z0-9_]", limits::REASON_CHARS)]
    Reason {
        /// Which failure of the frame.
        failure: usize,
        /// The reason, cut to 64 bytes.
        reason: String,
    },
    /// A failure names an input that the work does not have.
    #[error("failure {failure} names input {index} of {inputs}")]
    FailureIndex {
        /// Which failure of the frame.
        failure: usize,
        /// The input that it names.
        index: u32,
        /// Number of the work's inputs.
        inputs: u32,
    },
    /// More failures than inputs.
    #[error("{failures} failures for a work of {inputs} inputs")]
    Failures {
        /// How many.
        failures: usize,
        /// Number of the work's inputs.
        inputs: u32,
    },
    /// The attempts do not fit the batch.
    #[error("`attempts` has {bytes} bytes for {events} events, must have four for each or none")]
    Attempts {
        /// Its size.
        bytes: usize,
        /// Number of events.
        events: usize,
    },
    /// Attempts count from 1.
    #[error("attempt 0 of event {event}: attempts count from 1")]
    AttemptZero {
        /// The event.
        event: usize,
    },
    /// A work's events have no identity.
    #[error("the batch of a work has no `uid` column")]
    UidMissing,
    /// A source has set identities.
    #[error("a source must leave `uid` empty: only the coordinator makes identities")]
    UidSet,
    /// A publisher left an event without the id that makes a resend the same event.
    #[error("event {row} of the publication has no `id`: a publisher gives every event one before it is first sent")]
    NoId {
        /// The event.
        row: usize,
    },
    /// A checkpoint is too large.
    #[error("the checkpoint has {bytes} bytes, allowed are {}", limits::CHECKPOINT_BYTES)]
    Checkpoint {
        /// Its size.
        bytes: usize,
    },
    /// A progress report names too many calls.
    #[error("{calls} calls in a progress report, allowed are {}", limits::PROGRESS_CALLS)]
    Progress {
        /// How many.
        calls: usize,
    },
}

impl WireError {
    pub(crate) fn columns(field: &'static str) -> impl FnOnce(Malformed) -> Self {
        move |malformed| Self::Columns { field, malformed }
    }
}
