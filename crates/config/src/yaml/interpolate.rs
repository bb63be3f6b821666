//! `${NAME}` in values.

use super::{Node, Scalar, Value};
use crate::diagnostic::{Report, Span, codes};

/// Looks a variable up: `Ok(None)` if it is not set, `Err` if it is no text.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Result<Option<String>, String>;

/// Replaces `${NAME}`, `${NAME:-default}`, `${NAME:?message}` and `$$` in every value of the tree.
pub(crate) fn interpolate(node: &mut Node, lookup: Lookup<'_>, report: &mut Report) {
    let span = node.span.clone();
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(|item| interpolate(item, lookup, report)),
        Value::Map(entries) => entries.iter_mut().for_each(|entry| interpolate(&mut entry.value, lookup, report)),
        Value::Scalar(scalar) if scalar.text.contains('$') => replace(scalar, &span, lookup, report),
        Value::Scalar(_) => {}
    }
}

fn replace(scalar: &mut Scalar, span: &Span, lookup: Lookup<'_>, report: &mut Report) {
    let mut expand = Expand { scalar, span, lookup, report, out: String::new() };
    let whole = expand.run(0..expand.scalar.text.len());
    let out = expand.out;
    if out != scalar.text {
        scalar.verbatim = None;
        scalar.text = out;
    }
    scalar.whole = whole;
}

struct Expand<'a> {
    scalar: &'a Scalar,
    span: &'a Span,
    lookup: Lookup<'a>,
    report: &'a mut Report,
    out: String,
}

impl Expand<'_> {
    /// Expands a part of the text; returns whether it is one variable and nothing else.
    fn run(&mut self, part: Span) -> bool {
        let text = &self.scalar.text;
        let (mut at, mut variables, mut other) = (part.start, 0, false);
        while at < part.end {
            let rest = &text[at..part.end];
            if rest.starts_with("$$") {
                self.out.push('$');
                other = true;
                at += 2;
            } else if rest.starts_with("${") {
                let Some(end) = closing(rest) else {
                    self.problem(at..part.end, "`${` is never closed");
                    return false;
                };
                self.variable(at..at + end + 1);
                variables += 1;
                at += end + 1;
            } else {
                let next =
                    rest.match_indices('$').map(|(found, _)| at + found).find(|next| *next > at).unwrap_or(part.end);
                self.out.push_str(&text[at..next]);
                other = true;
                at = next;
            }
        }
        variables == 1 && !other
    }

    /// Expands one `${...}`.
    fn variable(&mut self, part: Span) {
        let inner = part.start + 2..part.end - 1;
        let body = &self.scalar.text[inner.clone()];
        let length = body.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(body.len());
        let (name, operator) = body.split_at(length);
        if name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) {
            self.problem(part, "a variable's name has letters, digits and `_`, and does not begin with a digit");
            return;
        }
        let value = match (self.lookup)(name) {
            Ok(value) => value,
            Err(reason) => {
                let at = self.scalar.locate(self.span, &part);
                self.report
                    .add(&codes::VARIABLE_UNSET, &at, format!("the variable `{name}` cannot be used: {reason}"))
                    .help("set it to UTF-8 text");
                return;
            }
        };
        let given = value.clone().filter(|value| !value.is_empty());
        let operand = inner.start + length + 2..inner.end;
        match (operator.get(..2), value, given) {
            (None, Some(value), _) if operator.is_empty() => self.out.push_str(&value),
            (None, None, _) if operator.is_empty() => self.unset(name, part, None),
            (Some(":-" | ":?"), _, Some(value)) => self.out.push_str(&value),
            (Some(":-"), _, None) => {
                self.run(operand);
            }
            (Some(":?"), _, None) => {
                let message = self.scalar.text[operand].trim().to_owned();
                self.unset(name, part, Some(message).filter(|message| !message.is_empty()));
            }
            _ => self.problem(part, "after the name only `:-default` or `:?message` may follow"),
        }
    }

    fn unset(&mut self, name: &str, part: Span, message: Option<String>) {
        let at = self.scalar.locate(self.span, &part);
        let diagnostic = self.report.add(&codes::VARIABLE_UNSET, &at, format!("the variable `{name}` is not set"));
        diagnostic.help(message.unwrap_or_else(|| format!("set it, or give a default: `${{{name}:-default}}`")));
    }

    fn problem(&mut self, part: Span, message: &str) {
        let at = self.scalar.locate(self.span, &part);
        self.report.add(&codes::VARIABLE_SYNTAX, &at, message);
    }
}

/// The offset of the brace that closes a text beginning with `${`.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0usize;
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' if depth == 1 => return Some(at),
            b'}' => depth -= 1,
            _ => {}
        }
    }
    None
}
