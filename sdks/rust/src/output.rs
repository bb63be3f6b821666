//! What handlers and sources hand out.

use std::{
    borrow::Cow,
    future::Future,
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use serde::Serialize;

use crate::{
    columns::{ExtensionValue, NO_TIME},
    error::Error,
    event::Event,
    extract::Json,
    handler::IntoDelivered,
    record::Record,
    result::Rows,
};

/// Content type of raw bytes.
const BYTES: &str = "application/octet-stream";
/// Content type of text.
const TEXT: &str = "text/plain";

/// An output event. What is not set stays as the parent's, but a payload of its own brings its own content type.
///
/// ```
/// use meshloom::Output;
/// # #[derive(serde::Serialize)] struct Alert { hot: bool }
/// let output = Output::json(Alert { hot: true }).key("sensor-7").route("hot").extension("site", "north");
/// ```
#[derive(Debug, Clone)]
#[must_use = "an output does nothing until a handler returns it"]
pub struct Output {
    pub(crate) payload: Payload,
    pub(crate) content_type: Option<Cow<'static, str>>,
    pub(crate) attributes: Option<Box<Attributes>>,
}

#[derive(Debug, Clone)]
pub(crate) enum Payload {
    Parent,
    Owned(Vec<u8>),
    Shared(Bytes),
    /// The value could not be encoded, and why.
    Invalid(String),
}

/// Attributes that differ from the parent's.
#[derive(Debug, Clone, Default)]
pub(crate) struct Attributes {
    pub(crate) kind: Option<String>,
    pub(crate) subject: Option<String>,
    pub(crate) key: Option<String>,
    pub(crate) id: Option<String>,
    pub(crate) route: Option<String>,
    pub(crate) data_schema: Option<String>,
    pub(crate) source: Option<String>,
    pub(crate) time: Option<i64>,
    pub(crate) extensions: Vec<(String, Option<ExtensionValue>)>,
}

impl Output {
    fn new(payload: Payload, content_type: Option<&'static str>) -> Self {
        Self { payload, content_type: content_type.map(Cow::Borrowed), attributes: None }
    }

    /// A JSON payload; content type `application/json`. A value that JSON cannot hold rejects the event OUTPUT_INVALID.
    pub fn json(value: impl Serialize) -> Self {
        let payload = match serde_json::to_vec(&value) {
            Ok(bytes) => Payload::Owned(bytes),
            Err(error) => Payload::Invalid(format!("the output cannot be written as JSON: {error}")),
        };
        Self::new(payload, Some("application/json"))
    }

    /// Raw bytes; content type `application/octet-stream`.
    pub fn bytes(bytes: impl Into<Bytes>) -> Self {
        Self::new(Payload::Shared(bytes.into()), Some(BYTES))
    }

    /// Text; content type `text/plain`.
    pub fn text(text: impl Into<String>) -> Self {
        Self::new(Payload::Owned(text.into().into_bytes()), Some(TEXT))
    }

    /// The parent's payload and content type, unchanged; nothing travels back but what is set besides.
    pub fn unchanged() -> Self {
        Self::new(Payload::Parent, None)
    }

    /// The id that was set.
    pub(crate) fn own_id(&self) -> Option<&str> {
        self.attributes.as_ref()?.id.as_deref().filter(|id| !id.is_empty())
    }

    /// Sets the media type of the payload.
    pub fn content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(Cow::Owned(content_type.into()));
        self
    }

    fn with(mut self, set: impl FnOnce(&mut Attributes)) -> Self {
        set(self.attributes.get_or_insert_default());
        self
    }

    /// Sets the ordering key, at most 1 KiB; `""` clears it.
    pub fn key(self, key: impl Into<String>) -> Self {
        self.with(|attributes| attributes.key = Some(key.into()))
    }

    /// Sends the output along a route of the node instead of its main output.
    pub fn route(self, route: impl Into<String>) -> Self {
        self.with(|attributes| attributes.route = Some(route.into()))
    }

    /// Sets CloudEvents `type`; `""` clears it.
    pub fn kind(self, kind: impl Into<String>) -> Self {
        self.with(|attributes| attributes.kind = Some(kind.into()))
    }

    /// Sets CloudEvents `subject`; `""` clears it.
    pub fn subject(self, subject: impl Into<String>) -> Self {
        self.with(|attributes| attributes.subject = Some(subject.into()))
    }

    /// Sets CloudEvents `dataschema`; `""` clears it.
    pub fn data_schema(self, data_schema: impl Into<String>) -> Self {
        self.with(|attributes| attributes.data_schema = Some(data_schema.into()))
    }

    /// Sets CloudEvents `id`: the identity of the output follows from it, however often or in which order it is made.
    pub fn id(self, id: impl Into<String>) -> Self {
        self.with(|attributes| attributes.id = Some(id.into()))
    }

    /// Sets the time of occurrence.
    pub fn time(self, time: SystemTime) -> Self {
        let nanos = match time.duration_since(UNIX_EPOCH) {
            Ok(after) => i64::try_from(after.as_nanos()).unwrap_or(i64::MAX),
            Err(before) => i64::try_from(before.duration().as_nanos()).map_or(NO_TIME + 2, |nanos| -nanos),
        };
        self.time_ns(nanos)
    }

    /// Sets the time of occurrence in UTC nanoseconds since the Unix epoch.
    pub fn time_ns(self, nanos: i64) -> Self {
        // The two lowest values mean "none" and "as the parent's" on the wire.
        self.with(|attributes| attributes.time = Some(nanos.max(NO_TIME + 2)))
    }

    /// Clears the time of occurrence.
    pub fn no_time(self) -> Self {
        self.with(|attributes| attributes.time = Some(NO_TIME))
    }

    /// Sets a CloudEvents extension attribute; its name is 1 to 64 characters of [a-z0-9].
    pub fn extension(self, name: impl Into<String>, value: impl Into<ExtensionValue>) -> Self {
        self.with(|attributes| attributes.extensions.push((name.into(), Some(value.into()))))
    }

    /// Removes a CloudEvents extension attribute that the parent has.
    pub fn without_extension(self, name: impl Into<String>) -> Self {
        self.with(|attributes| attributes.extensions.push((name.into(), None)))
    }

    /// Makes a record of a source: the checkpoint says that this event and all before it need not come again.
    ///
    /// It is any value that JSON can hold, at most 64 KiB, and must differ from the checkpoint before it.
    pub fn checkpoint(self, checkpoint: impl Serialize) -> Record {
        Record::from(self).checkpoint(checkpoint)
    }

    /// Makes a record of a source; see [`Record::on_settled`].
    pub fn on_settled(self, settled: impl Future<Output: IntoDelivered> + Send + 'static) -> Record {
        Record::from(self).on_settled(settled)
    }
}

