//! How a check does not pass.

use std::fmt::Debug;

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The node does not keep a rule.
    Broken {
        /// The rule, where it is another one than the check stands on.
        rule: Option<&'static str>,
        expected: String,
        got: String,
    },
    /// It cannot be checked here; says why.
    NotCheckable(String),
}

/// Of a check.
pub(crate) type Outcome<T = ()> = Result<T, Fault>;

impl Fault {
    pub(crate) fn new(expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self::Broken { rule: None, expected: expected.into(), got: got.into() }
    }

    pub(crate) fn of_rule(rule: &'static str, expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self::Broken { rule: Some(rule), expected: expected.into(), got: got.into() }
    }

    /// Says where in the check it was.
    pub(crate) fn at(self, place: &str) -> Self {
        match self {
            Self::Broken { rule, expected, got } => {
                Self::Broken { rule, expected: format!("{place}: {expected}"), got }
            }
            other => other,
        }
    }
}

/// Whether two things are the same.
pub(crate) fn same<T: PartialEq + Debug>(what: &str, expected: &T, got: &T) -> Outcome {
    if expected == got {
        return Ok(());
    }
    Err(Fault::new(format!("{what}: {}", short(expected)), short(got)))
}

/// Whether something holds.
pub(crate) fn holds(condition: bool, expected: impl Into<String>, got: impl FnOnce() -> String) -> Outcome {
    if condition { Ok(()) } else { Err(Fault::new(expected, got())) }
}

/// A value for a message, cut where nobody reads on.
pub(crate) fn short(value: &impl Debug) -> String {
    const CHARS: usize = 1500;
    let text = format!("{value:?}");
    match text.char_indices().nth(CHARS) {
        Some((cut, _)) => format!("{} ... ({} bytes)", &text[..cut], text.len()),
        None => text,
    }
}
