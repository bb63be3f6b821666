//! The `meshloom` command, as a library: what its program leaves open is what state is written through.
//!
//! One file per command under `commands`; data goes to standard output, everything else to standard error.

mod books;
mod commands;
mod failure;
mod place;
mod runtime;
mod saved_traces;
mod signals;
mod size;
mod table;
mod terminal;
mod text;
mod wire_trace;

use std::{process::ExitCode, sync::Arc};

use clap::{Parser, Subcommand};
use meshloom_journal::storage::Folders;

use self::{
    commands::{
        check, completions, conform, dead_letters, drain, graph, restart, resume, run, schema, sidecar, status, trace,
    },
    failure::Failure,
};

const EXIT_CODES: &str = "\
Exit codes:
    0  done
    1  failed: the state directory, the disk, no running coordinator, ...
    2  wrong usage
    3  events became dead letters (with `run --strict`)
   69  a node is not available
   70  a node broke the protocol, or an internal fault
   78  the pipeline file or a node's config is wrong
  130  stopped at once by a second signal";

/// Runs pipelines whose steps are written in different languages.
#[derive(Debug, Parser)]
#[command(name = "meshloom", version, after_help = EXIT_CODES, propagate_version = true, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Run(Box<run::Args>),
    Check(check::Args),
    Graph(graph::Args),
    Status(status::Args),
    Trace(trace::Args),
    DeadLetters(dead_letters::Args),
    Restart(restart::Args),
    Resume(resume::Args),
    Drain(drain::Args),
    Sidecar(Box<sidecar::Args>),
    Conform(conform::Args),
    Schema(schema::Args),
    Completions(completions::Args),
}

/// Does what the arguments of this process say. `folders`: what a run writes its state through.
pub fn main(folders: impl Folders) -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    // Before anything that starts a thread: the guard forks.
    if args.next().is_some_and(|first| first == "guard") {
        return meshloom_coordinator::process::guard::main(args);
    }
    match dispatch(Cli::parse().command, Arc::new(folders)) {
        Ok(code) => code,
        Err(failure) => failure.report(),
    }
}

fn dispatch(command: Command, folders: Arc<dyn Folders>) -> Result<ExitCode, Failure> {
    match command {
        Command::Run(args) => run::main(*args, folders),
        Command::Check(args) => check::main(&args),
        Command::Graph(args) => graph::main(&args),
        Command::Status(args) => status::main(&args),
        Command::Trace(args) => trace::main(&args),
        Command::DeadLetters(args) => dead_letters::main(&args),
        Command::Restart(args) => restart::main(&args),
        Command::Resume(args) => resume::main(&args),
        Command::Drain(args) => drain::main(&args),
        Command::Sidecar(args) => sidecar::main(*args),
        Command::Conform(args) => conform::main(&args),
        Command::Schema(args) => schema::main(&args),
        Command::Completions(args) => completions::main(&args),
    }
}
