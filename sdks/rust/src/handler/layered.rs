//! A handler of single events behind the layers around it.

use std::sync::Arc;

use futures::{FutureExt as _, future::BoxFuture};

use super::{events::EventHandler, link::Link};
use crate::{
    context::EventCall,
    error::Error,
    layer::{Call, Handled, Layers},
    result::Answer,
};

pub(crate) struct Layered<H> {
    handler: Arc<H>,
    layers: Layers,
}

impl<H> Layered<H> {
    pub(crate) fn new(handler: H, layers: Layers) -> Self {
        Self { handler: Arc::new(handler), layers }
    }
}

impl<S: Send + Sync + 'static, H: EventHandler<S>> EventHandler<S> for Layered<H> {
    type Answer = Result<Handled, Error>;
    type Future = BoxFuture<'static, Result<Handled, Error>>;
    const DELIVERS: bool = H::DELIVERS;

    fn start(&self, call: &EventCall<S>, link: &Arc<Link>) -> Result<Self::Future, Error> {
        let EventCall { work, row } = call;
        let own = EventCall { work: Arc::clone(work), row: *row };
        let (handler, link) = (Arc::clone(&self.handler), Arc::clone(link));
        let run = move || {
            async move {
                let returned = handler.start(&own, &link)?.await;
                let mut answer = Answer::new(link.routes.clone());
                let goes_on = H::finish(returned, own.row, &mut answer)?;
                Ok(Handled { rows: answer.rows, goes_on })
            }
            .boxed()
        };
        Ok(self.layers.call(Call::new(&work.session, &work.batch, Some(*row), work.attempt(*row), run)))
    }

    fn finish(returned: Self::Answer, _: u32, answer: &mut Answer) -> Result<bool, Error> {
        let Handled { rows, goes_on } = returned?;
        answer.rows.absorb(&rows);
        Ok(goes_on)
    }
}
