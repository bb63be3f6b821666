//! `meshloom dead-letters`.

mod choice;
mod discard;
mod export;
mod list;
mod replay;
mod show;

use std::{io, path::Path, process::ExitCode};

use clap::Subcommand;
use meshloom_coordinator::{LetterRecord, LetterStore};

use crate::failure::Failure;

/// Look at the events that were rejected or ran out of attempts, send them in again, take them out, or remove them
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    List(list::List),
    Show(show::Show),
    Export(export::Export),
    Replay(replay::Replay),
    Discard(discard::Discard),
}

pub(crate) fn main(args: &Args) -> Result<ExitCode, Failure> {
    match &args.command {
        Command::List(list) => list.run(),
        Command::Show(show) => show.run(),
        Command::Export(export) => export.run(),
        Command::Replay(replay) => replay.run(),
        Command::Discard(discard) => discard.run(),
    }
}

/// Reads the file that the coordinator appends to; what it is writing at the moment is left out.
fn each(state: &Path, mut take: impl FnMut(LetterRecord) -> io::Result<()>) -> Result<(), Failure> {
    // Out of the closure, since what it says is about another file.
    let mut failed = None;
    LetterStore::each(state, |letter| {
        if failed.is_none() {
            failed = take(letter).err();
        }
        Ok(())
    })?;
    failed.map_or(Ok(()), |error| Err(error.into()))
}

/// Says that a filter takes none of the `all` letters there are.
fn say_none(all: u64) {
    let why = match all {
        0 => String::new(),
        all => format!(" match; without filters there are {}", crate::text::count(all)),
    };
    eprintln!("no dead letters{why}");
}
