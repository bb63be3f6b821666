//! The admin port: HTTP on an address that the user names.

use std::{
    io,
    sync::{Arc, OnceLock},
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
    http::{Method, StatusCode, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper::server::conn::http1;
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use meshloom_telemetry::metrics::CONTENT_TYPE;
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use crate::{
    error::{FailureKind, RunError},
    options::{AdminPort, Token},
    service::Shared,
};

/// Connections at a time; the next one waits.
const CONNECTIONS: usize = 64;
/// Time for a request and its answer; a connection carries one.
const REQUEST: Duration = Duration::from_secs(30);
/// Wait after the system refused a connection, for lack of descriptors for one.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// What is served, once the pipeline runs.
pub(crate) type Served = Arc<OnceLock<Arc<Shared>>>;

/// Takes the address.
///
/// # Errors
/// `ADMIN_EXPOSED` if others could read there without a token, `ADMIN_ADDRESS` when it cannot be had.
pub(crate) async fn bind(port: &AdminPort) -> Result<TcpListener, RunError> {
    let address = port.address;
    if !address.ip().is_loopback() && port.token.is_none() {
        let message = format!("the admin port {address} can be reached from other machines");
        let error = RunError { kind: FailureKind::Config, ..RunError::system("ADMIN_EXPOSED", message) };
        return Err(error.with_remedy(
            "set MESHLOOM_ADMIN_TOKEN, which requests then carry as `Authorization: Bearer TOKEN`, or listen on loopback",
        ));
    }
    let failed = |error: io::Error| {
        let message = format!("the admin port cannot listen on {address}: {error}");
        let error = RunError { kind: FailureKind::Unavailable, ..RunError::system("ADMIN_ADDRESS", message) };
        error.with_remedy("end the process that has the address, or name another with `--admin`; port 0 takes any")
    };
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    tracing::info!("metrics are at http://{}/metrics", listener.local_addr().map_err(failed)?);
    Ok(listener)
}

/// Serves until `stop`.
pub(crate) fn serve(
    listener: TcpListener,
    token: Option<Token>,
    served: Served,
    stop: CancellationToken,
) -> JoinHandle<()> {
    let router = router(token, served);
    tokio::spawn(async move {
        let seats = Arc::new(Semaphore::new(CONNECTIONS));
        let next = async || {
            let seat = seats.clone().acquire_owned().await.expect("nobody closes it");
            (seat, listener.accept().await)
        };
        loop {
            let (seat, accepted) = tokio::select! {
                next = next() => next,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, _)) => {
                    let (router, stop) = (router.clone(), stop.clone());
                    tokio::spawn(async move {
                        stop.run_until_cancelled(connection(stream, router)).await;
                        drop(seat);
                    });
                }
                // It is the client that is worse off; it will ask again.
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            }
        }
    })
}

async fn connection(stream: TcpStream, router: Router) {
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).keep_alive(false);
    let service = TowerToHyperService::new(router);
    // One that breaks or takes too long concerns nobody but its client.
    let _ = tokio::time::timeout(REQUEST, http.serve_connection(TokioIo::new(stream), service)).await;
}

pub(super) fn router(token: Option<Token>, served: Served) -> Router {
    Router::new()
        .route("/metrics", get(metrics).fallback(wrong_method))
        .fallback(wrong_path)
        .layer(middleware::from_fn_with_state(Arc::new(token), check))
        .with_state(served)
}

async fn metrics(State(served): State<Served>) -> Response {
    let Some(shared) = served.get() else {
        return answer(StatusCode::SERVICE_UNAVAILABLE, "the nodes are being started; ask again soon\n");
    };
    match shared.metrics() {
        Ok(text) => ([(header::CONTENT_TYPE, CONTENT_TYPE)], text).into_response(),
        Err(_) => answer(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written as text\n"),
    }
}

async fn wrong_method(method: Method) -> Response {
    let text = format!("{method} is not allowed here: GET /metrics\n");
    let mut response = answer(StatusCode::METHOD_NOT_ALLOWED, text);
    response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("GET, HEAD"));
    response
}

async fn wrong_path(uri: Uri) -> Response {
    answer(StatusCode::NOT_FOUND, format!("there is nothing at {}; metrics are at /metrics\n", uri.path()))
}

/// Lets those through who know the token, if there is one.
async fn check(State(token): State<Arc<Option<Token>>>, request: Request, next: Next) -> Response {
    let given = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
    match &*token {
        Some(token) if !given.is_some_and(|given| token.is_in(given)) => {
            let text = "this address needs `Authorization: Bearer TOKEN` with the coordinator's MESHLOOM_ADMIN_TOKEN\n";
            let mut response = answer(StatusCode::UNAUTHORIZED, text);
            response.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
            response
        }
        _ => next.run(request).await,
    }
}

fn answer(status: StatusCode, text: impl Into<String>) -> Response {
    (status, text.into()).into_response()
}