/// What can be an output event: [`Output`], [`Json`], [`Event`] (unchanged), text or bytes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an output event",
    note = "return an `Output`, `Json<T>`, `Event`, `String` or `Vec<u8>`; `Option` of one for a drop; `meshloom::Result` of either to reject or retry"
)]
pub trait IntoOutput: Send + 'static {
    /// Makes the output.
    fn into_output(self) -> Output;

    #[doc(hidden)]
    fn write(self, parent: u32, rows: &mut Rows) -> Result<(), Error>
    where
        Self: Sized,
    {
        rows.push(parent, self.into_output())
    }
}

impl IntoOutput for Output {
    fn into_output(self) -> Output {
        self
    }
}

impl IntoOutput for Event {
    fn into_output(self) -> Output {
        Output::unchanged()
    }
}

impl<T: Serialize + Send + 'static> IntoOutput for Json<T> {
    fn into_output(self) -> Output {
        Output::json(self.0)
    }

    fn write(self, parent: u32, rows: &mut Rows) -> Result<(), Error> {
        rows.push_json(parent, &self.0)
    }
}

impl IntoOutput for String {
    fn into_output(self) -> Output {
        Output::text(self)
    }

    fn write(self, parent: u32, rows: &mut Rows) -> Result<(), Error> {
        rows.push_data(parent, self.as_bytes(), TEXT)
    }
}

impl IntoOutput for &'static str {
    fn into_output(self) -> Output {
        Output::text(self)
    }
}

impl IntoOutput for Vec<u8> {
    fn into_output(self) -> Output {
        Output::bytes(self)
    }

    fn write(self, parent: u32, rows: &mut Rows) -> Result<(), Error> {
        rows.push_data(parent, &self, BYTES)
    }
}

impl IntoOutput for Bytes {
    fn into_output(self) -> Output {
        Output::bytes(self)
    }

    fn write(self, parent: u32, rows: &mut Rows) -> Result<(), Error> {
        rows.push_data(parent, &self, BYTES)
    }
}

/// What a `map` handler may return: an output, `Option` of one (`None` drops the event), or a `Result` of either.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no answer of a map handler",
    note = "a map must return a value: an `Output`, `Json<T>`, `Event`, `String` or `Vec<u8>`; `Option` of one for a drop; `meshloom::Result` of either",
    note = "a handler that returns nothing is a sink: use `.sink(handler)`"
)]
pub trait IntoAnswer: Send + 'static {
    #[doc(hidden)]
    fn answer(self, parent: u32, rows: &mut Rows) -> Result<bool, Error>;
}

impl<T: IntoOutput> IntoAnswer for T {
    fn answer(self, parent: u32, rows: &mut Rows) -> Result<bool, Error> {
        self.write(parent, rows).map(|()| true)
    }
}

impl<T: IntoOutput> IntoAnswer for Option<T> {
    fn answer(self, parent: u32, rows: &mut Rows) -> Result<bool, Error> {
        self.map_or(Ok(false), |output| output.write(parent, rows).map(|()| true))
    }
}

impl<T: IntoAnswer, E: Into<Error> + Send + 'static> IntoAnswer for Result<T, E> {
    fn answer(self, parent: u32, rows: &mut Rows) -> Result<bool, Error> {
        self.map_err(Into::into)?.answer(parent, rows)
    }
}
