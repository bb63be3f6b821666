//! Text, numbers, truth values, choices, lists.

use std::ops::RangeInclusive;

use super::{refuse, wrong_type};
use crate::{
    diagnostic::{Report, codes},
    suggest::did_you_mean,
    yaml::{
        Node, Scalar, Value,
        scalar::{Kind, json_number},
    },
};

/// The scalar, if it is one.
pub(super) fn scalar<'t>(node: &'t Node, needed: &str, report: &mut Report) -> Option<&'t Scalar> {
    match &node.value {
        Value::Scalar(scalar) => Some(scalar),
        _ => wrong_type(node, needed, report),
    }
}

/// Text.
pub(crate) fn text<'t>(node: &'t Node, needed: &str, report: &mut Report) -> Option<&'t str> {
    let scalar = scalar(node, needed, report)?;
    match scalar.kind() {
        Kind::Text => Some(&scalar.text),
        _ if scalar.whole => Some(&scalar.text),
        Kind::Null => wrong_type(node, needed, report),
        _ => {
            let message = format!("expected {needed}, found {}", node.describe());
            refuse(&codes::WRONG_TYPE, node, message, format!("quote it: \"{}\"", scalar.text), report)
        }
    }
}

/// Any scalar as it was written: for variables and arguments, where `8080` and `true` are text too.
pub(crate) fn written<'t>(node: &'t Node, needed: &str, report: &mut Report) -> Option<&'t str> {
    let scalar = scalar(node, needed, report)?;
    if scalar.kind() == Kind::Null && !scalar.whole {
        return wrong_type(node, needed, report);
    }
    Some(&scalar.text)
}

/// A whole number in a range.
pub(crate) fn integer<T>(node: &Node, range: RangeInclusive<T>, report: &mut Report) -> Option<T>
where
    T: Copy + PartialOrd + std::fmt::Display + TryFrom<u64>,
{
    let scalar = scalar(node, "a whole number", report)?;
    let is_number = scalar.kind() == Kind::Number || (scalar.whole && json_number(&scalar.text).is_some());
    let digits = is_number.then(|| json_number(&scalar.text)).flatten();
    let Some(digits) =
        digits.filter(|digits| digits.strip_prefix('-').unwrap_or(digits).bytes().all(|b| b.is_ascii_digit()))
    else {
        return wrong_type(node, "a whole number", report);
    };
    let number = digits.parse::<u64>().ok().and_then(|number| T::try_from(number).ok());
    match number.filter(|number| range.contains(number)) {
        Some(number) => Some(number),
        None => {
            let message = format!("{digits} is not between {} and {}", range.start(), range.end());
            refuse(&codes::OUT_OF_RANGE, node, message, "choose a number in that range", report)
        }
    }
}

/// A number in a range.
pub(crate) fn decimal(node: &Node, range: RangeInclusive<f64>, report: &mut Report) -> Option<f64> {
    let scalar = scalar(node, "a number", report)?;
    let is_number = scalar.whole || scalar.kind() == Kind::Number;
    let number = is_number.then(|| json_number(&scalar.text)).flatten().and_then(|text| text.parse::<f64>().ok());
    let Some(number) = number else {
        return wrong_type(node, "a number", report);
    };
    if range.contains(&number) {
        return Some(number);
    }
    let bounds = match range.end() {
        end if end.is_finite() => format!("{number} is not between {} and {end}", range.start()),
        _ => format!("{number} is less than {}", range.start()),
    };
    refuse(&codes::OUT_OF_RANGE, node, bounds, "choose a number in that range", report)
}

/// `true` or `false`.
pub(crate) fn boolean(node: &Node, report: &mut Report) -> Option<bool> {
    let scalar = scalar(node, "`true` or `false`", report)?;
    match (scalar.kind(), scalar.text.as_str()) {
        (Kind::Bool(truth), _) => Some(truth),
        (_, "true") if scalar.whole => Some(true),
        (_, "false") if scalar.whole => Some(false),
        _ => wrong_type(node, "`true` or `false`", report),
    }
}

/// One of several words.
pub(crate) fn choice<T: Copy>(node: &Node, choices: &[(&str, T)], report: &mut Report) -> Option<T> {
    let words = choices.iter().map(|(word, _)| *word);
    let listed = words.clone().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", ");
    let written = written(node, &format!("one of {listed}"), report)?;
    if let Some((_, value)) = choices.iter().find(|(word, _)| *word == written) {
        return Some(*value);
    }
    let remedy = did_you_mean(written, words).unwrap_or_else(|| format!("use one of {listed}"));
    refuse(&codes::UNKNOWN_VALUE, node, format!("`{written}` is not one of {listed}"), remedy, report)
}

/// A text or a list of texts, each with its node.
pub(crate) fn list_of_text<'t>(node: &'t Node, needed: &str, report: &mut Report) -> Option<Vec<(&'t str, &'t Node)>> {
    match &node.value {
        Value::List(items) if items.is_empty() => {
            refuse(&codes::EMPTY, node, format!("expected {needed}, found an empty list"), "add one", report)
        }
        Value::List(items) => {
            let texts: Vec<_> =
                items.iter().filter_map(|item| text(item, needed, report).map(|text| (text, item))).collect();
            (texts.len() == items.len()).then_some(texts)
        }
        _ => text(node, needed, report).map(|text| vec![(text, node)]),
    }
}
