"""What a batch handler says about its rows: outputs and verdicts, by row number, positions or mask."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import timedelta
from typing import Any

from typing_extensions import Unpack

from . import limits, reasons
from ._codec import BINARY
from ._outputs import Rows, add_output
from ._tables import attribute, listed, records
from ._view import BatchView
from .output import Attributes, Output
from .verdicts import DROP, Reject, Retry

#: One row, a slice, positions, or a mask with one truth value per row (list, numpy array, pandas Series).
Which = int | slice | Iterable[int] | Iterable[bool]

_OPEN, _EMITTED, _DROPPED, _FAILED, _INVALID = 0, 1, 2, 3, 4
_NAMES = ("open", "emitted", "dropped", "failed", "rejected")


class RowMisnamed(ValueError, IndexError):
    """A row is named twice, or is not there. Uncaught, the whole batch is retried as RESULT_INDEX_REPEATED."""


class Emitter:
    """Every row must be named: emitted, passed through, dropped, rejected or retried; an unnamed one is UNACCOUNTED.

    An output that cannot be sent (too large, no JSON, an undeclared route) rejects its row, and that alone. A row that
    is named twice, or is not there, raises RowMisnamed.
    """

    def __init__(self, view: BatchView, routes: frozenset[str]) -> None:
        self._view = view
        self._routes = routes
        self._rows = Rows()
        self._state = bytearray(view.count)
        #: row -> (final, reason, message, seconds)
        self._failures: dict[int, tuple[bool, str, str, float | None]] = {}
        self._whole = False

    def emit(self, row: int, value: Any, **attributes: Unpack[Attributes]) -> None:
        """One output of a row, several calls make several outputs. `attributes` as of Output (key=, route=, ...)."""
        if attributes:
            value = Output(value, **attributes)
        if not 0 <= row < self._view.count or self._state[row] > _EMITTED:
            self._mark((row,), _EMITTED)  # raises, but for a row that an output before this one rejected
        else:
            self._state[row] = _EMITTED
        if type(value) is bytes and len(value) <= limits.MAX_EVENT and self._state[row] == _EMITTED:
            self._rows.put(row, value, BINARY)
        else:
            self._add(row, value)

    def rows(
        self,
        values: Any,
        parents: Any = None,
        *,
        key: Any = None,
        route: Any = None,
        type: Any = None,
        subject: Any = None,
        time: Any = None,
        id: Any = None,
        content_type: str | None = None,
    ) -> None:
        """Many outputs: values, a pandas DataFrame, an Arrow Table, or a dict of columns by name.

        `parents` are the rows that they come from (default: 0, 1, 2, ...). Each attribute is one value for all outputs
        or a column with one for each (None: as the parent's).
        """
        values = records(values)
        positions = self._positions(range(len(values)) if parents is None else parents)
        if len(positions) != len(values):
            raise ValueError(f"{len(values)} values for {len(positions)} parents")
        self._mark(positions, _EMITTED)
        given = {"key": key, "route": route, "type": type, "subject": subject, "time": time, "id": id}
        columns = {name: attribute(name, v, len(values)) for name, v in given.items() if v is not None}
        if not columns and content_type is None:
            for row, value in zip(positions, values, strict=True):
                self._add(row, value)
            return
        for at, (row, value) in enumerate(zip(positions, values, strict=True)):
            mine = {name: column[at] for name, column in columns.items()}
            attributes = {name: v for name, v in mine.items() if v is not None}
            self._add(row, Output(value, content_type=content_type, **attributes))

    def whole(self, value: Any, **attributes: Unpack[Attributes]) -> None:
        """An output that belongs to all rows together; rows that nothing else names are then done."""
        self._whole = True
        self._add(limits.NONE, Output(value, **attributes) if attributes else value)

    def pass_through(self, which: Which, **attributes: Unpack[Attributes]) -> None:
        """Rows go on with their payloads unchanged; `attributes` as of Output."""
        positions = self._positions(which)
        self._mark(positions, _EMITTED)
        if not attributes:
            self._rows.keep_all(positions)
            return
        from .event import Event

        for row in positions:
            self._add(row, Output(Event(self._view, row), **attributes))

    def drop(self, which: Which) -> None:
        """Rows end here, on purpose."""
        self._mark(self._positions(which), _DROPPED)

    def reject(self, which: Which, message: str = "", *, reason: str = reasons.REJECTED) -> None:
        """Rows become dead letters now."""
        reasons.checked(reason)
        self._fail(which, (True, reason, message, None))

    def retry(
        self,
        which: Which,
        message: str = "",
        *,
        after: float | timedelta | None = None,
        reason: str = reasons.RETRY,
    ) -> None:
        """Rows come again, not before `after` (seconds)."""
        asked = Retry(message, after=after, reason=reason)
        self._fail(which, (False, asked.reason, message, asked.after))

    def _fail(self, which: Which, failure: tuple[bool, str, str, float | None]) -> None:
        positions = self._positions(which)
        self._mark(positions, _FAILED)
        for row in positions:
            self._failures[row] = failure

    def _add(self, row: int, value: Any) -> None:
        if value is None or value is DROP:
            raise ValueError("there is no value to emit; drop(row) ends a row, Output(None) is JSON null")
        if row == limits.NONE:
            add_output(self._rows, row, value, self._routes)
        elif self._state[row] != _INVALID:
            try:
                add_output(self._rows, row, value, self._routes)
            except Reject as wrong:
                self._state[row] = _INVALID
                self._failures[row] = (True, wrong.reason, wrong.message, None)

    def _mark(self, positions: Sequence[int], state: int) -> None:
        count, states = self._view.count, self._state
        for row in positions:
            if not 0 <= row < count:
                raise RowMisnamed(f"there is no row {row} in a batch of {count}")
            before = states[row]
            if before and not (before in (_EMITTED, _INVALID) and state == _EMITTED):
                raise RowMisnamed(f"row {row} is {_NAMES[before]} already and cannot be {_NAMES[state]} too")
            states[row] = before if before == _INVALID else state

    def _positions(self, which: Any) -> Sequence[int]:
        if isinstance(which, range):
            return which
        if isinstance(which, slice):
            return range(*which.indices(self._view.count))
        if hasattr(which, "__index__") and not hasattr(which, "__len__"):
            return (which.__index__(),)
        rows = listed(which)
        if rows and isinstance(rows[0], bool):
            if len(rows) != self._view.count:
                raise ValueError(f"a mask of {len(rows)} truth values for {self._view.count} rows")
            return [row for row, yes in enumerate(rows) if yes]
        return [row.__index__() for row in rows]

    def _verdict(self, row: int) -> tuple[str, str | None]:
        """What a row's span says of it, and the reason if it failed."""
        if failed := self._failures.get(row):
            return ("reject" if failed[0] else "retry"), failed[1]
        return ("delivered" if self._state[row] == _EMITTED else "consumed"), None

    def _close(self, strands: Iterable[Iterable[int]]) -> None:
        """After the call: rows that nothing names fail, and so do, on a strand, those behind one that comes again."""
        if not self._whole and _OPEN in self._state:
            left = "the batch handler neither emitted, dropped, rejected nor retried this row"
            for row, state in enumerate(self._state):
                if state == _OPEN:
                    self._failures[row] = (False, reasons.UNACCOUNTED, left, None)
        for strand in strands:
            rows = iter(strand)
            if any(self._verdict(row)[0] == "retry" for row in rows):
                self._failures |= dict.fromkeys(rows, (False, reasons.KEY_HELD, reasons.HELD_MESSAGE, None))
        if self._failures:
            kept = [at for at, row in enumerate(self._rows.parents) if row not in self._failures]
            if len(kept) < len(self._rows):
                self._rows = self._rows.select(kept)
