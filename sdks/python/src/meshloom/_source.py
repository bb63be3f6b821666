"""One Produce stream: the user's generator in, frames by demand and 5 ms out."""

from __future__ import annotations

import asyncio
import inspect
import logging
import queue
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import Any

from . import _tracing, limits, reasons
from ._bind import Bound, positional
from ._frames import Framer, RowMaker, Settled, SourceFault, decode_checkpoint
from ._host import Host
from ._pb import produce_pb2
from ._streams import StreamMisused, opened_twice
from .context import Opening, SourceContext

log = logging.getLogger("meshloom")


class SourceSession:
    """Runs a source handler for one coordinator stream."""

    def __init__(
        self, opening: Opening, bound: Bound, host: Host, resumed: bytes | None, sampler: _tracing.Sampler
    ) -> None:
        self._opening = opening
        self._bound = bound
        self._host = host
        self._stopping = threading.Event()
        self._checkpoint_type = bound.node.checkpoint_type
        checkpoint = None if resumed is None else decode_checkpoint(resumed, self._checkpoint_type)
        self._context: SourceContext[Any, Any] = SourceContext(opening, checkpoint, self._stopping)
        self._maker = RowMaker(opening, resumed, sampler, replays=bound.node.replays)
        self._framer = Framer(resumed)
        self._changed = threading.Condition()
        self._first_at = 0.0
        self._ended = False
        self._exhausted = False
        self._gone = False
        self._half_closed = False
        self._fault: SourceFault | None = None
        self._misuse: StreamMisused | None = None
        #: The task in which an `async def` source waits for its next event.
        self._waiting: asyncio.Task[None] | None = None
        #: What has settled: callbacks of events, and the checkpoint up to which all has.
        self._settled: queue.SimpleQueue[tuple[list[Settled], bytes | None] | None] = queue.SimpleQueue()

    # -- the transport's side ------------------------------------------------------------------------------------

    def responses(self, requests: Iterable[produce_pb2.ProduceRequest]) -> Iterator[produce_pb2.ProduceResponse]:
        """Frames after Opened, then Exhausted or the end. SourceFault: the source failed."""
        hooks = threading.Thread(target=self._run_settled, name="meshloom-settled", daemon=True)
        hooks.start()
        threading.Thread(target=self._read, args=(requests,), name="meshloom-read", daemon=True).start()
        threading.Thread(target=self._run_source, name="meshloom-source", daemon=True).start()
        try:
            while (frame := self._next_frame()) is not None:
                yield produce_pb2.ProduceResponse(produced=frame)
            if self._misuse is not None:
                raise self._misuse
            if self._fault is not None:
                raise self._fault
            if self._exhausted and not self._gone:
                yield produce_pb2.ProduceResponse(exhausted=produce_pb2.Exhausted())
                with self._changed:  # Settled goes on arriving until the coordinator closes
                    self._changed.wait_for(lambda: self._stopping.is_set() or self._half_closed or self._gone)
        finally:
            self.abandon()
            hooks.join(5.0)  # a commit under way ends before tear-down

    def drain(self) -> None:
        """Asks the source to end; what it has yielded is still sent."""
        self._stop()
        with self._changed:
            self._changed.notify_all()

    def abandon(self) -> None:
        """The stream is gone."""
        self._stop()
        self._settled.put(None)
        with self._changed:
            self._gone = True
            self._changed.notify_all()

    def _stop(self) -> None:
        """Sets ctx.stopping; an `async def` source that waits for something is cancelled there."""
        if not self._stopping.is_set():
            self._stopping.set()
            if self._bound.is_async:
                self._host.loop().call_soon_threadsafe(self._cancel_wait)

    def _cancel_wait(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()

    def _next_frame(self) -> produce_pb2.Produced | None:
        framer = self._framer
        with self._changed:
            while not self._gone:
                over = self._ended or self._stopping.is_set()
                wait: float | None = None
                if framer.rows:
                    wait = self._first_at + limits.FRAME_SECONDS - time.monotonic()
                    if framer.full() or over or wait <= 0:
                        frame = framer.frame()
                        if frame is not None:
                            self._first_at = time.monotonic()
                            self._changed.notify_all()
                            return frame
                        wait = None
                elif self._ended:
                    return None
                self._changed.wait(wait)
        return None

    def _read(self, requests: Iterable[produce_pb2.ProduceRequest]) -> None:
        try:
            for request in requests:
                kind = request.WhichOneof("request")
                if kind == "demand":
                    with self._changed:
                        self._framer.grant(request.demand.events, request.demand.bytes)
                        self._changed.notify_all()
                elif kind == "settled":
                    self._forget(request.settled)
                elif kind == "stop":
                    self.drain()
                elif kind == "open":
                    raise opened_twice()
        except StreamMisused as error:
            self._misuse = error
            self.abandon()
        except Exception as error:  # the transport's own: the stream was cancelled or broke
            log.debug("stream of %s ended: %s", self._opening.name, error)
            self.abandon()
        else:
            self._half_closed = True
            self.drain()

    # -- the user's side -----------------------------------------------------------------------------------------

    def _run_source(self) -> None:
        try:
            function = self._bound.function
            made = function(self._context) if self._bound.takes_context else function()
            if hasattr(made, "__aiter__"):
                self._host.submit(self._pull_async(made)).result()
            else:
                self._pull(iter(made))
        except SourceFault as fault:
            self._fault = fault
        except BaseException as error:
            log.exception("source %s failed", self._opening.name)
            self._fault = SourceFault(reasons.SOURCE_FAILED, f"{type(error).__name__}: {error}")
        else:
            self._exhausted = not self._stopping.is_set()
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()

    def _pull(self, items: Iterator[Any]) -> None:
        """Asks for the next event only while the credit admits it: what waits can always be sent."""
        try:
            while self._await_credit():
                item = next(items, _END)
                if item is _END:
                    return
                self._add(item)
        finally:
            if inspect.isgenerator(items):
                items.close()

    async def _pull_async(self, items: Any) -> None:
        iterator = items.__aiter__()
        loop = asyncio.get_running_loop()
        try:
            while self._has_credit() or await loop.run_in_executor(None, self._await_credit):
                item = await self._next_async(iterator)
                if item is _END:
                    return
                self._add(item)
        finally:
            if inspect.isasyncgen(iterator):
                await iterator.aclose()

    async def _next_async(self, iterator: Any) -> Any:
        """The next event; _END once there is none, or the source is to end."""
        if self._stopping.is_set():
            return _END
        self._waiting = asyncio.current_task()
        try:
            return await iterator.__anext__()
        except StopAsyncIteration:
            return _END
        except asyncio.CancelledError:
            if self._stopping.is_set():
                return _END
            raise
        finally:
            self._waiting = None

    def _has_credit(self) -> bool:
        with self._changed:
            return self._framer.wants_more()

    def _await_credit(self) -> bool:
        """Waits for credit; False once the source is to end."""
        with self._changed:
            self._changed.wait_for(lambda: self._framer.wants_more() or self._stopping.is_set())
            return not self._stopping.is_set()

    def _add(self, item: Any) -> None:
        row = self._maker.make(item)
        with self._changed:
            if not self._framer.rows:
                self._first_at = time.monotonic()
                self._changed.notify_all()
            self._framer.add(row)
            if self._framer.full():
                self._changed.notify_all()

    def _forget(self, settled: produce_pb2.Settled) -> None:
        with self._changed:
            callbacks = self._framer.settled(settled.sequence)
        checkpoint = settled.checkpoint if settled.HasField("checkpoint") else None
        self._settled.put((callbacks, checkpoint))

    def _run_settled(self) -> None:
        """Tells the source what has settled, on a thread of its own: a slow commit delays neither credit nor Stop."""
        hook = self._bound.node.settled_function
        last: bytes | None = None
        while (told := self._settled.get()) is not None:
            callbacks, raw = told
            for callback in callbacks:
                self._tell("an output's settled callback of %s failed", callback)
            if hook is None or raw is None or raw == last:
                continue
            last = raw
            self._tell("the settled hook of %s failed; the next checkpoint covers this one", self._call_hook, hook, raw)

    def _tell(self, failed: str, callback: Callable[..., Any], *arguments: Any) -> None:
        try:
            made = callback(*arguments)
            if inspect.isawaitable(made):
                self._host.submit(_awaited(made)).result()
        except Exception:
            log.exception(failed, self._opening.name)

    def _call_hook(self, hook: Callable[..., Any], raw: bytes) -> Any:
        checkpoint = decode_checkpoint(raw, self._checkpoint_type)
        return hook(checkpoint, self._context) if len(positional(hook)) > 1 else hook(checkpoint)


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


_END = object()
