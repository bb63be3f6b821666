//! What is on disk: the records of the sinks, the dead letters, the positions of the sources.

use std::{collections::BTreeSet, fs};

use meshloom_e2e::{Letter, Project, identity};
use serde_json::Value;

use crate::{model, pipeline};

/// An event that a sink has recorded.
#[derive(Debug, Clone)]
pub struct Seen {
    /// 32 hexadecimal digits.
    pub uid: String,
    /// Its number.
    pub n: u64,
    /// Its payload; `None`: the sink keeps only the number.
    pub payload: Option<Value>,
}

/// All that is there.
pub struct Evidence {
    /// In the order of the file, repeats included.
    pub out: Vec<Seen>,
    /// In the order of the file, repeats included.
    pub side: Vec<Seen>,
    /// As the command line lists them.
    pub letters: Vec<Letter>,
    /// Of `in`: up to this number everything is said to have settled.
    pub settled_in: u64,
    /// Of `count`.
    pub settled_count: u64,
}

impl Evidence {
    /// Reads it.
    pub fn of(project: &Project) -> Self {
        Self {
            out: whole_lines(project, pipeline::OUT).iter().map(cloud_event).collect(),
            side: whole_lines(project, pipeline::SIDE).iter().map(delivery).collect(),
            letters: project.letters(),
            settled_in: settled_lines(project).map_or(0, |lines| model::FIRST + lines - 1),
            settled_count: checkpoint(project, "count").map_or(0, |text| text.parse().expect("the node counts")),
        }
    }
}

/// How many events `queue` was told to forget.
pub fn forgotten(project: &Project) -> usize {
    let text = fs::read_to_string(project.path(pipeline::FORGOTTEN)).unwrap_or_default();
    text.lines().collect::<BTreeSet<_>>().len()
}

/// The values of a file of lines. What a killed process has torn is no JSON, and nobody was told that it is there.
fn whole_lines(project: &Project, name: &str) -> Vec<Value> {
    let text = fs::read_to_string(project.path(name)).unwrap_or_default();
    text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

fn text<'v>(value: &'v Value, field: &str) -> &'v str {
    value[field].as_str().unwrap_or_else(|| panic!("no text `{field}` in {value}"))
}

fn number(value: &Value) -> u64 {
    value["n"].as_u64().unwrap_or_else(|| panic!("no `n` in {value}"))
}

fn cloud_event(event: &Value) -> Seen {
    let data = event["data"].clone();
    Seen { uid: identity::of_source(text(event, "source"), text(event, "id")), n: number(&data), payload: Some(data) }
}

fn delivery(line: &Value) -> Seen {
    Seen { uid: text(line, "uid").to_owned(), n: number(line), payload: None }
}

/// The checkpoint of a source as text; `None`: it has none yet.
fn checkpoint(project: &Project, source: &str) -> Option<String> {
    let path = project.state().join("checkpoints").join(format!("{source}.json"));
    let stored: Value = serde_json::from_str(&fs::read_to_string(path).ok()?).expect("a position is written whole");
    let digits = text(&stored, "checkpoint").as_bytes();
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    Some(String::from_utf8(digits.chunks(2).map(byte).collect()).expect("both sources have checkpoints of text"))
}

/// How many lines of its file the position of `in` covers.
fn settled_lines(project: &Project) -> Option<u64> {
    let text = checkpoint(project, "in")?;
    // IDENTITY PREFIX OFFSET TAIL INODE, below a header.
    let offset: usize = text.lines().nth(1)?.split(' ').nth(2)?.parse().expect("an offset");
    let file = fs::read(project.path("in.ndjson")).unwrap();
    Some(file[..offset].iter().filter(|byte| **byte == b'\n').count() as u64).filter(|lines| *lines > 0)
}
