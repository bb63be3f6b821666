"""One Process stream: works in, results out, Progress each second, an orderly end."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator

from . import limits, reasons
from ._answer import duration, failure
from ._bind import Bound
from ._columns import Malformed
from ._host import Host
from ._lane import TICK_SECONDS, AsyncLane, BatchLane, Lane, Running, ThreadLane
from ._pb import process_pb2, session_pb2
from ._streams import StreamMisused, opened_twice
from ._view import BatchView, check_size
from ._work import WorkRun
from .batch import attempts_column
from .context import Opening

log = logging.getLogger("meshloom")

#: Lanes pause while this many bytes of results wait to be read by the coordinator.
_UNREAD_BYTES = 8 * limits.MIB
_PAUSE_SECONDS = 0.005


class ProcessSession:
    """Runs a handler for one coordinator stream."""

    def __init__(self, opening: Opening, bound: Bound, host: Host) -> None:
        self._opening = opening
        self._bound = bound
        self._host = host
        self._lock = threading.RLock()
        self._works: dict[int, WorkRun] = {}
        self._lanes: set[Lane] = set()
        self._out: queue.SimpleQueue[tuple[process_pb2.ProcessResponse, int] | None] = queue.SimpleQueue()
        self._unread = 0
        self._busy = threading.Event()
        self._closing = False
        self._over = threading.Event()
        self._jobs: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._threads = 0
        self._misuse: StreamMisused | None = None
        self._slots: object | None = None

    # -- the transport's side ------------------------------------------------------------------------------------

    def responses(self, requests: Iterable[process_pb2.ProcessRequest]) -> Iterator[process_pb2.ProcessResponse]:
        """What the stream answers after Opened. Ends once everything that was taken is answered."""
        self._start(self._read, requests, name="read")
        self._start(self._watch, name="timer")
        try:
            while (item := self._out.get()) is not None:
                yield item[0]
                with self._lock:
                    self._unread -= item[1]
            if self._misuse is not None:
                raise self._misuse
        finally:
            self.abandon()

    def drain(self) -> None:
        """Takes no more work; the stream ends once what is held has been answered."""
        with self._lock:
            self._closing = True
            idle = not self._works
        if idle:
            self._out.put(None)

    def abandon(self) -> None:
        """The stream is gone: nobody reads answers any more."""
        self._over.set()
        self._busy.set()
        with self._lock:
            self._closing = True
            works = list(self._works.values())
        for run in works:
            self._cancel(run)
        self._out.put(None)
        for _ in range(self._threads):
            self._jobs.put(None)

    def _start(self, target: Callable[..., None], *arguments: object, name: str) -> None:
        threading.Thread(target=target, args=arguments, name=f"meshloom-{name}", daemon=True).start()

    def _read(self, requests: Iterable[process_pb2.ProcessRequest]) -> None:
        try:
            for request in requests:
                kind = request.WhichOneof("request")
                if kind == "work":
                    self._take(request.work)
                elif kind == "cancel":
                    with self._lock:
                        run = self._works.get(request.cancel.sequence)
                    if run is not None:
                        self._cancel(run)
                elif kind == "open":
                    raise opened_twice()
        except StreamMisused as error:
            self._misuse = error
            self._out.put(None)
        except Exception as error:  # the transport's own: the stream was cancelled or broke
            if not self._over.is_set():
                log.debug("stream of %s ended: %s", self._opening.name, error)
            self.abandon()
        else:
            self.drain()

    # -- works ---------------------------------------------------------------------------------------------------

    def _take(self, work: process_pb2.Work) -> None:
        sequence, most = work.sequence, self._bound.node.limits
        with self._lock:
            if self._closing:
                return
            if sequence in self._works:
                raise StreamMisused(f"sequence {sequence} is in hand already; each is used once a stream")
            in_hand = len(self._works)
        try:
            if in_hand >= most.works:
                self._refuse(
                    sequence, reasons.LIMITS_EXCEEDED, f"{in_hand} works are in hand; the limit is {most.works}"
                )
                return
            check_size(work.batch, most.batch_events, most.batch_bytes)
            view = BatchView(work.batch)
            attempts = attempts_column(work.attempts, view.count)
            timeout = (work.timeout.seconds + work.timeout.nanos / 1e9) or None
        except Malformed as error:
            self._refuse(sequence, error.reason, str(error))
            return
        run = WorkRun(self._opening, self._bound, sequence, view, attempts, timeout, self._send, self._done)
        with self._lock:
            if self._closing:  # a drain began meanwhile: what it did not count is not taken
                return
            self._works[sequence] = run
        self._busy.set()
        self._dispatch(run)

    def _refuse(self, sequence: int, reason: str, message: str) -> None:
        failed = failure(limits.NONE, reason, message)
        result = process_pb2.WorkResult(sequence=sequence, failures=[failed], last=True)
        self._send(process_pb2.ProcessResponse(result=result), 0)

    def _dispatch(self, run: WorkRun) -> None:
        if self._bound.node.role == "batch":
            lane = BatchLane(run, self._room)
            if self._bound.is_async:
                self._spawn(run, lane, lane.in_task)
            else:
                self._enqueue(lane, lane.in_thread)
        elif self._bound.is_async:
            for _ in range(run.lanes):
                many = AsyncLane(run, self._room)
                self._spawn(run, many, many.__call__)
        else:
            for _ in range(run.lanes):
                one = ThreadLane(run, self._room)
                self._enqueue(one, one)

    def _enqueue(self, lane: ThreadLane | BatchLane, job: Callable[[], None]) -> None:
        """Runs a lane on one of `concurrency` threads, made when first needed."""
        if self._threads < self._opening.concurrency:
            self._threads += 1
            self._start(self._work_thread, name=f"worker-{self._threads}")

        def run_lane() -> None:
            self._lanes.add(lane)
            try:
                job()
            except BaseException as error:
                log.exception("work %d of %s could not be answered", lane.run.sequence, self._opening.name)
                lane.run.abort(error)
            finally:
                self._lanes.discard(lane)

        self._jobs.put(run_lane)

    def _work_thread(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()

    def _spawn(self, run: WorkRun, lane: AsyncLane | BatchLane, job: Callable[[], object]) -> None:
        """Runs a lane as a task on the user's loop, at most `concurrency` of them at one time."""
        import asyncio

        async def run_lane() -> None:
            if self._slots is None:
                self._slots = asyncio.Semaphore(self._opening.concurrency)
            async with self._slots:  # type: ignore[attr-defined]
                self._lanes.add(lane)
                task = asyncio.ensure_future(job())  # type: ignore[call-overload]
                run.tasks.append((task, lane.call))
                try:
                    await task
                except BaseException as error:
                    log.exception("work %d of %s could not be answered", run.sequence, self._opening.name)
                    run.abort(error)
                finally:
                    self._lanes.discard(lane)

        self._host.submit(run_lane())

    def _cancel(self, run: WorkRun) -> None:
        run.take_back()
        if self._bound.is_async:
            self._host.loop().call_soon_threadsafe(run.cancel_tasks)

    def _done(self, run: WorkRun, response: process_pb2.ProcessResponse, size: int) -> None:
        """Sends a work's last result. The work is out of hand before that is read: another may then come at once.

        All in one, so that a drain which finds nothing in hand ends the stream behind the result, not before it.
        """
        with self._lock:
            self._works.pop(run.sequence, None)
            self._send(response, size)
            if self._closing and not self._works:
                self._out.put(None)

    def _send(self, response: process_pb2.ProcessResponse, size: int) -> None:
        with self._lock:
            self._unread += size
        self._out.put((response, size))

    def _room(self) -> float:
        return 0.0 if self._unread < _UNREAD_BYTES or self._over.is_set() else _PAUSE_SECONDS

    # -- progress ------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """The clock of this stream's lanes, on a thread that no handler blocks. It stands still without work."""
        every = 1.0 if self._bound.is_async else TICK_SECONDS
        while not self._over.is_set():
            self._busy.clear()
            if not self._works:
                self._busy.wait()
            reported = time.monotonic()
            while self._works and not self._over.wait(every):
                now = time.monotonic()
                running = [call for lane in list(self._lanes) if (call := lane.tick(now)) is not None]
                if now - reported >= 1.0:
                    reported = now
                    self._report(now, running)

    def _report(self, now: float, running: list[Running]) -> None:
        """Progress, once a second while work is in hand."""
        progress = process_pb2.Progress(
            calls=[
                process_pb2.HandlerCall(sequence=sequence, index=index, age=duration(max(0.0, now - started)))
                for started, index, sequence in sorted(running)[: limits.MAX_PROGRESS_CALLS]
            ]
        )
        self._send(process_pb2.ProcessResponse(progress=progress), 0)


def limits_message(bound: Bound) -> session_pb2.Limits:
    """The limits a handler opens with."""
    most = bound.node.limits
    return session_pb2.Limits(
        max_in_flight_works=most.works, max_batch_events=most.batch_events, max_batch_bytes=most.batch_bytes
    )
