//! The `with` of built-in connectors.

use std::time::Duration;

use super::{
    Load,
    node::Draft,
    top::{LARGEST, LONGEST},
};
use crate::{
    connector::*,
    diagnostic::codes,
    expression::Template,
    read::{self, Fields, refuse},
    spec::resolve,
    suggest::did_you_mean,
    yaml::{Node, Value},
};

/// A connector's name, whether it can be a source, whether it can be a sink.
const CONNECTORS: [(&str, bool, bool); 9] = [
    ("file", true, true),
    ("stdin", true, false),
    ("stdout", false, true),
    ("generate", true, false),
    ("null", false, true),
    ("http", true, false),
    ("grpc", true, false),
    ("tcp", true, false),
    ("webhook", false, true),
];
/// Connectors that are known but not built.
const LATER: [&str; 1] = ["kafka"];
const READ: [(&str, ReadFormat); 4] =
    [("ndjson", ReadFormat::Ndjson), ("json", ReadFormat::Json), ("text", ReadFormat::Text), ("csv", ReadFormat::Csv)];
const WRITE: [(&str, WriteFormat); 2] = [("ndjson", WriteFormat::Ndjson), ("text", WriteFormat::Text)];
const FORMATS_LATER: [&str; 2] = ["parquet", "avro"];

