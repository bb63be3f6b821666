//! What a handler answers instead of a result: reject, retry, or any error of its own.

use std::{error::Error as StdError, fmt, time::Duration};

use meshloom_proto::v1::{EventFailure, FailureAction};

use crate::columns::limits::{MAX_MESSAGE_TEXT_BYTES, MAX_REASON_CHARS};

/// Reasons that the SDK itself answers with.
pub(crate) mod reason {
    pub(crate) const HANDLER_ERROR: &str = "HANDLER_ERROR";
    pub(crate) const PANIC: &str = "PANIC";
    pub(crate) const TIMEOUT: &str = "TIMEOUT";
    pub(crate) const CANCELLED: &str = "CANCELLED";
    pub(crate) const KEY_HELD: &str = "KEY_HELD";
    pub(crate) const PAYLOAD_MISMATCH: &str = "PAYLOAD_MISMATCH";
    pub(crate) const OUTPUT_INVALID: &str = "OUTPUT_INVALID";
    pub(crate) const ROUTE_UNDECLARED: &str = "ROUTE_UNDECLARED";
    pub(crate) const UNACCOUNTED: &str = "UNACCOUNTED";
    pub(crate) const RESULT_INDEX_REPEATED: &str = "RESULT_INDEX_REPEATED";
    pub(crate) const EVENT_TOO_LARGE: &str = "EVENT_TOO_LARGE";
    pub(crate) const ATTRIBUTE_TOO_LARGE: &str = "ATTRIBUTE_TOO_LARGE";
    pub(crate) const TOO_MANY_EXTENSIONS: &str = "TOO_MANY_EXTENSIONS";
    pub(crate) const CHECKPOINT_REPEATED: &str = "CHECKPOINT_REPEATED";
    pub(crate) const REJECTED: &str = "REJECTED";
    pub(crate) const RETRY: &str = "RETRY";
}

/// Result of a handler.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a handler has no result for an event.
///
/// [`reject`] sends the event to the dead letters now, [`retry`] and [`retry_after`] ask for another attempt, and every
/// error of the standard kind becomes a retry through `?`.
pub struct Error {
    verdict: Verdict,
    reason: String,
    message: String,
    after: Option<Duration>,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Retry,
    Reject,
}

/// Rejects the event: it becomes a dead letter now, without another attempt.
///
/// `reason` is a stable code of at most 64 characters of [A-Z0-9_] (others are replaced by `_`); `message` is for a
/// person and is cut at 4 KiB.
pub fn reject(reason: impl AsRef<str>, message: impl fmt::Display) -> Error {
    Error {
        verdict: Verdict::Reject,
        reason: clean_reason(reason.as_ref(), reason::REJECTED),
        message: clean_message(message.to_string()),
        after: None,
        source: None,
    }
}

/// Asks for another attempt, at a time that the node's retry policy chooses.
pub fn retry(message: impl fmt::Display) -> Error {
    Error::retry(reason::RETRY, message)
}

/// Asks for another attempt, not earlier than `after` from now.
pub fn retry_after(after: Duration, message: impl fmt::Display) -> Error {
    Error { after: Some(after), ..retry(message) }
}

impl Error {
    /// Sets the stable code; see [`reject`] for what is legal.
    #[must_use]
    pub fn with_reason(mut self, reason: impl AsRef<str>) -> Self {
        self.reason = clean_reason(reason.as_ref(), &self.reason);
        self
    }

    pub(crate) fn retry(reason: &str, message: impl fmt::Display) -> Self {
        Self {
            verdict: Verdict::Retry,
            reason: reason.to_owned(),
            message: clean_message(message.to_string()),
            after: None,
            source: None,
        }
    }

    /// The stable code that the event is answered with.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// What is told to a person.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the event is rejected; otherwise it is retried.
    #[must_use]
    pub fn is_reject(&self) -> bool {
        self.verdict == Verdict::Reject
    }

    /// The error that `?` turned into this one.
    #[must_use]
    pub fn source(&self) -> Option<&(dyn StdError + Send + Sync + 'static)> {
        self.source.as_deref()
    }

    /// Takes out again what was put into a box; any other error is a retry.
    pub(crate) fn from_boxed(error: Box<dyn StdError + Send + Sync>) -> Self {
        match error.downcast::<Carried>() {
            Ok(carried) => carried.0,
            Err(other) => {
                let message = chain(&*other);
                Self { source: Some(other), ..Self::retry(reason::HANDLER_ERROR, message) }
            }
        }
    }

    pub(crate) fn into_failure(self, index: u32) -> EventFailure {
        let action = if self.is_reject() { FailureAction::Reject } else { FailureAction::Retry };
        EventFailure {
            index,
            action: action.into(),
            reason: self.reason,
            message: self.message,
            retry_after: self.after.and_then(|after| after.try_into().ok()),
        }
    }
}

/// An [`Error`] among errors of the standard kind: what layers in between see of it.
#[derive(Debug)]
struct Carried(Error);

impl fmt::Display for Carried {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl StdError for Carried {}

impl From<Error> for Box<dyn StdError + Send + Sync> {
    fn from(error: Error) -> Self {
        Box::new(Carried(error))
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Error {
    fn from(error: E) -> Self {
        let message = chain(&error);
        Self { source: Some(Box::new(error)), ..Self::retry(reason::HANDLER_ERROR, message) }
    }
}

/// An error and its causes in one sentence.
pub(crate) fn chain(error: &dyn StdError) -> String {
    let mut message = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let text = inner.to_string();
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        cause = inner.source();
    }
    message
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.is_reject() { "reject" } else { "retry" };
        write!(f, "{verdict} {}: {}", self.reason, self.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Makes a reason legal: upper case, other characters become `_`, at most 64.
fn clean_reason(reason: &str, fallback: &str) -> String {
    if reason.is_empty() {
        return fallback.to_owned();
    }
    let legal = |c: char| match c.to_ascii_uppercase() {
        c @ ('A'..='Z' | '0'..='9') => c,
        _ => '_',
    };
    reason.chars().take(MAX_REASON_CHARS).map(legal).collect()
}

/// Cuts a message at 4 KiB, between characters.
fn clean_message(mut message: String) -> String {
    let mut end = message.len().min(MAX_MESSAGE_TEXT_BYTES);
    while !message.is_char_boundary(end) {
        end -= 1;
    }
    message.truncate(end);
    message
}

/// What a panic said.
pub(crate) fn panic_message(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied().or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("the handler panicked: {}", text.unwrap_or("no message"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_and_messages_are_made_legal() {
        assert_eq!(reject("no temp-é", "x").reason(), "NO_TEMP__");
        assert_eq!(reject("", "x").reason(), "REJECTED");
        assert_eq!(reject("a".repeat(99), "x").reason().len(), 64);
        let long = "é".repeat(4000);
        assert_eq!(reject("A", &long).message().len(), 4096);
        assert_eq!(reject("A", format!("x{long}")).message().len(), 4095);
    }

    #[test]
    fn a_standard_error_is_a_retry_that_tells_its_causes() {
        #[derive(Debug, thiserror::Error)]
        #[error("cannot score")]
        struct Outer(#[source] std::num::ParseIntError);
        let error: Error = Outer("x".parse::<i32>().expect_err("no number")).into();
        assert!(!error.is_reject());
        assert_eq!(error.reason(), "HANDLER_ERROR");
        assert_eq!(error.message(), "cannot score: invalid digit found in string");
        assert!(error.source().is_some());
    }
}
