//! One event, as handlers of single events see it.

use std::time::{Duration, SystemTime};

use bytes::Bytes;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use crate::{
    columns::{Batch, ExtensionValue},
    error::{Error, reason, reject},
};

/// One event: a row of a batch. Everything is read when asked for; nothing is copied but where a method says so.
#[derive(Debug, Clone)]
pub struct Event {
    batch: Batch,
    row: u32,
}

impl Event {
    pub(crate) fn new(batch: Batch, row: usize) -> Self {
        Self { batch, row: row as u32 }
    }

    fn row(&self) -> usize {
        self.row as usize
    }

    /// Identity inside Meshloom, the same in every attempt: the idempotency key.
    #[must_use]
    pub fn uid(&self) -> Uuid {
        self.batch.uid(self.row())
    }

    /// The payload.
    #[must_use]
    pub fn data(&self) -> &[u8] {
        self.batch.payload(self.row())
    }

    /// The payload as a slice that shares the received buffer.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        self.batch.payload_bytes(self.row())
    }

    /// The payload as text.
    ///
    /// # Errors
    /// A reject with reason `PAYLOAD_MISMATCH` when it is not UTF-8.
    pub fn text(&self) -> Result<&str, Error> {
        std::str::from_utf8(self.data())
            .map_err(|error| reject(reason::PAYLOAD_MISMATCH, format!("the payload is not UTF-8: {error}")))
    }

    /// The payload as JSON.
    ///
    /// # Errors
    /// A reject with reason `PAYLOAD_MISMATCH` that names the field that does not fit.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Error> {
        parse_json(self.data())
    }

    /// Media type of the payload.
    #[must_use]
    pub fn content_type(&self) -> Option<&str> {
        self.batch.content_type(self.row())
    }

    /// CloudEvents `id`.
    #[must_use]
    pub fn id(&self) -> Option<&str> {
        self.batch.id(self.row())
    }

    /// CloudEvents `source`.
    #[must_use]
    pub fn source(&self) -> Option<&str> {
        self.batch.source(self.row())
    }

    /// CloudEvents `type`.
    #[must_use]
    pub fn kind(&self) -> Option<&str> {
        self.batch.kind(self.row())
    }

    /// CloudEvents `subject`.
    #[must_use]
    pub fn subject(&self) -> Option<&str> {
        self.batch.subject(self.row())
    }

    /// Ordering key.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.batch.key(self.row())
    }

    /// CloudEvents `dataschema`.
    #[must_use]
    pub fn data_schema(&self) -> Option<&str> {
        self.batch.data_schema(self.row())
    }

    /// The upstream as the pipeline file writes it; set when the node has several.
    #[must_use]
    pub fn from(&self) -> Option<&str> {
        self.batch.from(self.row())
    }

    /// Time of occurrence in UTC nanoseconds since the Unix epoch.
    #[must_use]
    pub fn time_ns(&self) -> Option<i64> {
        self.batch.time_ns(self.row())
    }

    /// Time of occurrence.
    #[must_use]
    pub fn time(&self) -> Option<SystemTime> {
        let nanos = self.time_ns()?;
        let distance = Duration::from_nanos(nanos.unsigned_abs());
        if nanos < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(distance)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(distance)
        }
    }

    /// One CloudEvents extension attribute.
    #[must_use]
    pub fn extension(&self, name: &str) -> Option<ExtensionValue> {
        self.batch.extension(self.row(), name)
    }

    /// Every CloudEvents extension attribute.
    pub fn extensions(&self) -> impl Iterator<Item = (&str, ExtensionValue)> {
        self.batch.extensions(self.row())
    }
}

/// Parses a payload; only a misfit pays for finding out which field it was.
pub(crate) fn parse_json<T: DeserializeOwned>(payload: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(payload).map_err(|_| {
        let mut json = serde_json::Deserializer::from_slice(payload);
        let message = match serde_path_to_error::deserialize::<_, T>(&mut json) {
            Err(error) if error.path().iter().len() > 0 => {
                format!("field `{}`: {}", error.path(), error.inner())
            }
            Err(error) => error.inner().to_string(),
            Ok(_) => "there is more after the JSON value".to_owned(),
        };
        reject(reason::PAYLOAD_MISMATCH, format!("the payload does not fit: {message}"))
    })
}
