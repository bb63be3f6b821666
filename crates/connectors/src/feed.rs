//! From decoded records to frames within the demand; and the pump from a stream of bytes that cannot be read again.

use meshloom_config::exec::Envelope;
use meshloom_core::batch::{Batch, BatchBuilder, Event, EventError};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::{
    formats::{Decoder, FormatError, check_json, cloudevents},
    link::{Credit, Link, Stopped},
};

/// Bytes read at a time.
const CHUNK: usize = 64 << 10;
/// Largest frame, in events.
const FRAME_EVENTS: u64 = 4096;
/// Largest frame, in bytes of payload; a larger event goes alone.
const FRAME_BYTES: u64 = 1 << 20;
/// How far a stream that cannot be read again is read ahead of what is durable: a crash loses no more than this.
pub(crate) const UNSETTLED: Credit = Credit { events: 16_384, bytes: 16 << 20 };

/// How records become events.
#[derive(Debug, Clone, Default)]
pub(crate) struct Reading {
    /// Whether a record is a payload or a whole event.
    pub(crate) envelope: Envelope,
    /// Media type of payloads.
    pub(crate) content_type: Option<&'static str>,
    /// Whether a `null` that stands by itself is no event.
    pub(crate) skip_null: bool,
    /// Whether payloads must be JSON. Else that is left to whoever reads them.
    pub(crate) check_json: bool,
}

/// Why no frame could be made.
#[derive(Debug, Clone)]
pub(crate) enum FeedError {
    /// The coordinator wants no more.
    Stopped,
    /// The bytes are not of the format.
    Bad(FormatError),
    /// The bytes could not be read.
    Unreadable(String),
}

impl From<Stopped> for FeedError {
    fn from(_: Stopped) -> Self {
        Self::Stopped
    }
}

impl From<FormatError> for FeedError {
    fn from(error: FormatError) -> Self {
        Self::Bad(error)
    }
}

/// A frame and where it ended.
pub(crate) struct Frame {
    pub(crate) batch: Batch,
    /// Offset behind its last record.
    pub(crate) end: u64,
}

/// A record that did not fit into the frame.
struct Held {
    payload: Vec<u8>,
    start: u64,
    end: u64,
}

/// Records of one stream of bytes, made into frames.
pub(crate) struct Feed {
    pub(crate) decoder: Decoder,
    reading: Reading,
    held: Option<Held>,
    /// What was found behind the records of the last frame.
    bad: Option<FormatError>,
    /// Given to each event with its offset: `IDENTITY@OFFSET`.
    identity: Option<String>,
}

impl Feed {
    /// Events have no ids.
    pub(crate) fn new(decoder: Decoder, reading: Reading) -> Self {
        Self { decoder, reading, held: None, bad: None, identity: None }
    }

    /// Events have ids from where they stand.
    pub(crate) fn with_identity(decoder: Decoder, reading: Reading, identity: String) -> Self {
        Self { identity: Some(identity), ..Self::new(decoder, reading) }
    }

    /// The next frame from what was fed; nothing: more bytes are needed.
    pub(crate) fn frame(&mut self, credit: Credit) -> Result<Option<Frame>, FormatError> {
        let most = Credit { events: credit.events.min(FRAME_EVENTS), bytes: credit.bytes.min(FRAME_BYTES) };
        let mut frame = FrameBuilder { builder: BatchBuilder::new(), payload_bytes: 0, end: 0, id: String::new() };
        if let Some(bad) = self.bad.take() {
            return Err(bad);
        }
        match self.fill(&mut frame, most) {
            Ok(()) => {}
            Err(bad) if frame.builder.is_empty() => return Err(bad),
            // What stands before it is good.
            Err(bad) => self.bad = Some(bad),
        }
        let end = frame.end;
        Ok((!frame.builder.is_empty()).then(|| Frame { batch: frame.builder.finish(), end }))
    }

    fn fill(&mut self, frame: &mut FrameBuilder, most: Credit) -> Result<(), FormatError> {
        let identity = self.identity.as_deref();
        if let Some(held) = self.held.take() {
            // Any credit admits one event, and an empty batch takes any.
            let fits = frame.push(&self.reading, identity, &held.payload, held.start, held.end, most)?;
            debug_assert!(fits, "one event must always fit");
        }
        while let Some(record) = self.decoder.next_record()? {
            if self.reading.skip_null && record.top_level && record.payload == b"null" {
                continue;
            }
            let (payload, start, end) = (record.payload, record.start, record.end);
            if !frame.push(&self.reading, identity, payload, start, end, most)? {
                self.held = Some(Held { payload: payload.to_vec(), start, end });
                break;
            }
        }
        Ok(())
    }

    /// Reads a stream to its end, as fast as frames are taken and made durable.
    pub(crate) async fn pump(
        &mut self,
        link: &mut Link,
        mut reader: Box<dyn AsyncRead + Send + Unpin>,
    ) -> Result<(), FeedError> {
        let mut chunk = vec![0; CHUNK];
        let mut ended = false;
        loop {
            let credit = link.ready(Some(UNSETTLED)).await?;
            if let Some(frame) = self.frame(credit)? {
                link.send(frame.batch, None).await?;
                continue;
            }
            if ended {
                return Ok(());
            }
            let read = loop {
                tokio::select! {
                    read = reader.read(&mut chunk) => break read,
                    heard = link.hear() => heard.map(|_| ())?,
                }
            };
            match read.map_err(|error| FeedError::Unreadable(error.to_string()))? {
                0 => {
                    self.decoder.finish();
                    ended = true;
                }
                read => self.decoder.feed(&chunk[..read]),
            }
        }
    }
}

struct FrameBuilder {
    builder: BatchBuilder,
    payload_bytes: u64,
    end: u64,
    id: String,
}

impl FrameBuilder {
    /// Adds a record; `false`: it does not fit.
    fn push(
        &mut self,
        reading: &Reading,
        identity: Option<&str>,
        record: &[u8],
        start: u64,
        end: u64,
        most: Credit,
    ) -> Result<bool, FormatError> {
        let bad = |message: String| FormatError { code: "BAD_FORMAT", message, offset: start };
        if reading.check_json {
            check_json(record).map_err(|error| bad(format!("not JSON: {error}")))?;
        }
        let envelope = match reading.envelope {
            Envelope::CloudEvents => Some(cloudevents::parse(record).map_err(|error| bad(error.to_string()))?),
            Envelope::Data => None,
        };
        let bytes = envelope.as_ref().map_or(record.len(), |event| event.payload.len()) as u64;
        let first = self.builder.is_empty();
        if !first && (self.builder.len() as u64 >= most.events || self.payload_bytes + bytes > most.bytes) {
            return Ok(false);
        }
        let pushed = match &envelope {
            Some(event) => event.event(None, |event| self.builder.push(event)),
            None => {
                let id = identity.map(|identity| {
                    use std::fmt::Write;
                    self.id.clear();
                    // Writing to a String cannot fail.
                    let _ = write!(self.id, "{identity}@{start}");
                    self.id.as_str()
                });
                let event = Event { payload: record, content_type: reading.content_type, id, ..Event::default() };
                self.builder.push(event)
            }
        };
        match pushed {
            Ok(()) => {
                self.payload_bytes += bytes;
                self.end = end;
                Ok(true)
            }
            Err(EventError::Full) if !first => Ok(false),
            Err(error) => Err(bad(error.to_string())),
        }
    }
}
