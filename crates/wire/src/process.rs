//! Messages of Process streams.

use std::{borrow::Cow, sync::Arc, time::Duration};

use meshloom_core::{
    exchange::{Action, Call, Failure, FromNode, Limits, ToNode, Work, WorkResult},
    limits,
    outputs::{OutputColumns, Outputs, RESULT_MALFORMED},
};
use meshloom_proto::v1::{self, process_request, process_response};

use crate::{
    WireError,
    batch::{self, extension_to_wire, extensions, strings, strings_to_wire, values, values_to_wire},
    duration,
};

/// "The whole work" in a failure, "the whole batch" in a call.
const WHOLE: u32 = u32::MAX;

/// A work for the wire.
#[must_use]
pub fn encode_work(work: &Work) -> v1::Work {
    let attempts = work.attempts.as_deref().unwrap_or_default();
    v1::Work {
        sequence: work.sequence,
        attempts: attempts.iter().flat_map(|attempt| attempt.to_le_bytes()).collect::<Vec<_>>().into(),
        timeout: work.timeout.map(duration::encode),
        batch: Some(batch::encode(&work.batch)),
    }
}

/// Validates a work.
///
/// # Errors
/// When it breaks the protocol; its `sequence` can still be answered.
pub fn decode_work(work: v1::Work) -> Result<Work, WireError> {
    let batch = batch::decode(work.batch.ok_or(WireError::Missing { field: "work.batch" })?)?;
    if !batch.has_uids() {
        return Err(WireError::UidMissing);
    }
    let attempts = &work.attempts;
    if !attempts.is_empty() && attempts.len() != batch.len() * 4 {
        return Err(WireError::Attempts { bytes: attempts.len(), events: batch.len() });
    }
    let (attempts, _) = attempts.as_chunks::<4>();
    let attempts: Arc<[u32]> = attempts.iter().map(|bytes| u32::from_le_bytes(*bytes)).collect();
    if let Some(event) = attempts.iter().position(|&attempt| attempt == 0) {
        return Err(WireError::AttemptZero { event });
    }
    Ok(Work {
        sequence: work.sequence,
        batch,
        attempts: Some(attempts).filter(|attempts| !attempts.is_empty()),
        timeout: duration::decode("work.timeout", work.timeout)?,
    })
}

/// What a transform or sink is told, for the wire.
#[must_use]
pub fn encode_request(message: &ToNode) -> v1::ProcessRequest {
    let request = match message {
        ToNode::Work(work) => process_request::Request::Work(encode_work(work)),
        ToNode::Cancel { sequence, reason } => {
            process_request::Request::Cancel(v1::Cancel { sequence: *sequence, reason: reason.clone() })
        }
    };
    v1::ProcessRequest { request: Some(request) }
}

/// What a transform or sink says, for the wire.
#[must_use]
pub fn encode_response(message: &FromNode) -> v1::ProcessResponse {
    let response = match message {
        FromNode::Result(result) => process_response::Response::Result(encode_result(result)),
        FromNode::Limits(limits) => process_response::Response::Limits(encode_limits(limits)),
        FromNode::Progress(calls) => process_response::Response::Progress(encode_progress(calls)),
    };
    v1::ProcessResponse { response: Some(response) }
}

/// A result for the wire.
#[must_use]
pub fn encode_result(result: &WorkResult) -> v1::WorkResult {
    v1::WorkResult {
        sequence: result.sequence,
        outputs: result.outputs.as_ref().map(encode_outputs),
        failures: result.failures.iter().map(encode_failure).collect(),
        consumed: result.consumed,
        last: result.last,
        busy: Some(duration::encode(result.busy)),
    }
}

/// Validates a result of a work with this many inputs.
///
/// # Errors
/// When it breaks the protocol: answer the work with [`malformed_result`].
pub fn decode_result(result: v1::WorkResult, inputs: u32) -> Result<WorkResult, WireError> {
    if result.failures.len() > inputs as usize + 1 {
        return Err(WireError::Failures { failures: result.failures.len(), inputs });
    }
    let failures = result.failures.into_iter().enumerate();
    Ok(WorkResult {
        sequence: result.sequence,
        failures: failures.map(|(at, failure)| decode_failure(at, failure, inputs)).collect::<Result<_, _>>()?,
        outputs: result.outputs.map(|outputs| decode_outputs(outputs, inputs)).transpose()?,
        consumed: result.consumed,
        last: result.last,
        busy: duration::decode("result.busy", result.busy)?.unwrap_or_default(),
    })
}

/// What stands in for a result that cannot be read: the open inputs of its work are retried.
#[must_use]
pub fn malformed_result(sequence: u64, error: &WireError) -> WorkResult {
    WorkResult { sequence, failures: vec![whole_work(RESULT_MALFORMED, error)], last: true, ..WorkResult::default() }
}

/// The failure of a work that names no event.
pub(crate) fn whole_work(reason: &'static str, error: &WireError) -> Failure {
    let message = limits::truncate(&error.to_string(), limits::FAILURE_MESSAGE_BYTES).to_owned();
    Failure { index: None, action: Action::Retry, reason: reason.into(), message, retry_after: None }
}

