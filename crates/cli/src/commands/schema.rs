//! `meshloom schema`.

use std::process::ExitCode;

use crate::failure::Failure;

/// Print the JSON Schema of the pipeline file, for editors
#[derive(Debug, clap::Args)]
pub(crate) struct Args {}

pub(crate) fn main(_: &Args) -> Result<ExitCode, Failure> {
    println!("{:#}", meshloom_config::json_schema());
    Ok(ExitCode::SUCCESS)
}