impl Load<'_> {
    /// Reads a connector node.
    pub(super) fn connector(&mut self, value: &Node, fields: &Fields<'_>, draft: &mut Draft) -> Option<ConnectorSpec> {
        let is_null = matches!(&value.value, Value::Scalar(scalar) if scalar.text == "null");
        let name = if is_null { "null" } else { read::text(value, "the name of a connector", &mut self.report)? };
        let Some((_, source, sink)) = CONNECTORS.into_iter().find(|(known, ..)| *known == name) else {
            self.unknown_connector(name, value);
            return None;
        };
        let is_source = fields.get("from").is_none();
        if (is_source && !source) || (!is_source && !sink) {
            let (message, remedy) = match is_source {
                true => (format!("`{name}` is a sink and needs `from`"), "name the node that it takes events from"),
                false => (format!("`{name}` is a source and takes no events"), "remove `from`"),
            };
            return refuse(&codes::WRONG_ROLE, value, message, remedy, &mut self.report);
        }
        let none = Node { span: draft.name_span.clone(), value: Value::Map(Vec::new()) };
        let with = fields.value("with").filter(|with| !with.is_null()).unwrap_or(&none);
        let with = Fields::of(with, "a map: the connector's config", &mut self.report)?;
        match (name, is_source) {
            ("file", true) => self.file_source(&with).map(ConnectorSpec::FileSource),
            ("file", false) => self.file_sink(&with).map(ConnectorSpec::FileSink),
            ("stdin", _) => {
                with.only(&["format"], "`stdin`", &mut self.report);
                Some(ConnectorSpec::Stdin(StdinSource { format: self.format(&with, &READ) }))
            }
            ("stdout", _) => {
                with.only(&["format"], "`stdout`", &mut self.report);
                Some(ConnectorSpec::Stdout(StdoutSink { format: self.format(&with, &WRITE) }))
            }
            ("generate", _) => self.generate(&with).map(ConnectorSpec::Generate),
            ("http", _) => self.http_source(&with, draft).map(ConnectorSpec::HttpSource),
            ("grpc", _) => self.grpc_source(&with, draft).map(ConnectorSpec::GrpcSource),
            ("tcp", _) => self.tcp_source(&with, draft).map(ConnectorSpec::TcpSource),
            ("webhook", _) => self.webhook(&with).map(ConnectorSpec::Webhook),
            _ => {
                with.only(&[], "`null`", &mut self.report);
                Some(ConnectorSpec::Null)
            }
        }
    }

    fn unknown_connector(&mut self, name: &str, value: &Node) {
        if LATER.contains(&name) {
            let message = format!("the connector `{name}` cannot be used in this version");
            self.report.add(&codes::NOT_YET, &value.span, message).help("use a node written with an SDK in its place");
            return;
        }
        let known = CONNECTORS.map(|(known, ..)| known);
        let remedy = did_you_mean(name, known).unwrap_or_else(|| format!("the connectors are {}", known.join(", ")));
        self.report.add(&codes::UNKNOWN_CONNECTOR, &value.span, format!("there is no connector `{name}`")).help(remedy);
    }

    /// A value that the connector cannot do without.
    pub(super) fn needed<'t>(&mut self, with: &Fields<'t>, key: &str, example: &str) -> Option<&'t Node> {
        let value = with.value(key);
        if value.is_none() {
            self.report
                .add(&codes::MISSING_KEY, with.span, format!("the connector needs `{key}`"))
                .help(format!("add it: with: {{{key}: {example}}}"));
        }
        value
    }

    pub(super) fn format<T: Copy + Default>(&mut self, with: &Fields<'_>, formats: &[(&str, T)]) -> T {
        let Some(value) = with.value("format") else {
            return T::default();
        };
        if let Value::Scalar(scalar) = &value.value
            && FORMATS_LATER.contains(&scalar.text.as_str())
        {
            let message = format!("the format `{}` cannot be used in this version", scalar.text);
            self.report.add(&codes::NOT_YET, &value.span, message).help("use `ndjson`");
            return T::default();
        }
        read::choice(value, formats, &mut self.report).unwrap_or_default()
    }

    fn file_source(&mut self, with: &Fields<'_>) -> Option<FileSource> {
        with.only(&["path", "format", "follow"], "a `file` source", &mut self.report);
        let format = self.format(with, &READ);
        let follow = with.value("follow").and_then(|value| read::boolean(value, &mut self.report)).unwrap_or(false);
        let path = self.needed(with, "path", "data/*.ndjson")?;
        let listed = read::list_of_text(path, "a path or pattern, or a list of them", &mut self.report)?;
        let mut paths = Vec::with_capacity(listed.len());
        for (written, node) in listed {
            if let Err(error) = glob::Pattern::new(written) {
                let message = format!("`{written}` is not a pattern: {}", error.msg);
                refuse::<()>(&codes::BAD_PATH, node, message, codes::BAD_PATH.remedy, &mut self.report);
                continue;
            }
            match self.path(written, node) {
                // The folder is literal, whatever characters it has.
                Some(absolute) if written.starts_with('/') => paths.push(absolute),
                Some(absolute) => {
                    let folder = self.dir.to_str().filter(|folder| absolute.starts_with(*folder));
                    let folder = folder.map(|folder| (glob::Pattern::escape(folder), folder.len()));
                    paths.push(folder.map_or(absolute.clone(), |(escaped, length)| escaped + &absolute[length..]));
                }
                None => {}
            }
        }
        (!paths.is_empty()).then_some(FileSource { paths, format, follow })
    }

    /// An absolute path as text.
    fn path(&mut self, written: &str, node: &Node) -> Option<String> {
        if written.is_empty() {
            return refuse(
                &codes::BAD_PATH,
                node,
                "the path is empty",
                "write a path relative to the pipeline file",
                &mut self.report,
            );
        }
        match resolve(self.dir, written).to_str() {
            Some(path) => Some(path.to_owned()),
            None => refuse(&codes::BAD_PATH, node, "the path is not UTF-8", "rename the folder", &mut self.report),
        }
    }

    fn file_sink(&mut self, with: &Fields<'_>) -> Option<FileSink> {
        with.only(&["path", "format", "rotate"], "a `file` sink", &mut self.report);
        let format = self.format(with, &WRITE);
        let rotate = with.value("rotate").and_then(|value| self.rotate(value));
        let node = self.needed(with, "path", "out/events.ndjson")?;
        let written = read::text(node, "a path", &mut self.report)?;
        let path = self.path(written, node)?.into();
        Some(FileSink { path, format, rotate })
    }

    fn rotate(&mut self, value: &Node) -> Option<Rotate> {
        let fields = Fields::of(value, "a map of bytes, every", &mut self.report)?;
        fields.only(&["bytes", "every"], "`rotate`", &mut self.report);
        let bytes = fields.value("bytes").and_then(|value| read::bytes(value, 1..=LARGEST, &mut self.report));
        let every = fields
            .value("every")
            .and_then(|value| read::duration(value, Duration::from_secs(1)..=LONGEST, &mut self.report));
        if fields.entries.is_empty() {
            return refuse(
                &codes::EMPTY,
                value,
                "`rotate` says neither `bytes` nor `every`",
                "write `{bytes: 64MiB}` or `{every: 1h}`",
                &mut self.report,
            );
        }
        Some(Rotate { bytes, every })
    }

    fn generate(&mut self, with: &Fields<'_>) -> Option<Generate> {
        with.only(&["count", "rate", "template"], "`generate`", &mut self.report);
        let count = with.value("count").and_then(|value| read::integer(value, 0..=u64::MAX, &mut self.report));
        let rate = with.value("rate").and_then(|value| read::rate(value, &mut self.report));
        let template = match with.value("template") {
            Some(value) => self.template(value)?,
            None => Template::compile(r#"{"n":{{ data.n }}}"#).expect("the default template compiles"),
        };
        Some(Generate { count, rate, template })
    }

    /// Reads text with `{{ CEL }}` in it.
    pub(super) fn template(&mut self, value: &Node) -> Option<Template> {
        let source = read::text(value, "text with `{{ CEL }}`", &mut self.report)?;
        match Template::compile(source) {
            Ok(template) => Some(template),
            Err(error) => {
                self.bad_expression(value, &error);
                None
            }
        }
    }
}