fn encode_outputs(outputs: &Outputs) -> v1::Outputs {
    let columns = outputs.columns().clone();
    v1::Outputs {
        count: columns.count,
        parent: columns.parent,
        continued: columns.continued,
        payload: columns.payload.map(values_to_wire),
        content_type: columns.content_type.map(strings_to_wire),
        r#type: columns.type_.map(strings_to_wire),
        subject: columns.subject.map(strings_to_wire),
        key: columns.key.map(strings_to_wire),
        time: columns.time,
        id: columns.id.map(strings_to_wire),
        route: columns.route.map(strings_to_wire),
        data_schema: columns.data_schema.map(strings_to_wire),
        extensions: columns.extensions.into_iter().map(extension_to_wire).collect(),
    }
}

fn decode_outputs(outputs: v1::Outputs, inputs: u32) -> Result<Outputs, WireError> {
    let columns = extensions(outputs.extensions).map(|extensions| OutputColumns {
        count: outputs.count,
        parent: outputs.parent,
        continued: outputs.continued,
        payload: outputs.payload.map(values),
        content_type: outputs.content_type.map(strings),
        type_: outputs.r#type.map(strings),
        subject: outputs.subject.map(strings),
        key: outputs.key.map(strings),
        time: outputs.time,
        id: outputs.id.map(strings),
        route: outputs.route.map(strings),
        data_schema: outputs.data_schema.map(strings),
        extensions,
    });
    columns.and_then(|columns| Outputs::from_columns(columns, inputs)).map_err(WireError::columns("outputs"))
}

/// A failure for the wire, its message cut to the limit.
#[must_use]
pub fn encode_failure(failure: &Failure) -> v1::EventFailure {
    let action = match failure.action {
        Action::Retry => v1::FailureAction::Retry,
        Action::Reject => v1::FailureAction::Reject,
    };
    v1::EventFailure {
        index: failure.index.unwrap_or(WHOLE),
        action: action.into(),
        reason: failure.reason.clone().into_owned(),
        message: limits::truncate(&failure.message, limits::FAILURE_MESSAGE_BYTES).to_owned(),
        retry_after: failure.retry_after.map(duration::encode),
    }
}

fn decode_failure(at: usize, failure: v1::EventFailure, inputs: u32) -> Result<Failure, WireError> {
    if failure.index != WHOLE && failure.index >= inputs {
        return Err(WireError::FailureIndex { failure: at, index: failure.index, inputs });
    }
    if !limits::is_reason(&failure.reason) {
        let reason = limits::truncate(&failure.reason, limits::REASON_CHARS).to_owned();
        return Err(WireError::Reason { failure: at, reason });
    }
    let action = match v1::FailureAction::try_from(failure.action) {
        Ok(v1::FailureAction::Reject) => Action::Reject,
        Ok(v1::FailureAction::Retry | v1::FailureAction::Unspecified) | Err(_) => Action::Retry,
    };
    // A verdict counts even if its explanation is too long.
    let mut message = failure.message;
    message.truncate(limits::truncate(&message, limits::FAILURE_MESSAGE_BYTES).len());
    Ok(Failure {
        index: (failure.index != WHOLE).then_some(failure.index),
        action,
        reason: Cow::Owned(failure.reason),
        message,
        retry_after: duration::decode("failure.retry_after", failure.retry_after)?,
    })
}

/// Limits for the wire.
#[must_use]
pub fn encode_limits(limits: &Limits) -> v1::Limits {
    v1::Limits { max_in_flight_works: limits.works, max_batch_events: limits.events, max_batch_bytes: limits.bytes }
}

/// Limits with the defaults filled in and cut to those of the protocol. There are none that break it.
#[must_use]
pub fn decode_limits(limits: v1::Limits) -> Limits {
    let default = Limits::default();
    Limits {
        works: or(limits.max_in_flight_works, default.works),
        events: or(limits.max_batch_events, default.events).min(limits::BATCH_EVENTS as u32),
        bytes: or(limits.max_batch_bytes, default.bytes).min(limits::BATCH_BYTES as u64),
    }
}

fn or<T: Default + PartialEq>(value: T, default: T) -> T {
    if value == T::default() { default } else { value }
}

/// A report of running calls for the wire; of more than [`limits::PROGRESS_CALLS`] the first, which are the oldest.
#[must_use]
pub fn encode_progress(calls: &[Call]) -> v1::Progress {
    let calls = calls.iter().take(limits::PROGRESS_CALLS).map(|call| v1::HandlerCall {
        sequence: call.sequence,
        index: call.index.unwrap_or(WHOLE),
        age: Some(duration::encode(call.age)),
    });
    v1::Progress { calls: calls.collect() }
}

/// Validates a report of running calls.
///
/// # Errors
/// When it names too many calls or a negative age. A report is news, not a verdict: it can be left aside.
pub fn decode_progress(progress: v1::Progress) -> Result<Vec<Call>, WireError> {
    if progress.calls.len() > limits::PROGRESS_CALLS {
        return Err(WireError::Progress { calls: progress.calls.len() });
    }
    let call = |call: v1::HandlerCall| {
        let age = duration::decode("progress.age", call.age)?.unwrap_or(Duration::ZERO);
        Ok(Call { sequence: call.sequence, index: (call.index != WHOLE).then_some(call.index), age })
    };
    progress.calls.into_iter().map(call).collect()
}
