//! Arguments of handlers: each type says how it comes out of a call.

use std::{ops::Deref, sync::Arc};

use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::{
    columns::Batch,
    config::{self, Config, ConfigError},
    context::{BatchCall, Context, EventCall, Opening, SourceCall, SourceContext},
    emitter::Emitter,
    error::{Error, reason, reject},
    event::{Event, parse_json},
};

/// A type that a handler may take as an argument, for calls of kind `C`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no argument of this kind of handler",
    note = "map, filter, flat_map and sink take `Json<T>`, `Text`, `Bytes`, `Event`, `Context<S>`, `Config<T>`",
    note = "batch takes `Batch`, `Emitter`, `Context<S>`, `Config<T>`; source takes `SourceContext<S>`, `Checkpoint<T>`, `Config<T>`; set-up takes `Config<T>`",
    note = "`S` in `Context<S>` is the value that `.setup(..)` returns, `()` without one"
)]
pub trait FromCall<C>: Sized + Send + 'static {
    /// What is made once when the node is opened and shared by all calls.
    type Prepared: Send + Sync + 'static;
    #[doc(hidden)]
    const READS_CONFIG: bool = false;

    /// Runs once when the node is opened.
    ///
    /// # Errors
    /// A config that does not fit; the pipeline does not start.
    fn prepare(opening: &Opening) -> Result<Self::Prepared, ConfigError>;

    /// Takes the argument out of one call.
    ///
    /// # Errors
    /// What the event is answered with instead of calling the handler.
    fn from_call(call: &C, prepared: &Self::Prepared) -> Result<Self, Error>;
}

/// A JSON payload as `T`; as a result, a JSON payload made from `T`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Json<T>(pub T);

/// A payload as UTF-8 text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text(pub String);

impl Deref for Text {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

/// The checkpoint that a source resumes after: a JSON value that it handed out before; `None` on the first run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint<T>(pub Option<T>);

impl<S: Send + Sync + 'static, T: DeserializeOwned + Send + 'static> FromCall<EventCall<S>> for Json<T> {
    type Prepared = ();

    fn prepare(_: &Opening) -> Result<(), ConfigError> {
        Ok(())
    }

    fn from_call(call: &EventCall<S>, (): &()) -> Result<Self, Error> {
        parse_json(call.payload()).map(Json)
    }
}

impl<S: Send + Sync + 'static> FromCall<EventCall<S>> for Text {
    type Prepared = ();

    fn prepare(_: &Opening) -> Result<(), ConfigError> {
        Ok(())
    }

    fn from_call(call: &EventCall<S>, (): &()) -> Result<Self, Error> {
        match std::str::from_utf8(call.payload()) {
            Ok(text) => Ok(Text(text.to_owned())),
            Err(error) => Err(reject(reason::PAYLOAD_MISMATCH, format!("the payload is not UTF-8: {error}"))),
        }
    }
}

impl<S: Send + Sync + 'static> FromCall<EventCall<S>> for Bytes {
    type Prepared = ();

    fn prepare(_: &Opening) -> Result<(), ConfigError> {
        Ok(())
    }

    fn from_call(call: &EventCall<S>, (): &()) -> Result<Self, Error> {
        Ok(call.work.batch.payload_bytes(call.row as usize))
    }
}

impl<S: Send + Sync + 'static> FromCall<EventCall<S>> for Event {
    type Prepared = ();

    fn prepare(_: &Opening) -> Result<(), ConfigError> {
        Ok(())
    }

    fn from_call(call: &EventCall<S>, (): &()) -> Result<Self, Error> {
        Ok(call.event())
    }
}

impl<S: Send + Sync + 'static> FromCall<EventCall<S>> for Context<S> {
    type Prepared = ();

    fn prepare(_: &Opening) -> Result<(), ConfigError> {
        Ok(())
    }

    fn from_call(call: &EventCall<S>, (): &()) -> Result<Self, Error> {
        Ok(call.context())
    }
}

impl<S: Send + Sync + 'static> FromCall<BatchCall<S>> for Context<S> {
    type Prepared = ();

    fn prepare(_: &Opening) -> Result<(), ConfigError> {
        Ok(())
    }

    fn from_call(call: &BatchCall<S>, (): &()) -> Result<Self, Error> {
        Ok(call.context())
    }
}

