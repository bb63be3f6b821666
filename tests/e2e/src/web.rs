//! HTTP for tests: a receiver of requests that answers as told, and a client.

use std::{
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, Method, Response, Uri},
};
use tokio::{net::TcpListener, runtime::Runtime};

/// A request that was received.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the words of HTTP")]
pub struct Received {
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Received {
    /// A header's value; empty if it is absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// What is answered.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the words of HTTP")]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// A status without headers.
    pub fn status(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// With a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// With a body.
    pub fn body(mut self, body: &str) -> Self {
        self.body = body.to_owned();
        self
    }
}

/// A server on loopback that keeps every request. It ends when dropped.
pub struct Receiver {
    address: SocketAddr,
    seen: Arc<Mutex<Vec<Received>>>,
    _runtime: Runtime,
}

impl Receiver {
    /// Answers 200 to everything.
    pub fn start() -> Self {
        Self::answering(|_, _| Answer::status(200))
    }

    /// Answers what `answer` makes of the requests seen before and the new one.
    pub fn answering(answer: impl Fn(&[Received], &Received) -> Answer + Clone + Send + Sync + 'static) -> Self {
        let runtime = runtime();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port");
        let address = listener.local_addr().unwrap();
        let kept = seen.clone();
        let app =
            axum::Router::new().fallback(move |method: Method, uri: Uri, headers: HeaderMap, body: Bytes| async move {
                let body = String::from_utf8_lossy(&body).into_owned();
                let request = Received { method: method.to_string(), path: uri.to_string(), headers, body };
                let mut seen = kept.lock().unwrap_or_else(PoisonError::into_inner);
                let answer = answer(&seen, &request);
                seen.push(request);
                let response = Response::builder().status(answer.status);
                let response =
                    answer.headers.iter().fold(response, |response, (name, value)| response.header(name, value));
                response.body(Body::from(answer.body)).expect("a legal answer")
            });
        runtime.spawn(async move { axum::serve(listener, app).await });
        Self { address, seen, _runtime: runtime }
    }

    /// Its URL, without a slash at the end.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The requests so far.
    pub fn seen(&self) -> Vec<Received> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

/// A client.
pub struct Client {
    http: reqwest::Client,
    runtime: Runtime,
}

/// An answer that was received.
#[derive(Debug, Clone)]
#[allow(missing_docs, reason = "the words of HTTP")]
pub struct Got {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Default for Client {
    fn default() -> Self {
        // Another client of this process may have been first.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(60)).build().expect("a client");
        Self { http, runtime: runtime() }
    }
}

impl Client {
    /// Gets; `None`: nobody answers.
    pub fn get(&self, url: &str) -> Option<Got> {
        self.runtime.block_on(got(self.http.get(url)))
    }

    /// Posts with headers; `None`: nobody answers.
    pub fn post(&self, url: &str, headers: &[(&str, &str)], body: impl Into<Vec<u8>>) -> Option<Got> {
        let request = self.http.post(url).body(body.into());
        self.runtime.block_on(got(headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))))
    }

    /// Posts several bodies at the same time.
    pub fn post_all(&self, url: &str, content_type: &str, bodies: Vec<Vec<u8>>) -> Vec<Option<Got>> {
        let requests =
            bodies.into_iter().map(|body| got(self.http.post(url).header("content-type", content_type).body(body)));
        self.runtime.block_on(futures::future::join_all(requests))
    }
}

async fn got(request: reqwest::RequestBuilder) -> Option<Got> {
    let response = request.send().await.ok()?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Some(Got { status, headers, body: response.text().await.ok()? })
}
