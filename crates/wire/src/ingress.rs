//! Messages of Publish streams.

use meshloom_core::batch::Batch;
use meshloom_proto::v1::{self, publish_response};
use tonic::Status;

use crate::{
    WireError, produce,
    session::{self, PROTOCOL},
};

/// Validates the request that opens a stream to source `node` of `pipeline`, and chooses the protocol.
///
/// # Errors
/// NOT_FOUND for another pipeline or node, FAILED_PRECONDITION for a protocol that the coordinator does not speak.
pub fn decode_open(open: &v1::OpenPublish, pipeline: &str, node: &str) -> Result<u32, Status> {
    for (asked, is, what) in [(&open.pipeline, pipeline, "pipeline"), (&open.node, node, "node")] {
        if !asked.is_empty() && asked != is {
            return Err(Status::not_found(format!(
                "there is no {what} `{asked}` here: this port belongs to node `{node}` of pipeline `{pipeline}`; name \
                 that, or none"
            )));
        }
    }
    let theirs = open.protocol.unwrap_or(v1::ProtocolRange { min: 1, max: 1 });
    session::choose_protocol_with("publisher", Some(&PROTOCOL), &theirs)
}

/// Validates a publication; every event of it has an id.
///
/// # Errors
/// When it breaks the protocol; the stream cannot go on.
pub fn decode_publication(publication: v1::Publication) -> Result<Batch, WireError> {
    let batch = produce::new_events("publication.batch", publication.batch)?;
    match (0..batch.len()).find(|row| batch.id(*row).is_none_or(str::is_empty)) {
        Some(row) => Err(WireError::NoId { row }),
        None => Ok(batch),
    }
}

/// A response of any kind.
#[must_use]
pub fn response(response: publish_response::Response) -> v1::PublishResponse {
    v1::PublishResponse { response: Some(response) }
}
