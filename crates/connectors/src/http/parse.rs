//! From a request's headers and body to events; all of them or none.

use hyper::{
    HeaderMap, StatusCode,
    header::{CONTENT_ENCODING, CONTENT_TYPE},
};
use meshloom_config::connector::ReadFormat;
use meshloom_core::{
    batch::{Batch, BatchBuilder, Event, EventError, SpanContext},
    limits,
};
use percent_encoding::percent_decode_str;

use super::answer::Refusal;
use crate::formats::{
    Decoder, FormatError, check_json,
    cloudevents::{self, Envelope, Extension, is_json},
    compact,
};

/// How a body holds events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A value, or an array of values.
    Json,
    /// A value per line.
    Ndjson,
    /// One CloudEvents envelope.
    Structured,
    /// An array of them.
    Batched,
    /// CloudEvents attributes in headers, the data as the body.
    Binary,
}

/// Which kind a request is, before its body is read.
pub(super) fn kind(headers: &HeaderMap) -> Result<Kind, Refusal> {
    let unsupported =
        |message: String| Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "UNSUPPORTED_MEDIA_TYPE", message);
    if let Some(encoding) = headers.get(CONTENT_ENCODING)
        && !encoding.as_bytes().eq_ignore_ascii_case(b"identity")
    {
        return Err(unsupported("content-encoding is not supported: send the body as it is".into()));
    }
    let content_type = headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or("(not text)"));
    let media_type = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    Ok(match media_type.as_str() {
        "application/cloudevents+json" => Kind::Structured,
        "application/cloudevents-batch+json" => Kind::Batched,
        _ if headers.contains_key("ce-specversion") => Kind::Binary,
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => Kind::Ndjson,
        media_type if is_json(media_type) => Kind::Json,
        _ => {
            return Err(unsupported(format!(
                "content-type is {}; send application/json, application/x-ndjson, application/cloudevents+json or \
                 application/cloudevents-batch+json (with curl: -H 'content-type: application/json')",
                content_type.unwrap_or("missing")
            )));
        }
    })
}

/// All events of a request, in order.
pub(super) fn events(kind: Kind, headers: &HeaderMap, body: &[u8], max_event: usize) -> Result<Batch, Refusal> {
    let span =
        header(headers, "traceparent")?.and_then(|text| span(text, header(headers, "tracestate").ok().flatten()));
    let mut events = Events { builder: BatchBuilder::new(), span, max_event };
    match kind {
        Kind::Json => {
            check_json(body).map_err(not_json)?;
            if body.trim_ascii_start().starts_with(b"[") {
                events.split(ReadFormat::Json, body, Events::payload)?;
            } else {
                let mut payload = Vec::with_capacity(body.len());
                compact(body, &mut payload);
                events.payload(&payload)?;
            }
        }
        Kind::Ndjson => events.split(ReadFormat::Ndjson, body, |events, line| {
            check_json(line).map_err(not_json)?;
            events.payload(line)
        })?,
        Kind::Structured => events.envelope(&parse(body)?)?,
        Kind::Batched => {
            check_json(body).map_err(not_json)?;
            if !body.trim_ascii_start().starts_with(b"[") {
                return Err(Refusal::bad_request(
                    "BAD_ENVELOPE",
                    "a batch of CloudEvents is a JSON array of envelopes",
                ));
            }
            events.split(ReadFormat::Json, body, |events, json| events.envelope(&parse(json)?))?;
        }
        Kind::Binary => events.envelope(&binary(headers, body)?)?,
    }
    Ok(events.builder.finish())
}

fn parse(json: &[u8]) -> Result<Envelope, Refusal> {
    cloudevents::parse(json).map_err(|error| Refusal::bad_request("BAD_ENVELOPE", error.to_string()))
}

fn not_json(error: serde_json::Error) -> Refusal {
    Refusal::bad_request("NOT_JSON", format!("not JSON: {error}"))
}

struct Events {
    builder: BatchBuilder,
    span: Option<SpanContext>,
    max_event: usize,
}

impl Events {
    fn split(
        &mut self,
        format: ReadFormat,
        body: &[u8],
        each: impl Fn(&mut Self, &[u8]) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let refuse = |error: FormatError| match error.code {
            "EVENT_TOO_LARGE" => Refusal::too_large(error.to_string()),
            _ => Refusal::bad_request("NOT_JSON", error.to_string()),
        };
        // An envelope is larger than its event, which is looked at by itself.
        let mut decoder = Decoder::new(format, body.len());
        decoder.feed(body);
        decoder.finish();
        while let Some(record) = decoder.next_record().map_err(refuse)? {
            each(self, record.payload).map_err(|refusal| refusal.at(self.builder.len()))?;
        }
        Ok(())
    }

