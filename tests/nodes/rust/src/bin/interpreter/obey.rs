//! Obeying a command: its effects, and what it asks the handler to answer.

use std::time::{Duration, Instant};

use meshloom::{Context, Error, Event, Output, Result, reject, retry, retry_after};
use opentelemetry::{global, trace::Tracer as _};

use crate::{app::App, command::Command, event, report};

/// One event in a handler's hands.
pub(crate) struct Call<'a> {
    pub(crate) event: &'a Event,
    pub(crate) context: &'a Context<App>,
    pub(crate) attempt: u32,
}

/// What is to be answered.
pub(crate) enum Answer {
    Pass,
    Drop,
    Outputs(Vec<Output>),
    Fail(Error),
    /// The outputs of a flat map, made one at a time.
    Stream {
        count: u64,
        bytes: usize,
        fail_after: Option<u64>,
    },
    /// What only a batch handler can say.
    Unmentioned,
    Twice,
    Misname,
    Whole(Vec<Output>),
}

impl Call<'_> {
    /// Obeys the event's command; an error is one that the handler itself is to end with.
    pub(crate) async fn obey(&self) -> Result<Answer> {
        let command = match &self.context.state().0.command {
            Some(command) => command.clone(),
            None => match self.event.json() {
                Ok(command) => command,
                Err(misfit) => return Ok(Answer::Fail(misfit)),
            },
        };
        Ok(match command {
            Command::Pass => Answer::Pass,
            Command::Drop => Answer::Drop,
            Command::Emit { outputs } => Answer::Outputs(outputs.into_iter().map(Output::from).collect()),
            Command::Copy => Answer::Outputs(vec![event::copy(self.event)]),
            Command::Context => Answer::Outputs(vec![event::context(self)]),
            Command::Report => Answer::Outputs(vec![Output::json(report::take())]),
            Command::Reject { reason, message } => Answer::Fail(reject(reason, message)),
            Command::Retry { reason, message, after_ms, until } if self.is_before(until) => {
                let error = match after_ms {
                    Some(millis) => retry_after(Duration::from_millis(millis), message),
                    None => retry(message),
                };
                Answer::Fail(reason.into_iter().fold(error, Error::with_reason))
            }
            Command::Throw { message, until } if self.is_before(until) => {
                return Err(std::io::Error::other(message).into());
            }
            Command::Panic { message } => panic!("{message}"),
            Command::Nothing => Answer::Unmentioned,
            Command::Twice => Answer::Twice,
            Command::Misname => Answer::Misname,
            Command::Whole { outputs } => Answer::Whole(outputs.into_iter().map(Output::from).collect()),
            Command::Stream { count, bytes, fail_after } => Answer::Stream { count, bytes, fail_after },
            other => {
                self.act(other).await;
                Answer::Pass
            }
        })
    }

    fn is_before(&self, until: Option<u32>) -> bool {
        until.is_none_or(|until| self.attempt < until)
    }

    /// The commands that pass in the end.
    async fn act(&self, command: Command) {
        match command {
            Command::Sleep { ms } => {
                // A call that is cancelled is dropped where it waits.
                let noted = report::NoteIfDropped::new(self.event.uid());
                tokio::time::sleep(Duration::from_millis(ms)).await;
                noted.forget();
            }
            Command::Block { ms } => std::thread::sleep(Duration::from_millis(ms)),
            Command::Spin { ms } => {
                let end = Instant::now() + Duration::from_millis(ms);
                while Instant::now() < end {
                    std::hint::spin_loop();
                }
            }
            Command::Note { n } => report::note(self.event.key(), n),
            Command::Spans { names } => nest(&names),
            Command::Log { message } => tracing::info!("{message}"),
            Command::Allocate { bytes } => drop(std::hint::black_box(vec![b'x'; bytes])),
            Command::Exit { status } => std::process::exit(status),
            _ => {}
        }
    }
}

/// Opens spans, each inside the one before.
fn nest(names: &[String]) {
    if let [name, rest @ ..] = names {
        global::tracer("interpreter").in_span(name.clone(), |_| nest(rest));
    }
}
