//! The `with` of built-in connectors.

use std::{net::SocketAddr, time::Duration};

use super::{
    Load,
    node::Draft,
    top::{LARGEST, LONGEST},
};
use crate::{
    connector::*,
    defaults,
    diagnostic::codes,
    expression::Template,
    read::{self, Fields, refuse},
    spec::resolve,
    suggest::did_you_mean,
    yaml::Node,
};

/// A connector's name, whether it can be a source, whether it can be a sink.
const CONNECTORS: [(&str, bool, bool); 7] = [
    ("file", true, true),
    ("stdin", true, false),
    ("stdout", false, true),
    ("generate", true, false),
    ("null", false, true),
    ("http", true, false),
    ("webhook", false, true),
];
/// Connectors that are known but not built.
const LATER: [&str; 3] = ["grpc", "tcp", "kafka"];
const READ: [(&str, ReadFormat); 4] = [
    ("ndjson", ReadFormat::Ndjson),
    ("json", ReadFormat::Json),
    ("text", ReadFormat::Text),
    ("csv", ReadFormat::Csv),
];
const WRITE: [(&str, WriteFormat); 2] =
    [("ndjson", WriteFormat::Ndjson), ("text", WriteFormat::Text)];
const FORMATS_LATER: [&str; 2] = ["parquet", "avro"];

