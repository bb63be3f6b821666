//! Spans to and from OTLP.

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use opentelemetry_proto::tonic::{
    collector::trace::v1::ExportTraceServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    resource::v1::Resource,
    trace::v1::{self as otlp, ResourceSpans, ScopeSpans, span::SpanKind, status::StatusCode},
};

use crate::{
    SpanId, SpanRef, TraceId, names,
    span::{Attributes, Event, Kind, Link, Service, Span, Status, Value},
};

/// The request that exports spans, one resource per service.
pub(crate) fn request(spans: &[Arc<Span>], resource_attributes: &[(String, String)]) -> ExportTraceServiceRequest {
    let mut services: Vec<(&Arc<Service>, Vec<otlp::Span>)> = Vec::new();
    let mut places: HashMap<&Service, usize> = HashMap::new();
    for span in spans {
        let place = *places.entry(&span.service).or_insert_with(|| {
            services.push((&span.service, Vec::new()));
            services.len() - 1
        });
        services[place].1.push(to_otlp(span));
    }
    let resource_spans = services
        .into_iter()
        .map(|(service, spans)| ResourceSpans {
            resource: Some(resource(service, resource_attributes)),
            scope_spans: vec![ScopeSpans {
                scope: Some(InstrumentationScope {
                    name: names::SCOPE.into(),
                    version: env!("CARGO_PKG_VERSION").into(),
                    ..Default::default()
                }),
                spans,
                schema_url: String::new(),
            }],
            schema_url: String::new(),
        })
        .collect();
    ExportTraceServiceRequest { resource_spans }
}

/// How many spans a request holds.
pub(crate) fn count(request: &ExportTraceServiceRequest) -> u64 {
    request.resource_spans.iter().flat_map(|resource| &resource.scope_spans).map(|scope| scope.spans.len() as u64).sum()
}

/// Every span that has an identity.
pub(crate) fn spans(request: &ExportTraceServiceRequest) -> impl Iterator<Item = Span> {
    request.resource_spans.iter().flat_map(|resource| {
        let service = Arc::new(service(resource.resource.as_ref()));
        let spans = resource.scope_spans.iter().flat_map(|scope| &scope.spans);
        spans.filter_map(move |span| from_otlp(span, &service))
    })
}

fn resource(service: &Service, attributes: &[(String, String)]) -> Resource {
    let own = [(names::SERVICE_NAME, &service.name), (names::SERVICE_INSTANCE, &service.instance)];
    let users = attributes.iter().filter(|(name, _)| own.iter().all(|(own, _)| own != name));
    let attributes = own
        .iter()
        .map(|(name, value)| text((*name).into(), (*value).clone()))
        .chain(users.map(|(name, value)| text(name.clone(), value.clone())));
    Resource { attributes: attributes.collect(), ..Default::default() }
}

fn text(key: String, value: String) -> KeyValue {
    KeyValue { key, value: Some(AnyValue { value: Some(any_value::Value::StringValue(value)) }), ..Default::default() }
}

fn service(resource: Option<&Resource>) -> Service {
    let find = |name: &str| {
        let found = resource?.attributes.iter().find(|attribute| attribute.key == name)?;
        Some(value(found.value.as_ref()?).to_string())
    };
    Service {
        name: find(names::SERVICE_NAME).unwrap_or_else(|| "unknown_service".into()),
        instance: find(names::SERVICE_INSTANCE).unwrap_or_default(),
    }
}

fn to_otlp(span: &Span) -> otlp::Span {
    otlp::Span {
        trace_id: span.trace_id.to_bytes().to_vec(),
        span_id: span.span_id.to_bytes().to_vec(),
        trace_state: span.trace_state.to_string(),
        parent_span_id: span.parent.map(|parent| parent.to_bytes().to_vec()).unwrap_or_default(),
        // W3C flags: sampled.
        flags: 1,
        name: span.name.to_string(),
        kind: match span.kind {
            Kind::Internal => SpanKind::Internal,
            Kind::Server => SpanKind::Server,
            Kind::Client => SpanKind::Client,
            Kind::Producer => SpanKind::Producer,
            Kind::Consumer => SpanKind::Consumer,
        }
        .into(),
        start_time_unix_nano: span.start,
        end_time_unix_nano: span.end,
        attributes: attributes_to_otlp(&span.attributes),
        events: span
            .events
            .iter()
            .map(|event| otlp::span::Event {
                time_unix_nano: event.time,
                name: event.name.to_string(),
                attributes: attributes_to_otlp(&event.attributes),
                ..Default::default()
            })
            .collect(),
        links: span
            .links
            .iter()
            .map(|link| otlp::span::Link {
                trace_id: link.to.trace_id.to_bytes().to_vec(),
                span_id: link.to.span_id.to_bytes().to_vec(),
                attributes: attributes_to_otlp(&link.attributes),
                ..Default::default()
            })
            .collect(),
        status: match &span.status {
            Status::Unset => None,
            Status::Ok => Some(otlp::Status { code: StatusCode::Ok.into(), message: String::new() }),
            Status::Error(message) => Some(otlp::Status { code: StatusCode::Error.into(), message: message.clone() }),
        },
        ..Default::default()
    }
}

