//! Wires tracing and logs, unless the application has done so itself.

use std::{env, io::IsTerminal as _, time::Duration};

use opentelemetry::{
    Context, KeyValue, global,
    trace::{
        Link, Span as _, SpanBuilder, SpanContext, SpanKind, TraceContextExt as _, TraceFlags, TraceId, TraceState,
        Tracer as _, TracerProvider as _,
    },
};
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::{
    Resource,
    trace::{IdGenerator as _, RandomIdGenerator, SamplingDecision, SamplingResult, SdkTracerProvider, ShouldSample},
};
use tracing_subscriber::{
    EnvFilter, Layer as _, filter::Targets, fmt, layer::SubscriberExt as _, util::SubscriberInitExt as _,
};

use super::{log::Stamped, names};

/// How long the end of a process waits for its last spans to be taken: the guard kills after five seconds.
const FLUSH: Duration = Duration::from_secs(2);

/// What has to be flushed at the end.
#[derive(Debug, Default)]
pub(crate) struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Telemetry {
    /// Exports spans when the environment names a collector, and logs to standard error when nothing else does.
    /// Must run inside the runtime that the exporter shall use.
    pub(crate) fn start(nodes: &[String]) -> Self {
        let provider = if exporting() && !application_traces() { provider(nodes) } else { None };
        if let Some(provider) = &provider {
            global::set_tracer_provider(provider.clone());
        }
        let spans = provider.as_ref().map(|provider| {
            // The exporter's own transport must not be traced into itself.
            let quiet = ["h2", "hyper", "tonic", "tower", "opentelemetry", "opentelemetry_sdk", "opentelemetry_otlp"];
            let targets = Targets::new()
                .with_default(tracing::Level::INFO)
                .with_targets(quiet.map(|target| (target, tracing::level_filters::LevelFilter::OFF)));
            tracing_opentelemetry::layer().with_tracer(provider.tracer("meshloom")).with_filter(targets)
        });
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| {
            EnvFilter::new("info,opentelemetry=warn,opentelemetry_sdk=warn,opentelemetry_otlp=warn,h2=warn")
        });
        let lines = fmt::layer()
            .with_writer(std::io::stderr)
            .with_ansi(std::io::stderr().is_terminal())
            .event_format(Stamped { inner: fmt::format(), nodes: nodes.join(",") })
            .with_filter(filter);
        // Fails when the application has a subscriber: then that one is kept.
        let _ = tracing_subscriber::registry().with(spans).with(lines).try_init();
        Self { provider }
    }

    /// Sends what is left, for at most [`FLUSH`]. Blocks: not for a thread that the exporter runs on.
    pub(crate) fn shutdown(self) {
        if let Some(provider) = self.provider
            && let Err(error) = provider.shutdown_with_timeout(FLUSH)
        {
            tracing::warn!("the last spans could not be exported: {error}");
        }
    }
}

fn exporting() -> bool {
    let set = |name: &str| env::var(name).is_ok_and(|value| !value.is_empty());
    let is = |name: &str, value: &str| env::var(name).is_ok_and(|set| set.eq_ignore_ascii_case(value));
    (set("OTEL_EXPORTER_OTLP_ENDPOINT") || set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"))
        && !is("OTEL_SDK_DISABLED", "true")
        && !is("OTEL_TRACES_EXPORTER", "none")
}

/// Whether the application has set a tracer provider. Only a real one gives a span an identity of its own; the unsampled
/// parent keeps the probe from being recorded.
fn application_traces() -> bool {
    let ids = RandomIdGenerator::default();
    let parent =
        SpanContext::new(ids.new_trace_id(), ids.new_span_id(), TraceFlags::NOT_SAMPLED, true, TraceState::default());
    let context = Context::new().with_remote_span_context(parent.clone());
    let probe = global::tracer("meshloom").build_with_context(SpanBuilder::from_name("probe"), &context);
    probe.span_context().span_id() != parent.span_id()
}

fn provider(nodes: &[String]) -> Option<SdkTracerProvider> {
    let exporter = match SpanExporter::builder().with_tonic().build() {
        Ok(exporter) => exporter,
        Err(error) => {
            eprintln!(
                "meshloom: spans are not exported: {error}. Correct OTEL_EXPORTER_OTLP_ENDPOINT (for instance http://127.0.0.1:4317)."
            );
            return None;
        }
    };
    let mut resource = Resource::builder();
    let named = env::var("OTEL_SERVICE_NAME").is_ok_and(|name| !name.is_empty())
        || env::var("OTEL_RESOURCE_ATTRIBUTES")
            .is_ok_and(|attributes| attributes.split(',').any(|pair| pair.trim().starts_with("service.name=")));
    if !named {
        resource = resource.with_service_name(nodes.join(","));
    }
    let mut builder = SdkTracerProvider::builder().with_batch_exporter(exporter).with_resource(resource.build());
    if env::var("OTEL_TRACES_SAMPLER").is_err() {
        builder = builder.with_sampler(Inherited);
    }
    Some(builder.build())
}

/// Records what belongs to a traced event, and nothing else: the decision was made at the source. Spans that the user
/// opens for an event that is not traced would otherwise each begin a trace of their own.
#[derive(Debug, Clone)]
struct Inherited;

impl ShouldSample for Inherited {
    fn should_sample(
        &self,
        parent: Option<&Context>,
        _: TraceId,
        _: &str,
        _: &SpanKind,
        attributes: &[KeyValue],
        _: &[Link],
    ) -> SamplingResult {
        let parent =
            parent.filter(|parent| parent.has_active_span()).map(|parent| parent.span().span_context().clone());
        let sampled = match &parent {
            Some(parent) if parent.is_valid() => parent.is_sampled(),
            // Without a parent only the mesh itself begins traces: at a source, and for the call of a whole batch.
            _ => attributes.iter().any(|attribute| attribute.key.as_str() == names::SYSTEM),
        };
        SamplingResult {
            decision: if sampled { SamplingDecision::RecordAndSample } else { SamplingDecision::Drop },
            attributes: Vec::new(),
            trace_state: parent.map(|parent| parent.trace_state().clone()).unwrap_or_default(),
        }
    }
}
