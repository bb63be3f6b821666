//! The sources: events as the config's program has them.

use std::{sync::Arc, time::Duration};

use meshloom::{Checkpoint, Output, Record, Result, SourceContext, stream, stream::StreamExt as _};
use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Value, json};

use crate::app::App;

#[derive(Debug, Clone, Deserialize)]
#[serde(default)]
pub(crate) struct Program {
    count: u64,
    checkpoint_every: u64,
    checkpoint_digits: usize,
    ids: bool,
    attributes: bool,
    traceparent: String,
    pause_ms: u64,
    bytes: usize,
    fail_at: u64,
    repeat_checkpoint: u64,
}

impl Default for Program {
    fn default() -> Self {
        Self {
            count: 0,
            checkpoint_every: 1,
            checkpoint_digits: 0,
            ids: false,
            attributes: false,
            traceparent: String::new(),
            pause_ms: 0,
            bytes: 0,
            fail_at: 0,
            repeat_checkpoint: 0,
        }
    }
}

/// The number of an event: as such, or in the digits of a string.
pub(crate) struct Position(u64);

impl<'de> Deserialize<'de> for Position {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written {
            Number(u64),
            Digits(String),
        }
        match Written::deserialize(deserializer)? {
            Written::Number(number) => Ok(Self(number)),
            Written::Digits(digits) => digits.parse().map(Self).map_err(D::Error::custom),
        }
    }
}

impl Program {
    /// The checkpoint of event `n`.
    fn checkpoint(&self, n: u64) -> Value {
        match self.checkpoint_digits {
            0 => json!(n),
            digits => json!(format!("{n:0digits$}")),
        }
    }

    /// Event `n`, from 1.
    fn record(&self, n: u64) -> Result<Record> {
        if n == self.fail_at {
            return Err(std::io::Error::other(format!("asked to fail at {n}")).into());
        }
        let mut output = Output::json(match self.bytes {
            0 => json!({ "n": n }),
            bytes => json!({ "n": n, "fill": "x".repeat(bytes) }),
        });
        if self.ids {
            output = output.id(format!("e{n}"));
        }
        if self.attributes {
            let (key, part) = (format!("k{}", n % 3), i32::from(n % 2 == 1));
            output = output.key(key).kind("test").time_ns(n.cast_signed()).extension("part", part);
        }
        if !self.traceparent.is_empty() {
            output = output.extension("traceparent", self.traceparent.as_str());
        }
        Ok(if n == self.repeat_checkpoint {
            output.checkpoint(self.checkpoint(n - 1))
        } else if n.checked_rem(self.checkpoint_every) == Some(0) {
            output.checkpoint(self.checkpoint(n))
        } else {
            output.into()
        })
    }
}

pub(crate) fn produce(
    context: SourceContext<App>,
    Checkpoint(done): Checkpoint<Position>,
) -> impl stream::Stream<Item = Result<Record>> {
    let first = done.map_or(0, |Position(number)| number) + 1;
    let last = match context.state().0.program.count {
        0 => u64::MAX,
        count => count,
    };
    stream::iter(first..=last).then(move |n| {
        let context = context.clone();
        async move {
            let app = context.state();
            let pause = Duration::from_millis(app.0.program.pause_ms);
            if n > first && !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
            let receipt = context.clone();
            let record = app.0.program.record(n)?;
            Ok(record.on_settled(async move { receipt.state().log(format_args!("receipt {n}")) }))
        }
    })
}

/// The hook for checkpoints.
pub(crate) async fn settled(Position(number): Position, app: Arc<App>) -> std::io::Result<()> {
    app.log(format_args!("settled {number}"))
}
