//! Restarts of a node's replicas that an operator asks for: one after the other, with nothing in hand.

use std::sync::atomic::{AtomicBool, Ordering};

use meshloom_config::{ExecSpec, NodeKind, NodeSpec, exec::ExecMode};
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use crate::{phase::Phase, replica::FirstStart, service::Shared};

/// Asks a node's actor to let go of a replica once it has nothing in hand.
#[derive(Debug)]
pub(crate) struct Roll {
    /// The replica.
    pub(crate) replica: u32,
    /// Told when it is up again, or why it does not start.
    pub(crate) ready: FirstStart,
}

/// The operator's end of a node.
#[derive(Debug)]
pub(crate) struct Roller {
    rolls: mpsc::Sender<Roll>,
    busy: AtomicBool,
}

impl Roller {
    pub(crate) fn new(rolls: mpsc::Sender<Roll>) -> Self {
        Self { rolls, busy: AtomicBool::new(false) }
    }
}

/// One restart of a node at a time; its end, however it comes, lets the next one begin.
struct Turn<'a>(&'a AtomicBool);

impl<'a> Turn<'a> {
    fn take(busy: &'a AtomicBool) -> Option<Self> {
        (!busy.swap(true, Ordering::AcqRel)).then_some(Self(busy))
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Restarts every replica of a node and says how many they were. Whoever stops waiting stops it after the replica that it is
/// at.
///
/// # Errors
/// The node is unknown or has nothing to restart, the pipeline is ending, or a replica does not start again.
pub(crate) async fn restart(shared: &Shared, name: &str) -> Result<u32, Status> {
    let at = shared.find(name)?;
    let view = &shared.views.nodes[at];
    if let Some(why) = why_not(&shared.pipeline.nodes[at], shared.attached.contains(name)) {
        return Err(Status::failed_precondition(format!("`{name}` cannot be restarted: {why}")));
    }
    let Some(roller) = &view.roller else {
        return Err(Status::internal(format!("`{name}` has no actor that could restart it")));
    };
    let Some(_turn) = Turn::take(&roller.busy) else {
        return Err(Status::failed_precondition(format!("`{name}` is being restarted already; wait for its end")));
    };
    let replicas = view.replicas.len() as u32;
    for replica in 0..replicas {
        let ending = || {
            Status::failed_precondition(format!(
                "the pipeline is ending, and `{name}` with it; {replica} of {replicas} replicas were restarted"
            ))
        };
        if shared.phase() >= Phase::Draining {
            return Err(ending());
        }
        let (ready, started) = oneshot::channel();
        roller.rolls.send(Roll { replica, ready }).await.map_err(|_| ending())?;
        match started.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) if error.code == "STOPPED" => return Err(ending()),
            Ok(Err(error)) => {
                return Err(Status::unavailable(format!(
                    "{name}[{replica}] does not start again ({replica} of {replicas} replicas were restarted; it is tried further, the others run on as they were): {}",
                    error.at_node()
                )));
            }
            Err(_) => return Err(ending()),
        }
    }
    Ok(replicas)
}

/// Why a node has no process of ours that a restart would replace.
fn why_not(spec: &NodeSpec, attached: bool) -> Option<&'static str> {
    if spec.is_source() {
        return Some("it is a source; drain the pipeline and run it again, which goes on where it was");
    }
    match &spec.kind {
        _ if attached => Some("it was attached with `--attach`; restart it where it runs"),
        NodeKind::Run(_) => None,
        NodeKind::Connect(_) => Some("it is reached with `connect`; restart it where it runs"),
        NodeKind::Use(_) => Some("it is a connector inside the coordinator and has no process of its own"),
        NodeKind::Exec(ExecSpec { mode: ExecMode::Lines, .. }) => None,
        NodeKind::Exec(_) => Some("it starts a process for every batch, so what was changed is in use already"),
    }
}