fn from_otlp(span: &otlp::Span, service: &Arc<Service>) -> Option<Span> {
    Some(Span {
        trace_id: TraceId::from_slice(&span.trace_id)?,
        span_id: SpanId::from_slice(&span.span_id)?,
        parent: SpanId::from_slice(&span.parent_span_id),
        trace_state: span.trace_state.as_str().into(),
        service: service.clone(),
        name: Cow::Owned(span.name.clone()),
        kind: match span.kind() {
            SpanKind::Unspecified | SpanKind::Internal => Kind::Internal,
            SpanKind::Server => Kind::Server,
            SpanKind::Client => Kind::Client,
            SpanKind::Producer => Kind::Producer,
            SpanKind::Consumer => Kind::Consumer,
        },
        start: span.start_time_unix_nano,
        end: span.end_time_unix_nano,
        attributes: attributes_from_otlp(&span.attributes),
        events: span
            .events
            .iter()
            .map(|event| Event {
                time: event.time_unix_nano,
                name: Cow::Owned(event.name.clone()),
                attributes: attributes_from_otlp(&event.attributes),
            })
            .collect(),
        links: span
            .links
            .iter()
            .filter_map(|link| {
                let to = SpanRef {
                    trace_id: TraceId::from_slice(&link.trace_id)?,
                    span_id: SpanId::from_slice(&link.span_id)?,
                };
                Some(Link { to, attributes: attributes_from_otlp(&link.attributes) })
            })
            .collect(),
        status: match &span.status {
            Some(status) if status.code() == StatusCode::Error => Status::Error(status.message.clone()),
            Some(status) if status.code() == StatusCode::Ok => Status::Ok,
            _ => Status::Unset,
        },
    })
}

fn attributes_to_otlp(attributes: &Attributes) -> Vec<KeyValue> {
    attributes
        .iter()
        .map(|(name, value)| KeyValue {
            key: name.to_string(),
            value: Some(AnyValue {
                value: Some(match value {
                    Value::Text(text) => any_value::Value::StringValue(text.to_string()),
                    Value::Int(number) => any_value::Value::IntValue(*number),
                    Value::Float(number) => any_value::Value::DoubleValue(*number),
                    Value::Bool(flag) => any_value::Value::BoolValue(*flag),
                }),
            }),
            ..Default::default()
        })
        .collect()
}

fn attributes_from_otlp(attributes: &[KeyValue]) -> Attributes {
    let known = |attribute: &KeyValue| Some((Cow::Owned(attribute.key.clone()), value(attribute.value.as_ref()?)));
    attributes.iter().filter_map(known).collect()
}

/// Compound values become text: the store only shows them, and the collector gets the original.
fn value(value: &AnyValue) -> Value {
    match &value.value {
        Some(any_value::Value::StringValue(text)) => Value::Text(Cow::Owned(text.clone())),
        Some(any_value::Value::IntValue(number)) => Value::Int(*number),
        Some(any_value::Value::DoubleValue(number)) => Value::Float(*number),
        Some(any_value::Value::BoolValue(flag)) => Value::Bool(*flag),
        Some(compound) => Value::Text(Cow::Owned(compound_text(compound))),
        None => Value::Text(Cow::Borrowed("")),
    }
}

fn compound_text(compound: &any_value::Value) -> String {
    match compound {
        any_value::Value::ArrayValue(list) => {
            let values: Vec<_> = list.values.iter().map(|item| value(item).to_string()).collect();
            format!("[{}]", values.join(", "))
        }
        any_value::Value::KvlistValue(map) => {
            let values: Vec<_> =
                attributes_from_otlp(&map.values).iter().map(|(key, value)| format!("{key}: {value}")).collect();
            format!("{{{}}}", values.join(", "))
        }
        any_value::Value::BytesValue(bytes) => format!("{} bytes", bytes.len()),
        other => format!("{other:?}"),
    }
}