impl Load<'_> {
    /// Reads a connector node.
    pub(super) fn connector(
        &mut self,
        value: &Node,
        fields: &Fields<'_>,
        draft: &mut Draft,
    ) -> Option<ConnectorSpec> {
        let name = if value.is_null() {
            "null"
        } else {
            read::text(value, "the name of a connector", &mut self.report)?
        };
        let Some((_, source, sink)) = CONNECTORS.into_iter().find(|(known, ..)| *known == name)
        else {
            self.unknown_connector(name, value);
            return None;
        };
        let is_source = fields.get("from").is_none();
        if (is_source && !source) || (!is_source && !sink) {
            let (message, remedy) = match is_source {
                true => (
                    format!("`{name}` is a sink and needs `from`"),
                    "name the node that it takes events from",
                ),
                false => (
                    format!("`{name}` is a source and takes no events"),
                    "remove `from`",
                ),
            };
            return refuse(&codes::WRONG_ROLE, value, message, remedy, &mut self.report);
        }
        let none = Node {
            span: draft.name_span.clone(),
            value: crate::yaml::Value::Map(Vec::new()),
        };
        let with = fields
            .value("with")
            .filter(|with| !with.is_null())
            .unwrap_or(&none);
        let with = Fields::of(with, "a map: the connector's config", &mut self.report)?;
        match (name, is_source) {
            ("file", true) => self.file_source(&with).map(ConnectorSpec::FileSource),
            ("file", false) => self.file_sink(&with).map(ConnectorSpec::FileSink),
            ("stdin", _) => {
                with.only(&["format"], "`stdin`", &mut self.report);
                Some(ConnectorSpec::Stdin(StdinSource {
                    format: self.format(&with, &READ),
                }))
            }
            ("stdout", _) => {
                with.only(&["format"], "`stdout`", &mut self.report);
                Some(ConnectorSpec::Stdout(StdoutSink {
                    format: self.format(&with, &WRITE),
                }))
            }
            ("generate", _) => self.generate(&with).map(ConnectorSpec::Generate),
            ("http", _) => self
                .http_source(&with, draft)
                .map(ConnectorSpec::HttpSource),
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
            self.report
                .add(&codes::NOT_YET, &value.span, message)
                .help("use a node written with an SDK in its place");
            return;
        }
        let known = CONNECTORS.map(|(known, ..)| known);
        let remedy = did_you_mean(name, known)
            .unwrap_or_else(|| format!("the connectors are {}", known.join(", ")));
        self.report
            .add(
                &codes::UNKNOWN_CONNECTOR,
                &value.span,
                format!("there is no connector `{name}`"),
            )
            .help(remedy);
    }

    /// A value that the connector cannot do without.
    fn needed<'t>(&mut self, with: &Fields<'t>, key: &str, example: &str) -> Option<&'t Node> {
        let value = with.value(key);
        if value.is_none() {
            self.report
                .add(
                    &codes::MISSING_KEY,
                    with.span,
                    format!("the connector needs `{key}`"),
                )
                .help(format!("add it: with: {{{key}: {example}}}"));
        }
        value
    }

    fn format<T: Copy + Default>(&mut self, with: &Fields<'_>, formats: &[(&str, T)]) -> T {
        let Some(value) = with.value("format") else {
            return T::default();
        };
        if let crate::yaml::Value::Scalar(scalar) = &value.value
            && FORMATS_LATER.contains(&scalar.text.as_str())
        {
            let message = format!(
                "the format `{}` cannot be used in this version",
                scalar.text
            );
            self.report
                .add(&codes::NOT_YET, &value.span, message)
                .help("use `ndjson`");
            return T::default();
        }
        read::choice(value, formats, &mut self.report).unwrap_or_default()
    }

    fn file_source(&mut self, with: &Fields<'_>) -> Option<FileSource> {
        with.only(
            &["path", "format", "follow"],
            "a `file` source",
            &mut self.report,
        );
        let format = self.format(with, &READ);
        let follow = with
            .value("follow")
            .and_then(|value| read::boolean(value, &mut self.report))
            .unwrap_or(false);
        let path = self.needed(with, "path", "data/*.ndjson")?;
        let listed = read::list_of_text(
            path,
            "a path or pattern, or a list of them",
            &mut self.report,
        )?;
        let mut paths = Vec::with_capacity(listed.len());
        for (written, node) in listed {
            if let Err(error) = glob::Pattern::new(written) {
                let message = format!("`{written}` is not a pattern: {}", error.msg);
                refuse::<()>(
                    &codes::BAD_PATH,
                    node,
                    message,
                    codes::BAD_PATH.remedy,
                    &mut self.report,
                );
                continue;
            }
            match self.path(written, node) {
                // The folder is literal, whatever characters it has.
                Some(absolute) if written.starts_with('/') => paths.push(absolute),
                Some(absolute) => {
                    let folder = self
                        .dir
                        .to_str()
                        .filter(|folder| absolute.starts_with(*folder));
                    let folder = folder.map(|folder| (glob::Pattern::escape(folder), folder.len()));
                    paths.push(folder.map_or(absolute.clone(), |(escaped, length)| {
                        escaped + &absolute[length..]
                    }));
                }
                None => {}
            }
        }
        (!paths.is_empty()).then_some(FileSource {
            paths,
            format,
            follow,
        })
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
            None => refuse(
                &codes::BAD_PATH,
                node,
                "the path is not UTF-8",
                "rename the folder",
                &mut self.report,
            ),
        }
    }

    fn file_sink(&mut self, with: &Fields<'_>) -> Option<FileSink> {
        with.only(
            &["path", "format", "rotate"],
            "a `file` sink",
            &mut self.report,
        );
        let format = self.format(with, &WRITE);
        let rotate = with.value("rotate").and_then(|value| self.rotate(value));
        let node = self.needed(with, "path", "out/events.ndjson")?;
        let written = read::text(node, "a path", &mut self.report)?;
        let path = self.path(written, node)?.into();
        Some(FileSink {
            path,
            format,
            rotate,
        })
    }

    fn rotate(&mut self, value: &Node) -> Option<Rotate> {
        let fields = Fields::of(value, "a map of bytes, every", &mut self.report)?;
        fields.only(&["bytes", "every"], "`rotate`", &mut self.report);
        let bytes = fields
            .value("bytes")
            .and_then(|value| read::bytes(value, 1..=LARGEST, &mut self.report));
        let every = fields.value("every").and_then(|value| {
            read::duration(value, Duration::from_secs(1)..=LONGEST, &mut self.report)
        });
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
        with.only(
            &["count", "rate", "template"],
            "`generate`",
            &mut self.report,
        );
        let count = with
            .value("count")
            .and_then(|value| read::integer(value, 0..=u64::MAX, &mut self.report));
        let rate = with
            .value("rate")
            .and_then(|value| read::rate(value, &mut self.report));
        let template = match with.value("template") {
            Some(value) => self.template(value)?,
            None => {
                Template::compile(r#"{"n":{{ data.n }}}"#).expect("the default template compiles")
            }
        };
        Some(Generate {
            count,
            rate,
            template,
        })
    }

    /// Reads text with `{{ CEL }}` in it.
    fn template(&mut self, value: &Node) -> Option<Template> {
        let source = read::text(value, "text with `{{ CEL }}`", &mut self.report)?;
        match Template::compile(source) {
            Ok(template) => Some(template),
            Err(error) => {
                self.bad_expression(value, &error);
                None
            }
        }
    }

    fn http_source(&mut self, with: &Fields<'_>, draft: &mut Draft) -> Option<HttpSource> {
        with.only(&["listen", "path"], "an `http` source", &mut self.report);
        let path = with
            .value("path")
            .and_then(|value| self.url_path(value))
            .unwrap_or_else(|| "/".into());
        let node = self.needed(with, "listen", "127.0.0.1:8080")?;
        let written = read::text(
            node,
            "an address such as `127.0.0.1:8080`",
            &mut self.report,
        )?;
        let local = written
            .strip_prefix("localhost:")
            .map(|port| format!("127.0.0.1:{port}"));
        let Ok(listen) = local.as_deref().unwrap_or(written).parse::<SocketAddr>() else {
            let message = format!("`{written}` is not an address to listen on");
            let remedy = "write an IP address and a port: `127.0.0.1:8080`, or `0.0.0.0:8080` for all interfaces";
            return refuse(&codes::BAD_ADDRESS, node, message, remedy, &mut self.report);
        };
        draft.listen_span = Some(node.span.clone());
        Some(HttpSource { listen, path })
    }

    fn url_path(&mut self, value: &Node) -> Option<String> {
        let path = read::text(value, "a path such as `/events`", &mut self.report)?;
        let valid = path.starts_with('/')
            && path
                .chars()
                .all(|c| c.is_ascii_graphic() && !matches!(c, '?' | '#'));
        if !valid {
            let message = format!("`{path}` is not the path of a URL");
            return refuse(
                &codes::BAD_PATH,
                value,
                message,
                "begin with `/`; percent-encode what is not ASCII",
                &mut self.report,
            );
        }
        Some(path.to_owned())
    }

    fn webhook(&mut self, with: &Fields<'_>) -> Option<Webhook> {
        with.only(
            &["url", "method", "headers", "body", "timeout"],
            "`webhook`",
            &mut self.report,
        );
        let methods = [
            ("POST", "POST"),
            ("PUT", "PUT"),
            ("PATCH", "PATCH"),
            ("GET", "GET"),
            ("DELETE", "DELETE"),
        ];
        let method = with
            .value("method")
            .and_then(|value| read::choice(value, &methods, &mut self.report));
        let headers = with
            .value("headers")
            .map_or_else(Vec::new, |value| self.headers(value));
        let body = with.value("body").and_then(|value| self.template(value));
        let timeout = self
            .time(with, "timeout")
            .unwrap_or(defaults::WEBHOOK_TIMEOUT);
        let url = self.needed(with, "url", "https://example.com/hook")?;
        let url = self.url(url)?;
        Some(Webhook {
            url,
            method: method.unwrap_or("POST").to_owned(),
            headers,
            body,
            timeout,
        })
    }

    fn headers(&mut self, value: &Node) -> Vec<(String, Template)> {
        let Some(fields) = Fields::of(value, "a map of headers", &mut self.report) else {
            return Vec::new();
        };
        let mut headers = Vec::with_capacity(fields.entries.len());
        for entry in fields.entries {
            let Ok(name) = http::HeaderName::try_from(&entry.key) else {
                let message = format!("`{}` cannot be the name of a header", entry.key);
                self.report
                    .add(&codes::BAD_NAME, &entry.key_span, message)
                    .help("use letters, digits and `-`");
                continue;
            };
            if let Some(template) = self.template(&entry.value) {
                headers.push((name.as_str().to_owned(), template));
            }
        }
        headers
    }

    fn url(&mut self, value: &Node) -> Option<String> {
        let written = read::text(value, "a URL", &mut self.report)?;
        let valid = written.parse::<http::Uri>().is_ok_and(|url| {
            matches!(url.scheme_str(), Some("http" | "https"))
                && url.host().is_some_and(|host| !host.is_empty())
        });
        if !valid {
            let message = match written.is_empty() {
                true => "the URL is empty".to_owned(),
                false => "this is not an absolute http or https URL".to_owned(),
            };
            return refuse(
                &codes::BAD_ADDRESS,
                value,
                message,
                "write it as `https://host/path`",
                &mut self.report,
            );
        }
        Some(written.to_owned())
    }
}
