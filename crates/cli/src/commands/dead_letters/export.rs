//! `meshloom dead-letters export`.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use anyhow::anyhow;

use super::choice::Choice;
use crate::{failure::Failure, place::StateOf, text};

/// Write the events of dead letters as CloudEvents, one JSON object per line; needs no running coordinator
///
/// Each event is as it was when it failed, with the extensions meshloomreason, meshloommessage, meshloomnode and
/// meshloomattempts. The letters stay. Another run reads the file as a source with
/// `{ exec: [cat, FILE], mode: lines, envelope: cloudevents }`.
#[derive(Debug, clap::Args)]
pub(super) struct Export {
    #[command(flatten)]
    state: StateOf,
    #[command(flatten)]
    choice: Choice,
}

impl Export {
    pub(super) fn run(&self) -> Result<ExitCode, Failure> {
        let filter = self.choice.filter();
        let mut out = io::BufWriter::new(io::stdout().lock());
        let (mut all, mut exported, mut unreadable) = (0u64, 0u64, 0u64);
        super::each(&self.state.path()?, |letter| {
            all += 1;
            if !filter.takes(&letter) {
                return Ok(());
            }
            match letter.cloud_event() {
                Some(mut event) => {
                    event.push(b'\n');
                    exported += 1;
                    out.write_all(&event)
                }
                None => {
                    eprintln!("the event of {} at {} cannot be read", letter.uid, letter.node);
                    unreadable += 1;
                    Ok(())
                }
            }
        })?;
        out.flush()?;
        match (exported, unreadable) {
            (0, 0) => super::say_none(all),
            (_, 0) => eprintln!("{} exported", text::plural(exported, "dead letter")),
            _ => {
                return Err(anyhow!(
                    "{} exported, {} not; `meshloom dead-letters list --output json` shows what is in their place",
                    text::plural(exported, "dead letter"),
                    text::count(unreadable)
                )
                .into());
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
