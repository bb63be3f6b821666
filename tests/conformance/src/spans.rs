//! An OTLP collector that keeps what a node exports.

use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::{KeyValue, any_value},
    trace::v1::Span,
};
use std::sync::Arc;
use tokio::{net::TcpListener, sync::watch, task::JoinHandle};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, codec::CompressionEncoding, transport::Server};

use crate::{
    event::hex,
    fault::{Fault, Outcome},
};

/// Spans by trace.
#[derive(Debug)]
pub(crate) struct Spans {
    traces: Mutex<HashMap<Vec<u8>, Vec<Span>>>,
    changed: watch::Sender<u64>,
}

impl Spans {
    /// Listens on a port of its own; where, and the task that serves.
    pub(crate) async fn listen() -> std::io::Result<(Arc<Self>, String, JoinHandle<()>)> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let endpoint = format!("http://{}", listener.local_addr()?);
        let spans = Arc::new(Self { traces: Mutex::default(), changed: watch::Sender::new(0) });
        let service = TraceServiceServer::new(Receiver(spans.clone()))
            .accept_compressed(CompressionEncoding::Gzip)
            .max_decoding_message_size(64 << 20);
        let serving = Server::builder().add_service(service).serve_with_incoming(TcpListenerStream::new(listener));
        let task = tokio::spawn(async move {
            // It ends with the kit.
            let _ = serving.await;
        });
        Ok((spans, endpoint, task))
    }

    /// Of a trace.
    pub(crate) fn of(&self, trace: [u8; 16]) -> Vec<Span> {
        let traces = self.traces.lock().unwrap_or_else(PoisonError::into_inner);
        traces.get(trace.as_slice()).cloned().unwrap_or_default()
    }

    /// Waits until a trace has what is looked for.
    pub(crate) async fn wait<T>(
        &self,
        trace: [u8; 16],
        patience: Duration,
        what: &str,
        mut look: impl FnMut(&[Span]) -> Option<T>,
    ) -> Outcome<T> {
        let mut changed = self.changed.subscribe();
        let found = async {
            loop {
                changed.mark_unchanged();
                if let Some(found) = look(&self.of(trace)) {
                    return found;
                }
                if changed.changed().await.is_err() {
                    std::future::pending::<()>().await;
                }
            }
        };
        match tokio::time::timeout(patience, found).await {
            Ok(found) => Ok(found),
            Err(_) => {
                let names: Vec<_> = self.of(trace).iter().map(|span| span.name.clone()).collect();
                let got = format!("the spans {names:?} of trace {} within {patience:?}", hex(&trace));
                Err(Fault::new(what, got))
            }
        }
    }
}

struct Receiver(Arc<Spans>);

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let spans = request.into_inner().resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        {
            let mut traces = self.0.traces.lock().unwrap_or_else(PoisonError::into_inner);
            for span in spans.flat_map(|scope| scope.spans) {
                traces.entry(span.trace_id.clone()).or_default().push(span);
            }
        }
        self.0.changed.send_modify(|batches| *batches += 1);
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

/// An attribute of a span, as text.
pub(crate) fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let value = attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?.value.as_ref()?;
    Some(match value {
        any_value::Value::StringValue(text) => text.clone(),
        any_value::Value::IntValue(number) => number.to_string(),
        any_value::Value::BoolValue(value) => value.to_string(),
        any_value::Value::DoubleValue(number) => number.to_string(),
        other => format!("{other:?}"),
    })
}
