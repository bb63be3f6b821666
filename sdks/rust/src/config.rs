//! Typed config of a node: read strictly, refused with a message per field.

use std::{collections::HashSet, ops::Deref, sync::Arc};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt as _};

/// The node's config, typed by `T`: an argument of set-up and of every handler.
///
/// It is read once when the coordinator opens the node. Unknown keys and misfits are refused with the field named,
/// and the pipeline does not start.
#[derive(Debug)]
pub struct Config<T>(Arc<T>);

impl<T> Config<T> {
    pub(crate) fn new(value: Arc<T>) -> Self {
        Self(value)
    }

    /// The value itself.
    #[must_use]
    pub fn into_inner(self) -> T
    where
        T: Clone,
    {
        Arc::unwrap_or_clone(self.0)
    }
}

impl<T> Clone for Config<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Deref for Config<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// A config that is refused, with what is wrong per field. Set-up may return one of its own.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", self.sentence())]
pub struct ConfigError {
    violations: Vec<(String, String)>,
}

impl ConfigError {
    /// Refuses one field; `field` is its path, for instance `model.path`.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { violations: vec![(field.into(), message.into())] }
    }

    /// Refuses one more field.
    #[must_use]
    pub fn and(mut self, field: impl Into<String>, message: impl Into<String>) -> Self {
        self.violations.push((field.into(), message.into()));
        self
    }

    /// The fields and what is wrong with each.
    pub fn violations(&self) -> impl Iterator<Item = (&str, &str)> {
        self.violations.iter().map(|(field, message)| (field.as_str(), message.as_str()))
    }

    fn sentence(&self) -> String {
        let parts: Vec<String> =
            self.violations().map(|(field, message)| format!("config `{field}`: {message}")).collect();
        parts.join("; ")
    }

    pub(crate) fn to_status(&self) -> Status {
        let violations: Vec<FieldViolation> =
            self.violations().map(|(field, message)| FieldViolation::new(field, message)).collect();
        Status::with_error_details(Code::InvalidArgument, self.to_string(), ErrorDetails::with_bad_request(violations))
    }
}

const MISSING: &str = "required, but missing";

/// Reads a config strictly; empty JSON counts as an empty object. All that can be found wrong is told at once: what is wrong
/// is taken out, and the rest is read again.
pub(crate) fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T, ConfigError> {
    let json = if json.is_empty() { b"{}" } else { json };
    let mut rest: Map<String, Value> = serde_json::from_slice(json).map_err(|error| {
        ConfigError::field("", format!("a config is a JSON object with keys of its own, in UTF-8 ({error})"))
    })?;
    let mut wrong = match read::<T>(json) {
        Ok(value) => return Ok(value),
        Err(violations) => violations,
    };
    let mut violations: Vec<(String, String)> = Vec::new();
    let mut taken_out: HashSet<String> = HashSet::new();
    loop {
        let mut goes_on = false;
        for (field, message) in wrong {
            // What lacks a field is taken out as a whole; of a list nothing is, for that would move what is behind it.
            let is_missing = message == MISSING;
            let place = if is_missing { field.rsplit_once('.').map_or("", |(place, _)| place) } else { &field };
            let place = place.split('[').next().unwrap_or_default().to_owned();
            goes_on |= take_out(&mut rest, &place);
            let follows = is_missing && taken_out.contains(&field);
            if !follows && violations.iter().all(|(known, _)| *known != field) {
                violations.push((field, message));
            }
            taken_out.insert(place);
        }
        wrong = match read::<T>(Value::Object(rest.clone()).to_string().as_bytes()) {
            Err(more) if goes_on => more,
            _ => return Err(ConfigError { violations }),
        };
    }
}

/// Takes out what stands at a path of names; whether there was something.
fn take_out(from: &mut Map<String, Value>, path: &str) -> bool {
    match path.split_once('.') {
        None => from.remove(path).is_some(),
        Some((first, rest)) => {
            from.get_mut(first).and_then(Value::as_object_mut).is_some_and(|inner| take_out(inner, rest))
        }
    }
}

