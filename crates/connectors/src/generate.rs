//! The source that makes events up, for trials. Event n is the same at every run.

use std::time::Duration;

use bytes::Bytes;
use meshloom_config::{EventView, Rate, Template, connector::Generate};
use meshloom_core::{
    batch::{Batch, BatchBuilder, Columns, Event, Strings, Values},
    exchange::{FromSource, ToSource},
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};

use crate::{
    BoxFuture, NodeError, OpenContext, OpenError, SourceNode,
    formats::check_json,
    link::{Credit, Link, Stopped},
};

/// Largest frame.
const FRAME: Credit = Credit { events: 4096, bytes: 1 << 20 };

/// Makes events up.
pub(crate) struct Generator {
    count: Option<u64>,
    rate: Option<Rate>,
    text: Text,
    max_event: u64,
    /// How many have been made before.
    done: u64,
}

impl Generator {
    pub(crate) fn open(spec: Generate, context: &OpenContext) -> Result<Self, OpenError> {
        let done = match &context.checkpoint {
            None => 0,
            Some(checkpoint) => {
                std::str::from_utf8(checkpoint).ok().and_then(|text| text.parse().ok()).ok_or_else(|| {
                    OpenError::new(
                        "BAD_CHECKPOINT",
                        format!("node {}: the stored position is not one of `generate`", context.node),
                        "if the node was something else before, start over with --fresh",
                    )
                })?
            }
        };
        let Generate { count, rate, template } = spec;
        Ok(Self { count, rate, text: Text::new(template), max_event: context.max_event, done })
    }

    async fn produce(mut self, mut link: Link) -> Result<(), NodeError> {
        let begin = Instant::now();
        let first = self.done;
        loop {
            let left = self.count.map_or(u64::MAX, |count| count.saturating_sub(self.done));
            if left == 0 {
                link.exhausted().await;
                return Ok(());
            }
            let Ok(credit) = link.ready(None).await else {
                return Ok(());
            };
            let due = match self.due(begin, first, &mut link).await {
                Ok(due) => due,
                Err(Stopped) => return Ok(()),
            };
            let most = Credit {
                events: credit.events.min(FRAME.events).min(left).min(due),
                bytes: credit.bytes.min(FRAME.bytes),
            };
            let batch = self.frame(most)?;
            let checkpoint = Bytes::from(self.done.to_string());
            if link.send(batch, Some(checkpoint)).await.is_err() {
                return Ok(());
            }
        }
    }

    /// How many events the rate allows now, at least one: waits for it.
    async fn due(&self, begin: Instant, first: u64, link: &mut Link) -> Result<u64, Stopped> {
        let Some(rate) = self.rate else {
            return Ok(u64::MAX);
        };
        let made = self.done - first;
        loop {
            let allowed = (begin.elapsed().as_secs_f64() * rate.per_second()) as u64 + 1;
            if allowed > made {
                return Ok(allowed - made);
            }
            let wait = Duration::try_from_secs_f64(made as f64 / rate.per_second()).unwrap_or(Duration::MAX);
            let next = begin.checked_add(wait).unwrap_or(begin + Duration::from_secs(86_400 * 365));
            tokio::select! {
                () = sleep_until(next) => {}
                heard = link.hear() => heard.map(|_| ())?,
            }
        }
    }

    /// The next events, `most` at most but one at least.
    fn frame(&mut self, most: Credit) -> Result<Batch, NodeError> {
        let first = self.done + 1;
        let batch = match &self.text {
            Text::Constant(constant) => {
                self.check_size(first, constant.bytes)?;
                constant.frame(first, most)?
            }
            Text::Template(template) => self.render(template, first, most)?,
        };
        self.done += batch.len() as u64;
        Ok(batch)
    }

    fn check_size(&self, number: u64, bytes: u64) -> Result<(), NodeError> {
        if bytes <= self.max_event {
            return Ok(());
        }
        Err(too_large(format!("event {number} has {bytes} bytes, `max_event` is {}", self.max_event)))
    }

