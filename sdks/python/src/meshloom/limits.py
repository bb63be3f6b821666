"""Every bound of protocol meshloom.v1 that a node checks, in one place. Sizes are bytes."""

from __future__ import annotations

from dataclasses import dataclass

KIB = 1024
MIB = 1024 * KIB

MAX_EVENT = 16 * MIB
MAX_BATCH_BYTES = 32 * MIB
MAX_BATCH_EVENTS = 65_536
MAX_MESSAGE = 64 * MIB
MAX_ATTRIBUTE = 64 * KIB
MAX_KEY = 1 * KIB
MAX_EXTENSIONS = 64
MAX_CHECKPOINT = 64 * KIB
MAX_TRACE_STATE = 512
MAX_FAILURE_MESSAGE = 4 * KIB
MAX_PROGRESS_CALLS = 256
MAX_LINKS = 128

#: Outputs are sent once this much is held, or once the oldest of them has waited FLUSH_SECONDS.
FLUSH_BYTES = 1 * MIB
FLUSH_SECONDS = 0.1
#: A source's frame goes out at the latest this long after its first event.
FRAME_SECONDS = 0.005
FRAME_EVENTS = 4096

#: Index that names no event: absent, "as the parent's", or the whole batch, depending on the column.
NONE = 0xFFFFFFFF
#: Values of a time column that are no times.
TIME_ABSENT = -(2**63)
TIME_AS_PARENT = TIME_ABSENT + 1


@dataclass(frozen=True)
class Limits:
    """How much the coordinator may have in hand at a handler. The defaults suit handlers of up to a ms per event."""

    #: Works that have not been answered to the end.
    works: int = 8
    #: Events per work, at most 65,536.
    batch_events: int = 8192
    #: Bytes per work, at most 32 MiB.
    batch_bytes: int = MAX_BATCH_BYTES

    def __post_init__(self) -> None:
        if not 1 <= self.works <= 1024:
            raise ValueError(f"Limits.works must be 1 to 1024, not {self.works}")
        if not 1 <= self.batch_events <= MAX_BATCH_EVENTS:
            raise ValueError(f"Limits.batch_events must be 1 to {MAX_BATCH_EVENTS}, not {self.batch_events}")
        if not 1 <= self.batch_bytes <= MAX_BATCH_BYTES:
            raise ValueError(f"Limits.batch_bytes must be 1 to {MAX_BATCH_BYTES}, not {self.batch_bytes}")
