//! `meshloom dead-letters discard`.

use std::{path::Path, process::ExitCode};

use anyhow::{Context as _, anyhow};
use meshloom_coordinator::{AdminError, LetterFilter, LetterStore, StateDir, StateError, connect_admin};
use meshloom_proto::v1::DiscardDeadLettersRequest;

use super::choice::Choice;
use crate::{failure::Failure, place::StateOf, runtime, text};

/// Remove dead letters for good; works with and without a running coordinator
#[derive(Debug, clap::Args)]
pub(super) struct Discard {
    #[command(flatten)]
    state: StateOf,
    #[command(flatten)]
    choice: Choice,
    /// All of them, where no other flag chooses
    #[arg(long, conflicts_with_all = ["node", "reason", "uid", "since", "before"])]
    all: bool,
}

impl Discard {
    pub(super) fn run(&self) -> Result<ExitCode, Failure> {
        let filter = self.choice.filter();
        if filter == LetterFilter::default() && !self.all {
            return Err(Failure::Usage(anyhow!(
                "say which dead letters to discard, with --node, --reason, --uid, --since or --before, or --all"
            )));
        }
        let state = self.state.path()?;
        let discarded = match runtime::block_on(through_coordinator(&state, &filter))? {
            Err(Failure::Other(error)) if matches!(error.downcast_ref(), Some(AdminError::NotRunning { .. })) => {
                from_file(&state, &filter)?
            }
            done => done?,
        };
        eprintln!("{} discarded", text::plural(discarded, "dead letter"));
        Ok(ExitCode::SUCCESS)
    }
}

/// The coordinator has the file open, so it is the one that writes it.
async fn through_coordinator(state: &Path, filter: &LetterFilter) -> Result<u64, Failure> {
    let mut admin = connect_admin(state).await?;
    let answer = admin.discard_dead_letters(DiscardDeadLettersRequest { filter: Some(filter.into()) }).await;
    Ok(answer.map_err(super::super::refused)?.into_inner().discarded)
}

/// Nobody runs, which the lock of the state directory keeps so meanwhile.
fn from_file(state: &Path, filter: &LetterFilter) -> Result<u64, Failure> {
    if !LetterStore::path(state).exists() {
        return Ok(0);
    }
    let held = StateDir::open(state).map_err(|error| match error {
        StateError::Held { holder, .. } => anyhow!(
            "the coordinator (process {holder}) of {} is just starting or ending; try again in a moment",
            state.display()
        ),
        error => error.into(),
    })?;
    let path = LetterStore::path(held.path());
    let unusable = || format!("{} cannot be changed; no dead letter was discarded", path.display());
    let (mut letters, opened) = LetterStore::open(held.path(), u64::MAX)?;
    if opened.cut > 0 {
        eprintln!(
            "{} bytes of dead letters that a crash left unfinished were cut; their events come again",
            opened.cut
        );
    }
    Ok(letters.discard(filter).with_context(unusable)?)
}
