"""A whole batch for batch handlers: the columns themselves, without copies."""

from __future__ import annotations

import builtins
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from ._columns import Malformed, u32
from ._decode import typed
from .event import Event
from .verdicts import PayloadError

if TYPE_CHECKING:
    import numpy
    import pandas
    import pyarrow

    from ._view import BatchView
    from .emitter import Emitter

T = TypeVar("T")


class Batch:
    """Events in columns. Rows are numbered from 0; verdicts and outputs name them by that number."""

    __slots__ = ("_attempts", "_view")

    def __init__(self, view: BatchView, attempts: list[int] | None) -> None:
        self._view = view
        self._attempts = attempts

    def __len__(self) -> int:
        return self._view.count

    def __iter__(self) -> Iterator[Event]:
        return (Event(self._view, i) for i in range(self._view.count))

    def event(self, row: int) -> Event:
        """One event with all its attributes, lazily."""
        if not 0 <= row < self._view.count:
            raise IndexError(f"row {row} of {self._view.count}")
        return Event(self._view, row)

    @property
    def attempts(self) -> Sequence[int]:
        """Attempt of each event, from 1."""
        return self._attempts or [1] * self._view.count

    @property
    def data(self) -> memoryview:
        """All payloads end to end; row i is data[offsets[i]:offsets[i + 1]]."""
        return memoryview(self._view.data)

    @property
    def offsets(self) -> Sequence[int]:
        """The len + 1 offsets into `data`, in bytes."""
        return self._view.edges

    @property
    def uids(self) -> memoryview:
        """Identities end to end, 16 bytes each."""
        return memoryview(self._view.uids)

    @property
    def times_ns(self) -> memoryview | None:
        """int64 nanoseconds since the epoch per event, -2**63 where absent; None: no event has a time."""
        return self._view.times

    @property
    def keys(self) -> list[str | None]:
        """Ordering keys."""
        return [self._view.attribute("key", i) for i in range(self._view.count)]

    def payloads(self) -> list[memoryview]:
        """The payloads, as views without a copy."""
        data, edges = memoryview(self._view.data), self._view.edges
        return [data[a:b] for a, b in itertools.pairwise(edges)]

    @overload
    def json(self) -> list[Any]: ...

    @overload
    def json(self, type: builtins.type[T]) -> list[T]: ...

    @overload
    def json(self, type: object) -> list[Any]: ...

    def json(self, type: Any = Any) -> list[Any]:
        """Payloads as JSON, checked against `type` if given. PayloadError, with its row, if one does not fit."""
        decode = typed(type)
        values: list[Any] = []
        for row in range(self._view.count):
            try:
                values.append(decode(self._view.payload(row)))
            except PayloadError as wrong:
                raise PayloadError(f"row {row}: {wrong.message}") from None
        return values

    @overload
    def valid(self, type: builtins.type[T], out: Emitter) -> dict[int, T]: ...

    @overload
    def valid(self, type: object, out: Emitter) -> dict[int, Any]: ...

    def valid(self, type: Any, out: Emitter) -> dict[int, Any]:
        """Payloads that are JSON of a type, by row; the other rows are rejected as PAYLOAD_MISMATCH."""
        decode = typed(type)
        values: dict[int, Any] = {}
        for row in range(self._view.count):
            try:
                values[row] = decode(self._view.payload(row))
            except PayloadError as wrong:
                out.reject(row, wrong.message, reason=wrong.reason)
        return values

    def to_numpy(self, *fields: str) -> numpy.ndarray[Any, Any]:
        """float64, one row per event and one column per named field of its JSON object; NaN where it is no number."""
        import numpy

        rows = self.json()
        nan = float("nan")
        table = [[_number(row.get(f), nan) if isinstance(row, dict) else nan for f in fields] for row in rows]
        return numpy.array(table, dtype=numpy.float64).reshape(len(rows), len(fields))

    def to_pandas(self) -> pandas.DataFrame:
        """A DataFrame of the JSON objects; its index is the row number."""
        import pandas

        return pandas.DataFrame(self._objects())

    def to_arrow(self) -> pyarrow.Table:
        """An Arrow table of the JSON objects, in row order."""
        import pyarrow

        return pyarrow.Table.from_pylist(self._objects())

    def _objects(self) -> list[dict[str, Any]]:
        rows = self.json()
        for row, value in enumerate(rows):
            if not isinstance(value, dict):
                raise PayloadError(f"row {row}: Expected `object`, got `{value!r:.60}`")
        return rows


def _number(value: Any, otherwise: float) -> float:
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else otherwise


def attempts_column(raw: bytes, count: int) -> list[int] | None:
    """Attempts of a work; None: all 1."""
    if not raw:
        return None
    attempts = u32(raw, count, "attempts").tolist()
    if min(attempts) < 1:
        raise Malformed("attempts are counted from 1")
    return attempts
