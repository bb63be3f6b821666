"""Spans of sampled events, through the OpenTelemetry API. Nothing here runs for an event that is not sampled.

OpenTelemetry is imported on first use, so that an untraced node starts fast.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from . import attributes, limits
from ._answer import verdict_of
from ._version import __version__
from .verdicts import Reject, Retry

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span as TraceSpan
    from opentelemetry.trace import SpanContext, Tracer

    from ._view import BatchView, Span
    from ._work import WorkRun
    from .context import Opening

_provider: TracerProvider | None = None
_roots: TracerProvider | None = None
_exporter: Any = None

#: How long the end of a process waits for its last spans to be taken.
_FLUSH_SECONDS = 2.0


def _exporting() -> bool:
    names = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    wanted = os.environ.get("OTEL_TRACES_EXPORTER", "otlp") != "none" and any(os.environ.get(n) for n in names)
    return wanted and os.environ.get("OTEL_SDK_DISABLED", "").lower() != "true"


def start() -> None:
    """Exports spans as the OTEL_* variables say. An application that has its own provider keeps it."""
    global _exporter
    if _exporter is not None or not _exporting():
        return
    from opentelemetry import trace

    if _provider is None and not isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider):
        return
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    _exporter = BatchSpanProcessor(OTLPSpanExporter())
    install(_exporter)


def install(processor: Any) -> None:
    """Adds a span processor to the global provider; if there is none yet, one of ours becomes it."""
    global _provider, _roots
    from opentelemetry import trace
    from opentelemetry.sdk.trace import SynchronousMultiSpanProcessor, TracerProvider, sampling

    existing = trace.get_tracer_provider()
    if isinstance(existing, TracerProvider):
        existing.add_span_processor(processor)  # our two providers share one list of processors
        return
    # Spans that the user opens in an unsampled event have no parent: they must cost nothing and start no trace.
    sampler = None if os.environ.get("OTEL_TRACES_SAMPLER") else sampling.ParentBased(sampling.ALWAYS_OFF)
    shared = SynchronousMultiSpanProcessor()  # type: ignore[no-untyped-call]
    shared.add_span_processor(processor)
    _provider = TracerProvider(sampler=sampler, active_span_processor=shared, shutdown_on_exit=False)
    # Roots whose sampling Meshloom has decided: `send` at a source, the call of a batch handler.
    _roots = TracerProvider(
        sampler=sampling.ALWAYS_ON,
        resource=_provider.resource,
        active_span_processor=shared,
        shutdown_on_exit=False,
    )
    trace.set_tracer_provider(_provider)


def flush() -> None:
    """Sends what is left and ends the export that start() began, for at most 2 s, since the guard kills after 5."""
    global _exporter
    if _exporter is not None:
        # An export that tries again, since its receiver is gone, heeds no time limit of the processor's.
        ending = threading.Thread(target=_exporter.shutdown, name="meshloom-spans", daemon=True)
        ending.start()
        ending.join(_FLUSH_SECONDS)
        _exporter = None


def _tracer() -> Tracer:
    from opentelemetry import trace

    return trace.get_tracer("meshloom", __version__)


def _root_tracer() -> Tracer:
    return _tracer() if _roots is None else _roots.get_tracer("meshloom", __version__)


def user_tracer(node: str) -> Tracer:
    """The tracer that handlers get."""
    from opentelemetry import trace

    return trace.get_tracer(f"meshloom.node.{node}")


def current_ids() -> dict[str, str]:
    """trace_id and span_id of the current sampled span, for logs."""
    from opentelemetry import trace

    context = trace.get_current_span().get_span_context()
    if not (context.is_valid and context.trace_flags.sampled):
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


def _remote(span: Span) -> SpanContext:
    from opentelemetry.trace import SpanContext, TraceFlags, TraceState

    return SpanContext(
        int.from_bytes(span.trace_id, "big"),
        int.from_bytes(span.span_id, "big"),
        is_remote=True,
        trace_flags=TraceFlags(span.flags | TraceFlags.SAMPLED),
        trace_state=TraceState.from_header([span.trace_state]) if span.trace_state else None,
    )


def _attributes(opening: Opening, operation: str, kind: str) -> dict[str, Any]:
    return {
        attributes.SYSTEM: attributes.SYSTEM_VALUE,
        attributes.OPERATION_NAME: operation,
        attributes.OPERATION_TYPE: kind,
        attributes.DESTINATION: opening.name,
        attributes.CLIENT_ID: opening.replica_name,
        attributes.PIPELINE: opening.pipeline,
    }


def _event_attributes(view: BatchView, i: int) -> dict[str, Any]:
    found = {
        attributes.MESSAGE_ID: view.uid(i).hex(),
        attributes.EVENT_ID: view.attribute("id", i),
        attributes.EVENT_SOURCE: view.attribute("source", i),
        attributes.EVENT_TYPE: view.attribute("type", i),
    }
    return {name: value for name, value in found.items() if value}


def _failed(span: TraceSpan, error: BaseException, verdict: tuple[str, str | None]) -> None:
    ended(span, *verdict, str(error))
    if not isinstance(error, (Reject, Retry)):
        span.record_exception(error)


def ended(span: TraceSpan, verdict: str, reason: str | None = None, message: str = "") -> None:
    """What became of an event: delivered, consumed, retry or reject, and the reason of a failure."""
    span.set_attribute(attributes.VERDICT, verdict)
    if reason is not None:
        from opentelemetry.trace import Status, StatusCode

        span.set_attribute(attributes.ERROR_TYPE, reason)
        span.set_status(Status(StatusCode.ERROR, message or reason))


@contextmanager
def process_span(run: WorkRun, i: int) -> Iterator[TraceSpan]:
    """`process NODE` around the handler call of a sampled event, current inside it. Tell it the verdict: `ended`."""
    from opentelemetry import context, trace

    opening, view = run.opening, run.view
    parent = trace.set_span_in_context(trace.NonRecordingSpan(_remote(view.spans[i])), context.Context())
    span = _tracer().start_span(
        f"process {opening.name}",
        context=parent,
        kind=trace.SpanKind.CONSUMER,
        attributes=_attributes(opening, "process", "process")
        | _event_attributes(view, i)
        | {attributes.ATTEMPT: 1 if run.attempts is None else run.attempts[i]},
    )
    token = context.attach(trace.set_span_in_context(span, parent))
    try:
        yield span
    except BaseException as error:
        lost = run.taken_back(i, 0.0).reason if run.over(i) else None
        _failed(span, error, ("retry", lost) if lost else verdict_of(error))
        raise
    finally:
        context.detach(token)
        span.end()


@contextmanager
def batch_span(run: WorkRun, verdict: Callable[[int], tuple[str, str | None]]) -> Iterator[None]:
    """One span for the call of a batch handler, linked with a span for each sampled event and the row's `verdict`."""
    if not run.view.spans:
        yield
        return
    from opentelemetry import context, trace

    opening, view = run.opening, run.view
    remotes = {i: _remote(span) for i, span in view.spans.items()}
    base = _attributes(opening, "process", "process")
    call = _root_tracer().start_span(
        f"process {opening.name}",
        context=context.Context(),
        kind=trace.SpanKind.CONSUMER,
        attributes=base | {attributes.BATCH_COUNT: view.count},
        links=[trace.Link(remote) for remote in list(remotes.values())[: limits.MAX_LINKS]],
    )
    back = [trace.Link(call.get_span_context())]
    spans = [
        _tracer().start_span(
            f"process {opening.name}",
            context=trace.set_span_in_context(trace.NonRecordingSpan(remote), context.Context()),
            kind=trace.SpanKind.CONSUMER,
            attributes=base
            | _event_attributes(view, i)
            | {attributes.ATTEMPT: 1 if run.attempts is None else run.attempts[i]},
            links=back,
        )
        for i, remote in remotes.items()
    ]
    token = context.attach(trace.set_span_in_context(call, context.Context()))
    try:
        yield
    except BaseException as error:
        lost = run.taken_back(limits.NONE, 0.0).reason if run.over(limits.NONE) else None
        for span in (call, *spans):
            _failed(span, error, ("retry", lost) if lost else verdict_of(error))
        raise
    else:
        for i, span in zip(remotes, spans, strict=True):
            ended(span, *verdict(i))
    finally:
        context.detach(token)
        for span in (*spans, call):
            span.end()


