"""What the test kit tells of a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec


@dataclass(frozen=True)
class TestOutput:
    """One output. Attributes are the output's own, or the parent's where it set none."""

    __test__ = False  # not a test class, whatever its name says to pytest

    #: Position of the input in `events`; None: from the whole batch, or from a source.
    parent: int | None
    data: bytes
    content_type: str | None = None
    key: str | None = None
    route: str | None = None
    type: str | None = None
    subject: str | None = None
    id: str | None = None
    data_schema: str | None = None
    #: Nanoseconds since the Unix epoch.
    time_ns: int | None = None
    extensions: Mapping[str, Any] = field(default_factory=dict)

    def json(self) -> Any:
        """The payload as JSON."""
        return msgspec.json.decode(self.data)

    def text(self) -> str:
        """The payload as UTF-8 text."""
        return self.data.decode()


@dataclass(frozen=True)
class TestFailure:
    """A rejected or retried event."""

    __test__ = False

    #: Position of the event in `events`.
    index: int
    reason: str
    message: str
    #: From 1.
    attempt: int
    #: Seconds, if the handler asked for a delay.
    after: float | None = None


@dataclass
class Run:
    """What became of the events."""

    #: In the order of their inputs.
    outputs: list[TestOutput] = field(default_factory=list)
    #: Positions of the events that ended with no output on purpose (also: delivered by a sink).
    dropped: list[int] = field(default_factory=list)
    rejected: list[TestFailure] = field(default_factory=list)
    #: Every answer that asked for a retry; with `attempts` these came again.
    retried: list[TestFailure] = field(default_factory=list)
    #: With `redeliver`: what became of the events when all of them came a second time.
    redelivered: Run | None = None
    #: With `sampled`: the finished OpenTelemetry spans, the user's own among them.
    spans: Sequence[Any] = ()
    #: With random batches: what they were chosen by.
    seed: int | None = None
    #: Sources: the last checkpoint, and whether the source ended by itself.
    checkpoint: Any = None
    exhausted: bool = False

    @property
    def values(self) -> list[Any]:
        """The outputs as JSON values."""
        return [output.json() for output in self.outputs]

    @property
    def reasons(self) -> dict[int, str]:
        """Why events were rejected, or asked for a retry at last, by position."""
        return {failed.index: failed.reason for failed in (*self.retried, *self.rejected)}

    def of(self, index: int) -> list[TestOutput]:
        """The outputs of one event."""
        return [output for output in self.outputs if output.parent == index]
