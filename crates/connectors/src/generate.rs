//! The source that makes events up, for trials. Event n is the same at every run.

use std::{borrow::Cow, fmt::Write as _, time::Duration};

use bytes::Bytes;
use meshloom_config::{EventView, Rate, Template, connector::Generate};
use meshloom_core::{
    batch::{Batch, BatchBuilder, Event},
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
const FRAME: Credit = Credit { events: 1024, bytes: 1 << 20 };

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

    fn frame(&mut self, most: Credit) -> Result<Batch, NodeError> {
        let mut builder =
            BatchBuilder::with_capacity(most.events as usize, self.text.bytes(most.events).min(most.bytes) as usize);
        let mut bytes = 0;
        let mut id = String::new();
        while builder.is_empty() || (builder.len() as u64) < most.events {
            let number = self.done + 1;
            let (payload, content_type) = self.text.of(number)?;
            if payload.len() as u64 > self.max_event {
                let message = format!("event {number} has {} bytes, `max_event` is {}", payload.len(), self.max_event);
                return Err(NodeError::new("EVENT_TOO_LARGE", message, "shorten the template, or raise `max_event`"));
            }
            if !builder.is_empty() && bytes + payload.len() as u64 > most.bytes {
                break;
            }
            id.clear();
            // Writing to a String cannot fail.
            let _ = write!(id, "{number}");
            let event = Event {
                payload: payload.as_bytes(),
                id: Some(&id),
                content_type: Some(content_type),
                ..Event::default()
            };
            builder
                .push(event)
                .map_err(|error| NodeError::new("EVENT_TOO_LARGE", error.to_string(), "shorten the template"))?;
            bytes += payload.len() as u64;
            self.done = number;
        }
        Ok(builder.finish())
    }
}

/// What the events say.
enum Text {
    /// All the same, so that a source for measurements costs little.
    Constant(String, &'static str),
    /// Rendered for each.
    Template(Template),
}

impl Text {
    fn new(template: Template) -> Self {
        match template.constant() {
            Some(text) => Self::Constant(text.to_owned(), content_type(text)),
            None => Self::Template(template),
        }
    }

    /// Bytes that this many payloads are about.
    fn bytes(&self, events: u64) -> u64 {
        let each = match self {
            Self::Constant(text, _) => text.len(),
            Self::Template(template) => template.source().len(),
        };
        events.saturating_mul(each as u64)
    }

    /// Payload and media type of an event.
    fn of(&self, number: u64) -> Result<(Cow<'_, str>, &'static str), NodeError> {
        let template = match self {
            Self::Constant(text, content_type) => return Ok((text.into(), content_type)),
            Self::Template(template) => template,
        };
        let data = format!("{{\"n\":{number}}}");
        let payload = template.render(&EventView::of_payload(data.as_bytes())).map_err(|error| {
            NodeError::new(
                "TEMPLATE_FAILED",
                format!("event {number}: {error}"),
                "the template sees data.n, the event's number",
            )
        })?;
        let content_type = content_type(&payload);
        Ok((payload.into(), content_type))
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
