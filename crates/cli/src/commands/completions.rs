//! `meshloom completions`.

use std::{io, process::ExitCode};

use clap::CommandFactory;
use clap_complete::Shell;

use crate::{Cli, failure::Failure, terminal};

/// Print the completions for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "For example, in bash: source <(meshloom completions bash)")]
pub(crate) struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode, Failure> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "meshloom", &mut text);
    terminal::end_with_the_reader();
    io::Write::write_all(&mut io::stdout(), &text)?;
    Ok(ExitCode::SUCCESS)
}
