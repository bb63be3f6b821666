//! Golden vectors: small messages, and what they say, in files that need no protobuf to be read but the messages' own.
//!
//! The files under `vectors` are what this makes: the kit sends over the wire what the files have, and unit tests of an
//! SDK can read them. `MESHLOOM_WRITE_VECTORS=1 cargo test -p meshloom-conformance vectors` writes them anew.

use std::collections::BTreeMap;

use meshloom_proto::v1;

use crate::{
    checks::full_event,
    columns::{ABSENT, Style, u32s, values},
    event::{Event, Value, batch},
};

/// A batch, and the events in it.
pub(crate) struct Batch {
    pub(crate) name: String,
    #[cfg_attr(not(test), allow(dead_code, reason = "for the files"))]
    pub(crate) rules: &'static [&'static str],
    pub(crate) batch: v1::Batch,
    pub(crate) events: Vec<Event>,
}

/// An event whose uid depends on nothing but its place.
fn event(n: u8, payload: &str) -> Event {
    Event { uid: [n; 16], ..Event::new(payload.to_owned()) }
}

fn full(n: u8) -> Event {
    Event { uid: [n; 16], ..full_event(u32::from(n)) }
}

fn extended(n: u8, name: &str, value: Value) -> Event {
    Event { extensions: BTreeMap::from([(name.to_owned(), value)]), ..event(n, "x") }
}

/// Batches that are well-formed.
pub(crate) fn batches() -> Vec<Batch> {
    let text = |text: &str| Some(text.to_owned());
    let cases: Vec<(&str, &[&str], Vec<Event>)> = vec![
        ("one-empty-event", &["B1", "B3"], vec![event(1, "")]),
        ("zero-length-payloads", &["B2", "B3"], vec![event(1, ""), event(2, "x"), event(3, ""), event(4, "")]),
        ("everything", &["B11"], vec![full(1), full(2), full(3)]),
        ("everything-and-nothing", &["B4", "B11"], vec![full(1), event(2, ""), full(3), event(4, "x")]),
        (
            "one-value-for-all",
            &["B4"],
            (1..4).map(|n| Event { type_: text("t"), source: text("/s"), ..event(n, "x") }).collect(),
        ),
        (
            "empty-is-not-absent",
            &["B4", "B11"],
            vec![Event { subject: text(""), key: text(""), type_: text(""), ..event(1, "x") }, event(2, "x")],
        ),
        (
            "times",
            &["B5"],
            [Some(0), Some(-1), Some(i64::MAX), Some(i64::MIN + 2), None, Some(1_700_000_000_123_456_789)]
                .into_iter()
                .zip(1..)
                .map(|(time, n)| Event { time, ..event(n, "x") })
                .collect(),
        ),
        (
            "texts-beyond-ascii",
            &["B4"],
            vec![
                Event { subject: text("\u{4e2d}\u{6587}"), key: text("\u{1f427}"), ..event(1, "\u{e9}") },
                Event { subject: text("e\u{301}"), key: text("\u{0}"), ..event(2, "\u{feff}") },
            ],
        ),
        (
            "extensions-of-every-type",
            &["B6", "B7"],
            vec![full(1), extended(2, "count", Value::Integer(0)), event(3, "x"), full(4)],
        ),
        (
            "one-name-of-two-types",
            &["B6", "B7"],
            vec![
                extended(1, "part", Value::Integer(1)),
                extended(2, "part", Value::String("one".into())),
                extended(3, "part", Value::Integer(-1)),
            ],
        ),
        (
            "most-extensions",
            &["B6"],
            vec![
                Event {
                    extensions: (0..64).map(|n| (format!("name{n}"), Value::Integer(n))).collect(),
                    ..event(1, "x")
                },
                event(2, "x"),
            ],
        ),
    ];
    let mut found = Vec::new();
    for (name, rules, events) in cases {
        for (style, how) in [(Style::Short, "short"), (Style::Dictionary, "dictionary"), (Style::Plain, "plain")] {
            let name = format!("{name}-{how}");
            found.push(Batch { name, rules, batch: batch(&events, style), events: events.clone() });
        }
    }
    let unnamed = v1::Strings { values: Some(values(["unused", "a"])), index: u32s([1, ABSENT]) };
    let events = vec![Event { subject: text("a"), ..event(1, "x") }, event(2, "x")];
    let plain: Vec<Event> = events.iter().map(|event| Event { subject: None, ..event.clone() }).collect();
    let columns = v1::Batch { subject: Some(unnamed), ..batch(&plain, Style::Short) };
    found.push(Batch { name: "a-value-that-no-index-names".into(), rules: &["B4"], batch: columns, events });
    found
}

#[cfg(test)]
mod files;
