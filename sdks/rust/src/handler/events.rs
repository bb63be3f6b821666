//! Runs a handler of single events over the rows of a work.
//!
//! A call that is ready at once, as most are, costs no allocation, no task and no look at the clock: its future is built
//! in a slot that is used again. Only a call that has to wait is kept, together with its slot.

use std::{
    future::{Future, poll_fn},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    task::{self, Poll},
    time::{Duration, Instant},
};

use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream::FuturesUnordered};
use meshloom_proto::v1::WorkResult;
use tokio::sync::OwnedSemaphorePermit;

use super::{
    Process, Task,
    lanes::{self, Admission, Lanes, Next},
    link::Link,
    pending::{Finished, Pending, Slot, cancelled, clear, poll_in, timed_out},
};
use crate::{
    columns::ABSENT,
    context::{EventCall, Session, Work},
    error::{Error, panic_message, reason},
    result::Answer,
    trace::{CallSpan, Current, Verdict},
};

/// What is done with one event.
pub(crate) trait EventHandler<S>: Send + Sync + 'static {
    type Answer: Send + 'static;
    type Future: Future<Output = Self::Answer> + Send + 'static;
    /// Whether an event that ends here has been delivered: so says its span.
    const DELIVERS: bool = false;

    /// Starts a call; an argument that does not fit is the event's answer.
    fn start(&self, call: &EventCall<S>, link: &Arc<Link>) -> Result<Self::Future, Error>;

    /// Writes what the call returned; true if there were outputs, false if the event ends here on purpose.
    fn finish(returned: Self::Answer, row: u32, answer: &mut Answer) -> Result<bool, Error>;
}

/// An opened handler of single events.
pub(crate) struct Events<S, H> {
    pub(crate) handler: H,
    pub(crate) session: Arc<Session<S>>,
}

impl<S: Send + Sync + 'static, H: EventHandler<S>> Process for Events<S, H> {
    fn run(self: Arc<Self>, task: Task) -> BoxFuture<'static, ()> {
        Run::new(self, task).run().boxed()
    }
}

struct Run<S, H: EventHandler<S>> {
    events: Arc<Events<S, H>>,
    work: Arc<Work<S>>,
    /// The same for every row, but for the row.
    call: EventCall<S>,
    link: Arc<Link>,
    answer: Answer,
    consumed: u32,
    /// Time of calls that were ready at once, and of all others from their first to their last poll.
    busy: Duration,
    /// The row that is started next, and before it those that waited for their key.
    next: u32,
    following: Option<u32>,
    slot: Slot<H::Future>,
    permit: Option<OwnedSemaphorePermit>,
    pending: FuturesUnordered<Pending<H::Future>>,
    lanes: Lanes,
    next_span: usize,
    /// The rest of an input that went on: to be sent before anything else.
    rest: Option<Vec<WorkResult>>,
}

/// How the first poll of a call ended.
enum First<A> {
    Answered(Result<A, Error>),
    Waits,
}

