"""Stand-in for the anomaly job's Go filter, in Python, with the same behaviour: a raw line in, a reading out."""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta, timezone

from meshloom import DROP, Node, Output, Reject

#: Standard time of the sensors, all year round.
ZONE = timezone(timedelta(hours=-8))
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
TIME = re.compile(r"\d{4}/\d\d/\d\dT\d\d:\d\d")
COLDEST, HOTTEST = -90.0, 60.0

node = Node("filter")


@node.map
def normalise(line: str) -> object:
    """`temperature:39.4 unit=F sensor_id=alpha time=2010/01/01T00:00` -> {"sensor", "celsius", "time"}."""
    if not line.strip():
        return DROP
    fields = split(line)
    sensor = fields.get("sensor_id", "")
    if not sensor:
        raise Reject(f"no sensor_id in {line!r}", reason="NO_SENSOR")
    degrees = celsius(fields["temperature"], fields.get("unit", ""))
    at = utc(fields.get("time", ""))
    reading = {"sensor": sensor, "celsius": degrees, "time": at.strftime("%Y-%m-%dT%H:%M:%SZ")}
    return Output(reading, key=sensor, time=at)


def split(line: str) -> dict[str, str]:
    """`temperature:VALUE` and fields NAME=VALUE in any order, each at most once."""
    fields: dict[str, str] = {}
    for part in line.split():
        name, found, value = part.partition("=")
        if part.startswith("temperature:"):
            name, found, value = part.partition(":")
        if not found or not name or name in fields:
            raise Reject(f"cannot read {part!r} in {line!r}", reason="BAD_LINE")
        fields[name] = value
    if "temperature" not in fields:
        raise Reject(f"no temperature in {line!r}", reason="BAD_LINE")
    return fields


def celsius(value: str, unit: str) -> float:
    """Degrees Celsius, two decimals, halves away from zero."""
    if NUMBER.fullmatch(value) is None:
        raise Reject(f"temperature {value!r} is no number", reason="BAD_TEMPERATURE")
    degrees = float(value)
    if unit == "F":
        degrees = (degrees - 32) * 5 / 9
    elif unit not in ("C", ""):
        raise Reject(f"unit {unit!r} is neither F nor C", reason="BAD_UNIT")
    if not COLDEST <= degrees <= HOTTEST:
        raise Reject(f"temperature {value}{unit} is outside {COLDEST:g} to {HOTTEST:g} °C", reason="OUT_OF_RANGE")
    return math.copysign(math.floor(abs(degrees) * 100 + 0.5), degrees) / 100


def utc(text: str) -> datetime:
    """Local time of the sensors in UTC."""
    try:
        if TIME.fullmatch(text) is None:
            raise ValueError
        return datetime.strptime(text, "%Y/%m/%dT%H:%M").replace(tzinfo=ZONE).astimezone(timezone.utc)
    except ValueError:
        raise Reject(f"time {text!r} is not like 2010/01/31T23:59", reason="BAD_TIME") from None


if __name__ == "__main__":
    node.serve()
