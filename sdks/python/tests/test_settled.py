"""What a source hears of its events: callbacks of outputs, the hook for checkpoints; how it is stopped."""

from __future__ import annotations

import asyncio
import queue
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
import wire

from meshloom import Node, Output, SourceContext, reasons
from meshloom._pb import produce_pb2


@pytest.mark.parametrize("kind", ["def", "async"])
@pytest.mark.parametrize("replays", [True, False])
def test_each_output_hears_once_that_it_has_settled(serving: Any, kind: str, replays: bool) -> None:
    told: queue.SimpleQueue[int] = queue.SimpleQueue()
    node: Node = Node("n")

    def heard(n: int) -> Any:
        def receipt() -> None:
            told.put(n)
            if n == 1:
                raise OSError("a failing receipt is logged and does no harm")

        async def receipt_async() -> None:
            await asyncio.sleep(0)
            receipt()

        return receipt if kind == "def" else receipt_async

    @node.source(replays=replays)
    def numbers(ctx: SourceContext) -> Iterator[Any]:
        for n in range(1, 5):
            yield Output(n, settled=heard(n) if n != 3 else None)

    stream = wire.Produce(serving(node))
    stream.opened()
    sequences: dict[int, list[int]] = {}
    while sum(map(len, sequences.values())) < 4:
        stream.demand(1)
        frame = stream.read().produced
        sequences[frame.sequence] = [int(value) for value in wire.values(frame.batch.payload)]
    for sequence in (*reversed(sequences), *sequences, 99):  # in any order, and again: nothing is told twice
        stream.send(produce_pb2.ProduceRequest(settled=produce_pb2.Settled(sequence=sequence)))
    assert [told.get(timeout=wire.DEADLINE) for _ in range(3)] == [4, 2, 1]
    stream.close()
    stream.rest()
    assert told.empty()


def test_the_hook_may_be_async(serving: Any) -> None:
    told: queue.SimpleQueue[int] = queue.SimpleQueue()
    node: Node = Node("n")
    node.source(lambda: iter([Output(1, checkpoint=7)]))

    @node.settled
    async def commit(checkpoint: int) -> None:
        await asyncio.sleep(0)
        told.put(checkpoint)

    stream = wire.Produce(serving(node))
    stream.opened()
    stream.demand(1)
    stream.settled(stream.read().produced.sequence, b"7")
    assert told.get(timeout=wire.DEADLINE) == 7


def test_stop_reaches_an_async_source_where_it_waits(serving: Any) -> None:
    node: Node = Node("n")
    ended: queue.SimpleQueue[str] = queue.SimpleQueue()

    @node.source
    async def waiting(ctx: SourceContext) -> AsyncIterator[Any]:
        yield 1
        try:
            await asyncio.Event().wait()
        finally:
            ended.put("cancelled")

    stream = wire.Produce(serving(node))
    stream.opened()
    stream.demand(10)
    assert wire.values(stream.read().produced.batch.payload) == [b"1"]
    stream.stop()
    assert stream.rest() == []  # OK, and not exhausted
    assert ended.get(timeout=wire.DEADLINE) == "cancelled"


def test_what_was_given_before_a_failure_is_sent(serving: Any) -> None:
    node: Node = Node("n")

    @node.source
    def failing(ctx: SourceContext) -> Iterator[Any]:
        yield from (1, 2, 3)
        raise OSError("the connection is gone")

    stream = wire.Produce(serving(node))
    stream.opened()
    stream.demand(10)
    got: list[bytes] = []

    def collect() -> None:
        for frame in stream.frames():
            got.extend(wire.values(frame.batch.payload))

    with pytest.raises(grpc.RpcError) as refused:
        collect()
    assert got == [b"1", b"2", b"3"]
    assert refused.value.code() == grpc.StatusCode.ABORTED
    assert wire.info(refused.value).reason == reasons.SOURCE_FAILED
    assert "OSError: the connection is gone" in refused.value.details()


def test_a_source_is_opened_once(serving: Any) -> None:
    node: Node = Node("n")
    node.source(lambda: iter([]))
    stream = wire.Produce(serving(node))
    stream.send(produce_pb2.ProduceRequest(open=produce_pb2.OpenProduce()))
    with pytest.raises(grpc.RpcError, match="opened once") as refused:
        stream.rest()
    assert wire.info(refused.value).reason == reasons.PROTOCOL_VIOLATION


@dataclass
class Place:
    file: str
    line: int


def test_typed_checkpoints(serving: Any) -> None:
    node: Node = Node("n")
    found: queue.SimpleQueue[Any] = queue.SimpleQueue()

    @node.source(checkpoint=Place)
    def lines(ctx: SourceContext) -> Iterator[Any]:
        found.put(ctx.checkpoint)
        yield Output("x", checkpoint=Place("a", 2))

    node.settled(found.put)
    channel = serving(node)
    with pytest.raises(grpc.RpcError) as refused:
        wire.Produce(channel, checkpoint=b'{"file":"a","line":"one"}').rest()
    assert "Expected `int`, got `str` - at `$.line`" in wire.violations(refused.value)["checkpoint"]
    stream = wire.Produce(channel, checkpoint=b'{"file":"a","line":1}')
    stream.opened()
    stream.demand(1)
    assert found.get(timeout=wire.DEADLINE) == Place("a", 1)
    frame = stream.read().produced
    assert frame.checkpoint == b'{"file":"a","line":2}'
    stream.settled(frame.sequence, frame.checkpoint)
    assert found.get(timeout=wire.DEADLINE) == Place("a", 2)


def test_frames_are_cut_at_the_limits_of_a_batch(serving: Any) -> None:
    node: Node = Node("n")

    @node.source
    def many(ctx: SourceContext) -> Iterator[Any]:
        for n in range(600):
            yield Output(n, subject="s" * 65_536, extensions={f"x{n % 100}": n})

    stream = wire.Produce(serving(node))
    stream.opened()
    stream.demand(1000)
    frames = list(stream.frames())
    assert sum(frame.batch.count for frame in frames) == 600
    assert all(frame.batch.ByteSize() <= 32 << 20 and len(frame.batch.extensions) <= 64 for frame in frames)
