//! What a publisher is still to be told. Bounded by its credit: who does not read what is in it gets no more credit.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use meshloom_core::exchange::NotAccepted;
use meshloom_proto::v1::{self, publish_response::Response};
use meshloom_wire::ingress::response;
use tokio::sync::Notify;
use tonic::Status;

use crate::{intake, link::Credit};

/// What a publisher may send ahead of what the pipeline has taken.
pub(super) const WINDOW: Credit = Credit { events: 4096, bytes: 256 << 10 };

/// Between a publisher's stream and the pipeline.
#[derive(Default)]
pub(super) struct Outbox {
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    /// Messages in order.
    messages: Vec<Response>,
    /// What the publisher has left.
    left: Credit,
    /// What it gets once there is room.
    due: Credit,
    /// Publications that are neither acknowledged nor refused.
    open: usize,
    /// How its stream ended: at its own wish, or by a fault.
    ended: Option<Result<(), Status>>,
}

/// What there is to say.
pub(super) struct Outgoing {
    pub(super) messages: Vec<v1::PublishResponse>,
    /// Nothing is open.
    pub(super) settled: bool,
    /// The stream is to end.
    pub(super) ended: Option<Result<(), Status>>,
}

impl Outbox {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resolves when there may be more to say.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// The stream is open; its first credit comes once there is room.
    pub(super) fn opened(&self, opened: v1::OpenedPublish) {
        let mut state = self.state();
        state.messages.push(Response::Opened(opened));
        state.due = WINDOW;
        drop(state);
        self.changed.notify_one();
    }

    /// Takes a publication on; an error says by how much it exceeds the credit.
    pub(super) fn accept(self: &Arc<Self>, sequence: u64, events: u64, bytes: u64) -> Result<Receipt, String> {
        let mut state = self.state();
        let left = state.left;
        if !left.admits(events, bytes) {
            return Err(format!(
                "publication {sequence} has {events} events of {bytes} bytes, with credit for {} events and {} bytes \
                 left: wait for PublishCredit before sending more",
                left.events, left.bytes
            ));
        }
        state.left.spend(events, bytes);
        let spent = Credit { events: left.events - state.left.events, bytes: left.bytes - state.left.bytes };
        state.open += 1;
        Ok(Receipt { outbox: self.clone(), sequence, spent })
    }

    /// The publisher says no more, or nothing that could be understood.
    pub(super) fn end(&self, how: Result<(), Status>) {
        self.state().ended.get_or_insert(how);
        self.changed.notify_one();
    }

    /// Takes what there is to say; `room`: more credit may be given.
    pub(super) fn take(&self, room: bool) -> Outgoing {
        let mut state = self.state();
        let mut messages: Vec<_> = state.messages.drain(..).map(response).collect();
        // In steps of half a window: credit for each publication would cost as many messages again.
        let due = state.due;
        let worth = state.left.events <= WINDOW.events / 2 || state.left.bytes <= WINDOW.bytes / 2;
        if room && worth && due != Credit::default() {
            state.left.add(due);
            state.due = Credit::default();
            messages.push(response(Response::Credit(v1::PublishCredit { events: due.events, bytes: due.bytes })));
        }
        let settled = state.open == 0;
        let ended = match &state.ended {
            Some(Ok(())) if !settled => None,
            ended => ended.clone(),
        };
        Outgoing { messages, settled, ended }
    }
}

/// A publication on its way.
pub(super) struct Receipt {
    outbox: Arc<Outbox>,
    sequence: u64,
    spent: Credit,
}

impl Receipt {
    /// Nothing of it is accepted.
    pub(super) fn refuse(&self, failures: Vec<v1::EventFailure>) {
        self.close(Response::Refused(v1::Refused { sequence: self.sequence, failures }));
        intake::Receipt::forwarded(self);
    }

    fn close(&self, message: Response) {
        let mut state = self.outbox.state();
        state.messages.push(message);
        state.open -= 1;
        drop(state);
        self.outbox.changed.notify_one();
    }
}

impl intake::Receipt for Receipt {
    fn forwarded(&self) {
        self.outbox.state().due.add(self.spent);
        self.outbox.changed.notify_one();
    }

    fn settled(&self) {
        self.close(Response::Acknowledged(v1::Acknowledged { sequence: self.sequence }));
    }

    /// The publisher's stream ends: what was not acknowledged it sends again, in its order.
    fn refused(&self, why: NotAccepted) {
        let again = "publish what was not acknowledged again, with the same ids";
        self.outbox.end(Err(match why {
            NotAccepted::Full => Status::unavailable(format!("JOURNAL_FULL: the pipeline has no room now: {again}")),
            NotAccepted::Failed => Status::unavailable(format!(
                "JOURNAL_FAILED: events cannot be made durable now, see the log of the coordinator: {again}"
            )),
            NotAccepted::TooLarge => Status::resource_exhausted(
                "JOURNAL_TOO_SMALL: an event is larger than the journal takes at once: raise `journal: { size }`",
            ),
        }));
    }
}
