//! The keys of the file itself.

use std::time::Duration;

use super::{Load, keys};
use crate::{
    defaults,
    diagnostic::{Span, codes},
    read::{self, Fields},
    spec::Sampling,
    yaml::{self, Entry, Node, Value},
};

/// The longest time that any key takes.
pub(super) const LONGEST: Duration = Duration::from_secs(30 * 86400);
/// The largest size that any key takes.
pub(super) const LARGEST: u64 = 1 << 50;

/// The smallest journal, in bytes.
const LEAST_JOURNAL: u64 = 4 << 20;

/// The file but for its nodes.
pub(super) struct Top<'t> {
    pub(super) name: String,
    pub(super) nodes: Fields<'t>,
    pub(super) defaults: &'t [Entry],
    pub(super) trace: Sampling,
    /// With its place.
    pub(super) memory: Option<(u64, Span)>,
    pub(super) drain: Duration,
    /// With its place.
    pub(super) journal: Option<(u64, Span)>,
    pub(super) dead_letters_bytes: u64,
}

impl Load<'_> {
    /// Reads all but the nodes.
    pub(super) fn top<'t>(&mut self, root: &'t Node) -> Option<Top<'t>> {
        let report = &mut self.report;
        let file = Fields::of(root, "a map with `pipeline` and `nodes`", report)?;
        for entry in file.entries.iter().filter(|entry| !entry.key.starts_with("x-")) {
            if !keys::FILE.contains(&entry.key.as_str()) {
                self.unknown_top_key(entry);
            }
        }
        let name = self.name_in(&file);
        let trace = file.value("trace").and_then(|value| self.sampling(value));
        let memory = file.value("memory").and_then(|value| {
            read::bytes(value, 1..=LARGEST, &mut self.report).map(|bytes| (bytes, value.span.clone()))
        });
        let drain =
            file.value("drain").and_then(|value| read::duration(value, Duration::ZERO..=LONGEST, &mut self.report));
        let journal = file.value("journal").and_then(|value| {
            let fields = Fields::of(value, "a map with `size`", &mut self.report)?;
            fields.only(&["size"], "`journal`", &mut self.report);
            let size = fields.value("size")?;
            Some((read::bytes(size, LEAST_JOURNAL..=LARGEST, &mut self.report)?, size.span.clone()))
        });
        let dead_letters = file.value("dead_letters").and_then(|value| {
            let fields = Fields::of(value, "a map with `size`", &mut self.report)?;
            fields.only(&["size"], "`dead_letters`", &mut self.report);
            read::bytes(fields.value("size")?, 1 << 20..=LARGEST, &mut self.report)
        });
        let defaults = file.value("defaults").and_then(|value| {
            let fields = Fields::of(value, "a map of keys that nodes have", &mut self.report)?;
            let known = keys::node_keys();
            for entry in fields.entries.iter().filter(|entry| !entry.key.starts_with("x-")) {
                if !known.contains(&entry.key.as_str()) {
                    read::unknown_key(entry, &known, "`defaults`", &mut self.report);
                }
            }
            Some(fields.entries)
        });
        let Some(nodes) = file.get("nodes") else {
            self.report
                .add(&codes::MISSING_KEY, &(0..0), "the file has no `nodes`")
                .help("add `nodes:` with a map of the pipeline's nodes by name");
            return None;
        };
        let nodes = Fields::of(&nodes.value, "a map of nodes by name", &mut self.report)?;
        if nodes.entries.is_empty() {
            self.report.add(&codes::EMPTY, nodes.span, "the pipeline has no nodes").help("add a source under `nodes`");
        }
        Some(Top {
            name: name.unwrap_or_default(),
            nodes,
            defaults: defaults.unwrap_or_default(),
            trace: trace.unwrap_or(Sampling::Rate(defaults::TRACE_RATE)),
            memory,
            drain: drain.unwrap_or(defaults::DRAIN),
            journal,
            dead_letters_bytes: dead_letters.unwrap_or(defaults::DEAD_LETTERS_BYTES),
        })
    }

    /// A key of a node at the top says where it belongs.
    fn unknown_top_key(&mut self, entry: &Entry) {
        let nodes = keys::node_keys();
        if nodes.contains(&entry.key.as_str()) {
            self.report
                .add(
                    &codes::UNKNOWN_KEY,
                    &entry.key_span,
                    format!("`{}` is a key of nodes, not of the file", entry.key),
                )
                .help("put it under a node, or under `defaults` for all nodes");
        } else {
            read::unknown_key(entry, &keys::FILE, "the pipeline file", &mut self.report);
        }
    }

    /// Reads nothing but the name of the pipeline.
    pub(super) fn pipeline_name(&mut self, root: &Node) -> Option<String> {
        let mut root = root.clone();
        if let Value::Map(entries) = &mut root.value {
            let environment = self.environment;
            for entry in entries.iter_mut().filter(|entry| entry.key == "pipeline") {
                yaml::interpolate(&mut entry.value, &|name| environment.get(name), &mut self.report);
            }
        }
        let file = Fields::of(&root, "a map with `pipeline` and `nodes`", &mut self.report)?;
        self.name_in(&file)
    }

    fn name_in(&mut self, file: &Fields<'_>) -> Option<String> {
        let Some(value) = file.value("pipeline") else {
            self.report
                .add(&codes::MISSING_KEY, &(0..0), "the file has no `pipeline`")
                .help("begin with `pipeline: NAME`; the name is in traces, metrics and the state folder");
            return None;
        };
        self.name(value, "the pipeline")
    }

    /// Reads the name of the pipeline.
    fn name(&mut self, value: &Node, whose: &str) -> Option<String> {
        let name = read::text(value, "a name", &mut self.report)?;
        self.check_name(name, &value.span, whose).then(|| name.to_owned())
    }

    /// Whether a name has the form of names; reports it if not.
    pub(super) fn check_name(&mut self, name: &str, span: &Span, whose: &str) -> bool {
        let first = name.starts_with(|first: char| first.is_ascii_lowercase());
        let rest = name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '-');
        let fits = name.len() <= 63;
        if !first || !rest || !fits {
            let message = format!("`{name}` cannot be the name of {whose}");
            let remedy = match fits {
                true => codes::BAD_NAME.remedy,
                false => "use at most 63 characters",
            };
            self.report.add(&codes::BAD_NAME, span, message).help(remedy);
        }
        first && rest && fits
    }

    /// Reads `{rate: N}` or `{ratio: N}`.
    pub(super) fn sampling(&mut self, value: &Node) -> Option<Sampling> {
        let report = &mut self.report;
        let fields = Fields::of(value, "a map with `rate` or `ratio`", report)?;
        fields.only(&["rate", "ratio"], "`trace`", report);
        match (fields.value("rate"), fields.value("ratio")) {
            (Some(rate), None) => read::decimal(rate, 0.0..=f64::INFINITY, report).map(Sampling::Rate),
            (None, Some(ratio)) => read::decimal(ratio, 0.0..=1.0, report).map(Sampling::Ratio),
            (Some(_), Some(ratio)) => {
                report
                    .add(&codes::KEY_NOT_APPLICABLE, &ratio.span, "`trace` has both `rate` and `ratio`")
                    .help("keep one: `rate` is traces per second, `ratio` a share of the events");
                None
            }
            (None, None) => {
                report
                    .add(&codes::MISSING_KEY, fields.span, "`trace` has neither `rate` nor `ratio`")
                    .help("write `{rate: 10}` for traces per second, or `{ratio: 0.01}` for a share of the events");
                None
            }
        }
    }
}
