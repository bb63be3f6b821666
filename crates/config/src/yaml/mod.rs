//! YAML as a tree in which every key and value knows its place.
//!
//! The only module that knows the parser. Aliases are replaced by what they stand for (with its own place), merge keys
//! (`<<`) are applied; what a pipeline file has no use for is refused: tags, several documents, keys that are no text.

mod build;
mod interpolate;
mod json;
pub(crate) mod scalar;

pub(crate) use build::parse;
pub(crate) use interpolate::interpolate;
pub(crate) use json::json_object;

use crate::diagnostic::Span;

/// A value and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) span: Span,
    pub(crate) value: Value,
}

/// A value.
#[derive(Debug, Clone)]
pub(crate) enum Value {
    Scalar(Scalar),
    List(Vec<Node>),
    Map(Vec<Entry>),
}

/// A scalar as it was written.
#[derive(Debug, Clone)]
pub(crate) struct Scalar {
    /// The text, without quotes and escapes.
    pub(crate) text: String,
    /// Whether it was written without quotes, so that it may be a number, a truth value or null.
    pub(crate) plain: bool,
    /// Whether it is one `${...}` and nothing else: it then has whatever type its key needs.
    pub(crate) whole: bool,
    /// Where the text begins in the file, if it stands there letter by letter.
    pub(crate) verbatim: Option<usize>,
}

/// A key and its value.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    pub(crate) key_span: Span,
    pub(crate) value: Node,
    /// Whether it came from `defaults`.
    pub(crate) inherited: bool,
}

impl Node {
    /// Whether it is `null`, `~` or nothing at all.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.kind() == scalar::Kind::Null)
    }

    /// What it is, for messages: "a list", "the number 3".
    pub(crate) fn describe(&self) -> String {
        match &self.value {
            Value::List(_) => "a list".into(),
            Value::Map(_) => "a map".into(),
            Value::Scalar(scalar) => match scalar.kind() {
                scalar::Kind::Null => "nothing".into(),
                scalar::Kind::Bool(truth) => format!("`{truth}`"),
                scalar::Kind::Number => format!("the number {}", scalar.text),
                scalar::Kind::Text => format!("the text `{}`", shortened(&scalar.text)),
            },
        }
    }
}

impl Scalar {
    /// The place of a part of the text: exact where the text stands letter by letter, else `whole`.
    pub(crate) fn locate(&self, whole: &Span, part: &Span) -> Span {
        match self.verbatim {
            Some(start) => start + part.start..start + part.end,
            None => whole.clone(),
        }
    }
}

fn shortened(text: &str) -> String {
    let mut characters = text.chars();
    let mut short: String = characters.by_ref().take(60).map(|c| if c == '\n' { ' ' } else { c }).collect();
    if characters.next().is_some() {
        short.push_str("...");
    }
    short
}

#[cfg(test)]
mod tests;
