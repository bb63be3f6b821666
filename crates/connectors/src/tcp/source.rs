//! The source behind the port.

use std::{net::TcpListener, sync::Arc};

use meshloom_config::connector::TcpSource;
use meshloom_core::exchange::{FromSource, ToSource};
use tokio::{net::TcpStream, sync::mpsc, task::JoinSet};

use super::connection::{self, Fault, Unacknowledged};
use crate::{
    BoxFuture, NodeError, OpenContext, OpenError, SourceNode,
    feed::UNSETTLED,
    intake::{Door, Intake},
    link::Link,
    listen::{self, ACCEPT_PAUSE},
};

/// Connections at a time.
const CONNECTIONS: usize = 1024;

/// Receives records.
pub(crate) struct TcpSourceNode {
    listener: TcpListener,
    spec: TcpSource,
    context: OpenContext,
}

impl TcpSourceNode {
    pub(crate) fn open(spec: TcpSource, context: OpenContext) -> Result<Self, OpenError> {
        Ok(Self { listener: listen::bind(spec.listen, &context.node)?, spec, context })
    }

    async fn produce(self, link: Link) -> Result<(), NodeError> {
        let Self { listener, spec, context } = self;
        let (listener, address) = listen::start(listener)?;
        context.say(format!("listening on tcp://{address}")).await;
        let (mut intake, door) = Intake::new(link, Some(UNSETTLED));
        tokio::select! {
            () = intake.run() => {}
            () = accept(listener, Arc::new(spec), Arc::new(context), door) => {}
        }
        Ok(())
    }
}

/// Takes connections until it is dropped, and they with it.
async fn accept(
    listener: tokio::net::TcpListener,
    spec: Arc<TcpSource>,
    context: Arc<OpenContext>,
    door: Door<Unacknowledged>,
) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        match accepted {
            Ok((stream, peer)) if connections.len() < CONNECTIONS => {
                connections.spawn(serve(stream, peer, spec.clone(), context.clone(), door.clone()));
            }
            Ok((stream, peer)) => {
                drop(stream);
                let open = connections.len();
                context
                    .say(format!(
                        "{peer}: refused, {open} connections are open, which is the limit; close some of them"
                    ))
                    .await;
            }
            Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn serve(
    stream: TcpStream,
    peer: std::net::SocketAddr,
    spec: Arc<TcpSource>,
    context: Arc<OpenContext>,
    door: Door<Unacknowledged>,
) {
    let max_event = usize::try_from(context.max_event).unwrap_or(usize::MAX);
    if let Err(Fault(fault)) = connection::serve(&stream, &spec, max_event, door).await {
        context.say(format!("{peer}: {fault}")).await;
    }
}

impl SourceNode for TcpSourceNode {
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
