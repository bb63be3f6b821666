"""Retry: a service is busy, so the event comes again later. Other exceptions are retried, too, with a back-off."""

# snippet:start
from typing import Any

from lookup import Busy, place_of

from meshloom import Node, Retry

node = Node("locate", concurrency=16)  # calls at one time: they wait for the network


@node.map
def locate(reading: dict[str, Any]) -> dict[str, Any]:
    try:
        return reading | {"place": place_of(reading["sensor"])}
    except Busy as error:
        raise Retry(after=2.0, cause=error) from error


# snippet:end


if __name__ == "__main__":
    node.serve()
