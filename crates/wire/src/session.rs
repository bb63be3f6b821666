//! What is agreed on when a stream opens.

use std::collections::HashMap;

use meshloom_proto::v1;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// The protocol versions that this build speaks.
pub const PROTOCOL: v1::ProtocolRange = v1::ProtocolRange { min: 1, max: 1 };

/// Reason of a stream that cannot open because the two sides have no version in common.
pub const PROTOCOL_UNSUPPORTED: &str = "PROTOCOL_UNSUPPORTED";

/// Reason of a stream for a handler that the process does not serve.
pub const HANDLER_UNKNOWN: &str = "HANDLER_UNKNOWN";

/// Reason of a stream that is for a source where there is none, or the other way round.
pub const HANDLER_ROLE_MISMATCH: &str = "HANDLER_ROLE_MISMATCH";

/// The highest version in both ranges.
///
/// # Errors
/// FAILED_PRECONDITION with `google.rpc.ErrorInfo` naming the side to upgrade and to what; INVALID_ARGUMENT for what is no
/// range of versions.
pub fn choose_protocol(coordinator: Option<&v1::ProtocolRange>, node: &v1::ProtocolRange) -> Result<u32, Status> {
    choose_protocol_with("node", coordinator, node)
}

/// As [`choose_protocol`], with what stands at the other end of the stream: `node`, `publisher`.
///
/// # Errors
/// As [`choose_protocol`].
pub fn choose_protocol_with(
    peer: &str,
    coordinator: Option<&v1::ProtocolRange>,
    node: &v1::ProtocolRange,
) -> Result<u32, Status> {
    let coordinator = coordinator.ok_or_else(|| field("protocol", "is missing"))?;
    if coordinator.min == 0 || coordinator.max < coordinator.min {
        return Err(field("protocol", &format!("is no range: {} to {}", coordinator.min, coordinator.max)));
    }
    let chosen = coordinator.max.min(node.max);
    if chosen >= coordinator.min.max(node.min) {
        return Ok(chosen);
    }
    let (side, to) = if coordinator.max < node.min { ("coordinator", node.min) } else { (peer, coordinator.min) };
    let message = format!(
        "the coordinator speaks protocol {} to {}, the {peer} {} to {}: upgrade the {side} to one that speaks {to}",
        coordinator.min, coordinator.max, node.min, node.max
    );
    let metadata = [("upgrade", side.to_owned()), ("to", to.to_string())];
    Err(because(Code::FailedPrecondition, PROTOCOL_UNSUPPORTED, message, metadata))
}

/// A status with `google.rpc.ErrorInfo`: why the stream cannot open.
#[must_use]
pub fn because<const N: usize>(
    code: Code,
    reason: &str,
    message: impl Into<String>,
    metadata: [(&str, String); N],
) -> Status {
    let metadata: HashMap<_, _> = metadata.map(|(key, value)| (key.to_owned(), value)).into();
    Status::with_error_details(code, message, ErrorDetails::with_error_info(reason, "meshloom", metadata))
}

/// INVALID_ARGUMENT with `google.rpc.BadRequest`: one field is refused.
#[must_use]
pub fn field(field: &str, description: &str) -> Status {
    let details = ErrorDetails::with_bad_request_violation(field, description);
    Status::with_error_details(Code::InvalidArgument, format!("{field} {description}"), details)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(min: u32, max: u32) -> v1::ProtocolRange {
        v1::ProtocolRange { min, max }
    }

    #[test]
    fn the_highest_common_version_is_chosen() {
        assert_eq!(choose_protocol(Some(&range(1, 4)), &range(2, 3)).unwrap(), 3);
        assert_eq!(choose_protocol(Some(&range(1, 2)), &range(2, 3)).unwrap(), 2);
    }

    #[test]
    fn a_mismatch_names_the_side_to_upgrade() {
        let side = |coordinator, node| {
            let status = choose_protocol(Some(&coordinator), &node).unwrap_err();
            assert_eq!(status.code(), Code::FailedPrecondition);
            let info = status.get_details_error_info().unwrap();
            assert_eq!(info.reason, PROTOCOL_UNSUPPORTED);
            (info.metadata["upgrade"].clone(), info.metadata["to"].clone())
        };
        assert_eq!(side(range(1, 1), range(2, 3)), ("coordinator".to_owned(), "2".to_owned()));
        assert_eq!(side(range(4, 5), range(2, 3)), ("node".to_owned(), "4".to_owned()));
    }

    #[test]
    fn what_is_no_range_is_a_refused_field() {
        for theirs in [None, Some(range(0, 1)), Some(range(2, 1))] {
            let status = choose_protocol(theirs.as_ref(), &PROTOCOL).unwrap_err();
            assert_eq!(status.get_details_bad_request().unwrap().field_violations[0].field, "protocol");
        }
    }
}
