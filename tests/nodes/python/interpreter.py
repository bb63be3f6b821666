"""The interpreter of the conformance kit in Python: it does what each event's payload says.

See tests/conformance/INTERPRETER.md.
"""

from __future__ import annotations

from typing import Any

from interpreting import commands as do
from interpreting import sources
from interpreting.obey import command_of, obey
from interpreting.report import REPORT
from interpreting.settings import Settings, set_up

from meshloom import DROP, Batch, Context, Emitter, Event, Limits, Node, Output, Reject, Retry, serve

ROUTES = ("left", "right")


def handle_map(event: Event, ctx: Context[Settings]) -> Any:
    """One output for each event."""
    with REPORT.call():
        match obey(command_of(event, ctx), event, ctx.attempt, ctx):
            case [first, *_]:
                return first
            case result:
                return result


def handle_filter(event: Event, ctx: Context[Settings]) -> Any:
    """Passes all but `drop`."""
    with REPORT.call():
        result = obey(command_of(event, ctx), event, ctx.attempt, ctx)
        return None if result is None else result is not DROP


def handle_flat_map(event: Event, ctx: Context[Settings]) -> Any:
    """Any number of outputs."""
    with REPORT.call():
        match result := obey(command_of(event, ctx), event, ctx.attempt, ctx):
            case drop if drop is DROP:
                return []
            case Event() | Output():
                return [result]
            case _:
                return result


def handle_sink(event: Event, ctx: Context[Settings]) -> None:
    """Takes what it does not refuse."""
    with REPORT.call():
        obey(command_of(event, ctx), event, ctx.attempt, ctx)


def handle_batch(batch: Batch, out: Emitter, ctx: Context[Settings]) -> None:
    """Each row in turn."""
    with REPORT.call():
        for row, (event, attempt) in enumerate(zip(batch, batch.attempts, strict=True)):
            try:
                handle_row(row, event, attempt, batch, out, ctx)
            except Reject as asked:
                out.reject(row, asked.message, reason=asked.reason)
            except Retry as asked:
                out.retry(row, asked.message, reason=asked.reason, after=asked.after)


def handle_row(row: int, event: Event, attempt: int, batch: Batch, out: Emitter, ctx: Context[Settings]) -> None:
    """One row through the emitter."""
    match command_of(event, ctx):
        case do.Twice():
            out.drop(row)
            out.drop(row)
        case do.Misname():
            out.drop(len(batch))
        case do.Whole(outputs):
            for output in outputs:
                out.whole(output.output(event))
        case command:
            match obey(command, event, attempt, ctx):
                case None:
                    pass
                case drop if drop is DROP or drop == []:
                    out.drop(row)
                case [*several]:
                    out.rows(several, parents=[row] * len(several))
                case one:
                    out.emit(row, one)


def nodes() -> list[Node[Settings, None]]:
    """All handlers, each with the same config and set-up."""

    def node(name: str, **options: Any) -> Node[Settings, None]:
        made: Node[Settings, None] = Node(name, config=Settings, **options)
        made.setup(set_up)
        return made

    mapping, narrow = node("map", routes=ROUTES), node("narrow", limits=Limits(2, 8, 65_536))
    mapping.map(handle_map)
    narrow.map(handle_map)
    filtering, splitting = node("filter"), node("flat_map", routes=ROUTES)
    filtering.filter(handle_filter)
    splitting.flat_map(handle_flat_map)
    delivering, batching = node("sink"), node("batch", routes=ROUTES)
    delivering.sink(handle_sink)
    batching.batch(handle_batch)
    replaying, queueing = node("source"), node("queue")
    replaying.source(checkpoint=sources.Checkpoint)(sources.produce)
    queueing.source(checkpoint=sources.Checkpoint, replays=False)(sources.produce)
    for source in (replaying, queueing):
        source.settled(sources.settled)
    return [mapping, filtering, splitting, delivering, batching, replaying, queueing, narrow]


if __name__ == "__main__":
    serve(*nodes())
