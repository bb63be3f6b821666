//! What must come out of a work.

use std::collections::HashSet;

use serde_json::Value as Json;

use super::case::{Command, Input, Out, Payload, Stream, Trouble};
use crate::{
    client::{Answer, Verdict},
    event::{Event, Value},
    fault::{Fault, Outcome},
    outputs::Row,
};

/// What must become of an input.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expected {
    Outputs(Vec<Out>),
    /// The event as it came.
    Same,
    Consumed,
    Retry(&'static str),
    Reject(&'static str),
}

/// Of each input of a work that nothing happens to.
pub(super) fn expected(stream: &Stream, inputs: &[Input]) -> Vec<Expected> {
    let mut held: HashSet<Option<&str>> = HashSet::new();
    let mut all = false;
    let mut found = Vec::with_capacity(inputs.len());
    for input in inputs {
        let key = input.key.as_deref();
        let waits = match stream.ordering {
            2 => key.is_some() && held.contains(&key),
            3 => all,
            _ => false,
        };
        let one = if waits { Expected::Retry("KEY_HELD") } else { alone(stream.handler, input) };
        if matches!(one, Expected::Retry(_)) {
            held.insert(key);
            all = true;
        }
        found.push(one);
    }
    found
}

fn alone(handler: &str, input: &Input) -> Expected {
    let passes = || if handler == "sink" { Expected::Consumed } else { Expected::Same };
    let again = |until: Option<u32>| until.is_none_or(|until| input.attempt < until);
    match &input.command {
        Command::Drop => Expected::Consumed,
        Command::Emit(outs) if outs.is_empty() => Expected::Consumed,
        Command::Emit(outs) => Expected::Outputs(outs.clone()),
        Command::Reject => Expected::Reject("MODEL"),
        Command::Retry { until } if again(*until) => Expected::Retry("BUSY"),
        Command::Throw { until } if again(*until) => Expected::Retry("HANDLER_ERROR"),
        Command::Pass | Command::Sleep { .. } | Command::Retry { .. } | Command::Throw { .. } => passes(),
    }
}

/// Holds an answer against what must come.
pub(super) fn compare(
    stream: &Stream,
    inputs: &[Input],
    events: &[Event],
    trouble: Trouble,
    answer: &Answer,
) -> Outcome {
    if matches!(trouble, Trouble::Malformed | Trouble::TooLarge) {
        let reasons = ["BATCH_MALFORMED", "BATCH_TOO_LARGE", "LIMITS_EXCEEDED"];
        return match answer.whole() {
            Some(failure) if reasons.contains(&failure.reason.as_str()) => Ok(()),
            other => Err(Fault::of_rule(
                "W11",
                format!("a failure of the whole work that is {trouble:?}"),
                format!("{other:?}"),
            )),
        };
    }
    let expected = expected(stream, inputs);
    for (at, (expected, verdict)) in expected.iter().zip(answer.verdicts()).enumerate() {
        let taken_back = |reason: &str| reason == "CANCELLED" || (stream.ordering > 1 && reason == "KEY_HELD");
        if trouble == Trouble::Cancelled && matches!(&verdict, Verdict::Retry(reason) if taken_back(reason)) {
            continue;
        }
        one(expected, &events[at], &verdict).map_err(|got| {
            let input = serde_json::to_string(&inputs[at]).unwrap_or_default();
            Fault::new(format!("input {at} of {} at {}: {expected:?} of {input}", inputs.len(), stream.handler), got)
        })?;
    }
    Ok(())
}

fn one(expected: &Expected, event: &Event, verdict: &Verdict) -> Result<(), String> {
    let same = match (expected, verdict) {
        (Expected::Consumed, Verdict::Consumed) => true,
        (Expected::Retry(expected), Verdict::Retry(reason)) | (Expected::Reject(expected), Verdict::Reject(reason)) => {
            expected == reason
        }
        (Expected::Same, Verdict::Outputs(rows)) => {
            rows.len() == 1 && rows[0].event == *event && rows[0].route.is_none()
        }
        (Expected::Outputs(outs), Verdict::Outputs(rows)) => {
            if outs.len() != rows.len() {
                return Err(format!("{} outputs", rows.len()));
            }
            for (out, row) in outs.iter().zip(rows) {
                output(out, event, row)?;
            }
            true
        }
        _ => false,
    };
    if same { Ok(()) } else { Err(crate::fault::short(verdict)) }
}

/// Holds an output against what was asked for.
fn output(out: &Out, parent: &Event, row: &Row) -> Result<(), String> {
    let mut expected = parent.clone();
    match &out.payload {
        None => {}
        Some(Payload::Bytes(bytes)) => {
            expected.payload = bytes.clone().into();
            expected.content_type = Some("application/octet-stream".into());
        }
        Some(Payload::Value(value)) => {
            let found: Json =
                serde_json::from_slice(&row.event.payload).map_err(|error| format!("no JSON: {error}"))?;
            if found != *value {
                return Err(format!("{found} in place of {value}"));
            }
            // JSON is written in many ways.
            expected.payload = row.event.payload.clone();
            expected.content_type = Some("application/json".into());
        }
    }
    let set = |field: &mut Option<String>, text: &Option<String>| {
        if let Some(text) = text {
            *field = Some(text.clone()).filter(|text| !text.is_empty());
        }
    };
    set(&mut expected.subject, &out.subject);
    set(&mut expected.type_, &out.type_);
    if let Some(time) = out.time {
        expected.time = time;
    }
    match &out.extension {
        Some((name, Some(value))) => {
            expected.extensions.insert(name.clone(), Value::Integer(*value));
        }
        Some((name, None)) => {
            expected.extensions.remove(name);
        }
        None => {}
    }
    if row.event != expected || row.route.as_deref() != out.route {
        let route = out.route;
        return Err(format!(
            "{} by the route {:?} in place of {} by {route:?}",
            crate::fault::short(&row.event),
            row.route,
            crate::fault::short(&expected)
        ));
    }
    Ok(())
}