class Sampler:
    """Decides at a source which events are traced: so many per second (default 10), or a share of all."""

    def __init__(
        self, rate: float | None = None, ratio: float | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ratio = ratio
        self._rate = 10.0 if rate is None else max(0.0, rate)
        self._most = max(1.0, self._rate)
        self._tokens = self._most if self._rate > 0 else 0.0
        self._clock = clock
        self._at = clock()

    def wants(self) -> bool:
        """Whether the next event is traced."""
        if self._ratio is not None:
            return self._ratio > 0 and random.random() < self._ratio
        if self._tokens < 1.0:
            if self._rate <= 0:
                return False
            now = self._clock()
            self._tokens = min(self._most, self._tokens + (now - self._at) * self._rate)
            self._at = now
            if self._tokens < 1.0:
                return False
        self._tokens -= 1.0
        return True


def incoming(extensions: Mapping[str, Any] | None) -> SpanContext | None:
    """The sampled context that an event brings with it as CloudEvents extension `traceparent`."""
    if not extensions or not isinstance(extensions.get("traceparent"), str):
        return None
    from opentelemetry import trace
    from opentelemetry.context import Context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier = {name: str(extensions[name]) for name in ("traceparent", "tracestate") if name in extensions}
    found = TraceContextTextMapPropagator().extract(carrier, Context())
    context = trace.get_current_span(found).get_span_context()
    return context if context.is_valid and context.trace_flags.sampled else None


def send_span(opening: Opening, event_id: str | None, parent: SpanContext | None) -> tuple[bytes, bytes, str]:
    """Opens and ends `send NODE` for a sampled event; its trace id, span id and tracestate."""
    from opentelemetry import context, trace

    known = _attributes(opening, "send", "send")
    if event_id:
        known[attributes.EVENT_ID] = event_id
    ambient = context.Context()
    if parent is not None:
        ambient = trace.set_span_in_context(trace.NonRecordingSpan(parent), ambient)
    span = _root_tracer().start_span(
        f"send {opening.name}",
        context=ambient,
        kind=trace.SpanKind.PRODUCER,
        attributes=known,
    )
    made = span.get_span_context()
    span.end()
    if made.is_valid and made.trace_flags.sampled:
        return made.trace_id.to_bytes(16, "big"), made.span_id.to_bytes(8, "big"), made.trace_state.to_header()
    # Nothing exports here: the hops below are traced all the same, under ids made on the spot.
    if parent is not None:
        return parent.trace_id.to_bytes(16, "big"), parent.span_id.to_bytes(8, "big"), parent.trace_state.to_header()
    return os.urandom(16), os.urandom(8), ""
