//! What a program wrote, made into outputs of the whole batch.

use meshloom_config::{
    ExecSpec,
    connector::ReadFormat,
    exec::{Envelope, ExecFormat},
};
use meshloom_core::{
    batch::{Batch, EventError},
    limits,
    outputs::{EmitError, OutputEvent, Outputs, OutputsBuilder},
};

use crate::{
    calls::Reply,
    formats::{Decoder, Encoder, cloudevents},
};

/// Outputs are held until the program has ended well, or until they are this large, bytes: then they are sent in
/// parts.
const HOLD_BYTES: usize = 1 << 20;
/// The same, in events.
const HOLD_EVENTS: usize = 4096;

/// How events are written for a program.
pub(super) fn encoder(spec: &ExecSpec) -> Encoder {
    match (spec.envelope, spec.format) {
        (Envelope::Data, ExecFormat::Ndjson) => Encoder::Ndjson,
        (Envelope::Data, ExecFormat::Json) => Encoder::JsonArray,
        (Envelope::CloudEvents, ExecFormat::Ndjson) => Encoder::CloudEvents,
        (Envelope::CloudEvents, ExecFormat::Json) => Encoder::CloudEventsArray,
    }
}

/// How its output is read.
pub(super) fn decoder(spec: &ExecSpec, limit: usize) -> Decoder {
    let format = match spec.format {
        ExecFormat::Ndjson => ReadFormat::Ndjson,
        ExecFormat::Json => ReadFormat::Json,
    };
    Decoder::new(format, limit)
}

/// Reads a program's output.
pub(super) struct Collector<'a> {
    decoder: Decoder,
    envelope: Envelope,
    input: &'a Batch,
    builder: OutputsBuilder,
    reply: &'a Reply,
}

impl<'a> Collector<'a> {
    pub(super) fn new(spec: &ExecSpec, input: &'a Batch, reply: &'a Reply) -> Self {
        let decoder = decoder(spec, limits::EVENT_BYTES);
        Self { decoder, envelope: spec.envelope, input, builder: OutputsBuilder::new(input), reply }
    }

    /// Takes the next bytes. An error says what is wrong with them.
    pub(super) async fn feed(&mut self, chunk: &[u8]) -> Result<(), String> {
        self.decoder.feed(chunk);
        self.read().await
    }

    /// The outputs that were not sent in parts.
    pub(super) async fn finish(mut self) -> Result<Option<Outputs>, String> {
        self.decoder.finish();
        self.read().await?;
        Ok(self.builder.finish(false))
    }

    async fn read(&mut self) -> Result<(), String> {
        loop {
            match self.decoder.next_record() {
                Ok(None) => return Ok(()),
                Err(error) => return Err(format!("wrote bad output: {error}")),
                // The `null` of a program that has nothing to say.
                Ok(Some(record)) if record.top_level && record.payload == b"null" => {}
                Ok(Some(record)) => {
                    let start = record.start;
                    let bad = |error: String| format!("wrote bad output at byte {start}: {error}");
                    match emit_whole(&mut self.builder, record.payload, self.envelope) {
                        Ok(()) => {}
                        Err(Refused::Full) => {
                            // Only the part that is sent here makes room; the record goes into the next.
                            let payload = record.payload.to_vec();
                            self.send_part().await;
                            emit_whole(&mut self.builder, &payload, self.envelope)
                                .map_err(|refused| bad(refused.to_string()))?;
                        }
                        Err(Refused::Bad(error)) => return Err(bad(error)),
                    }
                    if self.builder.bytes() >= HOLD_BYTES || self.builder.len() >= HOLD_EVENTS {
                        self.send_part().await;
                    }
                }
            }
        }
    }

    async fn send_part(&mut self) {
        let full = std::mem::replace(&mut self.builder, OutputsBuilder::new(self.input));
        if let Some(outputs) = full.finish(false) {
            // A coordinator that has gone ends the call by cancelling it.
            self.reply.part(outputs).await;
        }
    }
}

/// Why an output was not added.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// The answer is full: send it and begin another.
    #[error("it does not fit into an answer of its own")]
    Full,
    /// The output is bad.
    #[error("{0}")]
    Bad(String),
}

impl From<EmitError> for Refused {
    fn from(error: EmitError) -> Self {
        match error {
            EmitError::Event(EventError::Full) => Self::Full,
            other => Self::Bad(other.to_string()),
        }
    }
}

/// Adds an output of the whole batch, which must be JSON.
fn emit_whole(builder: &mut OutputsBuilder, payload: &[u8], envelope: Envelope) -> Result<(), Refused> {
    if envelope == Envelope::CloudEvents {
        return emit_envelope(builder, None, payload);
    }
    crate::formats::check_json(payload).map_err(|error| Refused::Bad(format!("not JSON: {error}")))?;
    let event = OutputEvent { content_type: Some("application/json"), ..OutputEvent::default() };
    Ok(builder.emit(None, Some(payload), event)?)
}

/// Adds an output that came in an envelope.
pub(super) fn emit_envelope(
    builder: &mut OutputsBuilder,
    parent: Option<(&Batch, u32)>,
    json: &[u8],
) -> Result<(), Refused> {
    let event = cloudevents::parse(json).map_err(|error| Refused::Bad(error.to_string()))?;
    let written = parent.map(|(batch, row)| (batch, row as usize));
    let row = parent.map(|(_, row)| row);
    Ok(event.output(written, |overrides| builder.emit(row, Some(&event.payload), overrides))?)
}
