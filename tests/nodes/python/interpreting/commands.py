"""The commands as they are written: one type each, told apart by `do`."""

from __future__ import annotations

import msgspec

from .outputs import Out


class _Command(msgspec.Struct, tag_field="do"):
    """What all commands have in common."""


class Pass(_Command, tag="pass"):
    """The event goes on as it is."""


class Drop(_Command, tag="drop"):
    """It ends here."""


class Emit(_Command, tag="emit"):
    """These outputs."""

    outputs: list[Out]


class Copy(_Command, tag="copy"):
    """An output with all that was read of the event."""


class Describe(_Command, tag="context"):
    """An output with what the handler was given."""


class Refuse(_Command, tag="reject"):
    """A dead letter."""

    reason: str = "REJECTED"
    message: str = ""


class Again(_Command, tag="retry"):
    """Comes again while the attempt is below `until`."""

    reason: str = "RETRY"
    message: str = ""
    after_ms: int | None = None
    until: int | None = None


class Throw(_Command, tag="throw"):
    """An exception while the attempt is below `until`."""

    message: str
    until: int | None = None


class Panic(_Command, tag="panic"):
    """SystemExit."""

    message: str


class Nothing(_Command, tag="nothing"):
    """No result at all."""


class Twice(_Command, tag="twice"):
    """A batch handler names the row twice."""


class Misname(_Command, tag="misname"):
    """A batch handler names a row that is not there."""


class Whole(_Command, tag="whole"):
    """Outputs from the whole batch."""

    outputs: list[Out]


class Stream(_Command, tag="stream"):
    """Outputs made one at a time."""

    count: int
    bytes: int
    fail_after: int | None = None


class Sleep(_Command, tag="sleep"):
    """Waits, unless it is cancelled."""

    ms: int


class Block(_Command, tag="block"):
    """Blocks its thread."""

    ms: int


class Spin(_Command, tag="spin"):
    """Computes."""

    ms: int


class Hold(_Command, tag="hold"):
    """Computes with the global lock held."""

    ms: int


class Note(_Command, tag="note"):
    """Is remembered."""

    n: int


class Spans(_Command, tag="spans"):
    """Spans of its own, each inside the one before."""

    names: list[str]


class Log(_Command, tag="log"):
    """A line through the context's logger."""

    message: str


class Allocate(_Command, tag="allocate"):
    """Holds memory for the call."""

    bytes: int


class Exit(_Command, tag="exit"):
    """Ends the process."""

    status: int


class Tell(_Command, tag="report"):
    """An output with what has happened in this process."""


#: Whatever a payload may ask for.
Command = (
    Pass | Drop | Emit | Copy | Describe | Refuse | Again | Throw | Panic | Nothing | Twice | Misname | Whole
    | Stream | Sleep | Block | Spin | Hold | Note | Spans | Log | Allocate | Exit | Tell
)  # fmt: skip
