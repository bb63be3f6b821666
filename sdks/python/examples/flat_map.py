"""Flat map: a document becomes one event for each of its readings."""

# snippet:start
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from meshloom import Node


@dataclass
class Document:
    readings: list[dict[str, Any]]


node = Node("unpack")


@node.flat_map
def unpack(document: Document) -> Iterator[dict[str, Any]]:
    yield from document.readings


# snippet:end


if __name__ == "__main__":
    node.serve()
