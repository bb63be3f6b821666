"""Times on the wire are integer nanoseconds since the Unix epoch, UTC."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_MICROSECOND = timedelta(microseconds=1)
_LOWEST, _HIGHEST = -(2**63) + 2, 2**63 - 1


class Timestamp(datetime):
    """An extension value of CloudEvents type Timestamp: an aware UTC datetime that keeps its nanoseconds in `ns`."""

    #: Nanoseconds since the Unix epoch, without loss; the datetime is cut to microseconds.
    ns: int

    @classmethod
    def of_ns(cls, ns: int) -> Timestamp:
        """The time of so many nanoseconds since the Unix epoch, in the years 1677 to 2262."""
        cut = from_nanoseconds(ns)
        made = cls(cut.year, cut.month, cut.day, cut.hour, cut.minute, cut.second, cut.microsecond, tzinfo=timezone.utc)
        made.ns = ns
        return made


def from_nanoseconds(value: int) -> datetime:
    """An aware UTC datetime; what is finer than a microsecond is cut off."""
    return _EPOCH + timedelta(microseconds=value // 1000)


def to_nanoseconds(value: datetime | int | float | str) -> int:
    """From an aware datetime, an RFC 3339 text, integer nanoseconds, or float seconds since the epoch."""
    if isinstance(value, bool):
        raise TypeError("a time is a datetime, an RFC 3339 text, int nanoseconds or float seconds; not a bool")
    if isinstance(value, str):
        value = datetime.fromisoformat(value.replace("Z", "+00:00"))
    if isinstance(value, Timestamp) and hasattr(value, "ns"):  # what was computed with one has none
        nanoseconds = value.ns
    elif isinstance(value, datetime):
        if value.tzinfo is None:
            raise ValueError(f"the time {value.isoformat()} has no zone; use datetime(..., tzinfo=timezone.utc)")
        nanoseconds = (value - _EPOCH) // _MICROSECOND * 1000
    elif isinstance(value, float):
        nanoseconds = round(value * 1_000_000_000)
    elif isinstance(value, int):
        nanoseconds = value
    else:
        raise TypeError(f"a time is a datetime, an RFC 3339 text, int nanoseconds or float seconds; not {value!r}")
    if not _LOWEST <= nanoseconds <= _HIGHEST:
        raise ValueError(f"the time {value!r} is outside the years 1677 to 2262")
    return nanoseconds
