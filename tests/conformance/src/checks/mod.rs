//! One file per area.

mod batch;
mod cancel;
mod describe;
mod handlers;
mod limits;
mod malformed;
mod open;
mod order;
mod outputs;
mod process;
mod serve;
mod source;
mod trace;
mod versions;
mod work;

use std::collections::HashMap;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::{
    check::Check,
    client::{Answer, Verdict, describe as told},
    fault::{Fault, Outcome},
};

pub(crate) use self::batch::full as full_event;

/// Every area's checks.
pub(crate) const ALL: &[&[Check]] = &[
    serve::CHECKS,
    describe::CHECKS,
    open::CHECKS,
    batch::CHECKS,
    malformed::CHECKS,
    work::CHECKS,
    outputs::CHECKS,
    cancel::CHECKS,
    limits::CHECKS,
    handlers::CHECKS,
    order::CHECKS,
    source::CHECKS,
    trace::CHECKS,
    versions::CHECKS,
    process::CHECKS,
    crate::model::CHECKS,
];

/// Tries a check that takes the machine's time for granted again, with more of it: a machine may stop for seconds. A node
/// that breaks the rule does so each time.
macro_rules! patiently {
    ($slow:ident => $try:expr) => {{
        let mut found = Ok(());
        for $slow in [1, 4, 12] {
            found = $try.await;
            if found.is_ok() {
                break;
            }
        }
        found
    }};
}
use patiently;

/// The same for a check that ends its process: each further try has one of its own.
macro_rules! patiently_fresh {
    ($context:ident, $slow:ident => $try:expr) => {{
        let mut found = {
            let $slow = 1;
            $try.await
        };
        for $slow in [4, 12] {
            if found.is_err() {
                let another = $context.another().await?;
                let $context = &another;
                found = $try.await;
            }
        }
        found
    }};
}
use patiently_fresh;

/// A status with this code and ErrorInfo; its metadata.
fn error_info(status: &Status, code: Code, reason: &str) -> Outcome<HashMap<String, String>> {
    let expected = format!("{code:?} with ErrorInfo {reason} of the domain `meshloom`");
    let details = status.get_details_error_info();
    match details {
        Some(info) if status.code() == code && info.reason == reason && info.domain == "meshloom" => Ok(info.metadata),
        Some(info) => {
            Err(Fault::new(expected, format!("{}, ErrorInfo {} of {:?}", told(status), info.reason, info.domain)))
        }
        None => Err(Fault::new(expected, format!("{}, without ErrorInfo", told(status)))),
    }
}

/// INVALID_ARGUMENT with BadRequest violations of exactly these fields, in any order.
fn refuses(status: &Status, fields: &[&str]) -> Outcome {
    let expected = format!("INVALID_ARGUMENT with BadRequest violations of the fields {fields:?}");
    let Some(details) = status.get_details_bad_request() else {
        return Err(Fault::new(expected, format!("{}, without BadRequest", told(status))));
    };
    let mut found: Vec<&str> = details.field_violations.iter().map(|violation| violation.field.as_str()).collect();
    found.sort_unstable();
    let mut fields = fields.to_vec();
    fields.sort_unstable();
    match status.code() == Code::InvalidArgument && found == fields {
        true => Ok(()),
        false => Err(Fault::new(expected, format!("{}, violations of {found:?}", told(status)))),
    }
}

/// What became of each input, compared by a word each: `out`, `consumed`, `RETRY REASON`, `REJECT REASON`.
fn verdicts(answer: &Answer) -> Vec<String> {
    let word = |verdict: Verdict| match verdict {
        Verdict::Outputs(rows) if rows.len() == 1 => "out".to_owned(),
        Verdict::Outputs(rows) => format!("out x{}", rows.len()),
        Verdict::Consumed => "consumed".to_owned(),
        Verdict::Retry(reason) => format!("RETRY {reason}"),
        Verdict::Reject(reason) => format!("REJECT {reason}"),
    };
    answer.verdicts().into_iter().map(word).collect()
}

/// Whether the inputs fared so.
fn fared(what: &str, answer: &Answer, expected: &[&str]) -> Outcome {
    let found = verdicts(answer);
    if found == expected {
        return Ok(());
    }
    let messages: Vec<_> = answer.failures.iter().map(|failure| &failure.message).collect();
    let told = if messages.is_empty() { String::new() } else { format!(", with the messages {messages:?}") };
    Err(Fault::new(format!("{what}: {expected:?}"), format!("{found:?}{told}")))
}
