"""A source's frames: rows with ids, checkpoints and credit. No threads and no clock of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec

from . import _extensions, _tracing, limits, reasons
from ._codec import encode
from ._extensions import TooLarge
from ._outputs import pack_i64, pack_strings, pack_values
from ._pb import batch_pb2, produce_pb2
from .context import Opening
from .output import UNSET, Output, check

#: Most extension names of the events of one frame; a name may need a column per type.
FRAME_NAMES = limits.MAX_EXTENSIONS // 4

_TEXTS = ("id", "source", "type", "subject", "key", "data_schema")

#: What a source wants to have called when one of its events has settled; its result may be awaitable.
Settled = Callable[[], Any]


class SourceFault(Exception):
    """What a source yielded cannot be sent; `reason` is the code."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Row:
    """One event of a source, encoded."""

    __slots__ = ("checkpoint", "content_type", "extensions", "payload", "settled", "span", "texts", "time", "weight")

    def __init__(self) -> None:
        self.payload = b""
        self.content_type = ""
        self.texts: dict[str, str] = {}
        self.time = limits.TIME_ABSENT
        self.extensions: dict[str, Any] | None = None
        self.span: tuple[bytes, bytes, str] | None = None
        self.checkpoint: bytes | None = None
        #: The source's own callback for when the event has settled.
        self.settled: Settled | None = None
        #: Bytes of the event in a frame, without an id that it did not set.
        self.weight = 0


class RowMaker:
    """Makes rows of what a source yields.

    If it replays, they have ids `C#n`: C the last checkpoint before the event, n counted from 1. Of one that does not
    such an id would be that of another event after a restart.
    """

    def __init__(
        self, opening: Opening, resumed: bytes | None, sampler: _tracing.Sampler, *, replays: bool = True
    ) -> None:
        self._opening = opening
        self._sampler = sampler
        self._replays = replays
        self._last = resumed
        self._prefix = _prefix(resumed)
        self._count = 0

    def make(self, item: Any) -> Row:
        """The row of one yielded value or Output. SourceFault says what is wrong with it."""
        output = item if type(item) is Output else Output(item)
        if output.value is None and output is not item:
            raise SourceFault(
                reasons.NO_RESULT, "the source yielded None; yield a value, or Output(None) for JSON null"
            )
        row = encode_row(output)
        self._count += 1
        if self._replays:
            row.texts.setdefault("id", f"{self._prefix}#{self._count}")
        if output.checkpoint is not UNSET and output.checkpoint is not None:
            self._mark(row, output.checkpoint)
        brought = _tracing.incoming(row.extensions)
        if brought is not None or self._sampler.wants():
            row.span = _tracing.send_span(self._opening, row.texts.get("id"), brought)
        return row

    def _mark(self, row: Row, checkpoint: Any) -> None:
        raw = encode_checkpoint(checkpoint)
        if raw == self._last:
            text = f"two events in a row have the checkpoint {raw[:100]!r}; only the last of those that belong together"
            raise SourceFault(reasons.CHECKPOINT_REPEATED, text + " may carry it")
        row.checkpoint = self._last = raw
        self._prefix, self._count = _prefix(raw), 0


def encode_row(output: Output[Any]) -> Row:
    """The row of an event that has no parent, without an id unless it sets one. SourceFault says what is wrong."""
    row = Row()
    try:
        time = check(output)
        row.payload, content_type = encode(output.value)
    except TooLarge as error:
        raise SourceFault(error.reason, str(error)) from None
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise SourceFault(reasons.OUTPUT_INVALID, f"the event cannot be encoded: {error}") from None
    if len(row.payload) > limits.MAX_EVENT:
        text = f"an event has {len(row.payload)} bytes; at most {limits.MAX_EVENT}"
        raise SourceFault(reasons.EVENT_TOO_LARGE, text)
    if output.texts.get("route"):
        raise SourceFault(reasons.ROUTE_UNDECLARED, "a source's events take no route")
    row.content_type = content_type if output.content_type is None else output.content_type
    row.texts = dict(output.texts)
    if time is not UNSET and time is not None:
        row.time = time
    row.extensions = dict(output.extensions) if output.extensions else None
    row.settled = output.settled
    row.weight = len(row.payload) + sum(len(text.encode()) for text in row.texts.values())
    if row.extensions:
        row.weight += sum(len(_extensions.encode(name, value)[1]) for name, value in row.extensions.items())
    return row


