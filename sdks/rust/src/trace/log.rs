//! Log lines that say which event they are about.

use std::{cell::Cell, fmt};

use opentelemetry::{Context, trace::TraceContextExt as _};
use tracing::{Event, Subscriber};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Full, Writer},
    },
    registry::LookupSpan,
};
use uuid::Uuid;

thread_local! {
    static CURRENT: Cell<Uuid> = const { Cell::new(Uuid::nil()) };
}

/// Marks the event whose handler runs on this thread; the mark goes when this is dropped.
pub(crate) struct Current(());

impl Current {
    pub(crate) fn set(uid: Uuid) -> Self {
        CURRENT.set(uid);
        Self(())
    }
}

impl Drop for Current {
    fn drop(&mut self) {
        CURRENT.set(Uuid::nil());
    }
}

/// The usual line, after trace, span, uid and node where there are any.
pub(super) struct Stamped {
    pub(super) inner: Format<Full, tracing_subscriber::fmt::time::SystemTime>,
    pub(super) nodes: String,
}

impl<S, N> FormatEvent<S, N> for Stamped
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        let uid = CURRENT.get();
        if !uid.is_nil() {
            let current = Context::current();
            let span = current.span().span_context().clone();
            if span.is_valid() {
                write!(writer, "trace_id={} span_id={} ", span.trace_id(), span.span_id())?;
            }
            write!(writer, "uid={} ", uid.simple())?;
        }
        write!(writer, "node={} ", self.nodes)?;
        self.inner.format_event(context, writer, event)
    }
}
