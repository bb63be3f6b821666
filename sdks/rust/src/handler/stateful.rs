//! Set-up and tear-down: once per process and config, shared by every stream.

use std::{
    collections::HashMap,
    marker::PhantomData,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use futures::{FutureExt as _, future::BoxFuture};
use tokio::sync::{OnceCell, Semaphore};

use super::{Handler, OpenError, Ready};
use crate::{
    config::{self, ConfigError},
    context::{Opening, Session},
    error::{Error, panic_message},
    layer::Layers,
    result::Routes,
    trace::Spans,
};

/// Reads the config and returns the set-up to run.
pub(crate) type SetupFn<S> =
    Arc<dyn Fn(&Opening) -> Result<BoxFuture<'static, Result<S, Error>>, ConfigError> + Send + Sync>;
/// Ends a state.
pub(crate) type TeardownFn<S> = Arc<dyn Fn(Arc<S>) -> BoxFuture<'static, ()> + Send + Sync>;

type Made<S> = Box<dyn FnOnce(Arc<Session<S>>) -> Ready + Send>;

/// A handler with the state that its set-up makes.
pub(crate) struct Stateful<S, M> {
    pub(crate) setup: SetupFn<S>,
    pub(crate) teardown: Option<TeardownFn<S>>,
    pub(crate) reads_config: bool,
    pub(crate) routes: Mutex<Routes>,
    pub(crate) layers: Mutex<Option<Layers>>,
    states: States<S>,
    make: M,
    state: PhantomData<fn() -> S>,
}

/// One cell per distinct config.
type States<S> = Arc<Mutex<HashMap<Bytes, Arc<OnceCell<Arc<S>>>>>>;

impl<S, M> Stateful<S, M>
where
    S: Send + Sync + 'static,
    M: Fn(&Opening) -> Result<Made<S>, ConfigError> + Send + Sync + 'static,
{
    pub(crate) fn new(setup: SetupFn<S>, teardown: Option<TeardownFn<S>>, reads_config: bool, make: M) -> Self {
        Self {
            setup,
            teardown,
            reads_config,
            routes: Mutex::new(None),
            layers: Mutex::new(None),
            states: States::default(),
            make,
            state: PhantomData,
        }
    }
}

impl<S, M> Handler for Stateful<S, M>
where
    S: Send + Sync + 'static,
    M: Fn(&Opening) -> Result<Made<S>, ConfigError> + Send + Sync + 'static,
{
    fn open(&self, opening: Arc<Opening>) -> BoxFuture<'static, Result<Ready, OpenError>> {
        let prepared = (|| {
            if !self.reads_config {
                config::refuse_any(&opening.config_json)?;
            }
            Ok::<_, ConfigError>(((self.make)(&opening)?, (self.setup)(&opening)?))
        })();
        let (make, setup) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => return std::future::ready(Err(error.into())).boxed(),
        };
        let cell = Arc::clone(lock(&self.states).entry(opening.config_json.clone()).or_default());
        let (routes, layers) = (lock(&self.routes).clone(), lock(&self.layers).clone());
        async move {
            let state = cell.get_or_try_init(|| run_setup(setup)).await?;
            let session = Session {
                slots: Arc::new(Semaphore::new(opening.concurrency)),
                spans: Spans::new(&opening),
                state: Arc::clone(state),
                opening,
                routes,
                layers,
            };
            Ok(make(Arc::new(session)))
        }
        .boxed()
    }

    fn close(&self) -> BoxFuture<'static, ()> {
        let states = std::mem::take(&mut *lock(&self.states));
        let teardown = self.teardown.clone();
        async move {
            for cell in states.into_values() {
                if let (Some(state), Some(teardown)) = (cell.get(), &teardown)
                    && let Err(panic) = AssertUnwindSafe(teardown(Arc::clone(state))).catch_unwind().await
                {
                    tracing::error!("tear-down: {}", panic_message(&*panic));
                }
            }
        }
        .boxed()
    }
}

async fn run_setup<S>(setup: BoxFuture<'static, Result<S, Error>>) -> Result<Arc<S>, OpenError> {
    match AssertUnwindSafe(setup).catch_unwind().await {
        Ok(Ok(state)) => Ok(Arc::new(state)),
        Ok(Err(error)) => match error
            .source()
            .and_then(|source| (source as &(dyn std::error::Error + 'static)).downcast_ref::<ConfigError>())
        {
            Some(refused) => Err(refused.clone().into()),
            None => Err(OpenError::Setup(error.message().to_owned())),
        },
        Err(panic) => Err(OpenError::Setup(panic_message(&*panic))),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
