"""What each command does, in terms of a map handler: a value, an Output, the event, DROP, or an exception."""

from __future__ import annotations

import base64
import itertools
import os
import re
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

from opentelemetry import trace

from meshloom import DROP, Context, Event, Output, PayloadError, Reject, Retry

from . import commands as do
from .outputs import copied, typed
from .report import REPORT
from .settings import Settings


def command_of(event: Event, ctx: Context[Settings]) -> do.Command:
    """What to do: the config's command if there is one, else the payload."""
    return ctx.config.command or event.json(do.Command)


def obey(command: do.Command, event: Event, attempt: int, ctx: Context[Settings]) -> Any:
    """Does it. A list of Outputs stands for several."""
    match command:
        case do.Drop():
            return DROP
        case do.Nothing():
            return None
        case do.Emit(outputs):
            return [out.output(event) for out in outputs]
        case do.Copy():
            return copied(event)
        case do.Describe():
            return Output(described(event, attempt, ctx))
        case do.Tell():
            return Output(REPORT.read())
        case do.Stream():
            return stream(command)
        case do.Refuse(reason, message):
            raise Reject(message, reason=reason)
        case do.Again(reason, message, after_ms, until):
            if until is None or attempt < until:
                raise Retry(message, reason=reason, after=None if after_ms is None else after_ms / 1000)
        case do.Throw(message, until):
            if until is None or attempt < until:
                raise RuntimeError(message)
        case do.Panic(message):
            raise SystemExit(message)
        case do.Pass():
            pass
        case _:
            work(command, event, ctx)
    return event


def work(command: do.Command, event: Event, ctx: Context[Settings]) -> None:
    """The commands that take time or leave a trace, after which the event passes."""
    match command:
        case do.Sleep(ms):
            if ctx.cancelled.wait(ms / 1000):
                REPORT.cancelled(event.uid.hex)
        case do.Block(ms):
            time.sleep(ms / 1000)
        case do.Spin(ms):
            until = time.monotonic() + ms / 1000
            while time.monotonic() < until:
                pass
        case do.Hold(ms):
            hold(ms / 1000)
        case do.Note(n):
            REPORT.note(event.key, n)
        case do.Log(message):
            ctx.log.info(message)
        case do.Allocate(size):
            bytearray(size)
        case do.Spans(names):
            with ExitStack() as spans:
                for name in names:
                    spans.enter_context(ctx.tracer.start_as_current_span(name))
        case do.Exit(status):
            os._exit(status)
        case _:
            raise PayloadError("only a batch handler can do that")


def hold(seconds: float) -> None:
    """Backtracks, each time twice as long, with the global lock held."""
    until = time.monotonic() + seconds
    for length in itertools.count(12):
        re.match(r"(a+)+$", "a" * length + "b")
        if time.monotonic() >= until:
            return


def stream(command: do.Stream) -> Iterator[bytes]:
    """Outputs one at a time."""
    for made in range(command.count):
        if made == command.fail_after:
            raise RuntimeError(f"asked to fail after {made} outputs")
        yield b"x" * command.bytes


def described(event: Event, attempt: int, ctx: Context[Settings]) -> dict[str, Any]:
    """All that a handler is given."""
    current = trace.get_current_span().get_span_context()
    span = f"{current.trace_id:032x}-{current.span_id:016x}-{current.trace_flags:02x}" if current.is_valid else None
    return {
        "uid": event.uid.hex,
        "id": event.id,
        "source": event.source,
        "type": event.type,
        "subject": event.subject,
        "key": event.key,
        "from": event.from_,
        "content_type": event.content_type,
        "data_schema": event.data_schema,
        "time": None if event.time_ns is None else str(event.time_ns),
        "extensions": {name: typed(value) for name, value in event.extensions.items()},
        "payload": base64.b64encode(event.data).decode(),
        "attempt": attempt,
        "pipeline": ctx.pipeline,
        "node": ctx.node,
        "replica": ctx.replica,
        "label": ctx.config.label,
        "deadline_ms": None if ctx.deadline is None else (ctx.deadline - time.monotonic()) * 1000,
        "wait_ms": ctx.config.wait.total_seconds() * 1000,
        "room_bytes": ctx.config.room,
        "trace": span,
    }
