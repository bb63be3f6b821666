//! A call that was not ready at once.

use std::{
    future::Future,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    task::{Context, Poll},
    time::Instant,
};

use uuid::Uuid;

use tokio::{sync::OwnedSemaphorePermit, time::Sleep};

use crate::{
    error::{Error, panic_message, reason},
    trace::{CallSpan, Current},
};

/// Where futures of one type are built in place, one after the other, until one has to wait.
pub(crate) type Slot<F> = Pin<Box<Option<F>>>;

/// Drops what is in a slot; a panic in doing so is contained like any other of the handler.
pub(crate) fn clear<F>(slot: &mut Slot<F>) {
    if catch_unwind(AssertUnwindSafe(|| slot.set(None))).is_err() {
        tracing::error!("a handler's future panicked while it was dropped");
    }
}

pub(crate) struct Pending<F> {
    pub(crate) row: u32,
    pub(crate) uid: Uuid,
    pub(crate) started: Instant,
    pub(crate) slot: Slot<F>,
    pub(crate) span: Option<CallSpan>,
    pub(crate) permit: Option<OwnedSemaphorePermit>,
    pub(crate) timeout: Option<Pin<Box<Sleep>>>,
}

pub(crate) struct Finished<A> {
    pub(crate) row: u32,
    pub(crate) started: Instant,
    pub(crate) span: Option<CallSpan>,
    pub(crate) permit: Option<OwnedSemaphorePermit>,
    pub(crate) outcome: Result<A, Error>,
}

impl<F: Future> Future for Pending<F> {
    type Output = Finished<F::Output>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        let outcome = match poll_slot(&mut this.slot, this.uid, this.span.as_ref(), cx) {
            Poll::Ready(outcome) => outcome,
            Poll::Pending => match this.timeout.as_mut().map(|timeout| timeout.as_mut().poll(cx)) {
                Some(Poll::Ready(())) => {
                    clear(&mut this.slot);
                    Err(timed_out(this.started))
                }
                _ => return Poll::Pending,
            },
        };
        Poll::Ready(Finished {
            row: this.row,
            started: this.started,
            span: this.span.take(),
            permit: this.permit.take(),
            outcome,
        })
    }
}

/// Polls the call in a slot; one that is ready leaves it empty.
pub(crate) fn poll_in<F: Future>(slot: &mut Slot<F>, cx: &mut Context<'_>) -> Poll<F::Output> {
    let polled = slot.as_mut().as_pin_mut().expect("a call is polled until it is ready").poll(cx);
    if polled.is_ready() {
        slot.set(None);
    }
    polled
}

/// Polls a call once, with its span current and its panics contained.
fn poll_slot<F: Future>(
    slot: &mut Slot<F>,
    uid: Uuid,
    span: Option<&CallSpan>,
    cx: &mut Context<'_>,
) -> Poll<Result<F::Output, Error>> {
    let polled = {
        let _current = (Current::set(uid), span.map(CallSpan::attach));
        catch_unwind(AssertUnwindSafe(|| poll_in(slot, cx)))
    };
    match polled {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(answer)) => Poll::Ready(Ok(answer)),
        Err(panic) => {
            clear(slot);
            Poll::Ready(Err(Error::retry(reason::PANIC, panic_message(&*panic))))
        }
    }
}

pub(crate) fn timed_out(started: Instant) -> Error {
    Error::retry(
        reason::TIMEOUT,
        format!("the handler's call ran for {:.1?}, longer than the node's timeout", started.elapsed()),
    )
}

pub(crate) fn cancelled() -> Error {
    Error::retry(reason::CANCELLED, "the coordinator took the work back")
}
