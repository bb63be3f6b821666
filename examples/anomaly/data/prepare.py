"""Makes readings.txt from the hourly temperatures in the package vega_datasets. Deterministic; see README.md.

python -m venv /tmp/data && /tmp/data/bin/pip install --require-hashes --no-deps -r sdks/python/requirements/data.txt
/tmp/data/bin/python examples/anomaly/data/prepare.py
"""

from __future__ import annotations

import csv
import importlib.util
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

HERE = Path(__file__).resolve().parent
SENSORS = {"alpha": "seattle-temps.csv", "beta": "sf-temps.csv"}

#: A blank line before every reading whose number leaves this rest, a malformed one likewise: real feeds have both.
BLANK_EVERY, BLANK_AT = 97, 7
MALFORMED_EVERY, MALFORMED_AT = 197, 19

#: Damage that a line took on its way, one kind after the other. Each is a copy of the reading that follows it.
DAMAGE: dict[str, Callable[[str, str, str], str]] = {
    "no temperature": lambda t, s, at: f"unit=F sensor_id={s} time={at}",
    "dashes for a temperature": lambda t, s, at: f"temperature:-- unit=F sensor_id={s} time={at}",
    "truncated line": lambda t, s, at: f"temperature:{t} unit=F sens",
    "no sensor id": lambda t, s, at: f"temperature:{t} unit=F time={at}",
    "bad time": lambda t, s, at: f"temperature:{t} unit=F sensor_id={s} time={at[:5]}13/45T99:00",
    "out of range": lambda t, s, at: f"temperature:999.9 unit=F sensor_id={s} time={at}",
    "unknown unit": lambda t, s, at: f"temperature:{t} unit=K sensor_id={s} time={at}",
}


def folder() -> Path:
    """The files of vega_datasets, without importing it (that would need pandas)."""
    found = importlib.util.find_spec("vega_datasets")
    if found is None or found.origin is None:
        raise SystemExit("vega_datasets is not installed; see the head of this file")
    return Path(found.origin).parent / "_data"


def readings(sensor: str, path: Path) -> Iterator[tuple[datetime, str, str]]:
    """Time, sensor and temperature (degrees Fahrenheit, as written) of one file."""
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            yield datetime.strptime(row["date"][:16], "%Y/%m/%d %H:%M"), sensor, row["temp"]


def lines() -> Iterator[tuple[str, str]]:
    """Kind and text of every line, in order of time."""
    merged = sorted(r for sensor, name in SENSORS.items() for r in readings(sensor, folder() / name))
    damages = list(DAMAGE.items())
    for number, (time, sensor, temperature) in enumerate(merged):
        at = time.strftime("%Y/%m/%dT%H:%M")
        if number % BLANK_EVERY == BLANK_AT:
            yield "blank", "" if number % 2 else "   "
        if number % MALFORMED_EVERY == MALFORMED_AT:
            name, damage = damages[number // MALFORMED_EVERY % len(damages)]
            yield name, damage(temperature, sensor, at)
        yield "reading", f"temperature:{temperature} unit=F sensor_id={sensor} time={at}"


def main() -> None:
    made = list(lines())
    (HERE / "readings.txt").write_text("".join(f"{text}\n" for _, text in made))
    for kind, count in Counter(kind for kind, _ in made).items():
        print(f"{count:6} {kind}")
    print(f"{len(made):6} lines")


if __name__ == "__main__":
    main()
