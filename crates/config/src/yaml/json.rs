//! A tree as JSON text, numbers as they were written.

use super::{
    Entry, Node, Value,
    scalar::{Kind, json_number},
};
use crate::diagnostic::{Report, codes};

/// The entries of a map as a JSON object.
pub(crate) fn json_object(entries: &[Entry], report: &mut Report) -> String {
    let mut out = String::new();
    object(entries, &mut out, report);
    out
}

fn object(entries: &[Entry], out: &mut String, report: &mut Report) {
    out.push('{');
    for (index, entry) in entries.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        text(&entry.key, out);
        out.push(':');
        value(&entry.value, out, report);
    }
    out.push('}');
}

fn value(node: &Node, out: &mut String, report: &mut Report) {
    match &node.value {
        Value::Map(entries) => object(entries, out, report),
        Value::List(items) => {
            out.push('[');
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                value(item, out, report);
            }
            out.push(']');
        }
        Value::Scalar(scalar) => match scalar.kind() {
            Kind::Null => out.push_str("null"),
            Kind::Bool(truth) => out.push_str(if truth { "true" } else { "false" }),
            Kind::Text => text(&scalar.text, out),
            Kind::Number => match json_number(&scalar.text) {
                Some(number) => out.push_str(&number),
                None => {
                    report
                        .add(
                            &codes::WRONG_TYPE,
                            &node.span,
                            format!("a node's config is JSON, which has no `{}`", scalar.text),
                        )
                        .help("quote it to send it as text");
                }
            },
        },
    }
}

fn text(text: &str, out: &mut String) {
    out.push_str(&serde_json::Value::from(text).to_string());
}
