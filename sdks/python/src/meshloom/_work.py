"""A work in hand: its strands (what may run side by side), its answers, its end."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator
from time import monotonic

from . import limits, reasons
from ._answer import Acceptor, duration, failure
from ._bind import Bound
from ._outputs import Rows
from ._pb import process_pb2
from ._view import BatchView
from .context import Assignment, Call, Opening

#: Takes a response and how many bytes of payload it has.
Send = Callable[[process_pb2.ProcessResponse, int], None]
#: As Send, for a work's last result.
Done = Callable[["WorkRun", process_pb2.ProcessResponse, int], None]


class WorkRun(Assignment):
    """One work, run by one or several lanes. Thread-safe; the last lane to end sends `last`."""

    def __init__(
        self,
        opening: Opening,
        bound: Bound,
        sequence: int,
        view: BatchView,
        attempts: list[int] | None,
        timeout: float | None,
        send: Send,
        done: Done,
    ) -> None:
        super().__init__(opening, sequence, view, attempts, timeout)
        self.bound = bound
        self.acceptor = Acceptor(bound.node.role, bound.node.routes)
        #: Whether an input has one output at most.
        self._single = self.acceptor.take is not None
        self.invoke, self.of_bytes = bound.invoker(self), bound.of_bytes
        self._send = send
        self._done = done
        #: Tasks of asynchronous lanes, with the calls they are in.
        self.tasks: list[tuple[asyncio.Future[None], Call]] = []
        #: Calls of lanes, to be told when the work is taken back.
        self.calls: list[Call] = []
        self._lock = threading.Lock()
        self._strands: Iterator[Iterable[int]]
        self._strands, self.lanes = self._split()
        self._open_lanes = self.lanes
        self._named = 0
        self._busy = 0.0
        self._whole = False
        #: The input whose outputs go on in the next result, if any: until it ends nothing else is sent.
        self.continuing: int | None = None

    def _split(self) -> tuple[Iterator[Iterable[int]], int]:
        count, most = self.view.count, self.opening.concurrency
        if self.opening.ordering == process_pb2.ORDERING_ALL:
            return iter((range(count),)), 1
        if self.opening.ordering == process_pb2.ORDERING_KEY and self.view.has("key"):
            by_key: dict[str, list[int]] = {}
            strands: list[Iterable[int]] = []
            for i in range(count):
                key = self.view.attribute("key", i)
                if key is None:
                    strands.append((i,))
                elif key in by_key:
                    by_key[key].append(i)
                else:
                    by_key[key] = [i]
                    strands.append(by_key[key])
            return iter(strands), min(most, len(strands))
        if most == 1:
            return iter((range(count),)), 1
        lanes = min(most, count)
        return itertools.repeat(iter(range(count)), lanes), lanes  # lanes share it: each takes the next event

    def take_back(self) -> None:
        """The work is no longer wanted: its calls are told so, and its lanes."""
        super().take_back()
        for call in self.calls:
            call.due = True

    def expire(self, index: int) -> None:
        """The call for an event is over its time: its lane answers so once it has ended."""
        super().expire(index)
        for call in self.calls:
            if call.index == index:
                call.due = True

    def over(self, index: int) -> bool:
        """Whether the result of a call is not wanted any more."""
        return self.cancelled or index in self.overdue

    @property
    def holds(self) -> bool:
        """Whether a strand stops at its first retry."""
        return self.opening.ordering in (process_pb2.ORDERING_KEY, process_pb2.ORDERING_ALL) and not (
            self.opening.ordering == process_pb2.ORDERING_KEY and not self.view.has("key")
        )

    def strand(self) -> Iterable[int] | None:
        """The next strand to run, None at the end."""
        if self._open_lanes == 1:
            return next(self._strands, None)
        with self._lock:
            return next(self._strands, None)

    def taken_back(self, index: int, started: float) -> process_pb2.EventFailure:
        """The failure of a call that ended, or never began, after the work was taken back."""
        late = bool(started) and self.timeout is not None and monotonic() - started >= self.timeout
        if late or index in self.overdue:
            return failure(index, reasons.TIMEOUT, f"the handler took longer than {self.timeout or 0:g} s")
        return failure(index, reasons.CANCELLED, "the work was taken back")

    def cancel_tasks(self) -> None:
        """Ends the calls that asynchronous lanes are in; on the loop's thread."""
        for task, call in self.tasks:
            if call.started:  # a task between two calls sees for itself that the work was taken back
                task.cancel()

    def flush(self, lane: Results) -> None:
        """Sends what a lane holds unless another input's outputs are going on."""
        with self._lock:
            if self.continuing is None:
                self._emit(lane)

    def overflow(self, lane: Results, index: int) -> None:
        """Sends all outputs but the last of the input that is still running."""
        with self._lock:
            rows = lane.rows
            mark = rows.start(index)
            if self.continuing not in (None, index) or len(rows) - mark < 2:
                return
            ahead = Results(rows.select(range(mark)), lane.failures)
            self._emit(ahead)
            part = rows.select(range(mark, len(rows) - 1))
            lane.rows, lane.failures = rows.select([len(rows) - 1]), []
            response = process_pb2.ProcessResponse()
            response.result.sequence = self.sequence
            part.encode(self.view, response.result.outputs)
            response.result.outputs.continued = True
            self._send(response, part.size)
            self.continuing = index

    def finish_continued(self, lane: Results, index: int) -> None:
        """Sends the end of the input whose outputs went on."""
        with self._lock:
            if self.continuing == index:
                self._emit(lane)
                self.continuing = None

    def end_lane(self, lane: Results, busy: float) -> None:
        """A lane has nothing left to run."""
        with self._lock:
            self._busy += busy
            self._open_lanes -= 1
            if self._open_lanes:
                self._emit(lane)
                return
            for index in itertools.chain.from_iterable(self._strands):
                lane.fail(self.taken_back(index, 0.0))
            self._emit(lane, last=True)

    def end_batch(self, results: Results, busy: float) -> None:
        """A batch handler has returned."""
        with self._lock:
            self._busy = busy
            self._emit(results, last=True)

    def end_whole(self, failed: process_pb2.EventFailure, busy: float) -> None:
        """The work failed as one; no event can be named."""
        with self._lock:
            self._whole, self._busy = True, busy
            self._emit(Results(Rows(), [failed]), last=True)

    def abort(self, error: BaseException) -> None:
        """The SDK itself failed on this work: it is answered as a whole, so that nothing waits for it."""
        self.end_whole(
            failure(limits.NONE, reasons.HANDLER_ERROR, f"in the SDK: {type(error).__name__}: {error}"), self._busy
        )

    def _emit(self, lane: Results, *, last: bool = False) -> None:
        rows, failures = lane.rows, lane.failures
        lane.rows, lane.failures = Rows(), []
        if not (rows.parents or failures or last):
            return
        self._named += len(failures) + self._inputs(rows)
        parts = list(rows.sorted().split(self.view)) if rows.parents else [rows]
        for at, part in enumerate(parts):
            following = parts[at + 1].parents[0] if at + 1 < len(parts) else limits.NONE
            response = process_pb2.ProcessResponse()
            result = response.result  # filled in place: a message that is set is copied
            result.sequence = self.sequence
            if part.parents:
                part.encode(self.view, result.outputs, single=self._single)
                result.outputs.continued = part.parents[-1] == following != limits.NONE
            if at < len(parts) - 1:
                self._send(response, part.size)
                continue
            result.failures.extend(failures)
            if not last:
                self._send(response, part.size)
                continue
            result.last = True
            result.consumed = 0 if self._whole else self.view.count - self._named
            result.busy.CopyFrom(duration(self._busy))
            self._done(self, response, part.size)

    def _inputs(self, rows: Rows) -> int:
        """How many inputs the rows name."""
        if self._single:
            return len(rows)
        return len(set(rows.parents) - {limits.NONE})


class Results:
    """What a lane holds that has not been sent: output rows and failures."""

    __slots__ = ("failures", "rows")

    def __init__(self, rows: Rows | None = None, failures: list[process_pb2.EventFailure] | None = None) -> None:
        self.rows = rows if rows is not None else Rows()
        self.failures = failures if failures is not None else []

    def fail(self, failed: process_pb2.EventFailure) -> None:
        """Records a failure."""
        self.failures.append(failed)
