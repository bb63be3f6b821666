"""What is said about inputs on the wire: failures, and how a handler's result or exception becomes one."""

from __future__ import annotations

import os
import traceback
from collections.abc import AsyncIterator, Iterable
from typing import Any

from google.protobuf.duration_pb2 import Duration

from . import limits, reasons
from ._outputs import Rows, add_output
from ._pb import process_pb2
from .emitter import RowMisnamed
from .event import Event
from .output import Output
from .verdicts import DROP, Reject, Retry

_RETRY = process_pb2.FAILURE_ACTION_RETRY
_REJECT = process_pb2.FAILURE_ACTION_REJECT

_PACKAGE = os.path.dirname(__file__)

_NOT_JSON = (bytes, bytearray, memoryview, Output, Event)


def duration(seconds: float) -> Duration:
    """A protobuf duration."""
    nanoseconds = round(seconds * 1_000_000_000)
    return Duration(seconds=nanoseconds // 1_000_000_000, nanos=nanoseconds % 1_000_000_000)


def clipped(message: str) -> str:
    """A failure message within the limit of 4 KiB."""
    raw = message.encode("utf-8", "replace")
    if len(raw) <= limits.MAX_FAILURE_MESSAGE:
        return raw.decode()
    return raw[: limits.MAX_FAILURE_MESSAGE - 3].decode("utf-8", "ignore") + "…"


def failure(
    index: int, reason: str, message: str = "", *, final: bool = False, after: float | None = None
) -> process_pb2.EventFailure:
    """The failure of one input, or of the whole work (limits.NONE)."""
    return process_pb2.EventFailure(
        index=index,
        action=_REJECT if final else _RETRY,
        reason=reason,
        message=clipped(message),
        retry_after=None if after is None else duration(after),
    )


def is_retry(failed: process_pb2.EventFailure) -> bool:
    """Whether the event comes again."""
    return failed.action != _REJECT


def of_exception(index: int, error: BaseException) -> process_pb2.EventFailure:
    """What an exception from a handler means: Reject and Retry as they say, anything else a retry."""
    if isinstance(error, Reject):
        return failure(index, error.reason, error.message, final=True)
    if isinstance(error, Retry):
        return failure(index, error.reason, error.message, after=error.after)
    if isinstance(error, RowMisnamed):
        return failure(index, reasons.RESULT_INDEX_REPEATED, f"{error}{_place(error)}")
    return failure(index, reasons.HANDLER_ERROR, f"{type(error).__name__}: {error}{_place(error)}")


def verdict_of(error: BaseException) -> tuple[str, str]:
    """Verdict and reason of an exception, as spans name them."""
    failed = of_exception(limits.NONE, error)
    return ("retry" if is_retry(failed) else "reject"), failed.reason


def _place(error: BaseException) -> str:
    """Where the user's own code raised it."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(_PACKAGE)] or frames
    return f" ({own[-1].filename}:{own[-1].lineno})" if own else ""


class Acceptor:
    """Turns handler results into rows, by role. Every refusal is a Reject with a remedy."""

    def __init__(self, role: str, routes: frozenset[str]) -> None:
        self._routes = routes
        #: The type of plain results as last seen: bytes, or one that is encoded as JSON.
        self.kind: type = bytes
        self.take = {"map": self._map, "filter": self._filter, "sink": self._sink}.get(role)

    def add(self, rows: Rows, i: int, value: Any) -> None:
        """One output of input i."""
        add_output(rows, i, value, self._routes)
        if type(value) is bytes or not isinstance(value, _NOT_JSON):
            self.kind = type(value)

    def _map(self, rows: Rows, i: int, value: Any) -> None:
        if value is None:
            raise Reject(
                "the handler returned None; return a value, DROP to end the event here, or Output(None) for JSON null",
                reason=reasons.NO_RESULT,
            )
        if value is not DROP:
            self.add(rows, i, value)

    def _filter(self, rows: Rows, i: int, value: Any) -> None:
        if value is True:
            rows.keep(i)
        elif value is not False:
            if type(value).__module__ != "numpy" or not type(value).__name__.startswith("bool"):
                raise Reject(
                    f"the filter returned {value!r:.80}; return True to pass the event or False to drop it",
                    reason=reasons.NOT_BOOL,
                )
            if value:
                rows.keep(i)

    def _sink(self, rows: Rows, i: int, value: Any) -> None:
        """The event is delivered, whatever was returned."""

    def each(self, value: Any) -> Iterable[Any]:
        """The outputs of a flat_map handler's result."""
        if value is DROP:
            return ()
        if value is None:
            message = "the flat_map handler returned None; return or yield an iterable (an empty one drops the event)"
            raise Reject(message, reason=reasons.NO_RESULT)
        if isinstance(value, (str, bytes, dict, Output, Event)) or not isinstance(value, Iterable):
            raise Reject(not_iterable(value), reason=reasons.NOT_ITERABLE)
        return value

    def item(self, rows: Rows, i: int, value: Any) -> None:
        """One output of a flat_map handler."""
        if value is None:
            raise Reject(
                "the handler yielded None; yield values, or Output(None) for JSON null", reason=reasons.NO_RESULT
            )
        if value is not DROP:
            self.add(rows, i, value)


def not_iterable(value: Any) -> str:
    """The message for a flat_map result that is no sequence of outputs."""
    if isinstance(value, AsyncIterator):
        return "the flat_map handler returned an async iterator from a plain function; make the handler `async def`"
    return f"the flat_map handler returned a {type(value).__name__}; return or yield an iterable of outputs"
