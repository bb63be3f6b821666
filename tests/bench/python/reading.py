"""What the typed JSON map does, as a node (sdk.py) and in a plain loop (loop.py)."""

from dataclasses import dataclass


@dataclass
class Reading:
    """The payload of every event."""

    sensor: str
    celsius: float
    time: str
    site: str
    note: str


@dataclass
class Scored(Reading):
    """What becomes of it."""

    hot: bool


def score(reading: Reading) -> Scored:
    """The map."""
    hot = reading.celsius > 30
    return Scored(reading.sensor, reading.celsius, reading.time, reading.site, reading.note, hot)