/// Reads it once: up to the first misfit, and all unknown keys before it.
fn read<T: DeserializeOwned>(json: &[u8]) -> Result<T, Vec<(String, String)>> {
    let mut track = serde_path_to_error::Track::new();
    let mut unknown = Vec::new();
    let mut reader = serde_json::Deserializer::from_slice(json);
    let tracked = serde_path_to_error::Deserializer::new(&mut reader, &mut track);
    let value = serde_ignored::deserialize(tracked, |path| unknown.push(path_of(&path)));
    let mut violations: Vec<(String, String)> =
        unknown.into_iter().map(|field| (field, "unknown key; remove it or correct its spelling".to_owned())).collect();
    match value {
        Ok(value) if violations.is_empty() => return Ok(value),
        Ok(_) => {}
        Err(error) => {
            let path = track.path().to_string();
            violations.push(violation(if path == "." { "" } else { &path }, &error));
        }
    }
    Err(violations)
}

/// Writes a path as `sensors[2].name`.
fn path_of(path: &serde_ignored::Path<'_>) -> String {
    use serde_ignored::Path;
    match path {
        Path::Root => String::new(),
        Path::Seq { parent, index } => format!("{}[{index}]", path_of(parent)),
        Path::Map { parent, key } => match path_of(parent) {
            parent if parent.is_empty() => key.clone(),
            parent => format!("{parent}.{key}"),
        },
        Path::Some { parent } | Path::NewtypeStruct { parent } | Path::NewtypeVariant { parent } => path_of(parent),
    }
}

/// Names the field of a misfit; a missing field is named itself, not the object that lacks it.
fn violation(path: &str, error: &serde_json::Error) -> (String, String) {
    let text = error.to_string();
    let message = text.rsplit_once(" at line ").map_or(text.as_str(), |(message, _)| message);
    let missing = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
    match missing {
        Some(field) if path.is_empty() => (field.to_owned(), MISSING.to_owned()),
        Some(field) => (format!("{path}.{field}"), MISSING.to_owned()),
        None => (path.to_owned(), message.to_owned()),
    }
}

/// Refuses every key of a config that no handler and no set-up reads.
pub(crate) fn refuse_any(json: &[u8]) -> Result<(), ConfigError> {
    let keys: serde_json::Map<String, serde_json::Value> =
        if json.is_empty() { serde_json::Map::new() } else { parse(json)? };
    if keys.is_empty() {
        return Ok(());
    }
    Err(ConfigError {
        violations: keys
            .into_iter()
            .map(|(key, _)| (key, "this node takes no config; remove the key".to_owned()))
            .collect(),
    })
}

/// Durations as `10s`, `1m 30s` or `250ms`, for `#[serde(with = "meshloom::config::duration")]`.
pub mod duration {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    /// Reads a duration.
    ///
    /// # Errors
    /// A text that is no duration.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        humantime::parse_duration(&text).map_err(|error| {
            D::Error::custom(format!("`{text}` is no duration ({error}); write for instance 10s or 250ms"))
        })
    }

    /// Writes a duration.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_duration(*duration))
    }
}

/// Sizes in bytes as `64MiB`, `10kB` or `512`, for `#[serde(with = "meshloom::config::size")]` on a `u64`.
pub mod size {
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    const UNITS: [(&str, u64); 8] = [
        ("KiB", 1 << 10),
        ("MiB", 1 << 20),
        ("GiB", 1 << 30),
        ("TiB", 1 << 40),
        ("kB", 1_000),
        ("MB", 1_000_000),
        ("GB", 1_000_000_000),
        ("B", 1),
    ];

