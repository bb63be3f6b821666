//! The environment of a command.

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
};

/// What `env_clear` lets through, besides `LC_*`.
const KEPT_WHEN_CLEARED: [&str; 6] = ["PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR"];

/// Not inherited: they configure this coordinator, and a node's own are set for it.
const NOT_INHERITED: [&str; 2] = ["MESHLOOM_", "OTEL_"];

/// A complete environment: the inherited part first, then what Meshloom sets, then what the user's file sets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<OsString, OsString>);

impl Environment {
    /// What a command inherits from `base`: all but `MESHLOOM_*` and `OTEL_*`, or with `clear` (the file's `env_clear`)
    /// only PATH, HOME, USER, LANG, LC_*, TZ and TMPDIR.
    pub fn inherit(base: impl IntoIterator<Item = (OsString, OsString)>, clear: bool) -> Self {
        Self(base.into_iter().filter(|(name, _)| if clear { is_kept(name) } else { is_inherited(name) }).collect())
    }

    /// Sets one variable; later settings win.
    pub fn set(&mut self, name: impl Into<OsString>, value: impl Into<OsString>) {
        self.0.insert(name.into(), value.into());
    }

    /// Sets several variables.
    #[must_use]
    pub fn with<N: Into<OsString>, V: Into<OsString>>(mut self, variables: impl IntoIterator<Item = (N, V)>) -> Self {
        self.0.extend(variables.into_iter().map(|(name, value)| (name.into(), value.into())));
        self
    }

    /// The value of a variable.
    pub fn get(&self, name: impl AsRef<OsStr>) -> Option<&OsStr> {
        self.0.get(name.as_ref()).map(OsString::as_os_str)
    }

    pub(super) fn into_pairs(self) -> Vec<(OsString, OsString)> {
        self.0.into_iter().collect()
    }
}

/// Exactly these variables.
impl<N: Into<OsString>, V: Into<OsString>> FromIterator<(N, V)> for Environment {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(variables: I) -> Self {
        Self::default().with(variables)
    }
}

fn is_inherited(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    !NOT_INHERITED.iter().any(|prefix| name.starts_with(prefix.as_bytes()))
}

fn is_kept(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b"LC_") || KEPT_WHEN_CLEARED.iter().any(|kept| name == *kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn base() -> Vec<(OsString, OsString)> {
        ["PATH", "HOME", "LC_ALL", "EDITOR", "MESHLOOM_STATE", "OTEL_SERVICE_NAME"]
            .map(|name| (name.into(), "outer".into()))
            .into()
    }

    #[test]
    fn inherits_all_but_what_configures_the_coordinator() {
        let environment = Environment::inherit(base(), false);
        assert!(environment.get("EDITOR").is_some());
        assert_eq!(environment.get("MESHLOOM_STATE"), None);
        assert_eq!(environment.get("OTEL_SERVICE_NAME"), None);
    }

    #[test]
    fn clear_passes_only_the_listed() {
        let environment = Environment::inherit(base(), true);
        let names: Vec<_> = environment.into_pairs().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["HOME", "LC_ALL", "PATH"]);
    }

    #[test]
    fn the_user_has_the_last_word() {
        let environment = Environment::inherit(base(), true)
            .with([("MESHLOOM_LISTEN", "unix:/run/a"), ("OTEL_SERVICE_NAME", "p/n")])
            .with([("OTEL_SERVICE_NAME", "mine"), ("PATH", "/opt")]);
        assert_eq!(environment.get("MESHLOOM_LISTEN"), Some(OsStr::new("unix:/run/a")));
        assert_eq!(environment.get("OTEL_SERVICE_NAME"), Some(OsStr::new("mine")));
        assert_eq!(environment.get("PATH"), Some(OsStr::new("/opt")));
    }
}
