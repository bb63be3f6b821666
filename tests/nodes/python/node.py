"""The test node of the e2e matrix in Python: seven handlers in one process that do what the payload asks for.

Payload: {"n": int, "do": string}. Every language has the same node; see the handlers for what `do` can be.
"""

from __future__ import annotations

import ctypes
import functools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from meshloom import DROP, Batch, ConfigError, Context, Emitter, Node, Output, Reject, Retry, SourceContext, serve

LANG = "python"


@dataclass
class Config:
    """The config of each handler."""

    label: str
    first: int = 1
    """The first event of the queue."""
    count: int = 0
    out: str = ""
    pause: int = 0
    """Milliseconds between two events of the source."""


class Order(msgspec.Struct):
    """What the test asks for."""

    n: int
    do: str
    at: str = ""
    """The label of the one handler that is to obey; empty: all are."""

    def here(self, label: str) -> Order:
        """As a handler of this label takes it."""
        return self if self.at in ("", label) else Order(self.n, "pass")


def exhaust_memory() -> None:
    """Takes memory until none is given any more, then ends as a C extension does that meets that."""
    kept: list[bytes] = []
    try:
        while True:
            kept.append(bytes(64 << 20))  # zeroed pages that nobody touches
    except MemoryError:
        os.abort()


DEATHS: dict[str, Callable[[], object]] = {
    "die": lambda: os._exit(3),
    "segfault": lambda: ctypes.string_at(0),
    "oom": exhaust_memory,
}


def fail_if_asked(order: Order, attempt: int) -> None:
    """The verdicts that all roles have in common."""
    if order.do == "reject":
        raise Reject(f"asked to reject {order.n}", reason="TEST_REJECT")
    if order.do in DEATHS:
        os.write(2, f"asked to die {order.n}\n".encode())
        DEATHS[order.do]()
    if order.do == "retry" and attempt < 3:
        raise Retry(f"asked to retry {order.n}")
    if order.do == "never":
        raise Retry(f"asked never to pass {order.n}")
    if order.do == "fail" and attempt < 2:
        raise RuntimeError(f"asked to fail {order.n}")


def attributes(order: Order) -> dict[str, Any]:
    """Route and key as asked."""
    if order.do == "route":
        return {"route": "side"}
    return {"key": f"k{order.n}"} if order.do == "key" else {}


def passed(order: Order, ctx: Context[Config], attempt: int) -> Output[dict[str, Any]]:
    """The output of `pass`."""
    value = {"n": order.n, "label": ctx.config.label, "lang": LANG, "attempt": attempt}
    return Output(value, **attributes(order))


def parts(order: Order, ctx: Context[Config]) -> list[dict[str, Any]]:
    """The outputs of `split`."""
    return [{"n": order.n, "part": part, "label": ctx.config.label, "lang": LANG} for part in range(3)]


map_node = Node("map", config=Config, routes=["side"])


@map_node.map
def handle_map(order: Order, ctx: Context[Config]) -> Any:
    """One output for each input."""
    order = order.here(ctx.config.label)
    with ctx.tracer.start_as_current_span("user-work"):
        fail_if_asked(order, ctx.attempt)
        if order.do == "drop":
            return DROP
        return None if order.do == "none" else passed(order, ctx, ctx.attempt)


filter_node = Node("filter", config=Config)


@filter_node.filter
def handle_filter(order: Order, ctx: Context[Config]) -> bool:
    """Passes all but `drop`."""
    order = order.here(ctx.config.label)
    fail_if_asked(order, ctx.attempt)
    return order.do != "drop"


flat_map_node = Node("flat_map", config=Config, routes=["side"])


@flat_map_node.flat_map
def handle_flat_map(order: Order, ctx: Context[Config]) -> Iterator[Any]:
    """None, one or three outputs."""
    order = order.here(ctx.config.label)
    fail_if_asked(order, ctx.attempt)
    if order.do == "split":
        yield from parts(order, ctx)
    elif order.do != "drop":
        yield passed(order, ctx, ctx.attempt)


batch_node = Node("batch", config=Config, routes=["side"])


@batch_node.batch
def handle_batch(batch: Batch, out: Emitter, ctx: Context[Config]) -> None:
    """The same through the batch API, with verdicts by row."""
    orders = {row: order.here(ctx.config.label) for row, order in batch.valid(Order, out).items()}
    for row, order in orders.items():
        if order.do == "poison" or (order.do == "fail" and batch.attempts[row] < 2):
            raise RuntimeError(f"asked to fail the batch at {order.n}")
    for row, order in orders.items():
        attempt = batch.attempts[row]
        if order.do == "forget":
            continue
        if order.do == "drop":
            out.drop(row)
        elif order.do == "reject":
            out.reject(row, f"asked to reject {order.n}", reason="TEST_REJECT")
        elif order.do == "retry" and attempt < 3:
            out.retry(row, f"asked to retry {order.n}")
        elif order.do == "never":
            out.retry(row, f"asked never to pass {order.n}")
        elif order.do == "split":
            out.rows(parts(order, ctx), parents=[row] * 3)
        else:
            out.emit(row, passed(order, ctx, attempt))


sink_node = Node("sink", config=Config)


@sink_node.sink
def handle_sink(order: Order, ctx: Context[Config]) -> None:
    """Appends one line to config.out in one write."""
    order = order.here(ctx.config.label)
    fail_if_asked(order, ctx.attempt)
    line = {
        "uid": ctx.event.uid.hex,
        "n": order.n,
        "attempt": ctx.attempt,
        "lang": LANG,
        "label": ctx.config.label,
    }
    file = os.open(ctx.config.out, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(file, msgspec.json.encode(line) + b"\n")
    finally:
        os.close(file)


source_node = Node("source", config=Config)


@source_node.source
def handle_source(ctx: SourceContext[Config]) -> Iterator[Output[dict[str, Any]]]:
    """Events 1 to config.count, resuming after the checkpoint."""
    for n in range((ctx.checkpoint or 0) + 1, ctx.config.count + 1):
        yield Output({"n": n, "do": "pass"}, checkpoint=n)
        if ctx.config.pause:
            time.sleep(ctx.config.pause / 1000)


queue_node = Node("queue", config=Config)


@queue_node.setup
def open_queue(config: Config) -> Iterator[int]:
    """The file `out`, with a line for each event that is forgotten."""
    if not config.out:
        raise ConfigError("the queue needs the path of a file", field="out")
    file = os.open(config.out, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    yield file
    os.close(file)


@queue_node.source(replays=False)
def handle_queue(ctx: SourceContext[Config, int]) -> Iterator[Output[dict[str, Any]]]:
    """A queue: what it is told to forget it never gives again, and it has no end."""
    cfg = ctx.config
    forgotten = set(Path(cfg.out).read_bytes().splitlines(keepends=True))
    for n in range(cfg.first, cfg.first + cfg.count):
        line = f"{n}\n".encode()
        if line not in forgotten:
            forget = functools.partial(os.write, ctx.state, line)  # not written: given once more
            yield Output({"n": n, "do": "pass"}, id=str(n), settled=forget)
            if ctx.stopping.wait(cfg.pause / 1000):
                return
    ctx.stopping.wait()


if __name__ == "__main__":
    serve(map_node, filter_node, flat_map_node, batch_node, sink_node, source_node, queue_node)
