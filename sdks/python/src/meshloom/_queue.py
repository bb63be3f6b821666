"""Events of a publisher in order: those that wait, those sent on the present stream. No threads, no clock, no I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from concurrent.futures import Future

from . import limits
from ._frames import FRAME_NAMES, Row, make_batch
from ._pb import ingress_pb2


class Entry:
    """An event that was not acknowledged, and who waits for it."""

    __slots__ = ("future", "row", "size")

    def __init__(self, row: Row, future: Future[str]) -> None:
        self.row = row
        self.size = len(row.payload)
        self.future = future

    @property
    def id(self) -> str:
        """The event's id, fixed before it is first sent."""
        return self.row.texts["id"]


class Queue:
    """What waits, what was sent, and the credit that is left."""

    def __init__(self) -> None:
        self.waiting: deque[Entry] = deque()
        self.sent: dict[int, list[Entry]] = {}
        self._waiting_bytes = 0
        self._events = 0
        self._bytes = 0
        self._sequence = 0
        #: When what waits should go although more may come; None: nothing waits.
        self._due: float | None = None

    def push(self, entry: Entry, now: float) -> None:
        """An event waits, for others at most 5 ms."""
        self._waiting_bytes += entry.size
        self.waiting.append(entry)
        if self._due is None:
            self._due = now + limits.FRAME_SECONDS

    def grant(self, events: int, size: int) -> None:
        """Adds to the credit."""
        self._events += events
        self._bytes += size

    def wait(self, now: float) -> float | None:
        """Seconds until the next batch may go, 0: now; None: when something else has happened."""
        if self._due is None or self._events < 1 or self._bytes < 1:
            return None
        full = len(self.waiting) >= min(self._events, limits.FRAME_EVENTS) or self._waiting_bytes >= min(
            self._bytes, limits.FLUSH_BYTES
        )
        return 0.0 if full else max(0.0, self._due - now)

    def next(self, now: float) -> ingress_pb2.Publication | None:
        """The next batch that the credit admits; any credit at all admits one event."""
        if not self.waiting or self._events < 1 or self._bytes < 1:
            return None
        taken: list[Entry] = []
        size, weight, names = 0, 0, set[str]()
        while self.waiting and len(taken) < min(self._events, limits.FRAME_EVENTS):
            entry = self.waiting[0]
            row = entry.row
            named = names.union(row.extensions or ())
            if taken and (
                size + entry.size > self._bytes
                or weight + entry.row.weight > limits.FLUSH_BYTES
                or len(named) > FRAME_NAMES
            ):
                break
            self.waiting.popleft()
            taken.append(entry)
            names = named
            size += entry.size
            weight += row.weight
        self._waiting_bytes -= size
        self._events -= len(taken)
        self._bytes = max(0, self._bytes - size)
        # What is left has waited as long as it must.
        self._due = now if self.waiting else None
        self._sequence += 1
        self.sent[self._sequence] = taken
        return ingress_pb2.Publication(sequence=self._sequence, batch=make_batch([entry.row for entry in taken]))

    def acknowledged(self, sequence: int) -> list[Entry]:
        """The events of a publication that is durable."""
        return self.sent.pop(sequence, [])

    def refused(self, refused: ingress_pb2.Refused, now: float) -> list[tuple[Entry, str, str]]:
        """The events that were refused, with reason and message; the others go again."""
        named = {failure.index: (failure.reason, failure.message) for failure in refused.failures}
        rest = named.get(limits.NONE) if named else ("REFUSED", "the pipeline refused the publication")
        closed: list[tuple[Entry, str, str]] = []
        again: list[Entry] = []
        for row, entry in enumerate(self.sent.pop(refused.sequence, [])):
            why = named.get(row, rest)
            if why is None:
                again.append(entry)
            else:
                closed.append((entry, *why))
        self._put_back(again, now)
        return closed

    def disconnected(self, now: float) -> None:
        """The stream is gone: what was not acknowledged goes again, before what was not sent yet."""
        sent = [entry for sequence in sorted(self.sent) for entry in self.sent[sequence]]
        self.sent.clear()
        self._put_back(sent, now)
        self._events = self._bytes = 0

    def everything(self) -> list[Entry]:
        """Takes out all that is open, in the order of publishing."""
        self.disconnected(0.0)
        entries = list(self.waiting)
        self.waiting.clear()
        self._waiting_bytes = 0
        self._due = None
        return entries

    def _put_back(self, entries: Iterable[Entry], now: float) -> None:
        entries = list(entries)
        self._waiting_bytes += sum(entry.size for entry in entries)
        self.waiting.extendleft(reversed(entries))
        if self.waiting:
            self._due = now
