//! Runs a handler of whole batches.

use std::{
    collections::BTreeSet,
    future::Future,
    marker::PhantomData,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use futures::{FutureExt as _, TryFutureExt as _, future::BoxFuture};

use super::{
    Process, Task,
    events::close,
    kinds::IntoDelivered,
    pending::{cancelled, timed_out},
};
use crate::{
    columns::ABSENT,
    context::{BatchCall, Session, Work},
    emitter::Emitter,
    error::{Error, panic_message, reason},
    extract::HandlerFn,
    layer::{Call, Handled},
    result::{Answer, Rows},
    trace::with_span,
};

/// An opened batch handler.
pub(crate) struct Batches<S, F: HandlerFn<BatchCall<S>, Args>, Args> {
    pub(crate) function: Arc<F>,
    pub(crate) prepared: F::Prepared,
    pub(crate) session: Arc<Session<S>>,
    pub(crate) args: PhantomData<fn(Args)>,
}

impl<S, F, Args> Process for Batches<S, F, Args>
where
    S: Send + Sync + 'static,
    Args: 'static,
    F: HandlerFn<BatchCall<S>, Args>,
    F::Returned: Future<Output: IntoDelivered> + Send + 'static,
{
    fn run(self: Arc<Self>, task: Task) -> BoxFuture<'static, ()> {
        self.answer(task).boxed()
    }
}

/// How a call of the whole batch ended, if not by its own error.
enum Outcome {
    Returned(Result<(), Error>),
    TimedOut,
    Cancelled,
}

impl<S, F, Args> Batches<S, F, Args>
where
    S: Send + Sync + 'static,
    Args: 'static,
    F: HandlerFn<BatchCall<S>, Args>,
    F::Returned: Future<Output: IntoDelivered> + Send + 'static,
{
    async fn answer(self: Arc<Self>, task: Task) {
        let Task { sequence, batch, attempts, timeout, signal, running, results } = task;
        let rows = batch.len();
        let permit = tokio::select! {
            biased;
            () = signal.token().cancelled() => None,
            permit = Arc::clone(&self.session.slots).acquire_owned() => permit.ok(),
        };
        let started = Instant::now();
        let mut answer = Answer::new(self.session.routes.clone());
        let mut consumed = 0;
        if permit.is_some() {
            running.begin(ABSENT);
            running.look();
            let spans = self.session.spans.batch(&batch, &attempts);
            let (emitter, home) = Emitter::new(rows, self.session.routes.clone());
            let work = Arc::new(Work {
                session: Arc::clone(&self.session),
                batch: batch.clone(),
                attempts,
                timeout,
                signal,
                running: Arc::clone(&running),
            });
            let outcome =
                Arc::clone(&self).call(&work, emitter, started, spans.as_ref().map(|spans| spans.context())).await;
            running.idle();
            let ended = match outcome {
                Outcome::Returned(Ok(())) => match home.lock().unwrap_or_else(PoisonError::into_inner).take() {
                    Some(verdicts) => verdicts.finish(&batch, self.session.opening.ordering),
                    None => Err(Error::retry(
                        reason::UNACCOUNTED,
                        "the handler kept its `Emitter` beyond the call; drop it before returning",
                    )),
                },
                Outcome::Returned(Err(error)) => Err(error),
                Outcome::TimedOut => Err(timed_out(started)),
                Outcome::Cancelled => {
                    (0..rows as u32).for_each(|row| answer.fail(row, cancelled()));
                    Ok((answer, BTreeSet::new()))
                }
            };
            if let Some(spans) = spans {
                spans.end(ended.as_ref().map(|(answer, consumed)| (answer.failures(), consumed)));
            }
            answer = match ended {
                Ok((answer, rows)) => {
                    consumed = rows.len() as u32;
                    answer
                }
                Err(error) => {
                    let mut whole = Answer::new(self.session.routes.clone());
                    whole.fail(ABSENT, error);
                    whole
                }
            };
        } else {
            (0..rows as u32).for_each(|row| answer.fail(row, cancelled()));
        }
        drop(permit);
        for result in close(answer.finish(sequence, &batch), sequence, consumed, started.elapsed()) {
            if results.send(result).await.is_err() {
                return;
            }
        }
    }

    /// Starts the handler, behind its layers if it has any.
    fn begin(self: Arc<Self>, call: BatchCall<S>) -> Result<BoxFuture<'static, Result<(), Error>>, Error> {
        let Some(layers) = self.session.layers.clone() else {
            return Ok(self.function.call(&call, &self.prepared)?.map(IntoDelivered::delivered).boxed());
        };
        let work = Arc::clone(&call.work);
        let run = move || {
            async move {
                let called = self.function.call(&call, &self.prepared)?;
                drop(call);
                called.await.delivered()?;
                Ok(Handled { rows: Rows::default(), goes_on: true })
            }
            .boxed()
        };
        let through = layers.call(Call::new(&work.session, &work.batch, None, work.highest_attempt(), run));
        Ok(through.map_ok(drop).boxed())
    }

    async fn call(
        self: Arc<Self>,
        work: &Arc<Work<S>>,
        emitter: Emitter,
        started: Instant,
        span: Option<opentelemetry::Context>,
    ) -> Outcome {
        let call = BatchCall { work: Arc::clone(work), started, emitter: Mutex::new(Some(emitter)) };
        let begun = {
            let _current = span.clone().map(opentelemetry::Context::attach);
            catch_unwind(AssertUnwindSafe(|| Self::begin(Arc::clone(&self), call)))
        };
        let future = match begun {
            Ok(Ok(future)) => with_span(future, span),
            Ok(Err(error)) => return Outcome::Returned(Err(error)),
            Err(panic) => {
                return Outcome::Returned(Err(Error::retry(reason::PANIC, panic_message(&*panic))));
            }
        };
        let mut future = pin!(AssertUnwindSafe(future).catch_unwind());
        let deadline = work.timeout.and_then(|timeout| started.checked_add(timeout));
        let late = async {
            match deadline {
                Some(deadline) => tokio::time::sleep_until(deadline.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            returned = &mut future => Outcome::Returned(match returned {
                Ok(returned) => returned,
                Err(panic) => Err(Error::retry(reason::PANIC, panic_message(&*panic))),
            }),
            () = late => Outcome::TimedOut,
            () = work.signal.token().cancelled() => Outcome::Cancelled,
        }
    }
}
