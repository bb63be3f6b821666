//! The sink that sends each event as a request.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use meshloom_config::{EvaluationError, EventView, Template, connector::Webhook};
use meshloom_core::{
    batch::Batch,
    exchange::{Failure, FromNode, Limits, ToNode, Work},
};
use reqwest::{
    Client, Method, Response, StatusCode,
    header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER},
    redirect,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::sync::mpsc;

use crate::{
    BoxFuture, NodeError, OpenContext, OpenError, ProcessNode,
    calls::{self, Answer, Handler, Reply, reject, retry},
};

/// Requests at a time when `concurrency` does not say.
const CONCURRENCY: u32 = 8;
/// How much of an answer goes into the message of a rejection, bytes.
const ANSWER_BYTES: usize = 512;
/// Longest wait that an answer can ask for.
const RETRY_AFTER_MOST: Duration = Duration::from_secs(3600);

/// Sends requests.
pub(crate) struct WebhookNode {
    sender: Sender,
    concurrency: u32,
    timeout: Duration,
}

struct Sender {
    client: Client,
    method: Method,
    url: reqwest::Url,
    headers: Vec<(HeaderName, Template)>,
    body: Option<Template>,
}

impl WebhookNode {
    pub(crate) fn open(spec: Webhook, context: &OpenContext) -> Result<Self, OpenError> {
        let bad = |what: &str, error: String| {
            OpenError::new(
                "BAD_WEBHOOK",
                format!("node {}: {what}: {error}", context.node),
                "correct it in the pipeline file",
            )
        };
        let url = reqwest::Url::parse(&spec.url).map_err(|error| bad("url", error.to_string()))?;
        let method = Method::from_bytes(spec.method.as_bytes()).map_err(|error| bad("method", error.to_string()))?;
        let headers = spec.headers.into_iter().map(|(name, value)| {
            let name = HeaderName::try_from(&name).map_err(|error| bad("headers", format!("{name}: {error}")))?;
            Ok((name, value))
        });
        let headers = headers.collect::<Result<Vec<_>, OpenError>>()?;
        let concurrency = context.concurrency.unwrap_or(CONCURRENCY).max(1);
        let tls = tls(url.scheme() == "https").map_err(|error| {
            OpenError::new(
                "TLS_UNAVAILABLE",
                format!("node {}: {error}", context.node),
                "install the system's certificates (package ca-certificates), or set SSL_CERT_FILE",
            )
        })?;
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .timeout(spec.timeout)
            // A redirected POST would become a GET, and an event be lost.
            .redirect(redirect::Policy::none())
            .pool_max_idle_per_host(concurrency as usize)
            .user_agent(concat!("meshloom/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| bad("client", error.to_string()))?;
        let sender = Sender { client, method, url, headers, body: spec.body };
        Ok(Self { sender, concurrency, timeout: context.timeout })
    }
}

/// TLS with the system's certificates; without any where no TLS is spoken.
fn tls(needed: bool) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(if needed {
        builder.with_platform_verifier()?.with_no_client_auth()
    } else {
        builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth()
    })
}

impl Sender {
    /// Sends one event; `Some`: its failure.
    async fn send(&self, batch: &Batch, row: usize) -> Option<Failure> {
        let request = match self.request(batch, row) {
            Ok(request) => request,
            Err(failure) => return Some(failure),
        };
        match self.client.execute(request).await {
            Ok(answer) => judge(row, answer).await,
            Err(error) if error.is_timeout() => Some(retry(row, "TIMEOUT", format!("{}: no answer in time", self.url))),
            Err(error) => Some(retry(row, "CONNECTION_FAILED", words(&error))),
        }
    }

