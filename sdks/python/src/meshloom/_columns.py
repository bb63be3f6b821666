"""Reading columns: validated once against every rule of the protocol, decoded only when asked for."""

from __future__ import annotations

import itertools
import sys
from array import array
from operator import le, sub
from typing import TYPE_CHECKING

from . import limits

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._pb import batch_pb2 as pb


class Malformed(ValueError):
    """A received message breaks the protocol; the message says which rule."""


def u32(data: bytes, count: int, what: str) -> list[int]:
    """Decodes exactly `count` u32 little-endian."""
    if len(data) != 4 * count:
        raise Malformed(f"{what} has {len(data)} bytes, not 4 x {count}")
    column = array("I", data)
    if sys.byteorder == "big":
        column.byteswap()
    return column.tolist()


def i64(data: bytes, count: int, what: str) -> memoryview:
    """Views exactly `count` i64 little-endian."""
    if len(data) != 8 * count:
        raise Malformed(f"{what} has {len(data)} bytes, not 8 x {count}")
    if sys.byteorder == "little":
        return memoryview(data).cast("q")
    column = array("q", data)
    column.byteswap()
    return memoryview(column)


def bounds(values: pb.Values, count: int, what: str, largest: int) -> list[int]:
    """The count + 1 offsets of a column of values: value i is data[bounds[i]:bounds[i + 1]]."""
    size = len(values.data)
    edges = [0, *u32(values.ends, count, f"{what}.ends")]
    if edges[-1] != size:
        raise Malformed(f"{what}.ends stops at {edges[-1]}, but there are {size} bytes of data")
    if sorted(edges) != edges:
        raise Malformed(f"{what}.ends falls")
    if size > largest and max(map(sub, edges[1:], edges)) > largest:
        raise Malformed(f"a value of {what} is larger than {largest} bytes")
    return edges


def strings(data: bytes, edges: Sequence[int], what: str) -> list[str]:
    """Decodes UTF-8 values."""
    try:
        return [data[a:b].decode() for a, b in itertools.pairwise(edges)]
    except UnicodeDecodeError as error:
        raise Malformed(f"a value of {what} is not UTF-8: {error.reason}") from None


class StringColumn:
    """A column of strings: one for all, positional, or by index."""

    __slots__ = ("_edges", "_index", "_text", "_values")

    def __init__(self, column: pb.Strings, count: int, what: str, largest: int = limits.MAX_ATTRIBUTE) -> None:
        distinct = len(column.values.ends) // 4
        data = column.values.data
        self._edges = bounds(column.values, distinct, what, largest)
        # ASCII is valid however it is cut: its values are made when they are asked for.
        self._text = data.decode() if data.isascii() else None
        self._values = [] if self._text is not None else strings(data, self._edges, what)
        self._index: list[int] | None = None
        if column.index:
            self._index = u32(column.index, count, f"{what}.index")
            top = max((i for i in self._index if i != limits.NONE), default=-1)
            if top >= distinct:
                raise Malformed(f"{what}.index names value {top} of {distinct}")
        elif distinct not in (0, 1, count):
            raise Malformed(f"{what} has {distinct} values and no index for {count} events")
        elif distinct == 1:
            self._index = [0] * count if count > 1 else None

    def get(self, i: int) -> str | None:
        """The value of event i, None if absent."""
        if self._index is not None:
            i = self._index[i]
            if i == limits.NONE:
                return None
        elif len(self._edges) == 1:
            return None
        if self._text is not None:
            return self._text[self._edges[i] : self._edges[i + 1]]
        return self._values[i]


def ascending(indexes: Sequence[int], count: int, what: str) -> None:
    """Checks that indexes rise strictly and name one of `count` events."""
    if not indexes:
        return
    if indexes[-1] >= count or any(map(le, indexes[1:], indexes)):
        raise Malformed(f"{what} is not strictly ascending within {count} events")
