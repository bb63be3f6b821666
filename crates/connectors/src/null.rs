//! The sink that consumes everything.

use std::time::Duration;

use meshloom_core::exchange::{FromNode, Limits, ToNode, Work};
use tokio::sync::mpsc;

use crate::{
    BoxFuture, NodeError, ProcessNode,
    calls::{self, Answer, Handler, Reply},
};

/// Consumes everything at once.
pub(crate) struct Null;

impl Handler for Null {
    async fn call(&self, work: Work, _reply: &Reply) -> Result<Answer, NodeError> {
        Ok(Answer::consumed_but(work.batch.len(), Vec::new()))
    }
}

impl ProcessNode for Null {
    fn limits(&self) -> Limits {
        Limits::default()
    }

    fn run(
        self: Box<Self>,
        input: mpsc::Receiver<ToNode>,
        output: mpsc::Sender<FromNode>,
    ) -> BoxFuture<'static, Result<(), NodeError>> {
        // It never waits, so no time limit can pass.
        Box::pin(calls::run(*self, Duration::MAX, input, output))
    }
}
