//! The handlers with inputs.

use std::io::Write as _;

use meshloom::{Batch, Config, Context, Emitter, Error, Event, Json, Output, Result, reject, retry, stream};
use serde_json::{Value, json};
use tracing::Instrument as _;

use crate::{Command, Settings, deaths};

const LANG: &str = "rust";

/// What the handlers have in common: the commands that end in a failure.
fn failure(command: &Command, attempt: u32) -> Option<Error> {
    deaths::die_if_asked(command);
    match command.what.as_str() {
        "reject" => Some(reject("TEST_REJECT", format!("asked to reject {}", command.n))),
        "retry" if attempt < 3 => Some(retry(format!("asked to retry {}", command.n))),
        "never" => Some(retry(format!("asked never to pass {}", command.n))),
        "fail" if attempt < 2 => Some(std::io::Error::other(format!("asked to fail {}", command.n)).into()),
        _ => None,
    }
}

fn passed(command: &Command, label: &str, attempt: u32) -> Output {
    let output = Output::json(json!({"n": command.n, "label": label, "lang": LANG, "attempt": attempt}));
    match command.what.as_str() {
        "route" => output.route("side"),
        "key" => output.key(format!("k{}", command.n)),
        _ => output,
    }
}

fn part(command: &Command, label: &str, part: u32) -> Output {
    Output::json(json!({"n": command.n, "part": part, "label": label, "lang": LANG}))
}

/// `none` has no counterpart: in Rust a map that returns nothing does not compile.
pub(crate) async fn map(
    Json(command): Json<Command>,
    settings: Config<Settings>,
    context: Context,
) -> Result<Option<Output>> {
    let command = command.here(&settings.label);
    async {
        if let Some(error) = failure(&command, context.attempt()) {
            return Err(error);
        }
        Ok((command.what != "drop").then(|| passed(&command, &settings.label, context.attempt())))
    }
    .instrument(tracing::info_span!("user-work", n = command.n))
    .await
}

pub(crate) async fn filter(Json(command): Json<Command>, settings: Config<Settings>, context: Context) -> Result<bool> {
    let command = command.here(&settings.label);
    match failure(&command, context.attempt()) {
        Some(error) => Err(error),
        None => Ok(command.what != "drop"),
    }
}

pub(crate) fn flat_map(
    Json(command): Json<Command>,
    settings: Config<Settings>,
    context: Context,
) -> impl stream::Stream<Item = Result<Output>> {
    let command = command.here(&settings.label);
    let outputs = match failure(&command, context.attempt()) {
        Some(error) => vec![Err(error)],
        None => match command.what.as_str() {
            "drop" => Vec::new(),
            "split" => (0..3).map(|at| Ok(part(&command, &settings.label, at))).collect(),
            _ => vec![Ok(passed(&command, &settings.label, context.attempt()))],
        },
    };
    stream::iter(outputs)
}

pub(crate) async fn batch(batch: Batch, mut out: Emitter, settings: Config<Settings>, context: Context) -> Result<()> {
    let youngest = (0..batch.len()).map(|row| context.attempt_of(row)).min().unwrap_or(1);
    for (row, event) in batch.events().enumerate() {
        let attempt = context.attempt_of(row);
        let command = match event.json::<Command>() {
            Ok(command) => command.here(&settings.label),
            Err(error) => {
                out.fail(row, error);
                continue;
            }
        };
        match command.what.as_str() {
            "poison" => {
                return Err(std::io::Error::other(format!("poisoned by {}", command.n)).into());
            }
            "fail" if youngest < 2 => {
                return Err(std::io::Error::other(format!("asked to fail {}", command.n)).into());
            }
            "forget" => {}
            "drop" => out.drop([row]),
            "split" => (0..3).for_each(|at| out.emit(row, part(&command, &settings.label, at))),
            "reject" | "retry" | "never" => match failure(&command, attempt) {
                Some(error) => out.fail(row, error),
                None => out.emit(row, passed(&command, &settings.label, attempt)),
            },
            _ => out.emit(row, passed(&command, &settings.label, attempt)),
        }
    }
    Ok(())
}

pub(crate) async fn sink(
    Json(command): Json<Command>,
    event: Event,
    settings: Config<Settings>,
    context: Context,
) -> Result<()> {
    let command = command.here(&settings.label);
    if let Some(error) = failure(&command, context.attempt()) {
        return Err(error);
    }
    let line: Value = json!({"uid": event.uid().simple().to_string(), "n": command.n, "attempt": context.attempt(), "lang": LANG, "label": settings.label});
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(&settings.out)?;
    // One write, so that lines of several processes do not mix.
    file.write_all(format!("{line}\n").as_bytes())?;
    Ok(())
}
