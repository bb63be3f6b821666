//! Answers that break one rule of the protocol each.

use bytes::Bytes;
use meshloom_proto::v1::{EventFailure, Extension, ExtensionType, FailureAction, Outputs, Strings, Values, WorkResult};

const MIB: usize = 1 << 20;

/// The answer that breaks the rule of this name. `outputs` passes every input.
pub(crate) fn result(rule: &str, last: WorkResult, outputs: Outputs) -> WorkResult {
    let failed = |failure| WorkResult { failures: vec![failure], ..last.clone() };
    match rule {
        "failure-index" => return failed(failure(7, "TEST", "")),
        "failure-reason" => return failed(failure(0, "not a reason", "")),
        "failure-reason-long" => return failed(failure(0, &"R".repeat(65), "")),
        "busy-negative" => {
            let busy = Some(prost_types::Duration { seconds: -1, nanos: 0 });
            return WorkResult { busy, outputs: Some(outputs), ..last };
        }
        _ => {}
    }
    let outputs = match rule {
        "count-zero" => Outputs { count: 0, ..outputs },
        "count-high" => Outputs { count: 65_537, ..outputs },
        "ends-ragged" => payload(outputs, b"abc", &[3, 0, 0]),
        "ends-short" => Outputs { count: 2, parent: le(&[0, 0]), ..payload(outputs, b"abc", &u32s(&[3])) },
        "ends-fall" => Outputs { count: 2, parent: le(&[0, 0]), ..payload(outputs, b"abc", &u32s(&[3, 2])) },
        "ends-beyond" => payload(outputs, b"abc", &u32s(&[4])),
        "ends-before" => payload(outputs, b"abc", &u32s(&[2])),
        "event-large" => {
            let data = vec![b'x'; 16 * MIB + 1];
            payload(outputs, &data, &u32s(&[data.len() as u32]))
        }
        "batch-large" => {
            let (count, size) = (3, 11 * MIB);
            let ends: Vec<u32> = (1..=count).map(|n| n * size as u32).collect();
            let outputs = payload(outputs, &vec![b'x'; size * count as usize], &u32s(&ends));
            Outputs { count, parent: le(&[0, 0, 0]), ..outputs }
        }
        "parent-ragged" => Outputs { parent: Bytes::from_static(&[0, 0, 0]), ..outputs },
        "parent-length" => Outputs { parent: le(&[0, 0]), ..outputs },
        "parent-range" => Outputs { parent: le(&[5]), ..outputs },
        "parent-missing" => Outputs { count: 2, ..outputs },
        "whole-bare" => Outputs { parent: le(&[u32::MAX]), ..outputs },
        "time-ragged" => Outputs { time: Bytes::from_static(&[0; 7]), ..outputs },
        "time-length" => Outputs { time: Bytes::from_static(&[0; 16]), ..outputs },
        "utf8" => Outputs { subject: Some(raw(b"\xff\xfe", &[2], &[])), ..outputs },
        "index-range" => Outputs { subject: Some(raw(b"a", &[1], &[1])), ..outputs },
        "index-length" => Outputs { subject: Some(raw(b"a", &[1], &[0, 0])), ..outputs },
        "attribute-large" => Outputs { subject: Some(strings(&[&"s".repeat(64 * 1024 + 1)])), ..outputs },
        "key-large" => Outputs { key: Some(strings(&[&"k".repeat(1025)])), ..outputs },
        "extension-name" => extended(outputs, vec![text("Bad-Name", &["x"])]),
        "extension-type" => extended(outputs, vec![Extension { r#type: 99, ..text("name", &["x"]) }]),
        "extension-twice" => extended(outputs, vec![text("name", &["x"]), text("name", &["y"])]),
        "extension-boolean" => {
            let column = Extension { r#type: ExtensionType::Boolean.into(), ..text("name", &["\u{2}"]) };
            extended(outputs, vec![column])
        }
        "extension-integer" => {
            let column = Extension { r#type: ExtensionType::Integer.into(), ..text("name", &["abc"]) };
            extended(outputs, vec![column])
        }
        "extension-row" => extended(outputs, vec![Extension { index: le(&[9]), ..text("name", &["x"]) }]),
        "extension-order" => {
            let column = Extension { index: le(&[0, 0]), ..text("name", &["x", "y"]) };
            extended(outputs, vec![column])
        }
        "extension-removes" => {
            let column = Extension { r#type: ExtensionType::Unspecified.into(), ..text("name", &["x"]) };
            extended(outputs, vec![column])
        }
        "extensions-many" => extended(outputs, (0..65).map(|n| text(&format!("name{n}"), &["x"])).collect()),
        other => panic!("no rule `{other}`"),
    };
    WorkResult { outputs: Some(outputs), ..last }
}

pub(crate) fn failure(index: u32, reason: &str, message: &str) -> EventFailure {
    EventFailure {
        index,
        action: FailureAction::Reject.into(),
        reason: reason.into(),
        message: message.into(),
        retry_after: None,
    }
}

/// A column of one value for all, or of positional values.
pub(crate) fn strings(values: &[&str]) -> Strings {
    Strings { values: Some(self::values(values)), index: Bytes::new() }
}

pub(crate) fn values(values: &[&str]) -> Values {
    let ends: Vec<u32> = values
        .iter()
        .scan(0, |end, value| {
            *end += value.len() as u32;
            Some(*end)
        })
        .collect();
    Values { data: values.concat().into(), ends: le(&ends) }
}

fn raw(data: &[u8], ends: &[u32], index: &[u32]) -> Strings {
    Strings { values: Some(Values { data: data.to_vec().into(), ends: le(ends) }), index: le(index) }
}

fn payload(outputs: Outputs, data: &[u8], ends: &[u8]) -> Outputs {
    Outputs { payload: Some(Values { data: data.to_vec().into(), ends: ends.to_vec().into() }), ..outputs }
}

fn extended(outputs: Outputs, extensions: Vec<Extension>) -> Outputs {
    Outputs { extensions, ..outputs }
}

pub(crate) fn text(name: &str, values: &[&str]) -> Extension {
    let values = Some(self::values(values));
    Extension { name: name.into(), r#type: ExtensionType::String.into(), values, index: Bytes::new() }
}

fn u32s(values: &[u32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}

pub(crate) fn le(values: &[u32]) -> Bytes {
    u32s(values).into()
}
