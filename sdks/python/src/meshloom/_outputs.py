"""Writing columns: the outputs of one work, gathered row by row and joined once."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Any

from . import _extensions, limits, reasons
from ._codec import BINARY, encode
from ._extensions import TooLarge
from ._pb import batch_pb2 as pb
from ._pb import process_pb2
from ._view import BatchView
from .event import Event
from .output import UNSET, Output, check
from .verdicts import Reject

#: Most bytes of outputs in one result: half of what a batch may have.
_PART_BYTES = limits.MAX_BATCH_BYTES // 2


def pack_u32(values: Iterable[int]) -> bytes:
    """u32 little-endian."""
    column = array("I", values if isinstance(values, list) else list(values))  # of a list it is six times as fast
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()


def pack_i64(values: Iterable[int]) -> bytes:
    """i64 little-endian."""
    column = array("q", values)
    if sys.byteorder == "big":
        column.byteswap()
    return column.tobytes()


def pack_values(values: Sequence[bytes]) -> pb.Values:
    """Values end to end."""
    packed = pb.Values()
    _write(packed, values)
    return packed


def _write(into: pb.Values, values: Sequence[bytes]) -> None:
    into.data = b"".join(values)
    into.ends = pack_u32(accumulate(map(len, values)))


def pack_strings(rows: dict[int, str], count: int) -> pb.Strings | None:
    """A column of `count` strings of which only `rows` are set; equal ones are stored once."""
    if not rows:
        return None
    distinct: dict[str, int] = {}
    index = [limits.NONE] * count
    for row, text in rows.items():
        index[row] = distinct.setdefault(text, len(distinct))
    values = pack_values([text.encode() for text in distinct])
    if len(rows) == count and (len(distinct) == 1 or index == list(range(count))):
        return pb.Strings(values=values)
    return pb.Strings(values=values, index=pack_u32(index))


class Rows:
    """Output rows in the making. A payload None is the parent's payload, unchanged."""

    __slots__ = (
        "content_type",
        "content_types",
        "extensions",
        "kept",
        "parents",
        "payloads",
        "size",
        "texts",
        "times",
    )

    def __init__(self) -> None:
        self.parents: list[int] = []
        self.payloads: list[bytes | None] = []
        #: Bytes of the changed payloads.
        self.size = 0
        #: Rows with the parent's payload.
        self.kept = 0
        #: That of the first changed payload; most works have no other.
        self.content_type: str | None = None
        # Sparse: only rows that differ from "`content_type` if changed, everything else as the parent's".
        self.content_types: dict[int, str] = {}
        self.texts: dict[str, dict[int, str]] = {}
        self.times: dict[int, int] = {}
        self.extensions: dict[int, dict[str, Any]] = {}

    def __len__(self) -> int:
        return len(self.parents)

    def keep(self, parent: int) -> None:
        """The parent goes on unchanged."""
        self.parents.append(parent)
        self.payloads.append(None)
        self.kept += 1

    def keep_all(self, parents: Iterable[int]) -> None:
        """Parents go on unchanged."""
        self.parents.extend(parents)
        self.same_payloads()

    def same_payloads(self) -> None:
        """The parents added last go on unchanged."""
        more = len(self.parents) - len(self.payloads)
        self.payloads.extend([None] * more)
        self.kept += more

    def put(self, parent: int, payload: bytes, content_type: str) -> None:
        """A new payload."""
        size = len(payload)
        if size > limits.MAX_EVENT:
            text = f"an output has {size} bytes; at most {limits.MAX_EVENT}; send a reference instead of the data"
            raise TooLarge(text, reasons.EVENT_TOO_LARGE)
        self.parents.append(parent)
        self.payloads.append(payload)
        self.size += size
        if content_type != self.content_type:
            self.typed(len(self.parents) - 1, content_type)

    def typed(self, start: int, content_type: str) -> None:
        """The rows from `start` on, whose payloads have changed, have this content type."""
        if start == len(self.parents):
            return
        if self.content_type is None:
            self.content_type = content_type
        elif content_type != self.content_type:
            self.content_types.update(dict.fromkeys(range(start, len(self.parents)), content_type))

    def add(self, parent: int, value: Any) -> None:
        """A handler's result: a plain value, the event itself, or an Output. Raises before any change."""
        if type(value) is bytes:
            self.put(parent, value, BINARY)
        elif type(value) is Output:
            self._add_output(parent, value)
        elif type(value) is Event:
            self._same(parent, value)
        else:
            self.put(parent, *encode(value))

    def _same(self, parent: int, event: Event) -> None:
        if event._index == parent:
            self.keep(parent)
        else:
            self.put(parent, event.data, event.content_type or "")

    def _add_output(self, parent: int, output: Output[Any]) -> None:
        time = check(output)
        if "source" in output.texts or output.checkpoint is not UNSET or output.settled is not None:
            raise ValueError("source, checkpoint and settled are for the outputs of sources")
        row = len(self.parents)
        if type(output.value) is Event:
            self._same(parent, output.value)
            if output.content_type is not None:
                self.content_types[row] = output.content_type
        else:
            payload, content_type = encode(output.value)
            self.put(parent, payload, content_type if output.content_type is None else output.content_type)
        for name, text in output.texts.items():
            self.texts.setdefault(name, {})[row] = text
        if time is not UNSET:
            self.times[row] = limits.TIME_ABSENT if time is None else time
        if output.extensions:
            self.extensions[row] = dict(output.extensions)

    def start(self, parent: int) -> int:
        """The first of the rows of the parent that was added last; their number if it has none."""
        start = len(self.parents)
        while start and self.parents[start - 1] == parent:
            start -= 1
        return start

    def truncate(self, length: int) -> None:
        """Forgets the rows from `length` on."""
        if len(self.parents) == length:
            return
        changed = [len(p) for p in self.payloads[length:] if p is not None]
        self.size -= sum(changed)
        self.kept -= len(self.payloads) - length - len(changed)
        del self.parents[length:], self.payloads[length:]
        sparse: list[dict[int, Any]] = [self.content_types, self.times, self.extensions, *self.texts.values()]
        for column in sparse:
            for row in [row for row in column if row >= length]:
                del column[row]

    def select(self, rows: Sequence[int]) -> Rows:
        """The given rows in the given order."""
        picked = Rows()
        place = {row: at for at, row in enumerate(rows)}
        picked.parents = [self.parents[row] for row in rows]
        picked.payloads = [self.payloads[row] for row in rows]
        changed = [len(p) for p in picked.payloads if p is not None]
        picked.size, picked.kept = sum(changed), len(rows) - len(changed)
        picked.content_type = self.content_type
        picked.content_types = {place[r]: v for r, v in self.content_types.items() if r in place}
        picked.times = {place[r]: v for r, v in self.times.items() if r in place}
        picked.extensions = {place[r]: v for r, v in self.extensions.items() if r in place}
        picked.texts = {
            name: {place[r]: v for r, v in column.items() if r in place} for name, column in self.texts.items()
        }
        return picked

    def sorted(self) -> Rows:
        """Rows by parent, as the protocol wants them; outputs of one parent keep their order."""
        if sorted(self.parents) == self.parents:  # a tenth of the time that comparing neighbours takes
            return self
        return self.select(sorted(range(len(self)), key=self.parents.__getitem__))

    def split(self, view: BatchView) -> Iterable[Rows]:
        """Cuts what is too large for one result. All rows of one parent stay in order."""
        texts = (self.content_types, *self.texts.values())
        names = set[str]().union(*self.extensions.values())
        # At most: the sizes of texts are in characters here, and payloads that are kept are sent beside changed ones.
        most = self.size + 4 * sum(len(text) for column in texts for text in column.values())
        most += len(view.data) if 0 < self.kept < len(self) else 0
        if most <= _PART_BYTES and len(self) <= limits.MAX_BATCH_EVENTS and not names:
            yield self
            return
        start, size, columns = 0, 0, set[tuple[str, int]]()
        for row in range(len(self)):
            mine, own = self._weight(row, view)
            full = size + mine > _PART_BYTES or row - start >= limits.MAX_BATCH_EVENTS
            if row > start and (full or len(columns | own) > limits.MAX_EXTENSIONS):
                yield self.select(range(start, row))
                start, size, columns = row, 0, set()
            size += mine
            columns |= own
        yield self if start == 0 else self.select(range(start, len(self)))

    def _weight(self, row: int, view: BatchView) -> tuple[int, set[tuple[str, int]]]:
        """Bytes of a row, and the extension columns that it needs."""
        payload, parent = self.payloads[row], self.parents[row]
        kept = 0 < self.kept < len(self) and payload is None
        size = view.edges[parent + 1] - view.edges[parent] if kept else len(payload or b"")
        size += sum(4 * len(column.get(row, "")) for column in (self.content_types, *self.texts.values()))
        columns = set[tuple[str, int]]()
        for name, value in self.extensions.get(row, {}).items():
            kind, raw = _extensions.encode(name, value)
            columns.add((name, kind))
            size += len(raw)
        return size, columns

    def encode(self, view: BatchView, out: process_pb2.Outputs, *, single: bool = False) -> None:
        """Writes the columns of these rows, whose parents must ascend; in place, for messages are copied when set.

        `single`: no parent has two rows.
        """
        out.count = count = len(self)
        if count != view.count or not (single or self.parents == list(range(count))):
            out.parent = pack_u32(self.parents)
        if self.kept < count:
            filled: list[Any] = self.payloads
            if self.kept:
                both = zip(self.parents, self.payloads, strict=True)
                filled = [view.payload(parent) if own is None else own for parent, own in both]
            _write(out.payload, filled)
        if self.kept or self.content_types:
            # A changed payload never inherits the parent's content type.
            first = self.content_type or ""
            mine = {row: first for row, payload in enumerate(self.payloads) if payload is not None}
            column_of_types = pack_strings(mine | self.content_types, count)
            if column_of_types is not None:
                out.content_type.CopyFrom(column_of_types)
        elif self.content_type is not None:
            _write(out.content_type.values, [self.content_type.encode()])
        for name, column in self.texts.items():
            if column:
                getattr(out, name).CopyFrom(pack_strings(column, count))
        if self.times:
            out.time = pack_i64([self.times.get(row, limits.TIME_AS_PARENT) for row in range(count)])
        if self.extensions:
            out.extensions.extend(_extensions.write(self.extensions))


def add_output(rows: Rows, parent: int, value: Any, routes: frozenset[str]) -> None:
    """Holds one output of an input. What the protocol does not carry raises Reject, the rows as they were."""
    try:
        if type(value) is Output:
            route = value.texts.get("route")
            if route and route not in routes:
                raise Reject(_undeclared(route, routes), reason=reasons.ROUTE_UNDECLARED)
        rows.add(parent, value)
    except Reject:
        raise
    except TooLarge as error:
        raise Reject(str(error), reason=error.reason) from None
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        message = f"the output cannot be encoded: {error}; return JSON values, bytes, or Output(...)"
        raise Reject(message, reason=reasons.OUTPUT_INVALID) from None


def _undeclared(route: str, routes: Iterable[str]) -> str:
    known = ", ".join(sorted(routes)) or "none"
    return f"the route {route!r} is not declared (declared: {known}); name it in Node(..., routes=[{route!r}])"
