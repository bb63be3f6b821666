//! Text with `{{ CEL }}` in it.

use super::{EvaluationError, EventView, Expression, ExpressionError, Problem};

/// Text with expressions in it, compiled when the file is loaded.
#[derive(Debug, Clone, PartialEq)]
pub struct Template {
    source: String,
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Expression(Expression),
}

impl Template {
    /// Compiles a template.
    ///
    /// # Errors
    /// `{{` without `}}`, and what [`Expression::compile`] refuses; all of it, with positions in `source`.
    pub fn compile(source: &str) -> Result<Self, ExpressionError> {
        let (mut parts, mut problems) = (Vec::new(), Vec::new());
        let mut at = 0;
        while let Some(open) = source[at..].find("{{").map(|found| at + found) {
            if open > at {
                parts.push(Part::Text(source[at..open].to_owned()));
            }
            let start = open + 2;
            let Some((end, expression)) = first_that_compiles(source, start) else {
                let message = "`{{` is never closed".to_owned();
                let remedy = Some("close the expression with `}}`".to_owned());
                problems.push(Problem { message, at: open..start, remedy });
                at = source.len();
                break;
            };
            match expression {
                Ok(expression) => parts.push(Part::Expression(expression)),
                Err(error) => problems.extend(error.problems.into_iter().map(|problem| problem.moved(start))),
            }
            at = end + 2;
        }
        if at < source.len() {
            parts.push(Part::Text(source[at..].to_owned()));
        }
        if problems.is_empty() {
            Ok(Self { source: source.to_owned(), parts })
        } else {
            Err(ExpressionError { problems })
        }
    }

    /// As the user wrote it.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The text, if it has no expressions: then it is the same for every event.
    pub fn constant(&self) -> Option<&str> {
        match &self.parts[..] {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Writes the text for an event: text values as they are, others as JSON.
    ///
    /// # Errors
    /// As [`Expression::evaluate_bool`].
    pub fn render(&self, event: &EventView<'_>) -> Result<String, EvaluationError> {
        let mut out = String::with_capacity(self.source.len());
        for part in &self.parts {
            match part {
                Part::Text(text) => out.push_str(text),
                Part::Expression(expression) => expression.evaluate_text(event, &mut out)?,
            }
        }
        Ok(out)
    }
}

/// The expression from `start` to a `}}`: to the first with which it compiles (CEL's maps end in braces too), else to
/// the first there is.
fn first_that_compiles(source: &str, start: usize) -> Option<(usize, Result<Expression, ExpressionError>)> {
    let mut first = None;
    for (offset, _) in source[start..].match_indices("}}") {
        // In `}}}` the last two close.
        let end = start + offset;
        let compiled = Expression::compile(&source[start..end]);
        if compiled.is_ok() {
            return Some((end, compiled));
        }
        first.get_or_insert((end, compiled));
        if source[end + 2..].trim_start().starts_with("{{") {
            break;
        }
    }
    first
}

impl Problem {
    fn moved(mut self, by: usize) -> Self {
        self.at = self.at.start + by..self.at.end + by;
        self
    }
}
