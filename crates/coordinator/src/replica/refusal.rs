//! What a node says when it refuses to open, in words.

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::error::RunError;

/// A stream that ended before it opened.
pub(super) fn refusal(node: &str, status: &Status) -> RunError {
    let details = status.get_error_details();
    match status.code() {
        Code::InvalidArgument => {
            let violations = details.bad_request().map(|bad| bad.field_violations.as_slice()).unwrap_or_default();
            let mut message = String::from("the node refuses its config (`with`)");
            if violations.is_empty() {
                message = format!("{message}: {}", status.message());
            }
            for violation in violations {
                let field = if violation.field.is_empty() { "with" } else { &violation.field };
                message.push_str(&format!("\n  {field}: {}", violation.description));
            }
            RunError::node(node, "CONFIG_REFUSED", message).with_remedy("correct these fields in the pipeline file")
        }
        Code::FailedPrecondition if details.error_info().is_some_and(|info| info.reason == "HANDLER_ROLE_MISMATCH") => {
            RunError::node(node, "ROLE_MISMATCH", status.message().to_owned())
        }
        Code::FailedPrecondition => {
            let said = |key| details.error_info().and_then(|info| info.metadata.get(key));
            let remedy = match (said("upgrade"), said("to")) {
                (Some(side), Some(version)) => format!("upgrade the {side} to one that speaks protocol {version}"),
                _ => "upgrade the older of node and coordinator".to_owned(),
            };
            RunError::node(node, "PROTOCOL_UNSUPPORTED", status.message().to_owned()).with_remedy(remedy)
        }
        code => RunError::node(node, "OPEN_FAILED", format!("it did not open: {code:?}: {}", status.message())),
    }
}
