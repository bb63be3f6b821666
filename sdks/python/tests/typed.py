"""What type checkers must say of the public surface: checked by mypy and pyright, never run.

Each `type: ignore` names an error that a user is to see; both checkers complain if there is none.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from typing_extensions import assert_type

from meshloom import DROP, Batch, Context, Emitter, Event, Node, Output, SourceContext
from meshloom.verdicts import Drop


@dataclass
class Settings:
    limit: float = 30.0


class Model:
    def score(self, celsius: float) -> float:
        return celsius


@dataclass
class Reading:
    sensor: str
    celsius: float


node = Node[Settings, Model]("typed", config=Settings)


@node.setup
def load(settings: Settings) -> Iterator[Model]:
    yield Model()


@node.map
def score(reading: Reading, ctx: Context[Settings, Model]) -> Output[float] | Drop:
    assert_type(ctx.config, Settings)
    assert_type(ctx.state, Model)
    assert_type(ctx.event.json(Reading), Reading)
    return DROP if reading.celsius < ctx.config.limit else Output(ctx.state.score(reading.celsius), key=reading.sensor)


def a_decorated_function_is_what_it_was(reading: Reading, ctx: Context[Settings, Model]) -> None:
    assert_type(score(reading=reading, ctx=ctx), Output[float] | Drop)


others = Node("others")


@others.filter
async def hot(reading: Reading) -> bool:
    return reading.celsius > 30


@others.filter  # type: ignore[type-var]
def no_filter(reading: Reading) -> str:  # pyright: ignore[reportUntypedFunctionDecorator]
    return "yes"


@others.flat_map
async def parts(event: Event) -> AsyncIterator[bytes]:
    yield event.data


@others.flat_map  # type: ignore[type-var]
def no_parts(event: Event) -> int:  # pyright: ignore[reportUntypedFunctionDecorator]
    return 1


@others.sink
def keep(payload: bytes) -> None: ...


@others.batch
def whole(batch: Batch, out: Emitter) -> None:
    assert_type(batch.json(Reading), list[Reading])
    assert_type(batch.valid(Reading, out), dict[int, Reading])
    out.emit(0, 1, key="k", route="hot")
    out.emit(0, 1, kye="k")  # type: ignore[call-arg] # pyright: ignore[reportCallIssue]


@others.source
def numbers(ctx: SourceContext[Settings]) -> Iterator[int]:
    yield 1


@others.source(replays=False)
async def ticks() -> AsyncIterator[Output[int]]:
    yield Output(1, settled=lambda: None)