    fn payload(&mut self, payload: &[u8]) -> Result<(), Refusal> {
        let span = self.span.clone();
        self.push(Event { payload, content_type: Some("application/json"), span: span.as_ref(), ..Event::default() })
    }

    fn envelope(&mut self, envelope: &Envelope) -> Result<(), Refusal> {
        // The context that an event carries is nearer to it than that of the request.
        let own = envelope.extensions.iter().find_map(|(name, value)| match value {
            Extension::String(text) if name == "traceparent" => span(text, None),
            _ => None,
        });
        let span = own.or_else(|| self.span.clone());
        envelope.event(span.as_ref(), |event| self.push(event))
    }

    fn push(&mut self, event: Event<'_>) -> Result<(), Refusal> {
        if event.payload.len() > self.max_event {
            let message = format!("an event of {} bytes; allowed are {}", event.payload.len(), self.max_event);
            return Err(Refusal::too_large(message));
        }
        self.builder.push(event).map_err(|error| match error {
            EventError::Full | EventError::Payload { .. } => Refusal::too_large(error.to_string()),
            other => Refusal::bad_request("BAD_EVENT", other.to_string()),
        })
    }
}

impl Refusal {
    /// Says which event it is about.
    fn at(mut self, index: usize) -> Self {
        self.prefix(&format!("event {index} (the first is 0): "));
        self
    }
}

/// The text of a header; one that is not text is refused.
fn header<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, Refusal> {
    let text = headers.get(name).map(|value| value.to_str());
    text.transpose().map_err(|_| Refusal::bad_request("BAD_HEADER", format!("header {name} is not printable ASCII")))
}

/// An event whose attributes are in headers `ce-*`.
fn binary(headers: &HeaderMap, body: &[u8]) -> Result<Envelope, Refusal> {
    let bad = |message: String| Refusal::bad_request("BAD_ENVELOPE", message);
    let mut event = Envelope { payload: body.to_vec(), ..Envelope::default() };
    event.content_type = header(headers, CONTENT_TYPE.as_str())?.map(Into::into);
    let mut version = None;
    for name in headers.keys() {
        let Some(attribute) = name.as_str().strip_prefix("ce-") else {
            continue;
        };
        let raw = header(headers, name.as_str())?.unwrap_or_default();
        let value = percent_decode_str(raw).decode_utf8().map_err(|_| bad(format!("header {name} is not UTF-8")))?;
        let value = value.into_owned();
        match attribute {
            "specversion" => version = Some(value),
            "id" => event.id = Some(value),
            "source" => event.source = Some(value),
            "type" => event.type_ = Some(value),
            "subject" => event.subject = Some(value),
            "dataschema" => event.data_schema = Some(value),
            "partitionkey" => event.key = Some(value),
            "time" => event.time_ns = Some(cloudevents::parse_time(&value).map_err(|error| bad(error.to_string()))?),
            _ if !limits::is_extension_name(attribute) => {
                return Err(bad(format!("header {name}: names of attributes are lower-case letters and digits")));
            }
            _ => event.extensions.push((attribute.to_owned(), Extension::String(value))),
        }
    }
    if version.as_deref() != Some("1.0") {
        return Err(bad(format!("ce-specversion is `{}`; only 1.0 is understood", version.unwrap_or_default())));
    }
    for (name, value) in [("ce-id", &event.id), ("ce-source", &event.source), ("ce-type", &event.type_)] {
        if value.as_deref().unwrap_or_default().is_empty() {
            return Err(bad(format!("header {name} is missing or empty")));
        }
    }
    Ok(event)
}

/// W3C trace context, if it is usable and sampled. A bad one is no reason to refuse the event.
fn span(traceparent: &str, tracestate: Option<&str>) -> Option<SpanContext> {
    let mut parts = traceparent.trim().split('-');
    let (version, trace_id, span_id, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let lengths = (version.len(), trace_id.len(), span_id.len(), flags.len());
    let extra = parts.next().is_some();
    if lengths != (2, 32, 16, 2) || ![version, trace_id, span_id, flags].into_iter().all(hex) {
        return None;
    }
    // Later versions may have more parts; version ff is forbidden.
    if version == "ff" || (version == "00" && extra) {
        return None;
    }
    let context = SpanContext {
        trace_id: u128::from_str_radix(trace_id, 16).ok()?.to_be_bytes(),
        span_id: u64::from_str_radix(span_id, 16).ok()?.to_be_bytes(),
        flags: u8::from_str_radix(flags, 16).ok()?,
        trace_state: tracestate
            .filter(|state| !state.is_empty() && state.len() <= limits::TRACE_STATE_BYTES)
            .map(Into::into),
    };
    let usable = context.trace_id != [0; 16] && context.span_id != [0; 8];
    (usable && context.is_sampled()).then_some(context)
}

#[cfg(test)]
mod tests;
