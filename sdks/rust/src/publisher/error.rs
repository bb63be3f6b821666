//! Why an event was not published.

use std::time::Duration;

use tonic::{Code, Status};

/// Why an event was not published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PublishError {
    /// The address cannot be one of a source.
    #[error("`{address}` is no address to publish to: {why}; write HOST:PORT, the `listen` of a node with `use: grpc`")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        why: String,
    },
    /// The event breaks a limit of the protocol, or cannot be encoded. It was not sent.
    #[error("the event cannot be published: {why}")]
    Invalid {
        /// The limit, or what is wrong.
        why: String,
    },
    /// The pipeline refused the event: to publish it again as it is does not help.
    #[error("{reason}: {message}")]
    Refused {
        /// Stable code.
        reason: String,
        /// For a person.
        message: String,
    },
    /// The source refused the publisher; nothing more is published.
    #[error("the source at {address} refused this publisher: {message}")]
    Rejected {
        /// The source.
        address: String,
        /// The status in words: what to do about it.
        message: String,
    },
    /// The publisher was closed before the event was acknowledged. It may have been taken, or not.
    #[error("the publisher was closed before the event was acknowledged; publish it again with the same id")]
    Closed,
    /// Not everything was acknowledged in time.
    #[error(
        "{} events were not acknowledged within {within:?}{}; publish them again with the same ids",
        ids.len(), cause.as_ref().map(|cause| format!(" ({cause})")).unwrap_or_default()
    )]
    Unacknowledged {
        /// Their ids, in the order of publishing.
        ids: Vec<String>,
        /// How long was waited.
        within: Duration,
        /// What kept the connection from being made or broke it last, if anything.
        cause: Option<String>,
    },
}

/// Whether a stream that ended so is to be opened again: only what another attempt may change.
pub(super) fn is_transient(status: &Status) -> bool {
    !matches!(
        status.code(),
        Code::InvalidArgument
            | Code::NotFound
            | Code::FailedPrecondition
            | Code::Unimplemented
            | Code::PermissionDenied
            | Code::Unauthenticated
            | Code::ResourceExhausted
            | Code::OutOfRange
    )
}
