//! `meshloom schema`.

use std::process::ExitCode;

use crate::{failure::Failure, terminal};

/// Print the JSON Schema of the pipeline file, for editors
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn main(_: &Args) -> Result<ExitCode, Failure> {
    terminal::end_with_the_reader();
    println!("{:#}", meshloom_config::json_schema());
    Ok(ExitCode::SUCCESS)
}