    fn render(&self, template: &Template, first: u64, most: Credit) -> Result<Batch, NodeError> {
        let expected = most.events.saturating_mul(template.source().len() as u64);
        let mut builder = BatchBuilder::with_capacity(most.events as usize, expected.min(most.bytes) as usize);
        let mut bytes = 0;
        let mut id = itoa::Buffer::new();
        for number in first..first + most.events {
            let data = format!("{{\"n\":{number}}}");
            let payload = template.render(&EventView::of_payload(data.as_bytes())).map_err(|error| {
                let remedy = "the template sees data.n, the event's number";
                NodeError::new("TEMPLATE_FAILED", format!("event {number}: {error}"), remedy)
            })?;
            self.check_size(number, payload.len() as u64)?;
            if !builder.is_empty() && bytes + payload.len() as u64 > most.bytes {
                break;
            }
            let event = Event {
                payload: payload.as_bytes(),
                id: Some(id.format(number)),
                content_type: Some(content_type(&payload)),
                ..Event::default()
            };
            builder.push(event).map_err(|error| too_large(error.to_string()))?;
            bytes += payload.len() as u64;
        }
        Ok(builder.finish())
    }
}

fn too_large(message: String) -> NodeError {
    NodeError::new("EVENT_TOO_LARGE", message, "shorten the template, or raise `max_event`")
}

/// What the events say.
enum Text {
    /// All the same.
    Constant(Constant),
    /// Rendered for each.
    Template(Template),
}

impl Text {
    fn new(template: Template) -> Self {
        match template.constant() {
            Some(text) => Self::Constant(Constant::new(text)),
            None => Self::Template(template),
        }
    }
}

/// One payload over and over: every frame is a slice of the same columns, so that a source for measurements costs little.
struct Constant {
    /// Of one payload.
    bytes: u64,
    /// As many as fit the largest frame.
    payloads: Values,
    content_type: Strings,
}

impl Constant {
    fn new(text: &str) -> Self {
        let bytes = text.len() as u64;
        let count = (FRAME.bytes / bytes.max(1)).clamp(1, FRAME.events);
        Self {
            bytes,
            payloads: Values {
                data: text.repeat(count as usize).into(),
                ends: (1..=count).flat_map(|row| ((row * bytes) as u32).to_le_bytes()).collect(),
            },
            content_type: Strings::constant(content_type(text)),
        }
    }

    fn frame(&self, first: u64, most: Credit) -> Result<Batch, NodeError> {
        let count = (self.payloads.len() as u64).min(most.events).min(most.bytes / self.bytes.max(1)).max(1);
        let mut ids = Vec::with_capacity(count as usize * 8);
        let mut ends = Vec::with_capacity(count as usize * 4);
        for number in first..first + count {
            ids.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
            ends.extend_from_slice(&(ids.len() as u32).to_le_bytes());
        }
        let payload = Values {
            data: self.payloads.data.slice(..(count * self.bytes) as usize),
            ends: self.payloads.ends.slice(..count as usize * 4),
        };
        let columns = Columns {
            count: count as u32,
            payload: Some(payload),
            content_type: Some(self.content_type.clone()),
            id: Some(Strings { values: Values { data: ids.into(), ends: ends.into() }, index: Bytes::new() }),
            ..Columns::default()
        };
        Batch::from_columns(columns).map_err(|error| too_large(error.to_string()))
    }
}

fn content_type(payload: &str) -> &'static str {
    if check_json(payload.as_bytes()).is_ok() { "application/json" } else { "text/plain" }
}

impl SourceNode for Generator {
    fn replays(&self) -> bool {
        true
    }

    fn run(
        self: Box<Self>,
        input: mpsc::Receiver<ToSource>,
        output: mpsc::Sender<FromSource>,
    ) -> BoxFuture<'static, Result<(), NodeError>> {
        Box::pin(self.produce(Link::new(input, output)))
    }
}
