"""A received batch, validated as a whole; every accessor after that cannot fail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from . import _extensions, limits, reasons
from ._columns import Malformed, StringColumn, bounds, i64
from ._pb import batch_pb2 as pb

#: The bit of W3C trace flags that says `sampled`.
_SAMPLED = 1

_STRINGS = ("content_type", "id", "source", "type", "subject", "key", "data_schema", "from")


@dataclass(frozen=True)
class Span:
    """The trace context of one sampled event."""

    trace_id: bytes
    span_id: bytes
    flags: int
    trace_state: str


def _spans(batch: pb.Batch) -> dict[int, Span]:
    found: dict[int, Span] = {}
    last = -1
    for span in batch.spans:
        if span.index <= last or span.index >= batch.count:
            raise Malformed(f"spans: index {span.index} is not strictly ascending within {batch.count} events")
        last = span.index
        if len(span.trace_id) != 16 or len(span.span_id) != 8:
            raise Malformed(f"spans: the ids of event {last} have {len(span.trace_id)} and {len(span.span_id)} bytes")
        # Bad trace context never fails work: what cannot be used is left out, as is what is not sampled.
        usable = any(span.trace_id) and any(span.span_id) and len(span.trace_state) <= limits.MAX_TRACE_STATE
        if usable and span.flags & _SAMPLED:
            found[last] = Span(span.trace_id, span.span_id, span.flags & 0xFF, span.trace_state)
    return found


def column_bytes(batch: pb.Batch) -> int:
    """Bytes of all columns together."""
    strings = [getattr(batch, name) for name in _STRINGS if batch.HasField(name)]
    values = [batch.payload, *(column.values for column in strings), *(column.values for column in batch.extensions)]
    indexes = [*(column.index for column in strings), *(column.index for column in batch.extensions)]
    fixed = [batch.uid, batch.time, *(part for span in batch.spans for part in (span.trace_id, span.span_id))]
    return sum(len(column.data) + len(column.ends) for column in values) + sum(map(len, (*indexes, *fixed)))


def check_size(batch: pb.Batch, events: int, size: int) -> None:
    """Refuses a batch of more than so many events, or bytes in its columns, before it is decoded any further."""
    if batch.count > events:
        raise Malformed(f"the batch has {batch.count} events; the limit is {events}", reasons.BATCH_TOO_LARGE)
    # Columns are never more than the message, whose size is known without a copy of them.
    if batch.ByteSize() > size and (found := column_bytes(batch)) > size:
        raise Malformed(f"the columns have {found} bytes; the limit is {size}", reasons.BATCH_TOO_LARGE)


class BatchView:
    """Columns of a batch. `data` and `edges` hold the payloads: event i has data[edges[i]:edges[i + 1]]."""

    __slots__ = ("_strings", "count", "data", "edges", "extensions", "spans", "times", "uids")

    def __init__(self, batch: pb.Batch, *, with_uids: bool = True) -> None:
        count = batch.count
        self.count: int = count
        if not 1 <= count <= limits.MAX_BATCH_EVENTS:
            raise Malformed(f"a batch has 1 to {limits.MAX_BATCH_EVENTS} events, not {count}")
        # Reading a bytes field of a message copies it, so each is read once.
        self.data: bytes = batch.payload.data
        self.edges: list[int] = [0] * (count + 1)
        if batch.HasField("payload"):
            self.edges = bounds(
                batch.payload.ends, len(self.data), count, "payload", limits.MAX_EVENT, reasons.EVENT_TOO_LARGE
            )
        self.uids: bytes = batch.uid
        if len(self.uids) != (16 * count if with_uids else 0):
            raise Malformed(f"uid has {len(self.uids)} bytes for {count} events")
        self.times: memoryview[int] | None = i64(batch.time, count, "time") if batch.time else None
        self._strings: dict[str, StringColumn] = {}
        for name in _STRINGS:
            if batch.HasField(name):
                largest_value = limits.MAX_KEY if name == "key" else limits.MAX_ATTRIBUTE
                self._strings[name] = StringColumn(getattr(batch, name), count, name, largest_value)
        self.extensions: dict[int, dict[str, Any]] = (
            _extensions.read(batch.extensions, count) if batch.extensions else {}
        )
        self.spans: dict[int, Span] = _spans(batch) if batch.spans else {}

    def payload(self, i: int) -> bytes:
        """The payload of event i."""
        return self.data[self.edges[i] : self.edges[i + 1]]

    def attribute(self, name: str, i: int) -> str | None:
        """A string attribute of event i, None if absent."""
        column = self._strings.get(name)
        return None if column is None else column.get(i)

    def has(self, name: str) -> bool:
        """Whether any event may have this string attribute."""
        return name in self._strings

    def uid(self, i: int) -> bytes:
        """The 16 bytes of event i's identity; empty at a source."""
        return self.uids[16 * i : 16 * i + 16]

    def time_ns(self, i: int) -> int | None:
        """Time of event i in nanoseconds since the epoch."""
        if self.times is None:
            return None
        value: int = self.times[i]
        return None if value == limits.TIME_ABSENT else value
