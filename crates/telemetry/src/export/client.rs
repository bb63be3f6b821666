//! One collector.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, trace_service_client::TraceServiceClient,
};
use prost::Message;
use tonic::{
    Request, Status,
    metadata::MetadataMap,
    transport::{Channel, ClientTlsConfig, Endpoint},
};
use tonic_types::pb as google_status;

use super::ExportOptions;

pub(super) struct Client {
    service: TraceServiceClient<Channel>,
    headers: MetadataMap,
    timeout: Duration,
}

impl Client {
    /// Connects when there is something to send, and again whenever the connection broke.
    pub(super) fn new(options: &ExportOptions) -> Self {
        let mut endpoint = Endpoint::from(options.endpoint.clone()).connect_timeout(options.timeout);
        if options.endpoint.scheme_str() == Some("https") {
            let tls = ClientTlsConfig::new().with_native_roots();
            match endpoint.clone().tls_config(tls) {
                Ok(with_tls) => endpoint = with_tls,
                Err(error) => {
                    tracing::warn!("this system's certificates cannot be read, no trace can be exported: {error}")
                }
            }
        }
        let mut service = TraceServiceClient::new(endpoint.connect_lazy());
        if let Some(encoding) = options.compression {
            service = service.send_compressed(encoding);
        }
        Self { service, headers: options.headers.clone(), timeout: options.timeout }
    }

    /// How many spans were refused for good.
    pub(super) async fn export(&mut self, spans: ExportTraceServiceRequest) -> Result<u64, Status> {
        let mut request = Request::new(spans);
        *request.metadata_mut() = self.headers.clone();
        request.set_timeout(self.timeout);
        // The collector is told how long it has, and is not trusted with it.
        let answer = tokio::time::timeout(self.timeout, self.service.export(request));
        let answer = answer
            .await
            .map_err(|_| Status::deadline_exceeded(format!("no answer for {} ms", self.timeout.as_millis())))??;
        let Some(partial) = answer.into_inner().partial_success else {
            return Ok(0);
        };
        if partial.rejected_spans > 0 {
            tracing::warn!(spans = partial.rejected_spans, "the collector refused spans: {}", partial.error_message);
        }
        Ok(u64::try_from(partial.rejected_spans).unwrap_or(0))
    }
}

/// When the collector wants to see the request again, if it says so.
pub(super) fn retry_delay(status: &Status) -> Option<Duration> {
    let details = google_status::Status::decode(status.details()).ok()?;
    let info = details.details.iter().find(|detail| detail.type_url.ends_with("/google.rpc.RetryInfo"))?;
    let delay = google_status::RetryInfo::decode(info.value.as_slice()).ok()?.retry_delay?;
    Some(Duration::new(u64::try_from(delay.seconds).ok()?, u32::try_from(delay.nanos).ok()?))
}
