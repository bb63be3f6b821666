"""Route and key: where an output goes, and what keeps its order with others."""

# snippet:start
from dataclasses import dataclass

from meshloom import Event, Node, Output


@dataclass
class Reading:
    sensor: str
    celsius: float


node = Node("split", routes=["hot"])  # `from: split.hot` in the pipeline file


@node.map
def split(event: Event) -> Output[Event]:
    reading = event.json(Reading)
    return Output(event, key=reading.sensor, route="hot" if reading.celsius > 30 else None)


# snippet:end


if __name__ == "__main__":
    node.serve()
