"""What a handler may ask about the call it is in."""

from __future__ import annotations

import contextvars
import logging
import threading
import time
from collections.abc import MutableMapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic

from typing_extensions import TypeVar

from . import limits
from ._pb import process_pb2
from .event import Event

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

    from ._view import BatchView
    from .node import Node

C = TypeVar("C", default=Any)
S = TypeVar("S", default=Any)


class Cancellation:
    """True once the call is no longer wanted: taken back by the coordinator, or past its deadline."""

    __slots__ = ("_deadline", "_index", "_work")

    def __init__(self, work: Assignment, index: int, deadline: float | None) -> None:
        self._work = work
        self._index = index
        self._deadline = deadline

    def is_set(self) -> bool:
        """Whether to stop."""
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self._work.expire(self._index)
            return True
        return self._work.cancelled

    __bool__ = is_set

    def wait(self, timeout: float | None = None) -> bool:
        """Sleeps until cancelled, at most `timeout` seconds; whether it is cancelled."""
        if self._deadline is not None:
            left = max(0.0, self._deadline - time.monotonic())
            timeout = left if timeout is None else min(left, timeout)
        self._work.cancel.wait(timeout)
        return self.is_set()


@dataclass(frozen=True)
class Opening:
    """One stream as it was opened: which node of which pipeline, with which config and state."""

    node: Node[Any, Any]
    pipeline: str
    name: str
    replica: int
    replicas: int
    config: Any
    state: Any
    ordering: int = process_pb2.ORDERING_NONE
    concurrency: int = 1

    @property
    def replica_name(self) -> str:
        """NODE/INDEX."""
        return f"{self.name}/{self.replica}"


class Assignment:
    """A work in hand, as much of it as contexts show."""

    __slots__ = ("attempts", "cancel", "cancelled", "opening", "overdue", "sequence", "timeout", "view")

    def __init__(
        self, opening: Opening, sequence: int, view: BatchView, attempts: list[int] | None, timeout: float | None
    ) -> None:
        self.opening: Opening = opening
        self.sequence: int = sequence
        self.view: BatchView = view
        self.attempts: list[int] | None = attempts
        self.timeout: float | None = timeout
        self.cancel: threading.Event = threading.Event()
        #: The same as a plain attribute, for the hot path.
        self.cancelled: bool = False
        #: Events whose calls are over their time.
        self.overdue: set[int] = set()

    def expire(self, index: int) -> None:
        """The call for an event (limits.NONE: for the batch) is over its time."""
        self.overdue.add(index)

    def take_back(self) -> None:
        """The work is no longer wanted: its calls are told so."""
        self.cancelled = True
        self.cancel.set()


class Call:
    """A running handler call: what Progress reports and what `current()` reads."""

    __slots__ = ("due", "index", "started", "work")

    def __init__(self, work: Assignment, index: int = limits.NONE) -> None:
        self.work: Assignment = work
        self.index: int = index
        #: Whether something waits for the lane: results that have been held for long, or that the work was taken back.
        self.due: bool = False
        #: time.monotonic() at the start of the call; 0.0 while none runs.
        self.started: float = 0.0


