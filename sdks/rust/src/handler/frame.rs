//! Records of a source gathered into frames.

use std::fmt::Write as _;

use bytes::Bytes;
use meshloom_proto::v1;
use sha2::{Digest as _, Sha256};

use crate::{
    columns::{
        ColumnsBuilder, NO_TIME, Text, ValuesBuilder,
        limits::{HELD_OUTPUT_BYTES, MAX_CHECKPOINT_BYTES, MAX_EVENT_BYTES, MAX_EXTENSIONS},
    },
    error::{Error, reason},
    output::{Output, Payload},
    record::{Receipt, Record},
    result::{check_attributes, check_text},
    trace::SentSpan,
};

/// Events at which a frame is sent even if more could be had at once.
const FRAME_EVENTS: usize = 4096;
/// Checkpoints of more bytes stand in ids by their hash.
const LONGEST_CHECKPOINT_IN_ID: usize = 256;

/// A frame under construction, and what ids and checkpoints need from the records before it.
pub(crate) struct Framer {
    sequence: u64,
    frame: Frame,
    spans: Vec<(u32, SentSpan)>,
    receipts: Vec<Receipt>,
    /// The last checkpoint, as it goes over the wire and as it stands in ids.
    checkpoint: Option<Bytes>,
    checkpoint_in_id: String,
    since_checkpoint: u64,
    /// Whether events come again, and need ids that are then the same. Of others a made-up id would be that of another
    /// event after a restart.
    replays: bool,
    id: String,
}

/// Events on their way into columns.
#[derive(Default)]
pub(crate) struct Frame {
    payload: ValuesBuilder,
    columns: ColumnsBuilder,
}

impl Frame {
    pub(crate) fn len(&self) -> usize {
        self.payload.len()
    }

    /// Bytes of the payloads.
    pub(crate) fn bytes(&self) -> u64 {
        self.payload.data.len() as u64
    }

    /// Whether the frame should go out although more may come at once.
    pub(crate) fn is_full(&self) -> bool {
        self.len() >= FRAME_EVENTS || self.payload.data.len() + self.columns.bytes >= HELD_OUTPUT_BYTES
    }

    /// An extension for which the frame has no room.
    pub(crate) fn excess_extension<'a>(&self, output: &'a Output) -> Option<&'a str> {
        let mut names = output.attributes.iter().flat_map(|attributes| &attributes.extensions);
        names.find(|(name, _)| !self.columns.has_room_for_extension(name)).map(|(name, _)| name.as_str())
    }

    /// Adds an event that has passed [`check_output`] and [`excess_extension`](Self::excess_extension).
    pub(crate) fn add(&mut self, output: &Output, id: Option<&str>) {
        let row = self.len();
        match &output.payload {
            Payload::Owned(data) => self.payload.push(data),
            Payload::Shared(data) => self.payload.push(data),
            Payload::Parent | Payload::Invalid(_) => self.payload.push(&[]),
        }
        let columns = &mut self.columns;
        if let Some(content_type) = &output.content_type {
            columns.set_text(row, Text::ContentType, content_type);
        }
        if let Some(attributes) = &output.attributes {
            for (column, value) in attributes.texts() {
                if let Some(value) = value.filter(|value| !value.is_empty() && column != Text::Route) {
                    columns.set_text(row, column, value);
                }
            }
            if let Some(time) = attributes.time {
                columns.set_time(row, time, NO_TIME);
            }
            for (name, value) in &attributes.extensions {
                if value.is_some() {
                    columns.set_extension(row, name, value.clone());
                }
            }
        }
        if let Some(id) = id {
            columns.set_text(row, Text::Id, id);
        }
    }

    pub(crate) fn finish(self) -> v1::Batch {
        let Self { payload, columns } = self;
        let count = payload.len() as u32;
        let rows: Vec<u32> = (0..count).collect();
        v1::Batch {
            count,
            payload: Some(payload.finish()),
            content_type: columns.finish_text(&rows, Text::ContentType),
            time: columns.finish_time(&rows, NO_TIME),
            id: columns.finish_text(&rows, Text::Id),
            source: columns.finish_text(&rows, Text::Source),
            r#type: columns.finish_text(&rows, Text::Type),
            subject: columns.finish_text(&rows, Text::Subject),
            key: columns.finish_text(&rows, Text::Key),
            data_schema: columns.finish_text(&rows, Text::DataSchema),
            extensions: columns.finish_extensions(&rows),
            ..v1::Batch::default()
        }
    }
}

