"""Reads the data file for training: only well-formed lines; the same rules as the pipeline's filter."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import NamedTuple

_LINE = re.compile(r"temperature:(-?\d+(?:\.\d+)?) unit=([FC]) sensor_id=(\w+) time=(\d{4}/\d\d/\d\dT\d\d:\d\d)")
_ZONE = timezone(timedelta(hours=-8))  # standard time of the sensors, all year round


class Reading(NamedTuple):
    """One well-formed line."""

    line: int  # from 1
    sensor: str
    celsius: float  # two decimals
    time: str  # UTC, RFC 3339


def parse(text: str, line: int = 0) -> Reading | None:
    """The reading of a line; None if it is blank, malformed or outside -90 to 60 degrees Celsius."""
    match = _LINE.fullmatch(text.strip())
    if match is None:
        return None
    value, unit, sensor, at = match.groups()
    celsius = float(value) if unit == "C" else (float(value) - 32) * 5 / 9
    try:
        time = datetime.strptime(at, "%Y/%m/%dT%H:%M").replace(tzinfo=_ZONE).astimezone(timezone.utc)
    except ValueError:
        return None
    if not -90 <= celsius <= 60:
        return None
    return Reading(line, sensor, round(celsius, 2), time.strftime("%Y-%m-%dT%H:%M:%SZ"))


def load(path: Path) -> Iterator[Reading]:
    """The well-formed lines of a file."""
    with path.open() as file:
        for number, text in enumerate(file, 1):
            reading = parse(text, number)
            if reading is not None:
                yield reading
