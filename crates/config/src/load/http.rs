//! The connectors that speak HTTP, gRPC among it.

use std::net::SocketAddr;

use super::{Load, node::Draft};
use crate::{
    connector::{GrpcSource, HttpSource, Webhook},
    defaults,
    diagnostic::codes,
    expression::Template,
    read::{self, Fields, refuse},
    yaml::Node,
};

impl Load<'_> {
    pub(super) fn http_source(&mut self, with: &Fields<'_>, draft: &mut Draft) -> Option<HttpSource> {
        with.only(&["listen", "path"], "an `http` source", &mut self.report);
        let path = with.value("path").and_then(|value| self.url_path(value)).unwrap_or_else(|| "/".into());
        Some(HttpSource { listen: self.listen(with, draft)?, path })
    }

    pub(super) fn grpc_source(&mut self, with: &Fields<'_>, draft: &mut Draft) -> Option<GrpcSource> {
        with.only(&["listen"], "a `grpc` source", &mut self.report);
        Some(GrpcSource { listen: self.listen(with, draft)? })
    }

    /// The address that a source listens on.
    pub(super) fn listen(&mut self, with: &Fields<'_>, draft: &mut Draft) -> Option<SocketAddr> {
        let node = self.needed(with, "listen", "127.0.0.1:8080")?;
        let written = read::text(node, "an address such as `127.0.0.1:8080`", &mut self.report)?;
        let local = written.strip_prefix("localhost:").map(|port| format!("127.0.0.1:{port}"));
        let Ok(listen) = local.as_deref().unwrap_or(written).parse::<SocketAddr>() else {
            let message = format!("`{written}` is not an address to listen on");
            let remedy = "write an IP address and a port: `127.0.0.1:8080`, or `0.0.0.0:8080` for all interfaces";
            return refuse(&codes::BAD_ADDRESS, node, message, remedy, &mut self.report);
        };
        draft.listen_span = Some(node.span.clone());
        Some(listen)
    }

    fn url_path(&mut self, value: &Node) -> Option<String> {
        let path = read::text(value, "a path such as `/events`", &mut self.report)?;
        let valid = path.starts_with('/') && path.chars().all(|c| c.is_ascii_graphic() && !matches!(c, '?' | '#'));
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

    pub(super) fn webhook(&mut self, with: &Fields<'_>) -> Option<Webhook> {
        with.only(&["url", "method", "headers", "body", "timeout"], "`webhook`", &mut self.report);
        let methods = [("POST", "POST"), ("PUT", "PUT"), ("PATCH", "PATCH"), ("GET", "GET"), ("DELETE", "DELETE")];
        let method = with.value("method").and_then(|value| read::choice(value, &methods, &mut self.report));
        let headers = with.value("headers").map_or_else(Vec::new, |value| self.headers(value));
        let body = with.value("body").and_then(|value| self.template(value));
        let timeout = self.time(with, "timeout").unwrap_or(defaults::WEBHOOK_TIMEOUT);
        let url = self.needed(with, "url", "https://example.com/hook")?;
        let url = self.url(url)?;
        Some(Webhook { url, method: method.unwrap_or("POST").to_owned(), headers, body, timeout })
    }

    fn headers(&mut self, value: &Node) -> Vec<(String, Template)> {
        let Some(fields) = Fields::of(value, "a map of headers", &mut self.report) else {
            return Vec::new();
        };
        let mut headers = Vec::with_capacity(fields.entries.len());
        for entry in fields.entries {
            let Ok(name) = http::HeaderName::try_from(&entry.key) else {
                let message = format!("`{}` cannot be the name of a header", entry.key);
                self.report.add(&codes::BAD_NAME, &entry.key_span, message).help("use letters, digits and `-`");
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
            matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some_and(|host| !host.is_empty())
        });
        if !valid {
            let message = match written.is_empty() {
                true => "the URL is empty".to_owned(),
                false => "this is not an absolute http or https URL".to_owned(),
            };
            return refuse(&codes::BAD_ADDRESS, value, message, "write it as `https://host/path`", &mut self.report);
        }
        Some(written.to_owned())
    }
}
