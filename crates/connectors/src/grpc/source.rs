//! The source behind the server.

use std::net::TcpListener;

use meshloom_config::connector::GrpcSource;
use meshloom_core::exchange::{FromSource, ToSource};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::service::{self, Settings, Stages};
use crate::{
    BoxFuture, NodeError, OpenContext, OpenError, SourceNode,
    intake::Intake,
    link::Link,
    listen::{self, FAREWELL},
};

/// Receives events from publishers.
pub(crate) struct GrpcSourceNode {
    listener: TcpListener,
    context: OpenContext,
}

impl GrpcSourceNode {
    pub(crate) fn open(spec: &GrpcSource, context: OpenContext) -> Result<Self, OpenError> {
        Ok(Self { listener: listen::bind(spec.listen, &context.node)?, context })
    }

    async fn produce(self, link: Link) -> Result<(), NodeError> {
        let Self { listener, context } = self;
        let (listener, address) = listen::start(listener)?;
        context.say(format!("listening on {address} for meshloom.v1.IngressService")).await;
        let stages = Stages { stopping: CancellationToken::new(), over: CancellationToken::new() };
        // Whatever ends this source ends the server as well.
        let _at_last = (stages.stopping.clone().drop_guard(), stages.over.clone().drop_guard());
        let (mut intake, door) = Intake::new(link, None);
        let settings = Settings { pipeline: context.pipeline, node: context.node, max_event: context.max_event };
        let mut server = tokio::spawn(service::serve(listener, settings, door, stages.clone()));
        intake.run().await;
        stages.stopping.cancel();
        // What is in the pipeline may still become durable, and be acknowledged.
        intake.finish().await;
        stages.over.cancel();
        match tokio::time::timeout(FAREWELL, &mut server).await {
            Ok(Ok(served)) => served,
            Ok(Err(panic)) => Err(NodeError::new("HANDLER_PANIC", panic.to_string(), "this is a bug")),
            // A publisher that reads nothing holds nobody up.
            Err(_elapsed) => {
                server.abort();
                Ok(())
            }
        }
    }
}

impl SourceNode for GrpcSourceNode {
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
