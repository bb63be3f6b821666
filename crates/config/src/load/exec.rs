//! Programs without an SDK.

use std::{
    collections::BTreeMap,
    path::{Component, Path},
};

use super::{Load, node::Draft};
use crate::{
    diagnostic::{Span, codes},
    exec::{Envelope, ExecCwd, ExecFormat, ExecInput, ExecMode, ExecSpec},
    read::{self, Fields},
    spec::{Command, Upstream},
    suggest::did_you_mean,
    yaml::{Node, Value},
};

impl Load<'_> {
    /// Reads an exec node.
    pub(super) fn exec(&mut self, value: &Node, fields: &Fields<'_>, draft: &Draft) -> Option<ExecSpec> {
        let command = read::command(value, &draft.spec.dir, fields.get("build").is_some(), &mut self.report);
        let mode = self.mode(fields, &draft.name_span);
        let report = &mut self.report;
        let choice_of_cwd = [("dir", ExecCwd::Dir), ("scratch", ExecCwd::Scratch)];
        let cwd = fields.value("cwd").and_then(|value| read::choice(value, &choice_of_cwd, report)).unwrap_or_default();
        let formats = [("ndjson", ExecFormat::Ndjson), ("json", ExecFormat::Json)];
        let format = fields.value("format").and_then(|value| {
            if let Value::Scalar(scalar) = &value.value
                && ["parquet", "avro"].contains(&scalar.text.as_str())
            {
                report
                    .add(
                        &codes::NOT_YET,
                        &value.span,
                        format!("the format `{}` cannot be used in this version", scalar.text),
                    )
                    .help("use `ndjson` or `json`");
                return None;
            }
            read::choice(value, &formats, report)
        });
        let envelopes = [("data", Envelope::Data), ("cloudevents", Envelope::CloudEvents)];
        let envelope = fields.value("envelope").and_then(|value| read::choice(value, &envelopes, report));
        let keep_failed = fields.value("keep_failed").and_then(|value| read::boolean(value, report)).unwrap_or(false);
        let every = self.time(fields, "every");
        let mode = mode?;
        self.only_for_mode(fields, mode, format);
        let format = format.unwrap_or_default();
        let upstreams: Vec<Upstream> = draft.spec.from.iter().map(|edge| edge.upstream.clone()).collect();
        let (inputs, output) = match mode {
            ExecMode::Files => (self.inputs(fields, &upstreams, format)?, self.output(fields)),
            ExecMode::Lines | ExecMode::Batch => (Vec::new(), None),
        };
        let command = command?;
        if mode == ExecMode::Files {
            self.names_differ(fields, &inputs, output.as_deref());
            self.placeholders(&command, value, &inputs, output.is_some());
            if let (ExecCwd::Dir, true, Some(place)) = (cwd, draft.spec.replicas > 1, &draft.replicas_span) {
                let message = format!("{} replicas would share the files in the node's folder", draft.spec.replicas);
                self.report.add(&codes::CWD_SHARED, place, message);
            }
        }
        if keep_failed && cwd == ExecCwd::Dir && mode == ExecMode::Files {
            let place = fields.get("keep_failed").expect("it was read").key_span.clone();
            self.report
                .add(
                    &codes::KEY_NOT_APPLICABLE,
                    &place,
                    "`keep_failed` keeps scratch folders, and this node runs in its own folder",
                )
                .help("add `cwd: scratch`, or remove it");
        }
        Some(ExecSpec {
            command,
            mode,
            inputs,
            output,
            cwd,
            format,
            envelope: envelope.unwrap_or_default(),
            every,
            keep_failed,
        })
    }

    fn mode(&mut self, fields: &Fields<'_>, name: &Span) -> Option<ExecMode> {
        let Some(value) = fields.value("mode") else {
            self.report.add(&codes::MISSING_KEY, name, "an exec node needs `mode`").help(
                "`lines`: a line out for each line in; `batch`: a process per batch, NDJSON in and out; `files`: a process per batch, files in and out",
            );
            return None;
        };
        let modes = [("lines", ExecMode::Lines), ("batch", ExecMode::Batch), ("files", ExecMode::Files)];
        read::choice(value, &modes, &mut self.report)
    }

    /// Reports keys that only `mode: files` has.
    fn only_for_mode(&mut self, fields: &Fields<'_>, mode: ExecMode, format: Option<ExecFormat>) {
        if mode == ExecMode::Files {
            return;
        }
        for key in ["input", "output", "cwd", "keep_failed"] {
            if let Some(entry) = fields.get(key).filter(|entry| !entry.inherited) {
                self.report
                    .add(&codes::KEY_NOT_APPLICABLE, &entry.key_span, format!("`{key}` is for `mode: files` only"))
                    .help("remove it, or use `mode: files`");
            }
        }
        if let (Some(ExecFormat::Json), Some(value)) = (format, fields.value("format")) {
            self.report
                .add(
                    &codes::KEY_NOT_APPLICABLE,
                    &value.span,
                    "`format: json` is for `mode: files` only; standard input and output are NDJSON",
                )
                .help("remove it, or use `mode: files`");
        }
    }

    /// One input file per upstream.
    fn inputs(&mut self, fields: &Fields<'_>, upstreams: &[Upstream], format: ExecFormat) -> Option<Vec<ExecInput>> {
        let mut named: BTreeMap<String, String> = BTreeMap::new();
        match fields.value("input") {
            None => {}
            Some(Node { value: Value::Map(entries), .. }) => {
                for entry in entries {
                    let known = upstreams.iter().map(ToString::to_string).collect::<Vec<_>>();
                    if !known.contains(&entry.key) {
                        let remedy = did_you_mean(&entry.key, known.iter().map(String::as_str))
                            .unwrap_or_else(|| format!("the upstreams are {}", known.join(", ")));
                        let message = format!("`{}` is not an upstream of this node", entry.key);
                        self.report.add(&codes::UNKNOWN_NODE, &entry.key_span, message).help(remedy);
                    }
                    if let Some(name) = self.file_name(&entry.value) {
                        named.insert(entry.key.clone(), name);
                    }
                }
            }
            Some(value) => {
                let name = self.file_name(value)?;
                let [upstream] = upstreams else {
                    let listed =
                        upstreams.iter().map(|upstream| format!("{upstream}: NAME")).collect::<Vec<_>>().join(", ");
                    self.report
                        .add(
                            &codes::BAD_FILE_NAME,
                            &value.span,
                            format!("one input file for {} upstreams", upstreams.len()),
                        )
                        .help(format!("name one for each: input: {{{listed}}}"));
                    return None;
                };
                named.insert(upstream.to_string(), name);
            }
        }
        let file = |upstream: &Upstream| format!("{}.{}", upstream.to_string().replace('.', "-"), format.extension());
        let input = |upstream: &Upstream| ExecInput {
            upstream: upstream.clone(),
            file: named.get(&upstream.to_string()).cloned().unwrap_or_else(|| file(upstream)),
        };
        Some(upstreams.iter().map(input).collect())
    }

    fn output(&mut self, fields: &Fields<'_>) -> Option<String> {
        self.file_name(fields.value("output")?)
    }

    /// A relative file name that stays in the working folder.
    fn file_name(&mut self, value: &Node) -> Option<String> {
        let name = read::text(value, "the name of a file", &mut self.report)?;
        let inside = Path::new(name).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
        if name.is_empty() || name.ends_with('/') || !inside {
            let message = format!("`{name}` is not the name of a file inside the working folder");
            self.report.add(&codes::BAD_FILE_NAME, &value.span, message).help("write a relative name without `..`");
            return None;
        }
        Some(name.to_owned())
    }

    fn names_differ(&mut self, fields: &Fields<'_>, inputs: &[ExecInput], output: Option<&str>) {
        let names: Vec<&str> = inputs.iter().map(|input| input.file.as_str()).chain(output).collect();
        for (index, name) in names.iter().enumerate() {
            if names[..index].contains(name) {
                let place = fields.value("output").or(fields.value("input")).map_or(fields.span, |value| &value.span);
                self.report
                    .add(&codes::BAD_FILE_NAME, place, format!("two files of the node are named `{name}`"))
                    .help("give each input and the output a name of its own");
            }
        }
    }

    /// Checks the placeholders of the command's words.
    fn placeholders(&mut self, command: &Command, value: &Node, inputs: &[ExecInput], has_output: bool) {
        for (index, word) in std::iter::once(&command.program).chain(&command.args).enumerate() {
            let place = match &value.value {
                Value::List(items) => items.get(index).map_or(&value.span, |item| &item.span),
                _ => &value.span,
            };
            for name in braces(word) {
                if let Some((message, remedy)) = misused(name, inputs, has_output) {
                    self.report.add(&codes::BAD_PLACEHOLDER, place, message).help(remedy);
                }
            }
        }
    }
}

