//! What came of a run.

use std::time::Duration;

use serde::Serialize;

use crate::check::Level;

/// What came of all checks.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Address or command of the node.
    pub node: String,
    /// The SDK that it is written with, as it says itself.
    pub sdk: Sdk,
    /// The level that was asked for.
    pub level: Level,
    /// The seed of what is random.
    pub seed: u64,
    /// One for each check, in the order in which they ran.
    pub checks: Vec<Finding>,
}

/// An SDK.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Sdk {
    /// Its language.
    pub language: String,
    /// Its version.
    pub version: String,
}

/// What came of a check.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// Of the check.
    pub name: &'static str,
    /// The part of its name that says what it is about.
    pub area: &'static str,
    /// Of the check.
    pub level: Level,
    /// The rules that it stands on.
    pub rules: &'static [&'static str],
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
    /// How long it took, in milliseconds.
    #[serde(rename = "millis", serialize_with = "millis")]
    pub time: Duration,
}

/// What came of a check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// The node keeps the rules.
    Passed,
    /// It does not.
    Failed {
        /// The number of the rule that is broken.
        rule: &'static str,
        /// Its paragraph.
        paragraph: String,
        /// What a node that keeps it does.
        expected: String,
        /// What this one did.
        got: String,
        /// Last words of its process, where the kit has started it.
        #[serde(skip_serializing_if = "String::is_empty")]
        said: String,
    },
    /// Nobody knows.
    NotChecked {
        /// Why.
        reason: String,
    },
}

impl Report {
    /// Findings that are not as they should be.
    pub fn failed(&self) -> impl Iterator<Item = &Finding> {
        self.checks.iter().filter(|finding| matches!(finding.outcome, Outcome::Failed { .. }))
    }
}

fn millis<S: serde::Serializer>(time: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(time.as_millis() as u64)
}