impl<S: Send + Sync + 'static> FromCall<BatchCall<S>> for Batch {
    type Prepared = ();

    fn prepare(_: &Opening) -> Result<(), ConfigError> {
        Ok(())
    }

    fn from_call(call: &BatchCall<S>, (): &()) -> Result<Self, Error> {
        Ok(call.work.batch.clone())
    }
}

impl<S: Send + Sync + 'static> FromCall<BatchCall<S>> for Emitter {
    type Prepared = ();

    fn prepare(_: &Opening) -> Result<(), ConfigError> {
        Ok(())
    }

    fn from_call(call: &BatchCall<S>, (): &()) -> Result<Self, Error> {
        let emitter = call.emitter.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        emitter.ok_or_else(|| Error::retry(reason::HANDLER_ERROR, "a batch handler takes one `Emitter`, not two"))
    }
}

impl<S: Send + Sync + 'static> FromCall<SourceCall<S>> for SourceContext<S> {
    type Prepared = ();

    fn prepare(_: &Opening) -> Result<(), ConfigError> {
        Ok(())
    }

    fn from_call(call: &SourceCall<S>, (): &()) -> Result<Self, Error> {
        Ok(call.context.clone())
    }
}

impl<S: Send + Sync + 'static, T: DeserializeOwned + Send + 'static> FromCall<SourceCall<S>> for Checkpoint<T> {
    type Prepared = ();

    fn prepare(_: &Opening) -> Result<(), ConfigError> {
        Ok(())
    }

    fn from_call(call: &SourceCall<S>, (): &()) -> Result<Self, Error> {
        call.context.checkpoint().map(Checkpoint)
    }
}

impl<C, T: DeserializeOwned + Send + Sync + 'static> FromCall<C> for Config<T> {
    type Prepared = Arc<T>;
    const READS_CONFIG: bool = true;

    fn prepare(opening: &Opening) -> Result<Arc<T>, ConfigError> {
        config::parse(&opening.config_json).map(Arc::new)
    }

    fn from_call(_: &C, prepared: &Arc<T>) -> Result<Self, Error> {
        Ok(Config::new(Arc::clone(prepared)))
    }
}

/// A function whose arguments all come out of a call of kind `C`: up to six of them, in any order.
#[diagnostic::on_unimplemented(
    message = "this function is no handler of this kind: one of its arguments does not fit",
    label = "not a handler"
)]
pub trait HandlerFn<C, Args>: Send + Sync + 'static {
    #[doc(hidden)]
    type Prepared: Send + Sync + 'static;
    /// What the function returns: a future or a stream.
    type Returned;
    #[doc(hidden)]
    const READS_CONFIG: bool;

    #[doc(hidden)]
    fn prepare(opening: &Opening) -> Result<Self::Prepared, ConfigError>;

    #[doc(hidden)]
    fn call(&self, call: &C, prepared: &Self::Prepared) -> Result<Self::Returned, Error>;
}

macro_rules! handler_fn {
    ($($argument:ident),*) => {
        impl<Function, C, R, $($argument),*> HandlerFn<C, ($($argument,)*)> for Function
        where
            Function: Fn($($argument),*) -> R + Send + Sync + 'static,
            $($argument: FromCall<C>,)*
        {
            type Prepared = ($($argument::Prepared,)*);
            type Returned = R;
            const READS_CONFIG: bool = false $(|| $argument::READS_CONFIG)*;

            fn prepare(_opening: &Opening) -> Result<Self::Prepared, ConfigError> {
                Ok(($($argument::prepare(_opening)?,)*))
            }

            #[allow(non_snake_case)]
            fn call(&self, _call: &C, prepared: &Self::Prepared) -> Result<R, Error> {
                let ($($argument,)*) = prepared;
                Ok(self($($argument::from_call(_call, $argument)?),*))
            }
        }
    };
}

handler_fn!();
handler_fn!(A1);
handler_fn!(A1, A2);
handler_fn!(A1, A2, A3);
handler_fn!(A1, A2, A3, A4);
handler_fn!(A1, A2, A3, A4, A5);
handler_fn!(A1, A2, A3, A4, A5, A6);
