//! CEL over events: conditions on edges, keys, and templates.
//!
//! An expression is parsed once, when the file is loaded. What it reads is decided then too: of the payload only the
//! fields that it names are made into values, and a payload that it does not mention is never looked at. The program
//! itself runs on values that borrow from the event.

mod analyze;
mod environment;
mod payload;
mod template;
mod view;

use std::{collections::BTreeMap, fmt, ops::Range, sync::Arc};

use cel::{
    Context, ExecutionError, Program, Value,
    common::{
        types::{CelBool, CelString},
        value::CowVal,
    },
};

pub use template::Template;
pub use view::EventView;

use view::Variables;

/// A compiled CEL expression over `data`, `event` and `ext`. Cheap to clone.
#[derive(Clone)]
pub struct Expression(Arc<Compiled>);

struct Compiled {
    source: String,
    program: Program,
    reads: Reads,
}

/// What an expression reads of each variable; `None`: it does not mention it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Reads {
    pub(crate) data: Option<Projection>,
    pub(crate) event: Option<Projection>,
    pub(crate) ext: Option<Projection>,
}

/// The part of a value that is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Projection {
    /// All of it.
    All,
    /// These fields, if it is a map.
    Fields(BTreeMap<String, Projection>),
}

/// An expression that cannot be compiled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .problems.iter().map(|problem| problem.message.as_str()).collect::<Vec<_>>().join("; "))]
pub struct ExpressionError {
    /// Everything that is wrong with it, at least one.
    pub problems: Vec<Problem>,
}

/// One thing that is wrong with an expression.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What.
    pub message: String,
    /// Where, as a range of bytes of the expression.
    pub at: Range<usize>,
    /// What to write instead, if that is known.
    pub remedy: Option<String>,
}

/// An expression could not be evaluated for an event.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {message}")]
pub struct EvaluationError {
    /// What it was about: a field as `data.temperature`, else the whole expression.
    pub path: String,
    /// What went wrong.
    pub message: String,
}

impl Expression {
    /// Compiles an expression.
    ///
    /// # Errors
    /// A syntax error in CEL's own words, a variable or function that does not exist, an unknown field of `event`.
    pub fn compile(source: &str) -> Result<Self, ExpressionError> {
        analyze::fits(source)?;
        let program = environment::environment().compile(source).map_err(|errors| analyze::syntax(source, &errors))?;
        let reads = analyze::analyze(source, &program)?;
        Ok(Self(Arc::new(Compiled { source: source.to_owned(), program, reads })))
    }

    /// As the user wrote it.
    pub fn source(&self) -> &str {
        &self.0.source
    }

    /// Whether it reads payloads.
    pub fn reads_payload(&self) -> bool {
        self.0.reads.data.is_some()
    }

    /// Evaluates a condition.
    ///
    /// # Errors
    /// A field that is missing, a payload that is not JSON, operands that do not fit, a result that is no bool.
    pub fn evaluate_bool(&self, event: &EventView<'_>) -> Result<bool, EvaluationError> {
        self.evaluate(event, |value| match value.downcast_ref::<CelBool>() {
            Some(truth) => Ok(*truth.inner()),
            None => Err(format!("a condition must be true or false; this is a {}", value.get_type().name())),
        })
    }

    /// Evaluates a key: text as it is, numbers and truth values as CEL's `string()` would.
    ///
    /// # Errors
    /// As [`Self::evaluate_bool`]; a result that is a list, a map or null.
    pub fn evaluate_string(&self, event: &EventView<'_>) -> Result<String, EvaluationError> {
        self.evaluate(event, |value| match value.downcast_ref::<CelString>() {
            Some(text) => Ok(text.inner().to_owned()),
            None => environment::scalar_text(value.as_ref())
                .ok_or_else(|| format!("a key must be text or a number; this is a {}", value.get_type().name())),
        })
    }

    /// Evaluates for a template: text as it is, anything else as JSON.
    pub(crate) fn evaluate_text(&self, event: &EventView<'_>, out: &mut String) -> Result<(), EvaluationError> {
        self.evaluate(event, |value| {
            match value.downcast_ref::<CelString>() {
                Some(text) => out.push_str(text.inner()),
                None => out.push_str(&environment::json_text(value.as_ref())?),
            }
            Ok(())
        })
    }

    fn evaluate<T>(
        &self,
        event: &EventView<'_>,
        read: impl FnOnce(&CowVal<'_, '_>) -> Result<T, String>,
    ) -> Result<T, EvaluationError> {
        let variables = Variables::new(event, &self.0.reads);
        let mut context = Context::with_env(environment::environment());
        context.set_variable_resolver(&variables);
        let result = match Value::resolve_val(self.0.program.expression(), &context) {
            Ok(value) => read(&value).map_err(|message| self.failed(message)),
            Err(error) => Err(self.explain(&error, &variables)),
        };
        drop(context);
        result
    }

    fn explain(&self, error: &ExecutionError, variables: &Variables<'_>) -> EvaluationError {
        if let Some(unreadable) = variables.unreadable() {
            return EvaluationError { path: "data".into(), message: format!("the payload is not JSON: {unreadable}") };
        }
        match error {
            ExecutionError::NoSuchKey(key) => {
                let path = analyze::path_to(self.0.program.expression(), key).unwrap_or_else(|| key.to_string());
                let message = format!("there is no such field; test it first with has({path})");
                EvaluationError { path, message }
            }
            other => self.failed(other.to_string()),
        }
    }

    fn failed(&self, message: String) -> EvaluationError {
        EvaluationError { path: self.0.source.clone(), message }
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Expression").field(&self.0.source).finish()
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.source)
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.0.source == other.0.source
    }
}

#[cfg(test)]
mod tests;
