//! `meshloom resume`.

use std::{path::PathBuf, process::ExitCode};

use meshloom_coordinator::connect_admin;
use meshloom_proto::v1::ResumeRequest;

use crate::{failure::Failure, place::StateOf, runtime, text};

/// Let a node go on that has paused (`on_exhausted: pause`), with fresh attempts for the events that had used up theirs
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The node
    node: String,
    /// The pipeline file [default: ./meshloom.yaml, then ./pipeline.yaml]
    #[arg(long, value_name = "FILE", env = "MESHLOOM_FILE")]
    file: Option<PathBuf>,
    /// The state directory, when the run was given another than .meshloom/PIPELINE beside the pipeline file
    #[arg(long, value_name = "DIR", env = "MESHLOOM_STATE")]
    state: Option<PathBuf>,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode, Failure> {
    let state = StateOf::new(args.file.clone(), args.state.clone()).path()?;
    let resumed = runtime::block_on(async {
        let mut admin = connect_admin(&state).await?;
        let answer = admin.resume(ResumeRequest { node: args.node.clone() }).await;
        Ok::<_, Failure>(answer.map_err(super::refused_with_reason)?.into_inner().resumed)
    })??;
    eprintln!("{} goes on; fresh attempts for {}", args.node, text::plural(resumed, "event"));
    Ok(ExitCode::SUCCESS)
}
