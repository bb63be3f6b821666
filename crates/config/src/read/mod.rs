//! Reading typed values out of the tree. Every function reports what is wrong and then answers `None`.

mod command;
mod quantity;
mod values;

pub(crate) use command::{command, reason};
pub(crate) use quantity::{bytes, duration, rate, size_text};
pub(crate) use values::{boolean, choice, decimal, integer, list_of_text, text, written};

use crate::{
    diagnostic::{Code, Report, Span, codes},
    suggest::did_you_mean,
    yaml::{Entry, Node, Value},
};

/// The entries of a map.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'t> {
    pub(crate) span: &'t Span,
    pub(crate) entries: &'t [Entry],
}

impl<'t> Fields<'t> {
    /// Reads a map; `needed` says what the key needs: "a map of `events`, `bytes`".
    pub(crate) fn of(node: &'t Node, needed: &str, report: &mut Report) -> Option<Self> {
        match &node.value {
            Value::Map(entries) => Some(Self { span: &node.span, entries }),
            _ => wrong_type(node, needed, report),
        }
    }

    /// An entry.
    pub(crate) fn get(&self, key: &str) -> Option<&'t Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// An entry's value.
    pub(crate) fn value(&self, key: &str) -> Option<&'t Node> {
        self.get(key).map(|entry| &entry.value)
    }

    /// Reports every key that is not one of `known`.
    pub(crate) fn only(&self, known: &[&str], place: &str, report: &mut Report) {
        for entry in self.entries.iter().filter(|entry| !known.contains(&entry.key.as_str())) {
            unknown_key(entry, known, place, report);
        }
    }
}

/// Reports a key that is not known.
pub(crate) fn unknown_key(entry: &Entry, known: &[&str], place: &str, report: &mut Report) {
    let remedy = did_you_mean(&entry.key, known.iter().copied()).unwrap_or_else(|| match known {
        [] => "it has no keys; remove it".into(),
        known => format!("the keys are {}", known.join(", ")),
    });
    report
        .add(&codes::UNKNOWN_KEY, &entry.key_span, format!("there is no key `{}` in {place}", entry.key))
        .help(remedy);
}

/// Reports a value of the wrong type.
pub(crate) fn wrong_type<T>(node: &Node, needed: &str, report: &mut Report) -> Option<T> {
    report.add(&codes::WRONG_TYPE, &node.span, format!("expected {needed}, found {}", node.describe()));
    None
}

/// Reports a value that cannot be used.
pub(crate) fn refuse<T>(
    code: &'static Code,
    node: &Node,
    message: impl Into<String>,
    remedy: impl Into<String>,
    report: &mut Report,
) -> Option<T> {
    report.add(code, &node.span, message).help(remedy);
    None
}
