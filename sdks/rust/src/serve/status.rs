//! The statuses that end a stream, with the details that the protocol asks for.

use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

const DOMAIN: &str = "meshloom";

/// A status whose ErrorInfo says why in a stable code.
pub(super) fn because<const N: usize>(
    code: Code,
    reason: &str,
    message: impl Into<String>,
    metadata: [(&str, String); N],
) -> Status {
    let metadata = metadata.map(|(key, value)| (key.to_owned(), value));
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, DOMAIN, metadata))
}

/// Requests in an order that is not allowed.
pub(super) fn violation(message: impl Into<String>) -> Status {
    because(Code::InvalidArgument, "PROTOCOL_VIOLATION", message, [])
}

/// Refuses a field of the open request.
pub(super) fn refuse(field: &str, message: impl Into<String>) -> Status {
    let message = message.into();
    let details = ErrorDetails::with_bad_request_violation(field, message.clone());
    Status::with_error_details(Code::InvalidArgument, message, details)
}