def encode_checkpoint(value: Any) -> bytes:
    """A checkpoint (any JSON value) as the opaque bytes of the wire."""
    try:
        raw = msgspec.json.encode(value, order="deterministic")
    except (TypeError, ValueError) as error:
        raise SourceFault(reasons.OUTPUT_INVALID, f"a checkpoint must be a JSON value: {error}") from None
    if len(raw) > limits.MAX_CHECKPOINT:
        text = f"a checkpoint has {len(raw)} bytes; at most {limits.MAX_CHECKPOINT}"
        raise SourceFault(reasons.ATTRIBUTE_TOO_LARGE, text)
    return raw


class CheckpointUnreadable(Exception):
    """The checkpoint to resume from is none that the source gave."""


def decode_checkpoint(raw: bytes, kind: Any = Any) -> Any:
    """The JSON value of a checkpoint that this SDK made, as the source's own type of checkpoints."""
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        text = f"the checkpoint to resume from is not one of this source ({error}); start over with --fresh"
        raise CheckpointUnreadable(text) from None


def _prefix(checkpoint: bytes | None) -> str:
    if checkpoint is None:
        return ""
    # A long checkpoint would be repeated in every id; its digest is as stable.
    return checkpoint.decode() if len(checkpoint) <= 256 else hashlib.sha256(checkpoint).hexdigest()


class Framer:
    """Rows that wait, and the credit that lets them go."""

    def __init__(self, resumed: bytes | None) -> None:
        self.rows: list[Row] = []
        self.size = 0
        self.events = 0
        self.bytes = 0
        self._sequence = 0
        self._checkpoint = resumed
        #: By the sequence of its frame: what is called once that has settled.
        self._callbacks: dict[int, list[Settled]] = {}

    def settled(self, sequence: int) -> list[Settled]:
        """The callbacks of a frame that has settled, once."""
        return self._callbacks.pop(sequence, [])

    def grant(self, events: int, size: int) -> None:
        """Adds to what is left."""
        self.events += events
        self.bytes += size

    def wants_more(self) -> bool:
        """Whether the credit admits another row beside those that wait."""
        return self.events > len(self.rows) and self.bytes > self.size

    def full(self) -> bool:
        """Whether a frame should go at once."""
        return bool(self.rows) and (
            len(self.rows) >= limits.FRAME_EVENTS or self.size >= limits.FLUSH_BYTES or not self.wants_more()
        )

    def add(self, row: Row) -> None:
        """A row waits for its frame."""
        self.rows.append(row)
        self.size += len(row.payload)

    def frame(self) -> produce_pb2.Produced | None:
        """The next frame that the credit admits; any credit at all admits one event."""
        if not self.rows or self.events < 1 or self.bytes < 1:
            return None
        taken = size = weight = 0
        names = set[str]()
        for row in self.rows[: min(self.events, limits.FRAME_EVENTS)]:
            size, weight, names = size + len(row.payload), weight + row.weight, names | (row.extensions or {}).keys()
            if taken and (size > self.bytes or weight > limits.MAX_BATCH_BYTES // 2 or len(names) > FRAME_NAMES):
                size -= len(row.payload)
                break
            taken += 1
        rows = self.rows[:taken]
        del self.rows[:taken]
        self.size -= size
        self.events -= taken
        self.bytes = max(0, self.bytes - size)
        self._sequence += 1
        for row in rows:
            if row.checkpoint is not None:
                self._checkpoint = row.checkpoint
        if callbacks := [row.settled for row in rows if row.settled is not None]:
            self._callbacks[self._sequence] = callbacks
        return produce_pb2.Produced(sequence=self._sequence, batch=make_batch(rows), checkpoint=self._checkpoint)


def make_batch(rows: list[Row]) -> batch_pb2.Batch:
    """The columns of some rows."""
    count = len(rows)
    batch = batch_pb2.Batch(count=count, payload=pack_values([row.payload for row in rows]))
    content_types = {i: row.content_type for i, row in enumerate(rows) if row.content_type}
    if content_types:
        batch.content_type.CopyFrom(pack_strings(content_types, count))  # type: ignore[arg-type]
    if any(row.time != limits.TIME_ABSENT for row in rows):
        batch.time = pack_i64([row.time for row in rows])
    for name in _TEXTS:
        column = pack_strings({i: row.texts[name] for i, row in enumerate(rows) if row.texts.get(name)}, count)
        if column is not None:
            getattr(batch, name).CopyFrom(column)
    extensions = {i: row.extensions for i, row in enumerate(rows) if row.extensions}
    if extensions:
        batch.extensions.extend(_extensions.write(extensions))
    batch.spans.extend(
        batch_pb2.SpanContext(index=i, trace_id=row.span[0], span_id=row.span[1], flags=1, trace_state=row.span[2])
        for i, row in enumerate(rows)
        if row.span is not None
    )
    return batch
