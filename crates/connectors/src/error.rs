//! The one error of this crate: code, message, remedy.

use std::fmt;

/// Why a connector could not be opened, or had to end.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct NodeError {
    /// Stable code of [A-Z0-9_].
    pub code: &'static str,
    /// What happened, and where.
    pub message: String,
    /// What to do about it; empty when the message says it all.
    pub remedy: String,
}

/// Why a connector could not be opened.
pub type OpenError = NodeError;

impl NodeError {
    /// An error with a remedy.
    pub fn new(code: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { code, message: message.into(), remedy: remedy.into() }
    }
}

impl fmt::Display for NodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)?;
        if !self.remedy.is_empty() {
            write!(f, " ({})", self.remedy)?;
        }
        Ok(())
    }
}
