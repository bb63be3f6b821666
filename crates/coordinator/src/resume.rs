//! Lets a node go on that has paused because an event had used up its attempts.

use tokio::sync::oneshot;
use tonic::Status;

use crate::{phase::Phase, service::Shared};

/// Asks a node's actor to go on; the answer is how many events have fresh attempts, `None`: it had not paused.
pub(crate) type Resume = oneshot::Sender<Option<u64>>;

/// Lets a node go on and says how many events have fresh attempts.
///
/// # Errors
/// The node is unknown, has not paused, or has ended.
pub(crate) async fn resume(shared: &Shared, name: &str) -> Result<u64, Status> {
    let at = shared.find(name)?;
    let not_paused = |why: &str| Err(Status::failed_precondition(format!("`{name}` has not paused{why}")));
    let Some(resumes) = &shared.views.nodes[at].resumes else {
        return not_paused(": it is a source, which has no attempts");
    };
    let ended = || Status::failed_precondition(format!("the pipeline is ending, and `{name}` with it"));
    if shared.phase() >= Phase::Draining {
        return Err(ended());
    }
    let (resume, resumed) = oneshot::channel();
    resumes.send(resume).await.map_err(|_| ended())?;
    match resumed.await.map_err(|_| ended())? {
        Some(events) => Ok(events),
        None => not_paused("; only a node with `on_exhausted: pause` does, and says so in `meshloom status`"),
    }
}
