"""Running handlers over the events of a work: one after the other in a thread or in a task of the user's loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from time import monotonic
from typing import Any

from . import _tracing, limits, reasons
from ._answer import failure, is_retry, of_exception
from ._pb import process_pb2
from ._plain import EXHAUSTED, LOOPS, UNCALLED
from ._work import Results, WorkRun
from .batch import Batch
from .context import Call, Context, set_current
from .emitter import Emitter

#: How often the session's timer looks at lanes: how late it may see that a call began, in seconds.
TICK_SECONDS = 0.025

#: A running call: its time.monotonic() at the start, the index of its event, the sequence of its work.
Running = tuple[float, int, int]


class Lane:
    """What the threaded and the asynchronous lane have in common."""

    def __init__(self, run: WorkRun, room: Callable[[], float]) -> None:
        self.run = run
        self.call = Call(run)
        self.held = Results()
        #: Seconds to wait until the coordinator has read enough of what was sent.
        self._room = room

    def _close(self, index: int, error: BaseException | None) -> bool:
        """Closes an input after its call; whether its strand must stop."""
        run, held, started = self.run, self.held, self.call.started
        failed: process_pb2.EventFailure | None = None
        if run.over(index):
            failed = run.taken_back(index, started)
        elif error is not None:
            failed = of_exception(index, error)
        if failed is not None:
            held.rows.truncate(held.rows.start(index))
            held.fail(failed)
        if run.continuing == index:
            run.finish_continued(held, index)
        return failed is not None and run.holds and is_retry(failed)

    def _verdict(self, index: int) -> tuple[str, str | None]:
        """What a call's span says of its event: with outputs, or taken by a sink, it is delivered."""
        run, rows = self.run, self.held.rows
        if run.over(index):
            return "retry", run.taken_back(index, self.call.started).reason
        delivered = run.bound.node.role == "sink" or run.continuing == index or rows.start(index) < len(rows)
        return ("delivered" if delivered else "consumed"), None

    def _hold(self, index: int) -> None:
        """Closes an input behind one of its key that comes again."""
        if self.run.cancelled:
            self.held.fail(self.run.taken_back(index, 0.0))
        else:
            self.held.fail(failure(index, reasons.KEY_HELD, reasons.HELD_MESSAGE))

    def tick(self, now: float) -> Running | None:
        """What the lane is in, None between calls. Runs in the timer's thread."""
        started, index = self.call.started, self.call.index
        if not started:
            return None
        self._check_time(now, started, index)
        return started, index, self.run.sequence

    def _check_time(self, now: float, started: float, index: int) -> None:
        if self.run.timeout is not None and now - started >= self.run.timeout:
            self.run.expire(index)


class ThreadLane(Lane):
    """Runs strands in the calling thread: plain calls in a loop that knows nothing else, the rest here.

    Calls do not read the clock. The session's timer does it for them: `call.started` is when it first saw the call.
    """

    def __init__(self, run: WorkRun, room: Callable[[], float]) -> None:
        super().__init__(run, room)
        self._loop = LOOPS[run.bound.node.role]
        self._seen: int | None = None
        self._ticks = 0
        self._paused = 0.0
        run.calls.append(self.call)

    def __call__(self) -> None:
        set_current(self.call)
        run, call = self.run, self.call
        call.started = begun = monotonic()
        while (strand := run.strand()) is not None:
            self._strand(iter(strand))
        call.started = 0.0
        run.end_lane(self.held, monotonic() - begun - self._paused)

    def _strand(self, indexes: Iterator[int]) -> None:
        run, call, held = self.run, self.call, self.held
        while not run.cancelled:
            stopped = False
            try:
                value = self._loop(run, call, indexes, held.rows)
                if value is EXHAUSTED:
                    return
                if value is UNCALLED:
                    with _tracing.process_span(run, call.index) as span:
                        self._take(call.index, run.invoke(call.index))
                        _tracing.ended(span, *self._verdict(call.index))
                elif not run.over(call.index):
                    self._take(call.index, value)
            except BaseException as error:
                stopped = self._close(call.index, error)
            else:
                if run.over(call.index) or run.continuing == call.index:
                    stopped = self._close(call.index, None)
            if call.due or held.rows.size >= limits.FLUSH_BYTES:
                self._flush()
            if stopped:
                for i in indexes:
                    self._hold(i)
        for i in indexes:
            held.fail(run.taken_back(i, 0.0))

    def tick(self, now: float) -> Running | None:
        """Notes the call that runs, and has results sent that have waited."""
        call = self.call
        self._ticks += 1
        if self._ticks * TICK_SECONDS >= limits.FLUSH_SECONDS:
            call.due = True
        started, index = call.started, call.index
        if not started:
            return None
        if index != self._seen:
            self._seen, call.started, started = index, now, now
        self._check_time(now, started, index)
        return started, index, self.run.sequence

    def _flush(self) -> None:
        """Sends what is held, so that nothing waits for a slow event behind it."""
        call, run = self.call, self.run
        before = monotonic()
        self._ticks, call.due, call.started = 0, False, 0.0
        run.flush(self.held)
        while (pause := self._room()) and not run.cancel.wait(pause):
            pass
        call.started = now = monotonic()
        self._paused += now - before

    def _take(self, i: int, value: Any) -> None:
        acceptor, held = self.run.acceptor, self.held
        if acceptor.take is not None:
            acceptor.take(held.rows, i, value)
            return
        for item in acceptor.each(value):
            acceptor.item(held.rows, i, item)
            if held.rows.size >= limits.FLUSH_BYTES:
                self.run.overflow(held, i)
                while (pause := self._room()) and not self.run.cancel.wait(pause):
                    pass
            if self.run.over(i):
                return


