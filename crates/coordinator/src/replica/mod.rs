//! Replicas: how one instance of a node is started, spoken to and started again. No policy about events lives here.

mod backoff;
mod check;
mod dial;
mod embedded;
mod launch;
mod node_driver;
mod process_stream;
mod produce_stream;
mod refusal;
mod source_driver;
mod spawner;

use std::sync::{Arc, Mutex, PoisonError};

pub(crate) use self::{
    launch::{Host, Placement},
    node_driver::{NodeSeat, drive_node},
    source_driver::{SourceSeat, drive_source},
};
use crate::error::RunError;

/// What `status` shows of a replica. Written by its driver.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReplicaState {
    pub(crate) state: &'static str,
    pub(crate) pid: u32,
    pub(crate) sdk: String,
    pub(crate) last_error: String,
    pub(crate) restarts: u64,
}

/// A [`ReplicaState`] that can be looked at.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReplicaBoard(Arc<Mutex<ReplicaState>>);

impl ReplicaBoard {
    pub(crate) fn read(&self) -> ReplicaState {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(crate) fn write(&self, change: impl FnOnce(&mut ReplicaState)) {
        change(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// Says once whether a replica came up at start; the pipeline waits for all of them.
pub(crate) type FirstStart = tokio::sync::oneshot::Sender<Result<(), RunError>>;
