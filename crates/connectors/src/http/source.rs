//! The source behind the server: admits whole requests within the demand, and lets them be answered once they are durable.

use std::{collections::HashMap, net::TcpListener, sync::Arc, time::Duration};

use meshloom_config::connector::HttpSource;
use meshloom_core::{
    batch::Batch,
    exchange::{FromSource, NotAccepted, ToSource},
};
use tokio::{
    sync::{mpsc, oneshot},
    time::Instant,
};
use tokio_util::sync::CancellationToken;

use super::server::{self, Settings};
use crate::{
    BoxFuture, NodeError, OpenContext, OpenError, SourceNode,
    link::{Fate, Link, Sequence, payload_bytes},
    listen,
};

/// Requests that wait for their admission.
const WAITING: usize = 64;
/// How long a request waits for room before it is told to come again.
const PATIENCE: Duration = Duration::from_millis(200);

/// Receives events by POST.
pub(crate) struct HttpSourceNode {
    listener: TcpListener,
    settings: Settings,
    context: OpenContext,
}

/// The events of a request, to be admitted.
pub(super) struct Admission {
    pub(super) batch: Batch,
    pub(super) reply: oneshot::Sender<Outcome>,
    /// When it had come whole.
    pub(super) since: Instant,
}

/// What became of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// All of its events are durable, or accepted where the user wants no more than memory.
    Accepted,
    /// No room now.
    Busy,
    /// Its events could not be made durable, and none of them is accepted.
    Refused(NotAccepted),
    /// No room ever, not even when the pipeline is empty.
    TooMany {
        /// Events that may come at once.
        events: u64,
        /// Their bytes.
        bytes: u64,
    },
    /// The source ends.
    Stopping,
}

impl HttpSourceNode {
    pub(crate) fn open(spec: HttpSource, context: OpenContext) -> Result<Self, OpenError> {
        let listener = listen::bind(spec.listen, &context.node)?;
        let settings = Settings {
            path: spec.path,
            max_event: usize::try_from(context.max_event).unwrap_or(usize::MAX),
            timeout: context.timeout,
        };
        Ok(Self { listener, settings, context })
    }

    async fn produce(self, mut link: Link) -> Result<(), NodeError> {
        let (listener, address) = listen::start(self.listener)?;
        self.context.say(format!("listening on http://{address}{}", self.settings.path)).await;
        let stop = CancellationToken::new();
        // Whatever ends this source ends the server as well.
        let _stop_at_last = stop.clone().drop_guard();
        let (admissions, mut admitted) = mpsc::channel(WAITING);
        let (notices, mut noticed) = mpsc::channel(1);
        let server = server::serve(listener, Arc::new(self.settings), admissions, notices, stop.clone());
        let server = tokio::spawn(server);
        let mut pending: HashMap<Sequence, oneshot::Sender<Outcome>> = HashMap::new();
        let mut next: Option<Admission> = None;
        loop {
            let fits = |next: &mut Admission| link.credit().admits(next.batch.len() as u64, payload_bytes(&next.batch));
            if let Some(admission) = next.take_if(fits)
                && admit(&mut link, &mut pending, admission).await.is_err()
            {
                break;
            }
            let patience = next.as_ref().map(|next| next.since + PATIENCE);
            tokio::select! {
                heard = link.hear() => match heard {
                    Ok(Some((sequence, fate))) => close(&mut pending, sequence, fate),
                    Ok(None) => {}
                    Err(_stopped) => break,
                },
                Some(admission) = admitted.recv(), if next.is_none() => next = Some(admission),
                () = sleep_until(patience) => next.take().into_iter().for_each(|next| refuse(&link, next)),
                Some(notice) = noticed.recv() => self.context.say(notice).await,
            }
        }
        stop.cancel();
        admitted.close();
        let left = next.into_iter().chain(std::iter::from_fn(|| admitted.try_recv().ok()));
        left.for_each(|admission| answer(admission.reply, Outcome::Stopping));
        // What was handed over may still become durable, and be answered as it should.
        while !pending.is_empty()
            && let Some((sequence, fate)) = link.hear_after_stop().await
        {
            close(&mut pending, sequence, fate);
        }
        pending.into_values().for_each(|reply| answer(reply, Outcome::Stopping));
        server.await.map_err(|panic| NodeError::new("HANDLER_PANIC", panic.to_string(), "this is a bug"))
    }
}

async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

/// Answers a request that has waited for credit in vain.
fn refuse(link: &Link, Admission { batch, reply, .. }: Admission) {
    // Only what did not even fit when the pipeline was empty is refused for good: credit comes in steps.
    let peak = link.peak();
    let fits = peak.admits(batch.len() as u64, payload_bytes(&batch));
    let never = link.unsettled().events == 0 && peak.any() && !fits;
    answer(reply, if never { Outcome::TooMany { events: peak.events, bytes: peak.bytes } } else { Outcome::Busy });
}

/// Hands a request over for which there is credit.
async fn admit(
    link: &mut Link,
    pending: &mut HashMap<Sequence, oneshot::Sender<Outcome>>,
    Admission { batch, reply, .. }: Admission,
) -> Result<(), crate::link::Stopped> {
    if !link.taken(PATIENCE).await {
        answer(reply, Outcome::Busy);
        return Ok(());
    }
    let sequence = link.send(batch, None).await?;
    pending.insert(sequence, reply);
    // Requests whose client has gone need no answer; their events are delivered all the same.
    pending.retain(|_, reply| !reply.is_closed());
    Ok(())
}

fn close(pending: &mut HashMap<Sequence, oneshot::Sender<Outcome>>, sequence: Sequence, fate: Fate) {
    if let Some(reply) = pending.remove(&sequence) {
        answer(
            reply,
            match fate {
                Fate::Settled => Outcome::Accepted,
                Fate::Refused(why) => Outcome::Refused(why),
            },
        );
    }
}

fn answer(reply: oneshot::Sender<Outcome>, outcome: Outcome) {
    // A client that has gone meanwhile misses nothing that it could not ask for again.
    let _ = reply.send(outcome);
}

impl SourceNode for HttpSourceNode {
    fn replays(&self) -> bool {
        false
    }

    fn run(
        self: Box<Self>,
        input: mpsc::Receiver<ToSource>,
        output: mpsc::Sender<FromSource>,
    ) -> BoxFuture<'static, Result<(), NodeError>> {
        Box::pin(self.produce(Link::new(input, output)))
    }
}
