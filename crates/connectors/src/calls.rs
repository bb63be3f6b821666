//! The loop of every node that handles a work in one call: several at a time, with cancel, time limit and progress.

use std::{
    borrow::Cow,
    collections::HashMap,
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use meshloom_core::{
    exchange::{Action, Call, Failure, FromNode, ToNode, Work, WorkResult},
    limits,
    outputs::Outputs,
};
use tokio::{sync::mpsc, task::JoinSet, time::MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::NodeError;

/// How often running calls are reported.
pub(crate) const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// A node that handles a work in one call.
pub(crate) trait Handler: Send + Sync + 'static {
    /// Handles a work. Once [`Reply::cancelled`] it tidies up and answers [`Answer::Interrupted`].
    ///
    /// # Errors
    /// When the node cannot go on at all.
    fn call(&self, work: Work, reply: &Reply) -> impl Future<Output = Result<Answer, NodeError>> + Send;
}

/// What became of a work.
pub(crate) enum Answer {
    /// Inputs that are neither parents of outputs nor among the failures were consumed.
    Done {
        /// Outputs that no earlier part held.
        outputs: Option<Outputs>,
        /// Inputs that failed.
        failures: Vec<Failure>,
        /// Inputs that ended with no output of their own.
        consumed: u32,
    },
    /// The whole work failed.
    Failed(Failure),
    /// It was cancelled, or its time was over.
    Interrupted,
}

impl Answer {
    /// All inputs were consumed but for those that failed.
    pub(crate) fn consumed_but(events: usize, failures: Vec<Failure>) -> Self {
        let consumed = events.saturating_sub(failures.len());
        Self::Done { outputs: None, failures, consumed: u32::try_from(consumed).unwrap_or(u32::MAX) }
    }
}

/// A failure that names no event: the same events come again.
pub(crate) fn whole(reason: &'static str, message: impl Into<String>) -> Failure {
    failure(None, Action::Retry, reason, message)
}

/// The rejection of one input.
pub(crate) fn reject(index: usize, reason: &'static str, message: impl Into<String>) -> Failure {
    failure(u32::try_from(index).ok(), Action::Reject, reason, message)
}

/// The failure of one input, which comes again.
pub(crate) fn retry(index: usize, reason: &'static str, message: impl Into<String>) -> Failure {
    failure(u32::try_from(index).ok(), Action::Retry, reason, message)
}

fn failure(index: Option<u32>, action: Action, reason: &'static str, message: impl Into<String>) -> Failure {
    let mut message = message.into();
    message.truncate(limits::truncate(&message, limits::FAILURE_MESSAGE_BYTES).len());
    Failure { index, action, reason: Cow::Borrowed(reason), message, retry_after: None }
}

/// The answer of a work that was taken back or ran out of time.
pub(crate) fn interrupted(age: Duration, limit: Option<Duration>) -> Failure {
    match limit {
        Some(limit) if age >= limit => whole("TIMEOUT", format!("not done within {limit:?}")),
        _ => whole("CANCELLED", "taken back by the coordinator"),
    }
}

/// A call's way to the coordinator.
pub(crate) struct Reply {
    sequence: u64,
    output: mpsc::Sender<FromNode>,
    cancel: CancellationToken,
}

impl Reply {
    /// Sends outputs before the end of the call; `false`: nobody listens any more.
    pub(crate) async fn part(&self, outputs: Outputs) -> bool {
        let result = WorkResult { sequence: self.sequence, outputs: Some(outputs), ..WorkResult::default() };
        self.output.send(FromNode::Result(result)).await.is_ok()
    }

    /// Resolves when the call should end early.
    pub(crate) async fn cancelled(&self) {
        self.cancel.cancelled().await;
    }

    /// Runs a future that may simply be dropped when the call should end early.
    pub(crate) async fn unless_cancelled(
        &self,
        future: impl Future<Output = Result<Answer, NodeError>>,
    ) -> Result<Answer, NodeError> {
        tokio::select! {
            answer = future => answer,
            () = self.cancelled() => Ok(Answer::Interrupted),
        }
    }
}

struct Running {
    sequence: u64,
    cancel: CancellationToken,
    since: Instant,
}

type Ended = Result<Option<WorkResult>, NodeError>;

/// Runs a handler until `input` ends and all calls have, or the coordinator is gone.
pub(crate) async fn run<H: Handler>(
    handler: H,
    limit: Duration,
    mut input: mpsc::Receiver<ToNode>,
    output: mpsc::Sender<FromNode>,
) -> Result<(), NodeError> {
    let handler = Arc::new(handler);
    let mut tasks: JoinSet<Ended> = JoinSet::new();
    let mut running: HashMap<tokio::task::Id, Running> = HashMap::new();
    let mut progress = tokio::time::interval(PROGRESS_EVERY);
    progress.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut listening = true;
    while listening || !tasks.is_empty() {
        tokio::select! {
            word = input.recv(), if listening => match word {
                Some(ToNode::Work(work)) => {
                    let cancel = CancellationToken::new();
                    let call = Running { sequence: work.sequence, cancel: cancel.clone(), since: Instant::now() };
                    let reply = Reply { sequence: work.sequence, output: output.clone(), cancel };
                    let task = tasks.spawn(one(handler.clone(), work, reply, limit));
                    running.insert(task.id(), call);
                }
                Some(ToNode::Cancel { sequence, .. }) => {
                    running.values().filter(|call| call.sequence == sequence).for_each(|call| call.cancel.cancel());
                }
                None => listening = false,
            },
            Some(ended) = tasks.join_next_with_id() => {
                let (id, ended) = match ended {
                    Ok((id, ended)) => (id, ended),
                    Err(panic) => (panic.id(), Ok(None)),
                };
                let Some(call) = running.remove(&id) else { continue };
                let result = match ended {
                    Ok(Some(result)) => result,
                    Ok(None) => last(call.sequence, whole("HANDLER_PANIC", "the connector itself failed; this is a bug")),
                    Err(error) => {
                        stop(&mut tasks, &running).await;
                        return Err(error);
                    }
                };
                if output.send(FromNode::Result(result)).await.is_err() {
                    stop(&mut tasks, &running).await;
                    return Ok(());
                }
            },
            _ = progress.tick(), if !running.is_empty() => {
                // A report that finds no room is worth nothing later.
                let _ = output.try_send(FromNode::Progress(calls(&running)));
            }
            () = output.closed() => {
                stop(&mut tasks, &running).await;
                return Ok(());
            }
        }
    }
    Ok(())
}

async fn one<H: Handler>(handler: Arc<H>, work: Work, reply: Reply, default_limit: Duration) -> Ended {
    let (sequence, since) = (work.sequence, Instant::now());
    let limit = work.timeout.unwrap_or(default_limit);
    let call = handler.call(work, &reply);
    tokio::pin!(call);
    let answer = tokio::select! {
        answer = &mut call => answer?,
        () = tokio::time::sleep(limit) => {
            reply.cancel.cancel();
            call.await?
        }
    };
    let busy = since.elapsed();
    Ok(Some(match answer {
        Answer::Done { outputs, failures, consumed } => {
            WorkResult { sequence, outputs, failures, consumed, last: true, busy }
        }
        Answer::Failed(failure) => WorkResult { busy, ..last(sequence, failure) },
        Answer::Interrupted => WorkResult { busy, ..last(sequence, interrupted(busy, Some(limit))) },
    }))
}

pub(crate) fn last(sequence: u64, failure: Failure) -> WorkResult {
    WorkResult { sequence, failures: vec![failure], last: true, ..WorkResult::default() }
}

/// Ends every call in good order: programs are to be gone before the node is.
async fn stop(tasks: &mut JoinSet<Ended>, running: &HashMap<tokio::task::Id, Running>) {
    running.values().for_each(|call| call.cancel.cancel());
    while tasks.join_next().await.is_some() {}
}

fn calls(running: &HashMap<tokio::task::Id, Running>) -> Vec<Call> {
    let mut calls: Vec<Call> =
        running.values().map(|call| Call { sequence: call.sequence, index: None, age: call.since.elapsed() }).collect();
    calls.sort_by_key(|call| std::cmp::Reverse(call.age));
    calls.truncate(limits::PROGRESS_CALLS);
    calls
}
