"""What a source's program gives."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec

from meshloom import Output, SourceContext

from .settings import Program, Settings, append

#: The number of an event, as such or in digits.
Checkpoint = int | Annotated[str, msgspec.Meta(pattern="^[0-9]+$")]


def produce(ctx: SourceContext[Settings, None]) -> Iterator[Output[Any]]:
    """The events of the program behind the checkpoint."""
    program = ctx.config.program or Program()
    i = int(ctx.checkpoint or 0)
    while not ctx.stopping.is_set() and (program.count == 0 or i < program.count):
        i += 1
        if i == program.fail_at:
            raise RuntimeError(f"asked to fail at {i}")
        receipt = functools.partial(append, ctx.config, f"receipt {i}") if ctx.config.log else None
        yield Output({"n": i} | filling(program), settled=receipt, **attributes(program, i))
        if program.pause_ms:
            ctx.stopping.wait(program.pause_ms / 1000)


def settled(checkpoint: Checkpoint, ctx: SourceContext[Settings, None]) -> None:
    """The hook for checkpoints."""
    append(ctx.config, f"settled {int(checkpoint)}")


def checkpoint_of(program: Program, i: int) -> Checkpoint:
    """As the program writes it."""
    return f"{i:0{program.checkpoint_digits}}" if program.checkpoint_digits else i


def filling(program: Program) -> dict[str, str]:
    """The payload's weight."""
    return {"fill": "x" * program.bytes} if program.bytes else {}


def attributes(program: Program, i: int) -> dict[str, Any]:
    """Of event i."""
    given: dict[str, Any] = {}
    extensions: dict[str, Any] = {}
    if program.ids:
        given["id"] = f"e{i}"
    if program.attributes:
        given |= {"key": f"k{i % 3}", "type": "test", "time": i}
        extensions["part"] = i % 2
    if program.traceparent:
        extensions["traceparent"] = program.traceparent
    if extensions:
        given["extensions"] = extensions
    if i == program.repeat_checkpoint:
        given["checkpoint"] = checkpoint_of(program, i - 1)
    elif program.checkpoint_every and i % program.checkpoint_every == 0:
        given["checkpoint"] = checkpoint_of(program, i)
    return given
