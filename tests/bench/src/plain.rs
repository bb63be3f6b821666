//! The reference of a typed JSON map: the same function over the same payload in a plain loop, with the same codec.

use std::time::Instant;

use anyhow::Context as _;
use meshloom_bench::frames::PAYLOAD;

use crate::{
    cases::Case,
    measured::{Measured, Reading},
    process::{Program, cpu_time},
    settings::Settings,
};

/// Measures a case's loop, which says how many events it has done after every `batch` of them.
pub(crate) async fn measure(case: &Case, settings: &Settings, batch: u32) -> anyhow::Result<Measured> {
    let folder = tempfile::Builder::new().prefix("mb").tempdir()?;
    let command = case.loop_command(settings, PAYLOAD, batch);
    let (program, mut lines) = Program::start_talking(&command, &folder.path().join("log"))?;
    let mut begun = None;
    let mut first: Option<Reading> = None;
    loop {
        let events = program.line(&mut lines).await?.parse().context("the loop says something else than a number")?;
        let at = Instant::now();
        let due = match &first {
            None => at - *begun.get_or_insert(at) >= settings.warm_up,
            Some(first) => at - first.at >= settings.span,
        };
        if !due {
            continue;
        }
        // The loop is alone: it has neither client nor node.
        let reading = Reading { at, events, client_cpu: Default::default(), node_cpu: cpu_time(program.pid())? };
        match first {
            None => first = Some(reading),
            Some(first) => {
                program.kill().await?;
                return Ok(Measured::between(&first, &reading, batch, 0));
            }
        }
    }
}
