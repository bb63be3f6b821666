//! The source behind the server: admits whole requests within the demand, and lets them be answered once they are durable.

use std::{collections::HashMap, net::TcpListener, sync::Arc, time::Duration};

use meshloom_config::connector::HttpSource;
use meshloom_core::{
    batch::Batch,
    exchange::{FromSource, NotAccepted, ToSource},
};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::server::{self, Settings};
use crate::{
    BoxFuture, NodeError, OpenContext, OpenError, SourceNode,
    link::{Fate, Link, Sequence, payload_bytes},
    listen,
};

/// Requests that wait for their admission.
const WAITING: usize = 64;
/// How long a request waits for a full pipeline to go on before it is told to come again.
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
        loop {
            tokio::select! {
                heard = link.hear() => match heard {
                    Ok(Some((sequence, fate))) => close(&mut pending, sequence, fate),
                    Ok(None) => {}
                    Err(_stopped) => break,
                },
                Some(admission) = admitted.recv() => {
                    if admit(&mut link, &mut pending, admission).await.is_err() {
                        break;
                    }
                }
                Some(notice) = noticed.recv() => self.context.say(notice).await,
            }
        }
        stop.cancel();
        admitted.close();
        while let Ok(admission) = admitted.try_recv() {
            answer(admission.reply, Outcome::Stopping);
        }
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

async fn admit(
    link: &mut Link,
    pending: &mut HashMap<Sequence, oneshot::Sender<Outcome>>,
    Admission { batch, reply }: Admission,
) -> Result<(), crate::link::Stopped> {
    let (events, bytes) = (batch.len() as u64, payload_bytes(&batch));
    let credit = link.credit();
    if !credit.admits(events, bytes) {
        // Only what did not even fit when the pipeline was empty is refused for good: credit comes in steps.
        let peak = link.peak();
        let never = link.unsettled().events == 0 && peak.any() && !peak.admits(events, bytes);
        let outcome = if never { Outcome::TooMany { events: peak.events, bytes: peak.bytes } } else { Outcome::Busy };
        answer(reply, outcome);
        return Ok(());
    }
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
