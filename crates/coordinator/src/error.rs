//! Why a run ends before its time.

use crate::{process::SpawnError, state::StateError};

/// A failure of the whole run, with what a stranger needs to act on it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {}{message}", node.as_ref().map(|node| format!("{node}: ")).unwrap_or_default())]
pub struct RunError {
    /// Stable code of [A-Z0-9_].
    pub code: &'static str,
    /// The node it is about.
    pub node: Option<String>,
    /// What happened.
    pub message: String,
    /// What to do about it; empty: the message says it.
    pub remedy: String,
    /// What kind of failure it is.
    pub kind: FailureKind,
}

/// What a caller's exit code depends on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FailureKind {
    /// The file, or a node's config, is wrong.
    Config,
    /// A node or an address is not available.
    Unavailable,
    /// Meshloom or a node's SDK did something that it must not.
    Protocol,
    /// The disk or the system refuses.
    System,
}

impl RunError {
    /// A failure of a node.
    pub(crate) fn node(node: &str, code: &'static str, message: impl Into<String>) -> Self {
        let kind = match code {
            "CHECKPOINT_REFUSED" | "CONFIG_REFUSED" | "HANDLER_UNKNOWN" | "ROLE_MISMATCH" | "ROUTE_UNDECLARED" => {
                FailureKind::Config
            }
            "DEMAND_EXCEEDED" | "FRAME_REFUSED" | "PROTOCOL_UNSUPPORTED" => FailureKind::Protocol,
            _ => FailureKind::Unavailable,
        };
        Self { code, node: Some(node.to_owned()), message: message.into(), remedy: String::new(), kind }
    }

    /// A failure of the system around us.
    pub(crate) fn system(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, node: None, message: message.into(), remedy: String::new(), kind: FailureKind::System }
    }

    /// What happened, for a place that names the node already.
    pub(crate) fn at_node(&self) -> String {
        format!("{}: {}", self.code, self.message)
    }

    pub(crate) fn with_remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: remedy.into(), ..self }
    }
}

impl From<StateError> for RunError {
    fn from(error: StateError) -> Self {
        let code = match &error {
            StateError::Unusable { .. } => "STATE_UNUSABLE",
            StateError::Held { .. } => "STATE_HELD",
            StateError::Damaged { .. } => "STATE_DAMAGED",
        };
        Self::system(code, error.to_string())
    }
}

impl RunError {
    pub(crate) fn spawn(node: &str, error: &SpawnError) -> Self {
        Self::node(node, "SPAWN_FAILED", error.to_string())
    }
}