    /// Reads a size.
    ///
    /// # Errors
    /// A text that is no size.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Text(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(bytes) => Ok(bytes),
            Written::Text(text) => parse(&text)
                .ok_or_else(|| D::Error::custom(format!("`{text}` is no size; write for instance 64MiB, 10kB or 512"))),
        }
    }

    /// Writes a size as its number of bytes.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(bytes: &u64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(*bytes)
    }

    fn parse(text: &str) -> Option<u64> {
        let text = text.trim();
        let (number, factor) = UNITS
            .iter()
            .find_map(|(unit, factor)| text.strip_suffix(unit).map(|number| (number, *factor)))
            .unwrap_or((text, 1));
        number.trim().parse::<u64>().ok()?.checked_mul(factor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Settings {
        #[allow(dead_code)]
        label: String,
        model: Model,
        #[serde(with = "duration", default)]
        wait: std::time::Duration,
        #[serde(with = "size", default)]
        room: u64,
    }

    #[derive(Debug, serde::Deserialize)]
    struct Model {
        paths: Vec<u32>,
    }

    fn refusal(json: &str) -> Vec<(String, String)> {
        parse::<Settings>(json.as_bytes()).expect_err("refused").violations
    }

    #[test]
    fn a_misfit_names_its_path() {
        let found = refusal(r#"{"label": "x", "model": {"paths": [1, "two"]}}"#);
        assert_eq!(found[0].0, "model.paths[1]");
        assert_eq!(found[0].1, "invalid type: string \"two\", expected u32");
    }

    #[test]
    fn all_that_can_be_found_is_told_at_once() {
        let found = refusal(r#"{"wait": "soon", "model": {"paths": 1, "more": 2}, "room": true, "other": 3}"#);
        let mut fields: Vec<&str> = found.iter().map(|(field, _)| field.as_str()).collect();
        fields.sort_unstable();
        assert_eq!(fields, ["label", "model.more", "model.paths", "other", "room", "wait"]);
        let found = refusal(r#"{"model": {}, "room": true}"#);
        assert_eq!(found.iter().map(|(field, _)| field.as_str()).collect::<Vec<_>>(), ["model.paths", "room", "label"]);
    }

    #[test]
    fn what_is_no_object_is_refused_as_a_whole() {
        for json in ["[]", "1", "\"x\"", "{", "{\"label\": }"] {
            assert_eq!(refusal(json)[0].0, "", "{json}");
        }
        assert_eq!(parse::<Settings>(b"\xff").expect_err("refused").violations[0].0, "");
    }

    #[test]
    fn an_unknown_key_in_a_list_is_named_by_its_place() {
        #[derive(Debug, serde::Deserialize)]
        struct Sensors {
            #[allow(dead_code)]
            sensors: Vec<Option<Model>>,
        }
        let refused = parse::<Sensors>(br#"{"sensors": [null, {"paths": [], "pth": 1}]}"#).expect_err("refused");
        assert_eq!(refused.violations[0].0, "sensors[1].pth");
    }

    #[test]
    fn a_missing_field_is_named_itself() {
        assert_eq!(refusal("{}")[0], ("label".to_owned(), "required, but missing".to_owned()));
        assert_eq!(refusal(r#"{"label": "x", "model": {}}"#)[0].0, "model.paths");
    }

    #[test]
    fn every_unknown_key_is_refused() {
        let found = refusal(r#"{"label": "x", "labl": 1, "model": {"paths": [], "path": 2}}"#);
        assert_eq!(found.iter().map(|(field, _)| field.as_str()).collect::<Vec<_>>(), ["labl", "model.path"]);
    }

    #[test]
    fn durations_and_sizes_are_written_by_people() {
        let read: Settings =
            parse(br#"{"label": "x", "model": {"paths": [7]}, "wait": "250ms", "room": "64MiB"}"#).expect("fits");
        assert_eq!((read.wait.as_millis(), read.room, read.model.paths), (250, 64 << 20, vec![7]));
        assert!(
            refusal(r#"{"label": "x", "model": {"paths": []}, "wait": "soon"}"#)[0]
                .1
                .contains("write for instance 10s")
        );
        assert!(refusal(r#"{"label": "x", "model": {"paths": []}, "room": "64 MeB"}"#)[0].1.contains("64MiB"));
    }

    #[test]
    fn a_node_without_config_refuses_one() {
        assert!(refuse_any(b"").is_ok());
        assert!(refuse_any(b"{}").is_ok());
        assert_eq!(refuse_any(br#"{"a": 1}"#).expect_err("refused").violations[0].0, "a");
    }
}