    fn request(&self, batch: &Batch, row: usize) -> Result<reqwest::Request, Failure> {
        let event = EventView::of(batch, row);
        let failed = |error: EvaluationError| reject(row, "TEMPLATE_FAILED", error.to_string());
        let mut headers = HeaderMap::new();
        let mut hex = [0; 32];
        let uid = batch.uid(row);
        if let Ok(uid) = HeaderValue::from_str(uid.hex(&mut hex)) {
            headers.insert("idempotency-key", uid);
        }
        if let Some(content_type) = batch.content_type(row).and_then(|text| HeaderValue::from_str(text).ok()) {
            headers.insert(CONTENT_TYPE, content_type);
        } else {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        for (name, template) in &self.headers {
            let text = template.render(&event).map_err(failed)?;
            let value = HeaderValue::from_str(&text).map_err(|_| {
                reject(row, "BAD_HEADER", format!("header {name}: its value has characters that none may have"))
            })?;
            headers.insert(name.clone(), value);
        }
        let body = match &self.body {
            Some(template) => template.render(&event).map_err(failed)?.into(),
            None => reqwest::Body::from(batch.payload_bytes(row)),
        };
        let mut request = reqwest::Request::new(self.method.clone(), self.url.clone());
        *request.headers_mut() = headers;
        *request.body_mut() = Some(body);
        Ok(request)
    }
}

/// What an answer means for the event.
async fn judge(row: usize, answer: Response) -> Option<Failure> {
    let status = answer.status();
    if status.is_success() {
        // The connection can be used again only once the answer was read; a short one is worth it.
        first_bytes(answer).await;
        return None;
    }
    let wait = answer.headers().get(RETRY_AFTER).and_then(|value| retry_after(value.to_str().ok()?, SystemTime::now()));
    let url = answer.url().clone();
    let said = first_bytes(answer).await;
    let message = format!("{url} answered {status}: {said}");
    Some(
        if status == StatusCode::TOO_MANY_REQUESTS || status == StatusCode::REQUEST_TIMEOUT || status.is_server_error()
        {
            Failure { retry_after: wait, ..retry(row, "HTTP_STATUS", message) }
        } else if status.is_redirection() {
            reject(row, "HTTP_REDIRECT", format!("{message}; redirects are not followed: write the final URL"))
        } else {
            reject(row, "HTTP_STATUS", message)
        },
    )
}

/// The beginning of an answer, as text.
async fn first_bytes(mut answer: Response) -> String {
    let mut bytes = Vec::new();
    // A broken answer is still an answer: its status counts.
    while bytes.len() < ANSWER_BYTES
        && let Ok(Some(chunk)) = answer.chunk().await
    {
        bytes.extend_from_slice(&chunk[..chunk.len().min(ANSWER_BYTES - bytes.len())]);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// `Retry-After`: seconds or a date.
fn retry_after(text: &str, now: SystemTime) -> Option<Duration> {
    let wait = match text.trim().parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text.trim()).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(RETRY_AFTER_MOST))
}

/// An error with all its causes.
fn words(error: &reqwest::Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

impl Handler for WebhookNode {
    async fn call(&self, work: Work, reply: &Reply) -> Result<Answer, NodeError> {
        let all = async {
            let mut failures = Vec::new();
            for row in 0..work.batch.len() {
                failures.extend(self.sender.send(&work.batch, row).await);
            }
            Ok(Answer::consumed_but(work.batch.len(), failures))
        };
        reply.unless_cancelled(all).await
    }
}

impl ProcessNode for WebhookNode {
    fn limits(&self) -> Limits {
        // An event per work: each has its own time limit, and one that is taken back takes no other with it.
        Limits { works: self.concurrency, events: 1, ..Limits::default() }
    }

    fn run(
        self: Box<Self>,
        input: mpsc::Receiver<ToNode>,
        output: mpsc::Sender<FromNode>,
    ) -> BoxFuture<'static, Result<(), NodeError>> {
        let timeout = self.timeout;
        Box::pin(calls::run(*self, timeout, input, output))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Sun, 06 Nov 1994 08:49:37 GMT").unwrap();
        assert_eq!(retry_after("7", now), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:00 GMT", now), Some(Duration::from_secs(23)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:00:00 GMT", now), Some(Duration::ZERO));
        assert_eq!(retry_after("99999999", now), Some(RETRY_AFTER_MOST));
        assert_eq!(retry_after("soon", now), None);
    }
}
