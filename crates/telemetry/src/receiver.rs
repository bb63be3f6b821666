//! The coordinator as an OTLP collector: where its nodes send their spans.

use std::future::Future;

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, codec::CompressionEncoding, transport::Server};

use crate::Traces;

/// Largest request in bytes; SDKs send a few hundred spans at a time.
const REQUEST_LIMIT: usize = 16 << 20;
/// Requests of one connection at a time.
const CONCURRENCY: usize = 4;

/// Takes spans until `shutdown`. The listener is meant to be on loopback: nobody is asked who they are.
pub async fn serve(
    listener: TcpListener,
    traces: Traces,
    shutdown: impl Future<Output = ()>,
) -> Result<(), tonic::transport::Error> {
    let service = TraceServiceServer::new(Receiver { traces })
        .accept_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(REQUEST_LIMIT);
    Server::builder()
        .concurrency_limit_per_connection(CONCURRENCY)
        .add_service(service)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), shutdown)
        .await
}

struct Receiver {
    traces: Traces,
}

#[tonic::async_trait]
impl TraceService for Receiver {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        self.traces.receive(request.into_inner()).await;
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}
