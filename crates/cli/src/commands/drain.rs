//! `meshloom drain`.

use std::process::ExitCode;

use meshloom_coordinator::connect_admin;
use meshloom_proto::v1::DrainRequest;

use crate::{failure::Failure, place::StateOf, runtime};

/// Stop a running pipeline: its sources stop, its events finish, its coordinator ends
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    state: StateOf,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode, Failure> {
    let state = args.state.path()?;
    runtime::block_on(async {
        let mut admin = connect_admin(&state).await?;
        admin.drain(DrainRequest {}).await.map_err(super::refused)?;
        Ok::<_, Failure>(())
    })??;
    eprintln!("draining; the run says how it ended");
    Ok(ExitCode::SUCCESS)
}
