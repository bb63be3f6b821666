"""Sources: demand, frames, ids, checkpoints, resume, settled, the end."""

from __future__ import annotations

import queue
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
import wire

from meshloom import Node, Output, SourceContext, reasons
from meshloom.testing import run


def counting(last: int, *, every: int = 1, replays: bool = True) -> Node:
    node: Node = Node("n")

    @node.source(replays=replays)
    def numbers(ctx: SourceContext) -> Iterator[Any]:
        for n in range((ctx.checkpoint or 0) + 1, last + 1):
            yield Output(n, checkpoint=n) if n % every == 0 else n

    return node


def read(stream: wire.Produce) -> tuple[list[bytes], list[str | None], bytes | None]:
    values: list[bytes] = []
    ids: list[str | None] = []
    checkpoint = None
    for frame in stream.frames():
        values += wire.values(frame.batch.payload)
        ids += wire.column(frame.batch.id, frame.batch.count)
        checkpoint = frame.checkpoint if frame.HasField("checkpoint") else None
        assert frame.batch.uid == b""
    return values, ids, checkpoint


def test_a_source_that_does_not_replay_makes_up_no_ids(serving: Any) -> None:
    node = Node("s")

    @node.source(replays=False)
    def rows() -> Iterator[Output[int]]:
        yield Output(1)
        yield Output(2, id="own")

    stream = wire.Produce(serving(node))
    stream.opened()
    stream.demand(100)
    assert read(stream)[1] == [None, "own"], "after a restart they would be those of other events"
    stream.close()


def test_resume_and_ids(serving: Any) -> None:
    channel = serving(counting(7, every=3))
    first = wire.Produce(channel)
    first.opened()
    first.demand(100)
    values, ids, checkpoint = read(first)
    assert values == [b"1", b"2", b"3", b"4", b"5", b"6", b"7"]
    assert ids == ["#1", "#2", "#3", "3#1", "3#2", "3#3", "6#1"]
    assert checkpoint == b"6"
    first.close()
    assert first.rest() == []
    again = wire.Produce(channel, checkpoint=b"3")
    again.opened()
    again.demand(100)
    assert read(again) == (values[3:], ids[3:], b"6")  # the same ids after a replay


def test_nothing_is_sent_without_demand_and_nothing_beyond_it(serving: Any) -> None:
    stream = wire.Produce(serving(counting(10)))
    stream.opened()
    with pytest.raises(queue.Empty):
        stream.read(timeout=0.1)
    for events in (1, 3):
        stream.demand(events)
        got = 0
        while got < events:
            got += stream.read().produced.batch.count
        assert got == events
    with pytest.raises(queue.Empty):
        stream.read(timeout=0.1)


def test_any_credit_admits_one_event(serving: Any) -> None:
    node: Node = Node("n")
    node.source(lambda: iter([b"x" * 1000] * 3))
    stream = wire.Produce(serving(node))
    stream.opened()
    stream.demand(2, size=1)
    assert stream.read().produced.batch.count == 1
    with pytest.raises(queue.Empty):
        stream.read(timeout=0.1)
    stream.demand(0, size=1500)
    assert stream.read().produced.batch.count == 1


def test_a_partial_frame_goes_after_5_ms(serving: Any) -> None:
    node: Node = Node("n")
    held = threading.Event()

    @node.source
    def slow(ctx: SourceContext) -> Iterator[int]:
        yield 1
        held.wait(wire.DEADLINE)
        yield 2

    stream = wire.Produce(serving(node))
    stream.opened()
    stream.demand(100)
    assert wire.values(stream.read().produced.batch.payload) == [b"1"]
    held.set()
    assert read(stream)[0] == [b"2"]


