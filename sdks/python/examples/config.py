"""Config: a limit and a duration, typed and validated before the pipeline starts."""

# snippet:start
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, TypedDict

from msgspec import Meta

from meshloom import Context, Node


@dataclass
class Settings:
    limit: Annotated[float, Meta(ge=-90, le=60)] = 30.0  # degrees Celsius
    window: timedelta = timedelta(minutes=5)  # written `5m` in the pipeline file


class Reading(TypedDict):
    sensor: str
    celsius: float


node = Node("hot", config=Settings)


@node.filter
def hot(reading: Reading, ctx: Context[Settings]) -> bool:
    return reading["celsius"] > ctx.config.limit


# snippet:end


if __name__ == "__main__":
    node.serve()
