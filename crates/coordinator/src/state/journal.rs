//! The journal of the state directory: opened, what earlier runs have left in it looked at, or given up where the user
//! says so.

use std::{collections::HashMap, path::Path, sync::Arc};

use meshloom_config::{ConnectorSpec, NodeKind, NodeSpec, Pipeline, spec::Durability};
use meshloom_journal::{self as journal, Journal, Meter, OpenError, Recovery, SourceId, storage::Folders};

use crate::{
    error::{FailureKind, RunError},
    source::{Backlog, RecordError, SourceJournal, decode_record},
};

/// Its folder in the state directory.
const FOLDER: &str = "journal";

/// A journal in use. Nobody else has the folder: whoever opens it holds the state directory.
#[derive(Debug)]
pub(crate) struct OpenJournal {
    journal: Journal,
    options: journal::Options,
    seats: HashMap<String, (SourceId, Option<Backlog>)>,
}

impl OpenJournal {
    /// Opens the journal if a source may need it, or if there is one.
    ///
    /// # Errors
    /// It is damaged, newer or refused by the system, or holds events of a source that is gone. It was left as it is.
    pub(crate) async fn open(
        folders: &Arc<dyn Folders>,
        state: &Path,
        pipeline: &Pipeline,
        discard: &[String],
    ) -> Result<Option<Self>, Vec<RunError>> {
        let folder = state.join(FOLDER);
        if !folder.exists() && !pipeline.nodes.iter().any(may_need_one) {
            return Ok(None);
        }
        let options = journal::Options { size: pipeline.journal_bytes };
        let folders = folders.clone();
        let opening = tokio::task::spawn_blocking(move || {
            let storage = folders.folder(&folder).map_err(|source| OpenError::Storage {
                action: "making the folder of",
                path: folder,
                source,
            })?;
            Journal::open(storage, options)
        });
        let (journal, Recovery { backlog, torn }) = done(opening).await.map_err(|error| vec![refused(&error)])?;
        if let Some(torn) = torn {
            tracing::warn!(
                "{} bytes of events that a crash left unfinished in the journal were cut from {}; nobody was told that they were accepted",
                torn.bytes,
                torn.path.display()
            );
        }
        for name in discard.iter().filter(|name| backlog.iter().all(|left| left.name != **name)) {
            tracing::warn!("the journal holds nothing of `{name}` that could be given up (--discard-journal)");
        }
        let (mut seats, mut errors) = (HashMap::new(), Vec::new());
        for source in pipeline.nodes.iter().filter(|node| may_need_one(node)) {
            match journal.source(&source.name) {
                Ok(id) => drop(seats.insert(source.name.clone(), (id, None))),
                Err(error) => errors.push(RunError::node(&source.name, "CONFIG_REFUSED", error.to_string())),
            }
        }
        for left in backlog {
            if discard.contains(&left.name) {
                let given_up = journal.settle(left.source, left.last).await;
                given_up.map_err(|error| vec![RunError::system("JOURNAL_FAILED", error.to_string())])?;
                tracing::warn!(
                    "{}: accepted events that had not settled were given up (--discard-journal): frames {} to {} of the journal",
                    left.name,
                    left.first,
                    left.last
                );
                continue;
            }
            if !pipeline.nodes.iter().any(|node| node.is_source() && node.name == left.name) {
                errors.push(gone(&left.name));
                continue;
            }
            let (counted, name, id) = (journal.clone(), left.name.clone(), left.source);
            match done(tokio::task::spawn_blocking(move || count(&counted, &left))).await {
                Ok(found) => {
                    tracing::info!("{name}: {} accepted events of an earlier run go first", found.events);
                    seats.insert(name, (id, Some(found)));
                }
                Err(error) => errors.push(error),
            }
        }
        if !errors.is_empty() {
            journal.close().await;
            return Err(errors);
        }
        Ok(Some(Self { journal, options, seats }))
    }

    /// What a source has of it; `None`: it needs none.
    pub(crate) fn seat(&self, source: &str) -> Option<SourceJournal> {
        let (id, backlog) = self.seats.get(source)?;
        Some(SourceJournal {
            journal: self.journal.clone(),
            source: *id,
            max_frame_bytes: self.options.max_frame_bytes(),
            backlog: backlog.clone(),
        })
    }

    /// Tells its figures, and how many bytes it may have.
    pub(crate) fn meter(&self) -> (Meter, u64) {
        (self.journal.meter(), self.options.size)
    }

    /// Waits until everything is written; all others must have let go of it.
    pub(crate) async fn close(self) {
        self.journal.close().await;
    }
}

/// Whether a source may turn out to need a journal: whether one with an SDK replays is known once it runs.
fn may_need_one(node: &NodeSpec) -> bool {
    let replays = matches!(&node.kind, NodeKind::Use(ConnectorSpec::FileSource(_) | ConnectorSpec::Generate(_)));
    node.is_source() && !replays && node.durability != Some(Durability::Memory)
}

/// What a blocking task gives; its panic is ours.
async fn done<T>(task: tokio::task::JoinHandle<T>) -> T {
    task.await.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

/// Reads all that is left of a source: what cannot be delivered is to be known before the run begins.
fn count(journal: &Journal, left: &journal::Backlog) -> Result<Backlog, RunError> {
    let mut events = 0;
    for sequence in left.first..=left.last {
        let bytes = journal.read(left.source, sequence);
        let bytes = bytes.map_err(|error| RunError::system("JOURNAL_DAMAGED", error.to_string()))?;
        let batch = decode_record(bytes).map_err(|error| undecodable(&left.name, sequence, &error))?;
        events += batch.len() as u64;
    }
    Ok(Backlog { frames: left.first..=left.last, events })
}

fn undecodable(source: &str, sequence: u64, error: &RecordError) -> RunError {
    let (code, remedy) = match error {
        RecordError::Newer(_) => ("JOURNAL_NEWER", "run the newer version, or drain the pipeline with it"),
        RecordError::Damaged(_) => ("JOURNAL_DAMAGED", "bring the state directory back from a backup"),
    };
    let error =
        RunError::system(code, format!("{source}: frame {sequence} in the journal: {error}; it was left as it is"));
    error.with_remedy(format!("{remedy}; or give up what the source has there with `--discard-journal {source}`"))
}

fn gone(source: &str) -> RunError {
    let message = "the journal holds accepted events of this source that have not settled, and the pipeline has no source of this name";
    let error = RunError { kind: FailureKind::Config, ..RunError::node(source, "JOURNAL_SOURCE_GONE", message) };
    error.with_remedy(format!(
        "put the source back under this name until they are delivered, or give them up with `--discard-journal {source}`"
    ))
}

fn refused(error: &OpenError) -> RunError {
    let code = match error {
        OpenError::TooSmall { .. } => "CONFIG_REFUSED",
        OpenError::Newer { .. } => "JOURNAL_NEWER",
        OpenError::Damaged { .. } => "JOURNAL_DAMAGED",
        OpenError::Storage { .. } => "STATE_UNUSABLE",
    };
    RunError::system(code, error.to_string())
}