/// What stands in braces in a word.
fn braces(word: &str) -> impl Iterator<Item = &str> {
    word.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
}

/// Why a placeholder cannot be filled; anything else in braces is the program's own business.
fn misused(name: &str, inputs: &[ExecInput], has_output: bool) -> Option<(String, String)> {
    let upstreams = inputs.iter().map(|input| input.upstream.to_string()).collect::<Vec<_>>();
    if let Some(upstream) = name.strip_prefix("input.") {
        if upstreams.iter().any(|known| known == upstream) {
            return None;
        }
        let remedy = did_you_mean(upstream, upstreams.iter().map(String::as_str))
            .unwrap_or_else(|| format!("the upstreams are {}", upstreams.join(", ")));
        return Some((format!("`{{{name}}}`: `{upstream}` is not an upstream of this node"), remedy));
    }
    match (name, upstreams.as_slice()) {
        ("input", []) => Some(("`{input}`: this node has no upstream".into(), "remove it, or add `from`".into())),
        ("input", [_, _, ..]) => Some((
            format!("`{{input}}`: this node has {} upstreams", upstreams.len()),
            format!(
                "name one: {}",
                upstreams.iter().map(|name| format!("{{input.{name}}}")).collect::<Vec<_>>().join(", ")
            ),
        )),
        ("output", _) if !has_output => {
            Some(("`{output}`: this node has no `output`".into(), "add `output: NAME`".into()))
        }
        _ => None,
    }
}
