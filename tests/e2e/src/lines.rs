//! Files of JSON lines.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;

/// The values of a file; none if it does not exist. A last line that is still being written is left out.
pub fn read(path: &Path) -> Vec<Value> {
    let text = fs::read_to_string(path).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
    whole.lines().filter(|line| !line.is_empty()).map(parse).collect()
}

/// How often each value of a text field occurs.
pub fn count_by(values: &[Value], field: &str) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for value in values {
        let text = value[field].as_str().unwrap_or_else(|| panic!("no text `{field}` in {value}"));
        *counts.entry(text.to_owned()).or_default() += 1;
    }
    counts
}

/// The numbers in field `n`, ascending.
pub fn numbers(values: &[Value]) -> Vec<u64> {
    let mut numbers: Vec<u64> =
        values.iter().map(|value| value["n"].as_u64().unwrap_or_else(|| panic!("no `n` in {value}"))).collect();
    numbers.sort_unstable();
    numbers
}

/// Writes values as lines.
pub fn write(path: &Path, values: impl IntoIterator<Item = Value>) {
    let text: String = values.into_iter().map(|value| format!("{value}\n")).collect();
    fs::write(path, text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
}

/// The commands of the test nodes: `{"n": 1, "do": "pass"}`, numbered from 1.
pub fn commands<'a>(what: impl IntoIterator<Item = &'a str>) -> impl Iterator<Item = Value> {
    what.into_iter().enumerate().map(|(at, what)| serde_json::json!({ "n": at + 1, "do": what }))
}
