"""Reject: an event that can never be handled becomes a dead letter at once, under a code."""

# snippet:start
from typing import Any

from meshloom import Node, Reject

node = Node("fahrenheit")


@node.map
def fahrenheit(reading: dict[str, Any]) -> dict[str, Any]:
    if "celsius" not in reading:
        raise Reject(f"sensor {reading['sensor']} sent no temperature", reason="NO_TEMPERATURE")
    return reading | {"fahrenheit": reading["celsius"] * 9 / 5 + 32}


# snippet:end


if __name__ == "__main__":
    node.serve()