class AsyncLane(Lane):
    """Runs strands in a task; a cancelled task ends the call it is in."""

    def __init__(self, run: WorkRun, room: Callable[[], float]) -> None:
        super().__init__(run, room)
        self._busy = 0.0
        self._flushed = monotonic()

    async def __call__(self) -> None:
        set_current(self.call)
        run, call, held = self.run, self.call, self.held
        while (strand := run.strand()) is not None:
            stopped = False
            for i in strand:
                if stopped:
                    self._hold(i)
                    continue
                if run.cancelled:
                    held.fail(run.taken_back(i, 0.0))
                    continue
                call.index = i
                call.started = started = monotonic()
                error: BaseException | None = None
                try:
                    with _time_limit(run, i):
                        if i in run.view.spans:
                            with _tracing.process_span(run, i) as span:
                                await self._take(i, run.invoke(i))
                                _tracing.ended(span, *self._verdict(i))
                        else:
                            await self._take(i, run.invoke(i))
                except BaseException as caught:
                    error = caught
                    _uncancel()
                stopped = self._close(i, error)
                now = monotonic()
                self._busy += now - started
                call.started = 0.0
                if held.rows.size >= limits.FLUSH_BYTES or now - self._flushed >= limits.FLUSH_SECONDS:
                    self._flushed = now
                    run.flush(held)
                    await self._wait_for_room()
        run.end_lane(held, self._busy)

    async def _wait_for_room(self) -> None:
        while (pause := self._room()) and not self.run.cancelled:
            await asyncio.sleep(pause)

    async def _take(self, i: int, value: Any) -> None:
        acceptor, held = self.run.acceptor, self.held
        if not hasattr(value, "__aiter__"):
            value = await value
        if acceptor.take is not None:
            acceptor.take(held.rows, i, value)
            return
        if hasattr(value, "__aiter__"):
            async for item in value:
                await self._item(i, item)
        else:
            for item in acceptor.each(value):
                await self._item(i, item)

    async def _item(self, i: int, item: Any) -> None:
        self.run.acceptor.item(self.held.rows, i, item)
        if self.held.rows.size >= limits.FLUSH_BYTES:
            self.run.overflow(self.held, i)
            await self._wait_for_room()


@contextmanager
def _time_limit(run: WorkRun, index: int) -> Iterator[None]:
    """Cancels the call in the current task once it is over the work's timeout."""
    if run.timeout is None:
        yield
        return
    task = asyncio.current_task()
    assert task is not None, "lanes run in tasks"

    def end() -> None:
        run.expire(index)
        task.cancel()

    timer = asyncio.get_running_loop().call_later(run.timeout, end)
    try:
        yield
    finally:
        timer.cancel()


def _uncancel() -> None:
    """The task goes on with the next event: what it awaits there is not to see that this call was cancelled."""
    task: Any = asyncio.current_task()
    if hasattr(task, "uncancel"):  # from Python 3.11 on
        while task.cancelling():
            task.uncancel()


class BatchLane(Lane):
    """One call for the whole work."""

    def __init__(self, run: WorkRun, room: Callable[[], float]) -> None:
        super().__init__(run, room)
        node = run.bound.node
        self._emitter = Emitter(run.view, node.routes)

    def _call(self) -> Any:
        run = self.run
        set_current(self.call)
        arguments: list[Any] = [Batch(run.view, run.attempts), self._emitter]
        self.call.index = limits.NONE
        self.call.started = monotonic()
        if run.bound.takes_context:
            arguments.append(Context(run, limits.NONE, self.call.started))
        return run.bound.function(*arguments)

    def in_thread(self) -> None:
        """Runs a `def` handler."""
        error: BaseException | None = None
        try:
            with _tracing.batch_span(self.run, self._emitter._verdict):
                self._call()
                self._emitter._close(self._strands())
        except BaseException as caught:
            error = caught
        self._end(error)

    async def in_task(self) -> None:
        """Runs an `async def` handler."""
        error: BaseException | None = None
        try:
            with _tracing.batch_span(self.run, self._emitter._verdict):
                with _time_limit(self.run, limits.NONE):
                    await self._call()
                self._emitter._close(self._strands())
        except BaseException as caught:
            error = caught
        self._end(error)

    def _strands(self) -> Iterable[Iterable[int]]:
        """The rows that have an order among them."""
        return iter(self.run.strand, None) if self.run.holds else ()

    def _end(self, error: BaseException | None) -> None:
        run, emitter, started = self.run, self._emitter, self.call.started
        busy = monotonic() - started
        self.call.started = 0.0
        if run.over(limits.NONE):
            run.end_whole(run.taken_back(limits.NONE, started), busy)
        elif error is not None:
            run.end_whole(of_exception(limits.NONE, error), busy)
        else:
            failures = [
                failure(row, reason, message, final=final, after=after)
                for row, (final, reason, message, after) in emitter._failures.items()
            ]
            run.end_batch(Results(emitter._rows, failures), busy)
