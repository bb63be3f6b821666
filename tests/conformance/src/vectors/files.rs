//! What the files of the vectors are made of.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use meshloom_proto::v1::{self, ExtensionType};
use prost::Message;
use serde_json::{Value as Json, json};

use super::{batches, full};
use crate::{
    columns::{self, Style, TIME_ABSENT, TIME_INHERITED, u32s, values},
    event::{Event, batch},
};

/// A result's outputs, and what they mean for their parents.
struct Outputs {
    name: &'static str,
    rules: &'static [&'static str],
    outputs: v1::Outputs,
}

fn outputs() -> Vec<Outputs> {
    let base = |count| v1::Outputs { count, ..v1::Outputs::default() };
    let texts = |cells: &[Option<&str>]| columns::strings(cells, Style::Dictionary);
    let times = |times: &[i64]| times.iter().flat_map(|time| time.to_le_bytes()).collect::<Vec<_>>().into();
    let json = Some(v1::Strings { values: Some(values(["application/json"])), index: u32s([]) });
    let extension = |name: &str, kind: ExtensionType, found: &[&[u8]], rows: &[u32]| v1::Extension {
        name: name.into(),
        r#type: kind.into(),
        values: Some(values(found)),
        index: u32s(rows.iter().copied()),
    };
    vec![
        Outputs { name: "unchanged", rules: &["W3", "W4"], outputs: base(2) },
        Outputs { name: "the-second-alone", rules: &["W3"], outputs: v1::Outputs { parent: u32s([1]), ..base(1) } },
        Outputs {
            name: "three-of-one",
            rules: &["W3", "W5"],
            outputs: v1::Outputs {
                parent: u32s([0, 0, 0, 1]),
                payload: Some(values(["1", "2", "3", ""])),
                content_type: json.clone(),
                ..base(4)
            },
        },
        Outputs {
            name: "set-and-clear",
            rules: &["W4"],
            outputs: v1::Outputs {
                subject: texts(&[Some("new"), Some("")]),
                key: texts(&[None, Some("k")]),
                time: times(&[TIME_ABSENT, TIME_INHERITED]),
                route: texts(&[Some("left"), None]),
                ..base(2)
            },
        },
        Outputs {
            name: "extensions-set-and-removed",
            rules: &["W4"],
            outputs: v1::Outputs {
                extensions: vec![
                    extension("count", ExtensionType::Unspecified, &[], &[0]),
                    extension("count", ExtensionType::Integer, &[&7_i32.to_le_bytes()], &[1]),
                    extension("new", ExtensionType::String, &[b"a", b""], &[]),
                ],
                ..base(2)
            },
        },
        Outputs {
            name: "whole-batch",
            rules: &["W3", "W10"],
            outputs: v1::Outputs {
                parent: u32s([1, u32::MAX]),
                payload: Some(values(["one", "all"])),
                content_type: json,
                ..base(2)
            },
        },
    ]
}

fn encoded(message: &impl Message) -> String {
    STANDARD.encode(message.encode_to_vec())
}

/// The files, by name.
fn files() -> Vec<(&'static str, Vec<Json>)> {
    let batches = batches().into_iter().map(|vector| {
        let events: Vec<Json> = vector.events.iter().map(Event::to_context).collect();
        json!({"name": vector.name, "rules": vector.rules, "batch": encoded(&vector.batch), "events": events})
    });
    let malformed = crate::malformed::cases().into_iter().filter_map(|case| {
        let batch = case.work.batch.as_ref().map(encoded);
        // What is large is made where it is used.
        let small = batch.as_ref().is_none_or(|batch| batch.len() < 4096);
        small.then(|| {
            let attempts = STANDARD.encode(&case.work.attempts);
            json!({"name": case.name, "rules": [case.rule, "W11"], "batch": batch, "attempts": attempts, "reason": case.reasons[0]})
        })
    });
    let inputs = [full(1), full(2)];
    let outputs = outputs().into_iter().map(|vector| {
        let rows = crate::outputs::read(&vector.outputs, &inputs, 2).expect("the vectors are well-formed");
        let told = |row: &crate::outputs::Row| {
            let mut told = row.event.to_context();
            // Identities of outputs are the coordinator's.
            for name in ["uid", "source", "from"] {
                told.as_object_mut().expect("it is an object").remove(name);
            }
            json!({"parent": row.parent, "route": row.route, "event": told})
        };
        json!({
            "name": vector.name, "rules": vector.rules, "inputs": encoded(&batch(&inputs, Style::Short)),
            "outputs": encoded(&vector.outputs), "rows": rows.iter().map(told).collect::<Vec<_>>(),
        })
    });
    vec![("batches", batches.collect()), ("malformed", malformed.collect()), ("outputs", outputs.collect())]
}

#[test]
fn the_files_are_what_is_made() {
    for (name, vectors) in files() {
        let lines: Vec<String> = vectors.iter().map(Json::to_string).collect();
        let text = format!("[\n{}\n]\n", lines.join(",\n"));
        let path = format!("{}/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
        if std::env::var_os("MESHLOOM_WRITE_VECTORS").is_some() {
            std::fs::write(&path, text).unwrap();
        } else {
            let found = std::fs::read_to_string(&path).unwrap_or_default();
            let hint = "MESHLOOM_WRITE_VECTORS=1 cargo test -p meshloom-conformance vectors writes it anew";
            assert!(found == text, "{path} is not what is made; {hint}");
        }
    }
}

#[test]
fn batches_are_read_as_they_were_meant() {
    for vector in batches() {
        assert_eq!(crate::read::batch(&vector.batch).unwrap(), vector.events, "{}", vector.name);
    }
}
