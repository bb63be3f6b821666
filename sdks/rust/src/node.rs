//! How a node is put together.

use std::{
    future::Future,
    marker::PhantomData,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures::{FutureExt as _, Stream};
use meshloom_proto::v1::{self, HandlerRole};
use serde::de::DeserializeOwned;
use tower::{BoxError, Layer, Service};

use crate::{
    columns::limits::{MAX_BATCH_BYTES, MAX_BATCH_EVENTS},
    config::ConfigError,
    context::{BatchCall, EventCall, Opening, Session, SetupCall, SourceCall},
    error::Error,
    extract::HandlerFn,
    handler::{
        Batches, EventHandler, Events, Filtered, FlatMapped, Handler, IntoDelivered, IntoKeep, IntoPart, Layered,
        Mapped, Ready, SettledFn, SetupFn, Stateful, Streamed, Sunk, TeardownFn,
    },
    layer::{Call, CallService, Handled, Layers},
    output::IntoAnswer,
    record::IntoRecord,
    result::Routes,
    serve::{ServeError, Server},
};

/// Handler calls that run at one time unless the pipeline file or the node says otherwise.
const DEFAULT_CONCURRENCY: usize = 64;
/// Works in hand at one time.
const DEFAULT_WORKS: u32 = 8;
/// Events per work: what the protocol allows. The pipeline file's `batch` says how many it usually is.
const DEFAULT_EVENTS: u32 = MAX_BATCH_EVENTS as u32;
/// Bytes per work: what the protocol allows.
const DEFAULT_BYTES: u64 = MAX_BATCH_BYTES as u64;

/// Starts a node. Its name, `[a-z][a-z0-9_-]*`, is what a pipeline file's `handler` says; a process with one handler
/// is found under any.
pub fn node(name: impl Into<String>) -> NodeBuilder<()> {
    let setup: SetupFn<()> = Arc::new(|_| Ok(std::future::ready(Ok(())).boxed()));
    NodeBuilder { name: name.into(), setup, teardown: None, settled: None, reads_config: false }
}

/// A node without its handler. `S` is what set-up makes.
pub struct NodeBuilder<S> {
    name: String,
    setup: SetupFn<S>,
    teardown: Option<TeardownFn<S>>,
    settled: Option<SettledFn<S>>,
    reads_config: bool,
}

impl NodeBuilder<()> {
    /// Sets what is done once per process and config before the node is ready. Its value is shared by all calls and
    /// reached through `Context<S>`.
    ///
    /// The function is asynchronous and may take [`Config<T>`](crate::Config). A [`ConfigError`] that it returns refuses
    /// the config; any other error leaves the node not ready, and the coordinator tries again.
    pub fn setup<F, Args, S, E>(self, setup: F) -> NodeBuilder<S>
    where
        F: HandlerFn<SetupCall, Args>,
        F::Returned: Future<Output = Result<S, E>> + Send + 'static,
        S: Send + Sync + 'static,
        E: Into<Error> + 'static,
    {
        let setup = Arc::new(setup);
        let run: SetupFn<S> = Arc::new(move |opening: &Opening| {
            let prepared = F::prepare(opening)?;
            let setup = Arc::clone(&setup);
            Ok(async move { setup.call(&SetupCall(()), &prepared)?.await.map_err(Into::into) }.boxed())
        });
        NodeBuilder { name: self.name, setup: run, teardown: None, settled: None, reads_config: F::READS_CONFIG }
    }
}

type Make<S> = dyn FnOnce(Arc<Session<S>>) -> Ready + Send;

impl<S: Send + Sync + 'static> NodeBuilder<S> {
    /// Sets what is done with the value of set-up at the end, exactly once, when no call uses it any more.
    #[must_use]
    pub fn teardown<F, Fut>(mut self, teardown: F) -> Self
    where
        F: Fn(Arc<S>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ()> + Send + 'static,
    {
        self.teardown = Some(Arc::new(move |state| teardown(state).boxed()));
        self
    }

    /// Sets what a source does with a checkpoint below which nothing will be asked for again: commit an offset, remove a
    /// file. It gets the checkpoint, in the type that the source writes, and the value of set-up.
    ///
    /// It runs beside the source, after what [`Record::on_settled`](crate::Record::on_settled) set for the events before
    /// it, and ends with `()` or a `Result` of it; an error is logged.
    #[must_use]
    pub fn on_settled<T, F, Fut>(mut self, settled: F) -> Self
    where
        T: DeserializeOwned,
        F: Fn(T, Arc<S>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output: IntoDelivered> + Send + 'static,
    {
        self.settled = Some(Arc::new(move |checkpoint, state| match serde_json::from_slice(&checkpoint) {
            Ok(checkpoint) => settled(checkpoint, state).map(IntoDelivered::delivered).boxed(),
            Err(misfit) => std::future::ready(Err(misfit.into())).boxed(),
        }));
        self
    }

    /// One event in, one out: the function returns an [`Output`](crate::Output), [`Json<T>`](crate::Json), text, bytes
    /// or the event itself; `None` drops it, an error retries or [rejects](crate::reject) it.
    pub fn map<F, Args>(self, function: F) -> Node
    where
        Args: 'static,
        F: HandlerFn<EventCall<S>, Args>,
        F::Returned: Future<Output: IntoAnswer> + Send + 'static,
    {
        let function = Arc::new(function);
        self.finish(HandlerRole::Map, F::READS_CONFIG, move |opening| {
            let handler = Mapped::<S, F, Args>::new(Arc::clone(&function), F::prepare(opening)?);
            Ok(Box::new(move |session| process(handler, session)))
        })
    }

    /// Passes events on unchanged or drops them, as the function returns `true` or `false`.
    pub fn filter<F, Args>(self, function: F) -> Node
    where
        Args: 'static,
        F: HandlerFn<EventCall<S>, Args>,
        F::Returned: Future<Output: IntoKeep> + Send + 'static,
    {
        let function = Arc::new(function);
        self.finish(HandlerRole::Filter, F::READS_CONFIG, move |opening| {
            let handler = Filtered::<S, F, Args>::new(Arc::clone(&function), F::prepare(opening)?);
            Ok(Box::new(move |session| process(handler, session)))
        })
    }

    /// One event in, any number out: the function returns a stream of outputs; none drops the event.
    pub fn flat_map<F, Args>(self, function: F) -> Node
    where
        Args: 'static,
        F: HandlerFn<EventCall<S>, Args>,
        F::Returned: Stream<Item: IntoPart> + Send + 'static,
    {
        let function = Arc::new(function);
        self.finish(HandlerRole::FlatMap, F::READS_CONFIG, move |opening| {
            let handler = FlatMapped::<S, F, Args>::new(Arc::clone(&function), F::prepare(opening)?);
            Ok(Box::new(move |session| process(handler, session)))
        })
    }

    /// Delivers events somewhere outside: the function returns nothing, and each event has been delivered when it does.
    pub fn sink<F, Args>(self, function: F) -> Node
    where
        Args: 'static,
        F: HandlerFn<EventCall<S>, Args>,
        F::Returned: Future<Output: IntoDelivered> + Send + 'static,
    {
        let function = Arc::new(function);
        self.finish(HandlerRole::Sink, F::READS_CONFIG, move |opening| {
            let handler = Sunk::<S, F, Args>::new(Arc::clone(&function), F::prepare(opening)?);
            Ok(Box::new(move |session| process(handler, session)))
        })
    }

    /// Whole batches at once, in columns: the function takes a [`Batch`](crate::Batch) and an
    /// [`Emitter`](crate::Emitter), and says for each row what became of it. An error fails the whole batch.
    pub fn batch<F, Args>(self, function: F) -> Node
    where
        Args: 'static,
        F: HandlerFn<BatchCall<S>, Args>,
        F::Returned: Future<Output: IntoDelivered> + Send + 'static,
    {
        let function = Arc::new(function);
        self.finish(HandlerRole::Batch, F::READS_CONFIG, move |opening| {
            let (function, prepared) = (Arc::clone(&function), F::prepare(opening)?);
            Ok(Box::new(move |session| {
                Ready::Process(Arc::new(Batches::<S, F, Args> { function, prepared, session, args: PhantomData }))
            }))
        })
    }

    /// Produces events: the function returns a stream of [`Output`](crate::Output)s or [`Record`](crate::Record)s and
    /// starts after the checkpoint of its [`SourceContext`](crate::SourceContext). The end of the stream says that there
    /// will be no more, ever.
    pub fn source<F, Args>(mut self, function: F) -> Node
    where
        Args: 'static,
        F: HandlerFn<SourceCall<S>, Args>,
        F::Returned: Stream<Item: IntoRecord> + Send + 'static,
    {
        let function = Arc::new(function);
        let settled = self.settled.take();
        let mut node = self.finish(HandlerRole::Source, F::READS_CONFIG, move |opening| {
            let (function, prepared, settled) = (Arc::clone(&function), F::prepare(opening)?, settled.clone());
            Ok(Box::new(move |session| {
                Ready::Source(Arc::new(Streamed::<S, F, Args> {
                    function,
                    prepared,
                    session,
                    settled,
                    args: PhantomData,
                }))
            }))
        });
        node.replays = true;
        node
    }

    fn finish<M>(self, role: HandlerRole, reads_config: bool, make: M) -> Node
    where
        M: Fn(&Opening) -> Result<Box<Make<S>>, ConfigError> + Send + Sync + 'static,
    {
        let stateful = Arc::new(Stateful::new(self.setup, self.teardown, self.reads_config || reads_config, make));
        let (for_routes, for_layers) = (Arc::clone(&stateful), Arc::clone(&stateful));
        Node {
            name: self.name,
            role,
            handler: stateful,
            set_routes: Arc::new(move |routes| *lock(&for_routes.routes) = routes),
            set_layers: Arc::new(move |layers| *lock(&for_layers.layers) = Some(layers)),
            layers: None,
            routes: Vec::new(),
            concurrency: DEFAULT_CONCURRENCY,
            limits: v1::Limits {
                max_in_flight_works: DEFAULT_WORKS,
                max_batch_events: DEFAULT_EVENTS,
                max_batch_bytes: DEFAULT_BYTES,
            },
            replays: false,
            partitioned: false,
            description: String::new(),
            config_schema: Vec::new(),
        }
    }
}

/// An opened handler of single events, behind its layers if it has any.
fn process<S: Send + Sync + 'static, H: EventHandler<S>>(handler: H, session: Arc<Session<S>>) -> Ready {
    match session.layers.clone() {
        None => Ready::Process(Arc::new(Events { handler, session })),
        Some(layers) => Ready::Process(Arc::new(Events { handler: Layered::new(handler, layers), session })),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A node with its handler, ready to be served.
#[derive(Clone)]
#[must_use = "a node does nothing until it is served"]
pub struct Node {
    pub(crate) name: String,
    pub(crate) role: HandlerRole,
    pub(crate) handler: Arc<dyn Handler>,
    set_routes: Arc<dyn Fn(Routes) + Send + Sync>,
    set_layers: Arc<dyn Fn(Layers) + Send + Sync>,
    pub(crate) layers: Option<Layers>,
    routes: Vec<String>,
    pub(crate) concurrency: usize,
    pub(crate) limits: v1::Limits,
    pub(crate) replays: bool,
    partitioned: bool,
    description: String,
    config_schema: Vec<u8>,
}

impl Node {
    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Declares the routes that outputs may name. An output that names another is rejected ROUTE_UNDECLARED; without a
    /// declaration outputs may name any.
    pub fn routes<R: Into<String>>(mut self, routes: impl IntoIterator<Item = R>) -> Self {
        self.routes = routes.into_iter().map(Into::into).collect();
        (self.set_routes)((!self.routes.is_empty()).then(|| self.routes.clone().into()));
        self
    }

    /// Puts a [tower layer](tower::Layer) around every call of the handler: a limit, a rate, metrics, a circuit breaker. The
    /// last one added is the outermost. It is made once; all streams of the process go through it.
    ///
    /// The layer wraps a [`CallService`], which takes a [`Call`] and gives a [`Handled`] or an [`Error`]. An error of the
    /// layer's own is a retry of the event (`HANDLER_ERROR`). The node's `timeout` and cancellation reach the call through
    /// it, and it runs inside the event's span.
    ///
    /// ```
    /// use meshloom::{Event, node};
    /// use tower::limit::ConcurrencyLimitLayer;
    ///
    /// async fn look_up(event: Event) -> Event { event }
    ///
    /// // At most four calls at one time, in all replicas of this process together.
    /// let node = node("look_up").map(look_up).layer(ConcurrencyLimitLayer::new(4));
    /// ```
    pub fn layer<L>(mut self, layer: L) -> Self
    where
        L: Layer<CallService>,
        L::Service:
            Service<Call, Response = Handled, Error: Into<BoxError>, Future: Send> + Clone + Send + Sync + 'static,
    {
        let layers = Layers::around(self.layers.take(), &layer);
        (self.set_layers)(layers.clone());
        self.layers = Some(layers);
        self
    }

    /// Sets how many calls of the handler may run at one time (64 by default); the pipeline file may say otherwise.
    pub fn concurrency(mut self, calls: usize) -> Self {
        self.concurrency = calls.max(1);
        self
    }

    /// Sets how many works may be in hand at one time (8 by default).
    pub fn max_in_flight_works(mut self, works: u32) -> Self {
        self.limits.max_in_flight_works = works.max(1);
        self
    }

    /// Sets how many events a work may hold (65,536 by default, which is also the most).
    pub fn max_batch_events(mut self, events: u32) -> Self {
        self.limits.max_batch_events = events.clamp(1, DEFAULT_EVENTS);
        self
    }

    /// Sets how many bytes a work may have (32 MiB by default, which is also the most). An event that alone has more becomes
    /// a dead letter (EVENT_TOO_LARGE).
    pub fn max_batch_bytes(mut self, bytes: u64) -> Self {
        self.limits.max_batch_bytes = bytes.clamp(1, DEFAULT_BYTES);
        self
    }

    /// Says whether a source can resume from a checkpoint (yes by default). What one cannot replay, the coordinator
    /// keeps in its journal.
    pub fn replays(mut self, replays: bool) -> Self {
        self.replays = replays;
        self
    }

    /// Says that several replicas of a source share its work; otherwise it has one.
    pub fn partitioned(mut self, partitioned: bool) -> Self {
        self.partitioned = partitioned;
        self
    }

    /// Describes the node in one line for a person.
    pub fn description(mut self, description: impl Into<String>) -> Self {
        self.description = description.into();
        self
    }

    /// Publishes a JSON Schema of the config.
    pub fn config_schema(mut self, schema: &serde_json::Value) -> Self {
        self.config_schema = schema.to_string().into_bytes();
        self
    }

    /// Serves the node until SIGTERM; see [`Server::serve`].
    ///
    /// # Errors
    /// What kept the node from going on serving. A failure to start ends the process with a line that says what to do.
    pub async fn serve(self) -> Result<(), ServeError> {
        Server::new([self]).serve().await
    }

    /// Serves the node until `shutdown` completes; see [`Server::serve_with_shutdown`].
    ///
    /// # Errors
    /// What kept the node from starting, or from going on serving.
    pub async fn serve_with_shutdown(
        self,
        shutdown: impl Future<Output = ()> + Send + 'static,
    ) -> Result<(), ServeError> {
        Server::new([self]).serve_with_shutdown(shutdown).await
    }

    pub(crate) fn describe(&self) -> v1::Handler {
        v1::Handler {
            name: self.name.clone(),
            role: self.role.into(),
            config_schema: self.config_schema.clone().into(),
            routes: self.routes.clone(),
            limits: Some(self.limits),
            replays: self.replays,
            partitioned: self.partitioned,
            description: self.description.clone(),
        }
    }
}
