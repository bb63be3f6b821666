//! The handlers of single events: map, filter, flat_map and sink.

use std::{
    future::Future,
    marker::PhantomData,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use futures::{Stream, future::BoxFuture};

use super::{events::EventHandler, link::Link};
use crate::{
    columns::limits::HELD_OUTPUT_BYTES,
    context::EventCall,
    error::Error,
    extract::HandlerFn,
    output::{IntoAnswer, IntoOutput},
    result::{Answer, Rows},
};

/// A function with its prepared arguments; `Kind` says what its result means.
pub(crate) struct Function<S, F: HandlerFn<EventCall<S>, Args>, Args, Kind> {
    function: Arc<F>,
    prepared: F::Prepared,
    kind: PhantomData<fn(S, Args) -> Kind>,
}

impl<S, F: HandlerFn<EventCall<S>, Args>, Args, Kind> Function<S, F, Args, Kind> {
    pub(crate) fn new(function: Arc<F>, prepared: F::Prepared) -> Self {
        Self { function, prepared, kind: PhantomData }
    }
}

pub(crate) struct MapKind;
pub(crate) struct FilterKind;
pub(crate) struct SinkKind;
pub(crate) struct FlatMapKind;

pub(crate) type Mapped<S, F, Args> = Function<S, F, Args, MapKind>;
pub(crate) type Filtered<S, F, Args> = Function<S, F, Args, FilterKind>;
pub(crate) type Sunk<S, F, Args> = Function<S, F, Args, SinkKind>;
pub(crate) type FlatMapped<S, F, Args> = Function<S, F, Args, FlatMapKind>;

impl<S, F, Args> EventHandler<S> for Mapped<S, F, Args>
where
    S: Send + Sync + 'static,
    Args: 'static,
    F: HandlerFn<EventCall<S>, Args>,
    F::Returned: Future<Output: IntoAnswer> + Send + 'static,
{
    type Answer = <F::Returned as Future>::Output;
    type Future = F::Returned;

    fn start(&self, call: &EventCall<S>, _: &Arc<Link>) -> Result<Self::Future, Error> {
        self.function.call(call, &self.prepared)
    }

    fn finish(returned: Self::Answer, row: u32, answer: &mut Answer) -> Result<bool, Error> {
        returned.answer(row, &mut answer.rows)
    }
}

/// What a filter may return: `bool`, or a `Result` of it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no answer of a filter",
    note = "return `bool` or `meshloom::Result<bool>`"
)]
pub trait IntoKeep: Send + 'static {
    #[doc(hidden)]
    fn keep(self) -> Result<bool, Error>;
}

impl IntoKeep for bool {
    fn keep(self) -> Result<bool, Error> {
        Ok(self)
    }
}

impl<E: Into<Error> + Send + 'static> IntoKeep for Result<bool, E> {
    fn keep(self) -> Result<bool, Error> {
        self.map_err(Into::into)
    }
}

impl<S, F, Args> EventHandler<S> for Filtered<S, F, Args>
where
    S: Send + Sync + 'static,
    Args: 'static,
    F: HandlerFn<EventCall<S>, Args>,
    F::Returned: Future<Output: IntoKeep> + Send + 'static,
{
    type Answer = <F::Returned as Future>::Output;
    type Future = F::Returned;

    fn start(&self, call: &EventCall<S>, _: &Arc<Link>) -> Result<Self::Future, Error> {
        self.function.call(call, &self.prepared)
    }

    fn finish(returned: Self::Answer, row: u32, answer: &mut Answer) -> Result<bool, Error> {
        let keep = returned.keep()?;
        if keep {
            answer.rows.push_unchanged(row);
        }
        Ok(keep)
    }
}

/// What a sink may return: `()`, or a `Result` of it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no answer of a sink",
    note = "a sink delivers: return `()` or `meshloom::Result<()>`"
)]
pub trait IntoDelivered: Send + 'static {
    #[doc(hidden)]
    fn delivered(self) -> Result<(), Error>;
}

impl IntoDelivered for () {
    fn delivered(self) -> Result<(), Error> {
        Ok(())
    }
}

