//! The sidecar adapter: programs that know nothing of Meshloom, behind the same interface as every node.
//!
//! A failing program is a failure that names no event; the coordinator narrows it down. See `lines`, `batch` and
//! `files` for the three ways in which events reach a program, and `source` for programs without input.

mod batch;
mod collect;
mod files;
mod line_works;
mod lines;
mod logs;
mod paths;
mod program;
mod record;
mod site;
mod source;

use std::sync::Arc;

use meshloom_config::{ExecSpec, exec::ExecMode};
use meshloom_core::{exchange::Limits, limits};

use crate::{OpenContext, OpenError, Opened};

/// Opens an adapted program.
pub(crate) fn open(spec: &ExecSpec, context: &OpenContext) -> Result<Opened, OpenError> {
    let program = Arc::new(program::Program::new(spec.clone(), context.clone()));
    if context.upstreams.is_empty() {
        return Ok(Opened::Source(Box::new(source::ExecSource::open(program)?)));
    }
    Ok(Opened::Node(match spec.mode {
        ExecMode::Lines => Box::new(lines::Lines::new(program)),
        ExecMode::Batch => Box::new(batch::Batches::new(program)),
        ExecMode::Files => Box::new(files::Files::open(program)?),
    }))
}

/// Limits of a process per batch: as many processes as `concurrency` says, by default one; batches as large as the
/// protocol allows, since the user's `batch` says how large they are to be.
fn per_batch_limits(concurrency: Option<u32>) -> Limits {
    Limits {
        works: concurrency.unwrap_or(1).max(1),
        events: u32::try_from(limits::BATCH_EVENTS).unwrap_or(u32::MAX),
        bytes: limits::BATCH_BYTES as u64,
    }
}
