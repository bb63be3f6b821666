//! Messages of Produce streams.

use bytes::Bytes;
use meshloom_core::{
    batch::Batch,
    exchange::{FromSource, ToSource},
    limits,
};
use meshloom_proto::v1::{self, produce_request, produce_response};

use crate::{WireError, batch};

/// What a source is told, for the wire; `None`: the wire has no word for it.
#[must_use]
pub fn encode_request(message: &ToSource) -> Option<v1::ProduceRequest> {
    use produce_request::Request;
    let request = match message {
        ToSource::Demand { events, bytes } => Request::Demand(v1::Demand { events: *events, bytes: *bytes }),
        ToSource::Settled { sequence, checkpoint } => {
            Request::Settled(v1::Settled { sequence: *sequence, checkpoint: checkpoint.clone() })
        }
        ToSource::Stop => Request::Stop(v1::Stop {}),
        // Its frames wait until they are accepted.
        ToSource::Refused { .. } => return None,
    };
    Some(v1::ProduceRequest { request: Some(request) })
}

/// What a source says, for the wire.
#[must_use]
pub fn encode_response(message: &FromSource) -> v1::ProduceResponse {
    use produce_response::Response;
    let response = match message {
        FromSource::Produced { sequence, batch, checkpoint } => Response::Produced(v1::Produced {
            sequence: *sequence,
            batch: Some(batch::encode(batch)),
            checkpoint: checkpoint.clone(),
        }),
        FromSource::Exhausted => Response::Exhausted(v1::Exhausted {}),
    };
    v1::ProduceResponse { response: Some(response) }
}

/// Validates a frame of a source. What it says of its upstream is dropped: a source has none.
///
/// # Errors
/// When it breaks the protocol; the stream cannot go on, because no verdict can be given for the frame.
pub fn decode_produced(produced: v1::Produced) -> Result<FromSource, WireError> {
    Ok(FromSource::Produced {
        sequence: produced.sequence,
        checkpoint: checkpoint(produced.checkpoint)?,
        batch: new_events("produced.batch", produced.batch)?,
    })
}

/// Validates events that have only now come into being: they have no uid, and what is said of their upstream is dropped.
pub(crate) fn new_events(field: &'static str, batch: Option<v1::Batch>) -> Result<Batch, WireError> {
    let mut frame = batch.ok_or(WireError::Missing { field })?;
    if !frame.uid.is_empty() {
        return Err(WireError::UidSet);
    }
    frame.from = None;
    batch::decode(frame)
}

/// Validates what a source is told once its stream is open; `None`: it is the request that opened it.
///
/// # Errors
/// When a checkpoint is too large.
pub fn decode_request(request: produce_request::Request) -> Result<Option<ToSource>, WireError> {
    use produce_request::Request;
    Ok(match request {
        Request::Demand(v1::Demand { events, bytes }) => Some(ToSource::Demand { events, bytes }),
        Request::Settled(settled) => {
            Some(ToSource::Settled { sequence: settled.sequence, checkpoint: checkpoint(settled.checkpoint)? })
        }
        Request::Stop(v1::Stop {}) => Some(ToSource::Stop),
        Request::Open(_) => None,
    })
}

/// Validates a checkpoint.
///
/// # Errors
/// [`WireError::Checkpoint`] beyond 64 KiB.
pub fn checkpoint(checkpoint: Option<Bytes>) -> Result<Option<Bytes>, WireError> {
    match checkpoint {
        Some(bytes) if bytes.len() > limits::CHECKPOINT_BYTES => Err(WireError::Checkpoint { bytes: bytes.len() }),
        checkpoint => Ok(checkpoint),
    }
}