class Context(Generic[C, S]):
    """The call a handler is in. Valid during the call; cheap to make, everything in it is lazy."""

    __slots__ = ("_index", "_started", "_work")

    def __init__(self, work: Assignment, index: int, started: float) -> None:
        self._work = work
        self._index = index
        self._started = started

    @property
    def config(self) -> C:
        """The node's config, as the type that Node(config=...) names."""
        return self._work.opening.config  # type: ignore[no-any-return]

    @property
    def state(self) -> S:
        """What set-up returned or yielded."""
        return self._work.opening.state  # type: ignore[no-any-return]

    @property
    def event(self) -> Event:
        """The event; a batch handler has none."""
        if self._index == limits.NONE:
            raise AttributeError("a batch handler has no single event; use the batch, or batch.event(i)")
        return Event(self._work.view, self._index)

    @property
    def attempt(self) -> int:
        """From 1. In a batch handler the highest of the batch; batch.attempts has each."""
        attempts = self._work.attempts
        if attempts is None:
            return 1
        return max(attempts) if self._index == limits.NONE else attempts[self._index]

    @property
    def deadline(self) -> float | None:
        """The time.monotonic() at which this call's time is up; None: no limit."""
        return None if self._work.timeout is None else self._started + self._work.timeout

    @property
    def cancelled(self) -> Cancellation:
        """True once the call is no longer wanted; `.wait(seconds)` sleeps until then."""
        return Cancellation(self._work, self._index, self.deadline)

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger that stamps node, uid and, in a sampled event, the trace."""
        return _logger(self._work.opening, None if self._index == limits.NONE else str(self.event.uid))

    @property
    def tracer(self) -> Tracer:
        """OpenTelemetry tracer; spans nest in the event's own and cost nothing if it is not sampled."""
        from ._tracing import user_tracer

        return user_tracer(self._work.opening.name)

    @property
    def node(self) -> str:
        """Name of the node in the pipeline file."""
        return self._work.opening.name

    @property
    def pipeline(self) -> str:
        """Name of the pipeline."""
        return self._work.opening.pipeline

    @property
    def replica(self) -> str:
        """Name of this replica, NODE/INDEX."""
        return self._work.opening.replica_name


class _StampedLogger(logging.LoggerAdapter):  # type: ignore[type-arg]
    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        from ._tracing import current_ids

        stamps = dict(self.extra or {}) | current_ids()
        kwargs["extra"] = stamps | dict(kwargs.get("extra") or {})
        return f"{msg} [{' '.join(f'{name}={value}' for name, value in stamps.items())}]", kwargs


def _logger(opening: Opening, uid: str | None) -> logging.LoggerAdapter[logging.Logger]:
    stamps = {"node": opening.name, "replica": opening.replica_name}
    if uid is not None:
        stamps["uid"] = uid
    return _StampedLogger(logging.getLogger(f"meshloom.node.{opening.name}"), stamps)


_current: contextvars.ContextVar[Call | None] = contextvars.ContextVar("meshloom_call", default=None)


def set_current(call: Call) -> None:
    """Makes `call` the one that current() reads in this thread or task."""
    _current.set(call)


def current() -> Context[Any, Any]:
    """The context of the handler call this code runs in, also deep inside it; RuntimeError outside of one."""
    call = _current.get()
    if call is None or not call.started:
        raise RuntimeError("meshloom.current() works inside a handler call only")
    return Context(call.work, call.index, call.started)


class SourceContext(Generic[C, S]):
    """What a source handler may ask."""

    __slots__ = ("_opening", "checkpoint", "stopping")

    def __init__(self, opening: Opening, checkpoint: Any, stopping: threading.Event) -> None:
        self._opening = opening
        #: The checkpoint to resume after; None on the first run.
        self.checkpoint: Any = checkpoint
        #: Set once the source should end; `ctx.stopping.wait(seconds)` is the way to sleep.
        self.stopping: threading.Event = stopping

    @property
    def config(self) -> C:
        """The node's config."""
        return self._opening.config  # type: ignore[no-any-return]

    @property
    def state(self) -> S:
        """What set-up returned or yielded."""
        return self._opening.state  # type: ignore[no-any-return]

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """A logger that stamps the node."""
        return _logger(self._opening, None)

    @property
    def tracer(self) -> Tracer:
        """OpenTelemetry tracer."""
        from ._tracing import user_tracer

        return user_tracer(self._opening.name)

    @property
    def node(self) -> str:
        """Name of the node in the pipeline file."""
        return self._opening.name

    @property
    def pipeline(self) -> str:
        """Name of the pipeline."""
        return self._opening.pipeline

    @property
    def replica(self) -> str:
        """Name of this replica, NODE/INDEX."""
        return self._opening.replica_name

    @property
    def partition(self) -> tuple[int, int]:
        """(index, of): which share of a partitioned source this replica has."""
        return self._opening.replica, self._opening.replicas