/// Checks an event that has no parent against the limits of the protocol.
pub(crate) fn check_output(output: &Output) -> Result<(), Error> {
    let size = match &output.payload {
        Payload::Owned(data) => data.len(),
        Payload::Shared(data) => data.len(),
        Payload::Parent => {
            return Err(source_error("a source has no parent event: give the record a payload".to_owned()));
        }
        Payload::Invalid(why) => return Err(source_error(why.clone())),
    };
    if size > MAX_EVENT_BYTES {
        return Err(source_error(format!("a record has {size} bytes; at most {MAX_EVENT_BYTES} are allowed")));
    }
    check_text(Text::ContentType, output.content_type.as_deref())?;
    output.attributes.as_deref().map_or(Ok(()), check_attributes)
}

impl Framer {
    /// Starts after the checkpoint that the source resumes from.
    pub(crate) fn new(checkpoint: Option<Bytes>, replays: bool) -> Self {
        let checkpoint_in_id = checkpoint.as_deref().map_or_else(String::new, in_id);
        Self {
            sequence: 0,
            frame: Frame::default(),
            spans: Vec::new(),
            receipts: Vec::new(),
            checkpoint,
            checkpoint_in_id,
            since_checkpoint: 0,
            replays,
            id: String::new(),
        }
    }

    pub(crate) fn events(&self) -> u64 {
        self.frame.len() as u64
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.frame.bytes()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.frame.len() == 0
    }

    /// Whether the frame should go out although more may come at once.
    pub(crate) fn is_full(&self) -> bool {
        self.frame.is_full()
    }

    /// Adds a record. What breaks a limit ends the source: there is no verdict for an event that was never accepted.
    pub(crate) fn push(
        &mut self,
        record: Record,
        span: impl FnOnce(Option<&str>) -> Option<SentSpan>,
    ) -> Result<(), Error> {
        let Record { output, checkpoint, settled } = record;
        check_output(&output)?;
        let checkpoint = self.check(checkpoint)?;
        if let Some(name) = self.frame.excess_extension(&output) {
            return Err(source_error(format!(
                "extension `{name}` would be one more than the {MAX_EXTENSIONS} names that a frame may hold"
            )));
        }
        self.since_checkpoint += 1;
        let mut id = output.own_id();
        if id.is_none() && self.replays {
            self.id.clear();
            write!(self.id, "{}#{}", self.checkpoint_in_id, self.since_checkpoint).expect("writing to a string");
            id = Some(&self.id);
        }
        if let Some(span) = span(id) {
            self.spans.push((self.frame.len() as u32, span));
        }
        self.frame.add(&output, id);
        self.receipts.extend(settled);
        if let Some(checkpoint) = checkpoint {
            self.checkpoint_in_id = in_id(&checkpoint);
            self.checkpoint = Some(checkpoint);
            self.since_checkpoint = 0;
        }
        Ok(())
    }

    fn check(&self, checkpoint: Option<Result<Bytes, String>>) -> Result<Option<Bytes>, Error> {
        let Some(checkpoint) = checkpoint else {
            return Ok(None);
        };
        let checkpoint =
            checkpoint.map_err(|error| source_error(format!("a checkpoint cannot be written as JSON: {error}")))?;
        if checkpoint.len() > MAX_CHECKPOINT_BYTES {
            return Err(source_error(format!(
                "a checkpoint has {} bytes; at most {MAX_CHECKPOINT_BYTES} are allowed",
                checkpoint.len()
            )));
        }
        if self.checkpoint.as_ref() == Some(&checkpoint) {
            let shown = String::from_utf8_lossy(&checkpoint);
            return Err(Error::retry(
                reason::CHECKPOINT_REPEATED,
                format!(
                    "two records in a row have the checkpoint {shown}; of several events that belong to one checkpoint only the last may carry it"
                ),
            ));
        }
        Ok(Some(checkpoint))
    }

    /// Ends the frame: what is sent, and what is run when it has settled.
    pub(crate) fn finish(&mut self) -> (v1::Produced, Vec<Receipt>) {
        let mut batch = std::mem::take(&mut self.frame).finish();
        batch.spans = std::mem::take(&mut self.spans).into_iter().map(|(row, span)| span.end(row)).collect();
        self.sequence += 1;
        let produced =
            v1::Produced { sequence: self.sequence, batch: Some(batch), checkpoint: self.checkpoint.clone() };
        (produced, std::mem::take(&mut self.receipts))
    }
}

/// How a checkpoint stands in ids: as it is, unless that would make ids large.
fn in_id(checkpoint: &[u8]) -> String {
    if checkpoint.len() > LONGEST_CHECKPOINT_IN_ID {
        return Sha256::digest(checkpoint).iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
    }
    String::from_utf8_lossy(checkpoint).into_owned()
}

fn source_error(message: String) -> Error {
    Error::retry(reason::OUTPUT_INVALID, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_checkpoint_stands_in_ids_by_its_hash() {
        assert_eq!(in_id(&[b'7'; 256]), "7".repeat(256));
        assert_eq!(in_id(&[b'a'; 257]), "e8d95cc2b4bc198c54b40bd214df958afb65f5e73d2c2eafe0593cf5c635c1f0");
    }
}