impl<E: Into<Error> + Send + 'static> IntoDelivered for Result<(), E> {
    fn delivered(self) -> Result<(), Error> {
        self.map_err(Into::into)
    }
}

impl<S, F, Args> EventHandler<S> for Sunk<S, F, Args>
where
    S: Send + Sync + 'static,
    Args: 'static,
    F: HandlerFn<EventCall<S>, Args>,
    F::Returned: Future<Output: IntoDelivered> + Send + 'static,
{
    type Answer = <F::Returned as Future>::Output;
    type Future = F::Returned;
    const DELIVERS: bool = true;

    fn start(&self, call: &EventCall<S>, _: &Arc<Link>) -> Result<Self::Future, Error> {
        self.function.call(call, &self.prepared)
    }

    fn finish(returned: Self::Answer, _: u32, _: &mut Answer) -> Result<bool, Error> {
        returned.delivered().map(|()| false)
    }
}

/// What a stream of outputs may yield: an output, or a `Result` of one. An error ends the event.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no item of a flat_map",
    note = "yield outputs or `meshloom::Result` of one"
)]
pub trait IntoPart: Send + 'static {
    #[doc(hidden)]
    fn part(self, parent: u32, rows: &mut Rows) -> Result<(), Error>;
}

impl<T: IntoOutput> IntoPart for T {
    fn part(self, parent: u32, rows: &mut Rows) -> Result<(), Error> {
        self.write(parent, rows)
    }
}

impl<T: IntoOutput, E: Into<Error> + Send + 'static> IntoPart for Result<T, E> {
    fn part(self, parent: u32, rows: &mut Rows) -> Result<(), Error> {
        self.map_err(Into::into)?.write(parent, rows)
    }
}

impl<S, F, Args> EventHandler<S> for FlatMapped<S, F, Args>
where
    S: Send + Sync + 'static,
    Args: 'static,
    F: HandlerFn<EventCall<S>, Args>,
    F::Returned: Stream<Item: IntoPart> + Send + 'static,
{
    type Answer = Result<Rows, Error>;
    type Future = Collect<F::Returned>;

    fn start(&self, call: &EventCall<S>, link: &Arc<Link>) -> Result<Self::Future, Error> {
        Ok(Collect {
            stream: self.function.call(call, &self.prepared)?,
            row: call.row,
            link: Arc::clone(link),
            rows: Rows::new(link.routes.clone()),
            sending: None,
            kept: None,
        })
    }

    fn finish(returned: Self::Answer, _: u32, answer: &mut Answer) -> Result<bool, Error> {
        let rows = returned?;
        answer.rows.absorb(&rows);
        Ok(!rows.is_empty())
    }
}

pin_project_lite::pin_project! {
    /// Holds the outputs of one input until its stream ends; past 1 MiB it sends what it has.
    ///
    /// The output that does not fit any more is kept back, so that the rest of an input that went on is never empty.
    pub(crate) struct Collect<T: Stream> {
        #[pin]
        stream: T,
        row: u32,
        link: Arc<Link>,
        rows: Rows,
        sending: Option<BoxFuture<'static, ()>>,
        kept: Option<T::Item>,
    }
}

impl<T: Stream<Item: IntoPart>> Future for Collect<T> {
    type Output = Result<Rows, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            if let Some(sending) = this.sending {
                ready!(sending.as_mut().poll(cx));
                *this.sending = None;
            }
            let item = match this.kept.take() {
                Some(item) => item,
                None => match ready!(this.stream.as_mut().poll_next(cx)) {
                    Some(item) => item,
                    None => return Poll::Ready(Ok(std::mem::take(this.rows))),
                },
            };
            if this.rows.bytes() >= HELD_OUTPUT_BYTES {
                let mut part = Answer::new(this.link.routes.clone());
                std::mem::swap(&mut part.rows, this.rows);
                let (link, row) = (Arc::clone(this.link), *this.row);
                let results = part.finish(link.sequence, &link.batch);
                *this.sending = Some(Box::pin(async move { link.send_part(row, results).await }));
                *this.kept = Some(item);
            } else if let Err(error) = item.part(*this.row, this.rows) {
                return Poll::Ready(Err(error));
            }
        }
    }
}
