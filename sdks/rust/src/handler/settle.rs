//! What a source's own code hears of frames that have settled.

use std::{panic::AssertUnwindSafe, sync::Arc};

use bytes::Bytes;
use futures::{FutureExt as _, StreamExt as _, future::BoxFuture, stream};

use super::Source;
use crate::{
    error::{Error, panic_message, reason},
    record::Receipt,
};

/// Receipts of one frame that run at one time.
const AT_ONCE: usize = 64;

/// The user's hook for checkpoints.
pub(crate) type SettledFn<S> = Arc<dyn Fn(Bytes, Arc<S>) -> BoxFuture<'static, Result<(), Error>> + Send + Sync>;

/// A frame that has settled.
pub(crate) struct Settlement {
    pub(crate) receipts: Vec<Receipt>,
    pub(crate) checkpoint: Option<Bytes>,
}

impl Settlement {
    /// Runs the receipts, then the hook; what went wrong.
    pub(crate) async fn tell(self, source: &Arc<dyn Source>) -> Vec<Error> {
        let receipts: Vec<Receipt> = self.receipts.into_iter().map(|receipt| contained(receipt).boxed()).collect();
        let told: Vec<Result<(), Error>> = stream::iter(receipts).buffer_unordered(AT_ONCE).collect().await;
        let mut failed: Vec<Error> = told.into_iter().filter_map(Result::err).collect();
        if let Some(checkpoint) = self.checkpoint {
            let source = Arc::clone(source);
            failed.extend(contained(async move { source.settled(checkpoint).await }.boxed()).await.err());
        }
        failed
    }
}

/// Runs the user's code; a panic is an error of it.
async fn contained(told: Receipt) -> Result<(), Error> {
    let ended = AssertUnwindSafe(told).catch_unwind().await;
    ended.unwrap_or_else(|panic| Err(Error::retry(reason::PANIC, panic_message(&*panic))))
}
