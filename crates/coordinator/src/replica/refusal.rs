//! What a node says when it refuses to open, in words.

use meshloom_wire::session::{HANDLER_ROLE_MISMATCH, HANDLER_UNKNOWN};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::error::RunError;

/// A stream that ended before it opened.
pub(super) fn refusal(node: &str, status: &Status) -> RunError {
    let details = status.get_error_details();
    let reason = details.error_info().map_or("", |info| info.reason.as_str());
    match (status.code(), reason) {
        (Code::InvalidArgument, _) => {
            let violations = details.bad_request().map(|bad| bad.field_violations.as_slice()).unwrap_or_default();
            if let Some(refused) = violations.iter().find(|violation| violation.field == "checkpoint") {
                let message = format!("the node cannot read its last checkpoint: {}", refused.description);
                return RunError::node(node, "CHECKPOINT_REFUSED", message).with_remedy(
                    "run the version of the node that wrote it, or start over with `meshloom run --fresh`",
                );
            }
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
        (Code::NotFound, HANDLER_UNKNOWN) => RunError::node(node, HANDLER_UNKNOWN, status.message().to_owned()),
        (Code::FailedPrecondition, HANDLER_ROLE_MISMATCH) => {
            RunError::node(node, "ROLE_MISMATCH", status.message().to_owned())
        }
        (Code::FailedPrecondition, _) => {
            let said = |key| details.error_info().and_then(|info| info.metadata.get(key));
            let remedy = match (said("upgrade"), said("to")) {
                (Some(side), Some(version)) => format!("upgrade the {side} to one that speaks protocol {version}"),
                _ => "upgrade the older of node and coordinator".to_owned(),
            };
            RunError::node(node, "PROTOCOL_UNSUPPORTED", status.message().to_owned()).with_remedy(remedy)
        }
        (code, _) => RunError::node(node, "OPEN_FAILED", format!("it did not open: {code:?}: {}", status.message())),
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn said(code: Code, details: ErrorDetails) -> (&'static str, String, String) {
        let error = refusal("rows", &Status::with_error_details(code, "the node's words", details));
        (error.code, error.message, error.remedy)
    }

    #[test]
    fn a_refused_config_names_each_field() {
        let mut details = ErrorDetails::with_bad_request_violation("limit", "must be below 10");
        details.add_bad_request_violation("", "is no object");
        let (code, message, _) = said(Code::InvalidArgument, details);
        assert_eq!(code, "CONFIG_REFUSED");
        assert!(message.ends_with("\n  limit: must be below 10\n  with: is no object"), "{message}");
    }

    #[test]
    fn a_refused_checkpoint_is_not_taken_for_a_config() {
        let details = ErrorDetails::with_bad_request_violation("checkpoint", "line 7 is behind the end");
        let (code, message, remedy) = said(Code::InvalidArgument, details);
        assert_eq!(code, "CHECKPOINT_REFUSED");
        assert_eq!(message, "the node cannot read its last checkpoint: line 7 is behind the end");
        assert!(remedy.contains("--fresh"), "{remedy}");
    }

    #[test]
    fn the_side_that_is_too_old_is_named() {
        let metadata = [("upgrade", "node"), ("to", "4")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let details = ErrorDetails::with_error_info("PROTOCOL_UNSUPPORTED", "meshloom", metadata);
        let (code, message, remedy) = said(Code::FailedPrecondition, details);
        assert_eq!((code, message.as_str()), ("PROTOCOL_UNSUPPORTED", "the node's words"));
        assert_eq!(remedy, "upgrade the node to one that speaks protocol 4");
        let (_, _, remedy) = said(Code::FailedPrecondition, ErrorDetails::new());
        assert_eq!(remedy, "upgrade the older of node and coordinator");
    }

    #[test]
    fn a_handler_its_role_and_anything_else_are_told_as_they_are() {
        let details = |reason: &str| ErrorDetails::with_error_info(reason, "meshloom", []);
        assert_eq!(said(Code::FailedPrecondition, details("HANDLER_ROLE_MISMATCH")).0, "ROLE_MISMATCH");
        assert_eq!(said(Code::NotFound, details("HANDLER_UNKNOWN")).0, "HANDLER_UNKNOWN");
        assert_eq!(said(Code::NotFound, ErrorDetails::new()).0, "OPEN_FAILED", "what else was not found is not known");
        assert_eq!(said(Code::Unavailable, ErrorDetails::new()).0, "OPEN_FAILED");
    }
}
