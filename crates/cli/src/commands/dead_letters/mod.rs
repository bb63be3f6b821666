//! `meshloom dead-letters`.

mod choice;
mod discard;
mod export;
mod list;
mod show;

use std::{path::Path, process::ExitCode};

use anyhow::Context as _;
use clap::Subcommand;
use meshloom_coordinator::{LetterFile, LetterRecord};

use crate::failure::Failure;

/// Look at the events that were rejected or ran out of attempts, take them out, or remove them
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
    Discard(discard::Discard),
}

pub(crate) fn main(args: &Args) -> Result<ExitCode, Failure> {
    match &args.command {
        Command::List(list) => list.run(),
        Command::Show(show) => show.run(),
        Command::Export(export) => export.run(),
        Command::Discard(discard) => discard.run(),
    }
}

/// Reads the file that the coordinator appends to; what it is writing at the moment is left out.
fn read(state: &Path) -> Result<Vec<LetterRecord>, Failure> {
    let letters = LetterFile::read(state).with_context(|| {
        let path = LetterFile::path(state);
        format!("{} cannot be read; it is NDJSON, one letter per line: mend or move it", path.display())
    })?;
    Ok(letters)
}

/// Says that a filter takes none of the `all` letters there are.
fn say_none(all: usize) {
    let why = match all {
        0 => String::new(),
        all => format!(" match; without filters there are {}", crate::text::count(all as u64)),
    };
    eprintln!("no dead letters{why}");
}
