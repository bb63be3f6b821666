//! Runs a source: pulls records while there is credit, and frames them.

use std::{
    future::poll_fn,
    marker::PhantomData,
    panic::AssertUnwindSafe,
    pin::{Pin, pin},
    sync::Arc,
    task::Poll,
    time::Duration,
};

use futures::{FutureExt as _, Stream, future::BoxFuture};
use tokio::time::Instant;

use super::{End, SettledFn, Source, SourceTask, frame::Framer};
use crate::{
    columns::limits::MAX_EVENT_BYTES,
    context::{Session, SourceCall, SourceContext},
    error::{Error, panic_message, reason},
    extract::HandlerFn,
    output::Payload,
    record::{IntoRecord, Record},
};

/// How long the first record of a frame waits for others.
const LINGER: Duration = Duration::from_millis(5);

/// An opened source.
pub(crate) struct Streamed<S, F: HandlerFn<SourceCall<S>, Args>, Args> {
    pub(crate) function: Arc<F>,
    pub(crate) prepared: F::Prepared,
    pub(crate) session: Arc<Session<S>>,
    pub(crate) settled: Option<SettledFn<S>>,
    pub(crate) args: PhantomData<fn(Args)>,
}

impl<S, F, Args> Source for Streamed<S, F, Args>
where
    S: Send + Sync + 'static,
    Args: 'static,
    F: HandlerFn<SourceCall<S>, Args>,
    F::Returned: Stream<Item: IntoRecord> + Send + 'static,
{
    fn run(self: Arc<Self>, task: SourceTask) -> BoxFuture<'static, Result<End, Error>> {
        let produced = AssertUnwindSafe(self.produce(task)).catch_unwind();
        produced
            .map(|ended| ended.unwrap_or_else(|panic| Err(Error::retry(reason::PANIC, panic_message(&*panic)))))
            .boxed()
    }

    fn settled(&self, checkpoint: bytes::Bytes) -> BoxFuture<'static, Result<(), Error>> {
        match &self.settled {
            Some(hook) => hook(checkpoint, Arc::clone(&self.session.state)),
            None => std::future::ready(Ok(())).boxed(),
        }
    }
}

impl<S, F, Args> Streamed<S, F, Args>
where
    S: Send + Sync + 'static,
    Args: 'static,
    F: HandlerFn<SourceCall<S>, Args>,
    F::Returned: Stream<Item: IntoRecord> + Send + 'static,
{
    async fn produce(self: Arc<Self>, mut task: SourceTask) -> Result<End, Error> {
        let context = SourceContext {
            session: Arc::clone(&self.session),
            checkpoint: task.checkpoint.clone(),
            stopping: task.stopping.clone(),
        };
        let call = SourceCall { context };
        let stream = self.function.call(&call, &self.prepared)?;
        drop(call);
        if let Some(begun) = task.begun.take() {
            // A stream that is gone stops the source, too.
            let _ = begun.send(());
        }
        let mut stream = pin!(stream);
        let mut framer = Framer::new(task.checkpoint.take(), task.replays);
        let mut carried: Option<Record> = None;
        loop {
            tokio::select! {
                biased;
                () = task.stopping.cancelled() => return Ok(End::Stopped),
                () = task.credit.wait() => {}
            }
            let left = task.credit.left();
            let filled = self.fill(&mut framer, &mut carried, left, stream.as_mut(), &mut task).await;
            // What was yielded before an end, a stop or an error is still sent.
            if !framer.is_empty() {
                task.credit.take(framer.events(), framer.bytes());
                if task.frames.send(framer.finish()).await.is_err() {
                    return Ok(End::Stopped);
                }
            }
            match filled? {
                Filled::Frame => {}
                Filled::Exhausted => return Ok(End::Exhausted),
                Filled::Stopped => return Ok(End::Stopped),
            }
        }
    }

    /// Pulls records until the frame is full, the credit used, nothing more comes within 5 ms, or the source ends.
    async fn fill(
        &self,
        framer: &mut Framer,
        carried: &mut Option<Record>,
        left: super::credit::Left,
        mut stream: Pin<&mut F::Returned>,
        task: &mut SourceTask,
    ) -> Result<Filled, Error> {
        let mut linger: Option<Instant> = None;
        loop {
            let record = match carried.take() {
                Some(record) => record,
                None => match self.next(framer.is_empty(), stream.as_mut(), &mut linger, task).await {
                    Pulled::Record(record) => record?,
                    Pulled::Nothing => return Ok(Filled::Frame),
                    Pulled::Ended => return Ok(Filled::Exhausted),
                    Pulled::Stopped => return Ok(Filled::Stopped),
                },
            };
            let size = match &record.output.payload {
                Payload::Owned(data) => data.len(),
                Payload::Shared(data) => data.len(),
                _ => 0,
            };
            if size <= MAX_EVENT_BYTES && !left.admits(framer.events(), framer.bytes(), size as u64) {
                *carried = Some(record);
                return Ok(Filled::Frame);
            }
            let sampled = task.sampling.sample(&record);
            let spans = &self.session.spans;
            framer.push(record, |id| sampled.map(|parent| spans.send(parent, id)))?;
            if framer.is_full() || !left.admits(framer.events(), framer.bytes(), 0) {
                return Ok(Filled::Frame);
            }
        }
    }

    async fn next(
        &self,
        is_first: bool,
        mut stream: Pin<&mut F::Returned>,
        linger: &mut Option<Instant>,
        task: &SourceTask,
    ) -> Pulled {
        let mut poll = |cx: &mut std::task::Context<'_>| stream.as_mut().poll_next(cx);
        // Most records are there at once: no timer, no waiting.
        if !task.stopping.is_cancelled()
            && let Poll::Ready(item) = poll_fn(|cx| Poll::Ready(poll(cx))).await
        {
            return pulled(item);
        }
        let until = async {
            if is_first {
                std::future::pending().await
            } else {
                tokio::time::sleep_until(*linger.get_or_insert_with(|| Instant::now() + LINGER)).await;
            }
        };
        tokio::select! {
            biased;
            () = task.stopping.cancelled() => Pulled::Stopped,
            item = poll_fn(&mut poll) => pulled(item),
            () = until => Pulled::Nothing,
        }
    }
}

enum Filled {
    Frame,
    Exhausted,
    Stopped,
}

enum Pulled {
    Record(Result<Record, Error>),
    Nothing,
    Ended,
    Stopped,
}

fn pulled(item: Option<impl IntoRecord>) -> Pulled {
    item.map_or(Pulled::Ended, |item| Pulled::Record(item.into_record()))
}
