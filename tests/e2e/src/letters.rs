//! Dead letters, as `meshloom dead-letters list` tells of them.

use serde::Deserialize;
use serde_json::Value;

/// One dead letter.
#[derive(Debug, Clone, Deserialize)]
pub struct Letter {
    /// The node at which it failed.
    pub node: String,
    /// The upstream, where the node has several.
    #[serde(default)]
    pub from: Option<String>,
    /// 32 hexadecimal digits.
    pub uid: String,
    /// Stable code.
    pub reason: String,
    /// For a person.
    pub message: String,
    /// Attempts made.
    pub attempts: u32,
    /// How often it had failed there before.
    #[serde(default)]
    pub repeats: u64,
    /// The event as a CloudEvent.
    pub event: Value,
}

impl Letter {
    /// The payload's `n`.
    pub fn n(&self) -> u64 {
        self.event["data"]["n"].as_u64().unwrap_or_else(|| panic!("no number in {self:?}"))
    }
}
