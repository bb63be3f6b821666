//! What sources hand out.

use std::{fmt, future::Future};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use serde::Serialize;

use crate::{error::Error, handler::IntoDelivered, output::Output};

/// What a source hands out: an event and, if the source can resume after it, a checkpoint.
#[must_use = "a record does nothing until a source yields it"]
pub struct Record {
    pub(crate) output: Output,
    pub(crate) checkpoint: Option<Result<Bytes, String>>,
    pub(crate) settled: Option<Receipt>,
}

/// What is run once an event has settled.
pub(crate) type Receipt = BoxFuture<'static, Result<(), Error>>;

impl Record {
    /// Sets CloudEvents `source`; without it the coordinator sets PIPELINE/NODE.
    pub fn source(mut self, source: impl Into<String>) -> Self {
        self.output.attributes.get_or_insert_default().source = Some(source.into());
        self
    }

    /// Sets the checkpoint; see [`Output::checkpoint`].
    pub fn checkpoint(mut self, checkpoint: impl Serialize) -> Self {
        self.checkpoint = Some(serde_json::to_vec(&checkpoint).map(Bytes::from).map_err(|error| error.to_string()));
        self
    }

    /// Sets what is run, once, when all that came from this event has settled or, if the source does not replay, when the
    /// event is durable: acknowledge a message, delete a file.
    ///
    /// It runs beside the source, up to 64 at a time, and may end with `()` or a `Result` of it; an error is logged. An
    /// event that does not settle while the source's stream is open is dropped without it: a source in front of a queue has no
    /// end of its own, but waits. What blocks its thread belongs into `tokio::task::spawn_blocking`.
    ///
    /// ```
    /// # use meshloom::{Output, Record};
    /// # struct Message { body: Vec<u8> }
    /// # impl Message { async fn acknowledge(self) -> std::io::Result<()> { Ok(()) } }
    /// fn record(mut message: Message) -> Record {
    ///     Output::bytes(std::mem::take(&mut message.body)).on_settled(message.acknowledge())
    /// }
    /// ```
    pub fn on_settled(mut self, settled: impl Future<Output: IntoDelivered> + Send + 'static) -> Self {
        self.settled = Some(settled.map(IntoDelivered::delivered).boxed());
        self
    }
}

impl fmt::Debug for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Record");
        shown.field("output", &self.output).field("checkpoint", &self.checkpoint).finish_non_exhaustive()
    }
}

impl From<Output> for Record {
    fn from(output: Output) -> Self {
        Self { output, checkpoint: None, settled: None }
    }
}

/// What a source may yield: an [`Output`] or a [`Record`], or a `Result` of one; an error ends the source's stream.
pub trait IntoRecord: Send + 'static {
    /// Makes the record.
    ///
    /// # Errors
    /// What the source yielded instead of a record.
    fn into_record(self) -> Result<Record, Error>;
}

impl IntoRecord for Record {
    fn into_record(self) -> Result<Record, Error> {
        Ok(self)
    }
}

impl IntoRecord for Output {
    fn into_record(self) -> Result<Record, Error> {
        Ok(self.into())
    }
}

impl<T: IntoRecord, E: Into<Error> + Send + 'static> IntoRecord for Result<T, E> {
    fn into_record(self) -> Result<Record, Error> {
        self.map_err(Into::into)?.into_record()
    }
}