def test_stop_ends_the_stream_in_order(serving: Any) -> None:
    node: Node = Node("n")
    ended = threading.Event()

    @node.source
    def ticks(ctx: SourceContext) -> Iterator[Any]:
        n = 0
        try:
            while not ctx.stopping.wait(0.001):
                n += 1
                yield Output(n, checkpoint={"n": n})
        finally:
            ended.set()

    stream = wire.Produce(serving(node))
    stream.opened()
    stream.demand(1_000_000)
    stream.read()
    stream.stop()
    rest = stream.rest()
    assert all(r.WhichOneof("response") == "produced" for r in rest)  # no Exhausted: it was asked to stop
    assert ended.wait(wire.DEADLINE)


def test_async_source(serving: Any) -> None:
    node: Node = Node("n")

    @node.source
    async def numbers(ctx: SourceContext) -> AsyncIterator[Any]:
        for n in range(3):
            yield Output(n, key="k", time=n, id=f"own-{n}", source="s", extensions={"x": n})

    stream = wire.Produce(serving(node))
    stream.opened()
    stream.demand(2)
    stream.demand(100)
    values, ids, checkpoint = read(stream)
    assert (values, ids, checkpoint) == ([b"0", b"1", b"2"], ["own-0", "own-1", "own-2"], None)


def test_settled_hook(serving: Any) -> None:
    node = counting(2)
    calls: queue.SimpleQueue[Any] = queue.SimpleQueue()

    @node.settled
    def commit(checkpoint: Any, ctx: SourceContext) -> None:
        calls.put((checkpoint, ctx.node))
        raise OSError("a failing commit is logged and does no harm")

    stream = wire.Produce(serving(node))
    stream.opened()
    stream.demand(10)
    frames = list(stream.frames())
    for checkpoint in (b"1", b"1", b"2"):
        stream.settled(frames[-1].sequence, checkpoint)
    assert [calls.get(timeout=wire.DEADLINE) for _ in range(2)] == [(1, "n"), (2, "n")]
    stream.close()
    assert stream.rest() == []


@pytest.mark.parametrize(
    ("yields", "reason", "text"),
    [
        (
            lambda: iter([Output(1, checkpoint=5), Output(2, checkpoint=5)]),
            reasons.CHECKPOINT_REPEATED,
            "checkpoint b'5'",
        ),
        (lambda: iter([None]), reasons.NO_RESULT, "Output(None)"),
        (lambda: iter([object()]), reasons.OUTPUT_INVALID, "cannot be encoded"),
        (lambda: iter([Output(1, checkpoint="x" * 70_000)]), reasons.ATTRIBUTE_TOO_LARGE, "at most 65536"),
        (lambda: (1 // 0 for _ in range(1)), reasons.SOURCE_FAILED, "ZeroDivisionError"),
    ],
)
def test_faults(serving: Any, yields: Any, reason: str, text: str) -> None:
    node: Node = Node("n")
    node.source(yields)
    stream = wire.Produce(serving(node))
    stream.opened()
    stream.demand(10)
    with pytest.raises(grpc.RpcError) as refused:
        stream.rest()
    assert (refused.value.code(), wire.info(refused.value).reason) == (grpc.StatusCode.ABORTED, reason)
    assert text in refused.value.details()


def test_unreadable_checkpoint(serving: Any) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        wire.Produce(serving(counting(1)), checkpoint=b"\xff").rest()
    assert refused.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert wire.violations(refused.value).keys() == {"checkpoint"}
    assert "start over with --fresh" in refused.value.details()


def test_describe_says_whether_it_replays(serving: Any) -> None:
    [handler] = wire.describe(serving(counting(1, replays=False))).handlers
    assert (handler.replays, handler.partitioned) == (False, False)


def test_source_in_the_kit() -> None:
    result = run(counting(5, every=2))
    assert result.values == [1, 2, 3, 4, 5]
    assert (result.checkpoint, result.exhausted) == (4, True)
    assert run(counting(5), checkpoint=4).values == [5]
    limited = run(counting(5000), limit=10)
    assert limited.values == list(range(1, 11))
    assert not limited.exhausted
