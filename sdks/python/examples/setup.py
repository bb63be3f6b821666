"""Set-up: something is opened once per process, and closed after the drain."""

# snippet:start
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from meshloom import Context, Node


@dataclass
class Settings:
    places: str  # path of a database with the table place(sensor, name)


node = Node("locate", config=Settings)


@node.setup
def connect(settings: Settings) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(settings.places, check_same_thread=False)) as places:
        yield places


@node.map
def locate(reading: dict[str, Any], ctx: Context[Settings, sqlite3.Connection]) -> dict[str, Any]:
    found = ctx.state.execute("SELECT name FROM place WHERE sensor = ?", [reading["sensor"]]).fetchone()
    return reading | {"place": found[0] if found else None}


# snippet:end


if __name__ == "__main__":
    node.serve()
