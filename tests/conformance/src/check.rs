//! What a check is.

use std::collections::BTreeSet;

use futures::future::BoxFuture;
use serde::Serialize;

use crate::{checks, context::Context, fault::Outcome};

/// How much of the protocol a node has to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// What every node needs: maps, filters, flat maps, verdicts, limits, cancellation, drain.
    #[default]
    Core,
    /// All of it.
    Full,
}

/// What a check does to the node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    /// Nothing that another check would notice.
    Shared,
    /// It needs a process of its own, which the kit must be able to start.
    Fresh,
}

/// A check.
#[derive(Debug, Clone, Copy)]
pub struct Check {
    /// `area.what`.
    pub name: &'static str,
    /// The rules that it stands on.
    pub rules: &'static [&'static str],
    /// The lowest level that has it.
    pub level: Level,
    /// What a node does that passes.
    pub what: &'static str,
    pub(crate) node: Node,
    pub(crate) run: for<'a> fn(&'a Context) -> BoxFuture<'a, Outcome>,
}

impl Check {
    /// The part of its name that says what it is about.
    #[must_use]
    pub fn area(&self) -> &'static str {
        self.name.split('.').next().unwrap_or(self.name)
    }
}

/// All checks, by area.
#[must_use]
pub fn catalogue() -> Vec<&'static Check> {
    checks::ALL.iter().flat_map(|area| area.iter()).collect()
}

/// The checks of a level whose names are, or begin with one of `names`; all if there are none.
///
/// # Errors
/// The names that choose nothing.
pub fn choose(level: Level, names: &[String]) -> Result<Vec<&'static Check>, Vec<String>> {
    let all = catalogue();
    if names.is_empty() {
        return Ok(all.into_iter().filter(|check| check.level <= level).collect());
    }
    let takes = |name: &str, check: &Check| check.name == name || check.area() == name;
    let unknown: BTreeSet<&String> = names.iter().filter(|name| !all.iter().any(|check| takes(name, check))).collect();
    if !unknown.is_empty() {
        return Err(unknown.into_iter().cloned().collect());
    }
    Ok(all.into_iter().filter(|check| names.iter().any(|name| takes(name, check))).collect())
}

/// Writes the table of an area.
macro_rules! area {
    ($($name:literal $level:ident $node:ident [$($rule:literal),+] $what:literal => $run:path;)*) => {
        pub(crate) const CHECKS: &[crate::check::Check] = &[$(crate::check::Check {
            name: $name,
            rules: &[$($rule),+],
            level: crate::check::Level::$level,
            what: $what,
            node: crate::check::Node::$node,
            run: |context| Box::pin($run(context)),
        }),*];
    };
}
pub(crate) use area;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules;

    #[test]
    fn names_are_distinct_and_rules_exist() {
        let numbers: BTreeSet<&str> = rules::all().iter().map(|rule| rule.number).collect();
        let mut names = BTreeSet::new();
        for check in catalogue() {
            assert!(names.insert(check.name), "{} is there twice", check.name);
            let legal = |part: &str| {
                !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            };
            let parts: Vec<_> = check.name.split('.').collect();
            assert!(parts.len() == 2 && parts.iter().all(|part| legal(part)), "{}", check.name);
            for rule in check.rules {
                assert!(numbers.contains(rule), "{} stands on {rule}, which proto/README.md has not", check.name);
            }
        }
    }

    #[test]
    fn every_rule_is_checked_or_says_why_it_cannot_be() {
        let named: BTreeSet<&str> = catalogue().iter().flat_map(|check| check.rules).copied().collect();
        let open: Vec<_> = rules::all()
            .into_iter()
            .filter(|rule| rule.excepted.is_none() && !named.contains(rule.number))
            .map(|rule| rule.number)
            .collect();
        assert!(open.is_empty(), "no check stands on {open:?}: write one, or say in proto/README.md why there is none");
    }

    #[test]
    fn checks_are_chosen_by_level_area_and_name() {
        let core = choose(Level::Core, &[]).unwrap();
        assert!(core.iter().all(|check| check.level == Level::Core) && !core.is_empty());
        let first = catalogue()[0];
        assert_eq!(choose(Level::Core, &[first.name.to_owned()]).unwrap().len(), 1);
        let area = choose(Level::Full, &[first.area().to_owned()]).unwrap();
        assert!(area.len() > 1 && area.iter().all(|check| check.area() == first.area()));
        assert_eq!(choose(Level::Full, &["nothing.like-it".to_owned()]).err().unwrap(), ["nothing.like-it"]);
    }
}
