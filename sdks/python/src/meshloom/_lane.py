"""Running handlers over the events of a work: one after the other in a thread or in a task of the user's loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Any

from . import _tracing, limits, reasons
from ._answer import failure, is_retry, of_exception
from ._pb import process_pb2
from ._work import Results, WorkRun
from .batch import Batch
from .context import Call, Context, set_current
from .emitter import Emitter


class Lane:
    """What the threaded and the asynchronous lane have in common."""

    def __init__(self, run: WorkRun, room: Callable[[], float]) -> None:
        self.run = run
        self.call = Call(run)
        self.held = Results()
        #: Seconds to wait until the coordinator has read enough of what was sent.
        self._room = room
        self._busy = 0.0
        self._flushed = monotonic()

    def _close(self, index: int, mark: int, error: BaseException | None) -> bool:
        """Closes an input after its call; whether its strand must stop."""
        run, held, started = self.run, self.held, self.call.started
        failed: process_pb2.EventFailure | None = None
        if run.continuing == index:
            mark = 0  # the rows before this input's have been sent
        if run.cancelled:
            failed = run.taken_back(index, started)
        elif error is not None:
            failed = of_exception(index, error)
        if failed is not None:
            held.rows.truncate(mark)
            held.fail(failed)
        elif len(held.rows) > mark:
            held.named += 1
        if run.continuing == index:
            run.finish_continued(held, index)
        return failed is not None and run.holds and is_retry(failed)

    def _hold(self, index: int) -> None:
        self.held.fail(failure(index, reasons.KEY_HELD, "an earlier event of the same key is being retried"))

    def _flush(self, now: float) -> None:
        """Sends what is held, so that nothing waits for a slow event behind it."""
        self._flushed = now
        if self.held.rows.parents or self.held.failures:
            self.run.flush(self.held)


class ThreadLane(Lane):
    """Runs strands in the calling thread. The loop is the node's hot path: no call in it that can be spared."""

    def __call__(self) -> None:
        set_current(self.call)
        run, call, held = self.run, self.call, self.held
        spans, invoke = run.view.spans, run.invoke
        take = run.acceptor.take or self._take_many
        rows = held.rows
        begun = now = monotonic()
        due = now + limits.FLUSH_SECONDS
        while (strand := run.strand()) is not None:
            stopped = False
            for i in strand:
                if stopped:
                    self._hold(i)
                    continue
                if run.cancelled:
                    held.fail(run.taken_back(i, 0.0))
                    continue
                mark = len(rows.parents)
                call.index = i
                call.started = now
                try:
                    if spans and i in spans:
                        with _tracing.process_span(run, i):
                            take(rows, i, invoke(i, now))
                    else:
                        take(rows, i, invoke(i, now))
                except BaseException as error:
                    stopped = self._close(i, mark, error)
                    rows = held.rows
                else:
                    if run.cancelled or held.rows is not rows or run.continuing == i:
                        stopped = self._close(i, mark, None)
                        rows = held.rows
                    elif len(rows.parents) > mark:
                        held.named += 1
                now = monotonic()
                if now >= due or rows.size >= limits.FLUSH_BYTES:
                    call.started = 0.0
                    self._flush(now)
                    begun += self._wait_for_room()
                    rows = held.rows
                    now = monotonic()
                    due = now + limits.FLUSH_SECONDS
        call.started = 0.0
        run.end_lane(held, monotonic() - begun)

    def _wait_for_room(self) -> float:
        """Waits until enough was read; the seconds that took."""
        before = monotonic()
        while (pause := self._room()) and not self.run.cancel.wait(pause):
            pass
        return monotonic() - before

    def _take_many(self, rows: Any, i: int, value: Any) -> None:
        run, held = self.run, self.held
        mark = len(held.rows)
        for item in run.acceptor.each(value):
            run.acceptor.item(held.rows, i, item)
            if held.rows.size >= limits.FLUSH_BYTES:
                mark = run.overflow(held, i, mark)
                self._wait_for_room()
            if run.cancelled:
                return


class AsyncLane(Lane):
    """Runs strands in a task; a cancelled task ends the call it is in."""

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
                mark = len(held.rows)
                call.index = i
                call.started = started = monotonic()
                error: BaseException | None = None
                try:
                    if i in run.view.spans:
                        with _tracing.process_span(run, i):
                            await self._take(i, run.invoke(i, started))
                    else:
                        await self._take(i, run.invoke(i, started))
                except BaseException as caught:
                    error = caught
                stopped = self._close(i, mark, error)
                now = monotonic()
                self._busy += now - started
                call.started = 0.0
                if held.rows.size >= limits.FLUSH_BYTES or now - self._flushed >= limits.FLUSH_SECONDS:
                    self._flush(now)
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
        mark = len(held.rows)
        if hasattr(value, "__aiter__"):
            async for item in value:
                mark = await self._item(i, item, mark)
        else:
            for item in acceptor.each(value):
                mark = await self._item(i, item, mark)

    async def _item(self, i: int, item: Any, mark: int) -> int:
        self.run.acceptor.item(self.held.rows, i, item)
        if self.held.rows.size >= limits.FLUSH_BYTES:
            mark = self.run.overflow(self.held, i, mark)
            await self._wait_for_room()
        return mark


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
            with _tracing.batch_span(self.run):
                self._call()
        except BaseException as caught:
            error = caught
        self._end(error)

    async def in_task(self) -> None:
        """Runs an `async def` handler."""
        error: BaseException | None = None
        try:
            with _tracing.batch_span(self.run):
                await self._call()
        except BaseException as caught:
            error = caught
        self._end(error)

    def _end(self, error: BaseException | None) -> None:
        run, emitter, started = self.run, self._emitter, self.call.started
        busy = monotonic() - started
        self.call.started = 0.0
        if run.cancelled:
            run.end_whole(run.taken_back(limits.NONE, started), busy)
        elif error is not None:
            run.end_whole(of_exception(limits.NONE, error), busy)
        else:
            failures = [
                failure(row, reason, message, final=final, after=after)
                for row, (final, reason, message, after) in emitter._failures.items()
            ]
            left = "the batch handler neither emitted, dropped, rejected nor retried this row"
            failures += [failure(row, reasons.UNACCOUNTED, left) for row in emitter._unnamed()]
            named = len(set(emitter._rows.parents) - {limits.NONE}) + len(failures)
            run.end_batch(Results(emitter._rows, failures, named), busy)