impl<S: Send + Sync + 'static, H: EventHandler<S>> Run<S, H> {
    fn new(events: Arc<Events<S, H>>, task: Task) -> Self {
        let session = &events.session;
        let link = Link::new(task.sequence, task.batch.clone(), session.routes.clone(), task.results);
        let work = Arc::new(Work {
            session: Arc::clone(session),
            batch: task.batch,
            attempts: task.attempts,
            timeout: task.timeout,
            signal: task.signal,
            running: task.running,
        });
        Self {
            call: EventCall { work: Arc::clone(&work), row: 0 },
            work,
            link: Arc::new(link),
            answer: Answer::new(session.routes.clone()),
            consumed: 0,
            busy: Duration::ZERO,
            next: 0,
            following: None,
            slot: Box::pin(None),
            permit: None,
            pending: FuturesUnordered::new(),
            lanes: Lanes::new(session.opening.ordering),
            next_span: 0,
            rest: None,
            events,
        }
    }

    async fn run(mut self) {
        let count = self.work.batch.len() as u32;
        while self.next < count || self.following.is_some() || !self.pending.is_empty() {
            let all_started = self.next == count && self.following.is_none();
            // Too much is held only while an input goes on whose call is pending: nothing else may be sent before it ends.
            let waits = all_started || self.answer.is_large();
            let goes_on = if waits { self.await_pending().await } else { self.await_permit().await };
            if !goes_on {
                return self.cancel().await;
            }
            poll_fn(|cx| self.burst(cx)).await;
            self.send_rest().await;
            if self.answer.is_large() {
                self.flush().await;
            }
        }
        self.last().await;
    }

    /// Starts rows, one after the other, until something has to be waited for: always ready, it only needs a task's context.
    fn burst(&mut self, cx: &mut task::Context<'_>) -> Poll<()> {
        let began = Instant::now();
        let count = self.work.batch.len() as u32;
        while self.permit.is_some() && !self.work.signal.is_raised() && self.rest.is_none() && !self.answer.is_large() {
            if let Some(row) = self.following.take() {
                self.start(cx, row);
                continue;
            }
            if self.next == count {
                break;
            }
            let row = self.next;
            self.next += 1;
            match self.lanes.admit(&self.work.batch, row) {
                Admission::Start => self.start(cx, row),
                Admission::Queued => {}
                Admission::Held => self.hold(row),
            }
        }
        self.busy += began.elapsed();
        Poll::Ready(())
    }

    /// Waits for leave to run one more call, while calls in hand go on; false when the work was taken back.
    async fn await_permit(&mut self) -> bool {
        loop {
            if self.work.signal.is_raised() {
                return false;
            }
            if self.permit.is_some() {
                return true;
            }
            let signal = Arc::clone(&self.work.signal);
            let slots = Arc::clone(&self.work.session.slots);
            tokio::select! {
                biased;
                () = signal.token().cancelled() => return false,
                Some(finished) = self.pending.next() => self.finished(finished).await,
                permit = slots.acquire_owned() => self.permit = permit.ok(),
            }
        }
    }

    /// Lets the calls in hand go on until one ends; false when the work was taken back.
    async fn await_pending(&mut self) -> bool {
        self.permit = None;
        let signal = Arc::clone(&self.work.signal);
        tokio::select! {
            biased;
            () = signal.token().cancelled() => return false,
            Some(finished) = self.pending.next() => self.finished(finished).await,
        }
        true
    }

    async fn finished(&mut self, finished: Finished<H::Answer>) {
        let Finished { row, started, span, permit, outcome } = finished;
        self.work.running.unpark(row);
        self.busy += started.elapsed();
        if self.permit.is_none() {
            self.permit = permit;
        }
        self.conclude(row, span, outcome);
        self.send_rest().await;
    }

    /// Calls the handler for one row and polls the call once.
    fn start(&mut self, cx: &mut task::Context<'_>, row: u32) {
        self.work.running.begin(row);
        self.call.row = row;
        let span = self.span(row);
        match self.first_poll(cx, row, span.as_ref()) {
            First::Answered(outcome) => self.conclude(row, span, outcome),
            First::Waits => self.park(row, span),
        }
    }

    fn first_poll(&mut self, cx: &mut task::Context<'_>, row: u32, span: Option<&CallSpan>) -> First<H::Answer> {
        let _current = (Current::set(self.work.batch.uid(row as usize)), span.map(CallSpan::attach));
        let polled = catch_unwind(AssertUnwindSafe(|| {
            self.slot.set(Some(self.events.handler.start(&self.call, &self.link)?));
            Ok(poll_in(&mut self.slot, cx))
        }));
        match polled {
            Ok(Ok(Poll::Pending)) => First::Waits,
            Ok(Ok(Poll::Ready(answer))) => First::Answered(Ok(answer)),
            Ok(Err(error)) => First::Answered(Err(error)),
            Err(panic) => {
                clear(&mut self.slot);
                First::Answered(Err(Error::retry(reason::PANIC, panic_message(&*panic))))
            }
        }
    }

    fn park(&mut self, row: u32, span: Option<CallSpan>) {
        let started = self.work.running.park(row);
        let deadline = self.work.timeout.and_then(|timeout| started.checked_add(timeout));
        self.pending.push(Pending {
            row,
            uid: self.work.batch.uid(row as usize),
            started,
            slot: std::mem::replace(&mut self.slot, Box::pin(None)),
            span,
            permit: self.permit.take(),
            timeout: deadline.map(|deadline| Box::pin(tokio::time::sleep_until(deadline.into()))),
        });
    }

    /// Notes what became of a row, and which waited for it.
    fn conclude(&mut self, row: u32, span: Option<CallSpan>, outcome: Result<H::Answer, Error>) {
        let goes_on = self.link.continued() == row;
        let aside = goes_on.then(|| std::mem::replace(&mut self.answer, Answer::new(self.link.routes.clone())));
        let answer = &mut self.answer;
        let closed = outcome.and_then(|returned| {
            catch_unwind(AssertUnwindSafe(|| H::finish(returned, row, answer)))
                .unwrap_or_else(|panic| Err(Error::retry(reason::PANIC, panic_message(&*panic))))
        });
        let comes_again = match closed {
            Ok(has_outputs) => {
                self.consumed += u32::from(!has_outputs);
                end_span(span, if has_outputs || H::DELIVERS { Verdict::Delivered } else { Verdict::Consumed });
                false
            }
            Err(error) => {
                self.answer.rows.forget_partial();
                if let Some(span) = span {
                    span.fail(&error);
                }
                let comes_again = !error.is_reject();
                self.answer.fail(row, error);
                comes_again
            }
        };
        if let Some(aside) = aside {
            self.rest = Some(self.answer.finish(self.link.sequence, &self.work.batch));
            self.answer = aside;
        }
        self.follow(row, comes_again);
    }

    async fn send_rest(&mut self) {
        if let Some(rest) = self.rest.take() {
            self.link.send(rest).await;
            self.link.end_part();
        }
    }

    /// Takes note of what is next in the row's lane.
    fn follow(&mut self, row: u32, comes_again: bool) {
        match self.lanes.ended(&self.work.batch, row, comes_again) {
            Next::Nothing => {}
            Next::Start(next) => {
                debug_assert!(self.following.is_none(), "a call that ends leaves its permit to the row behind it");
                self.following = Some(next);
            }
            Next::Hold(held) => held.into_iter().for_each(|row| self.hold(row)),
        }
    }

    fn hold(&mut self, row: u32) {
        self.answer.fail(row, lanes::held());
    }

    /// The span of a row, if it is sampled. Rows start in ascending order but for those that waited for their key.
    fn span(&mut self, row: u32) -> Option<CallSpan> {
        let spans = self.work.batch.spans();
        if spans.is_empty() {
            return None;
        }
        while spans.get(self.next_span).is_some_and(|span| span.row < row) {
            self.next_span += 1;
        }
        let found = match spans.get(self.next_span) {
            Some(span) if span.row == row => span,
            _ => &spans[spans.binary_search_by_key(&row, |span| span.row).ok()?],
        };
        self.work.session.spans.process(&self.work.batch.event(row as usize), found, self.work.attempt(row))
    }

    async fn flush(&mut self) {
        if self.link.continued() == ABSENT {
            let results = self.answer.finish(self.link.sequence, &self.work.batch);
            self.link.send(results).await;
        }
    }

    /// Answers a work that was taken back.
    async fn cancel(mut self) {
        for mut call in std::mem::take(&mut self.pending) {
            let late = self.work.timeout.is_some_and(|timeout| call.started.elapsed() >= timeout);
            let error = if late { timed_out(call.started) } else { cancelled() };
            self.busy += call.started.elapsed();
            clear(&mut call.slot);
            if let Some(span) = call.span.take() {
                span.fail(&error);
            }
            if self.link.continued() == call.row {
                // Nothing else may be said before the input that goes on has ended.
                let mut rest = Answer::new(self.link.routes.clone());
                rest.fail(call.row, error);
                self.link.send(rest.finish(self.link.sequence, &self.work.batch)).await;
                self.link.end_part();
            } else {
                self.answer.fail(call.row, error);
            }
        }
        let lanes = std::mem::replace(&mut self.lanes, Lanes::new(self.work.session.opening.ordering));
        for row in self.following.into_iter().chain(lanes.queued()).chain(self.next..self.work.batch.len() as u32) {
            self.answer.fail(row, cancelled());
        }
        self.last().await;
    }

    async fn last(mut self) {
        self.permit = None;
        self.work.running.idle();
        let results = self.answer.finish(self.link.sequence, &self.work.batch);
        self.link.send(close(results, self.link.sequence, self.consumed, self.busy)).await;
    }
}

fn end_span(span: Option<CallSpan>, verdict: Verdict) {
    if let Some(span) = span {
        span.end(verdict);
    }
}

/// Marks the last of a work's results.
pub(crate) fn close(mut results: Vec<WorkResult>, sequence: u64, consumed: u32, busy: Duration) -> Vec<WorkResult> {
    if results.is_empty() {
        results.push(WorkResult { sequence, ..WorkResult::default() });
    }
    if let Some(last) = results.last_mut() {
        last.consumed = consumed;
        last.last = true;
        last.busy = busy.try_into().ok();
    }
    results
}
