"""Calls that are over the work's timeout, and works that are taken back, in every kind of handler."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import wire

from meshloom import Batch, Context, Emitter, Event, Node, attributes, reasons
from meshloom._pb import batch_pb2, process_pb2
from meshloom.testing import run


def opened(serving: Any, node: Node, **options: Any) -> wire.Process:
    stream = wire.Process(serving(node), **options)
    stream.opened()
    return stream


def running(stream: wire.Process, index: int = 1) -> None:
    """Returns once the call for an event (in a batch: the batch) is told to be under way; others may be answered."""
    while not any(call.index in (index, wire.WHOLE) for call in stream.read().progress.calls):
        pass


def slow(kind: str, ended: threading.Event) -> Node:
    """A node whose call for the payload 1 lasts until it is cancelled (or, deaf, is not to be cancelled)."""
    node: Node = Node("n", concurrency=1)

    def wait(ctx: Context) -> None:
        assert ctx.cancelled.wait(wire.DEADLINE)
        ended.set()

    def deaf(ctx: Context) -> None:
        assert ctx.deadline is not None
        time.sleep(max(0.0, ctx.deadline - time.monotonic()) + 0.2)  # a look at the clock of the lanes later
        ended.set()

    async def sleep() -> None:
        try:
            await asyncio.sleep(2 * wire.DEADLINE)
        except asyncio.CancelledError:
            ended.set()
            raise

    def handle(event: Event, ctx: Context) -> Any:
        if event.json() == 1:
            wait(ctx) if kind == "def" else deaf(ctx)
        return event

    async def handle_async(event: Event, ctx: Context) -> Any:
        if event.json() == 1:
            await sleep()
        return event

    def many(event: Event, ctx: Context) -> Iterator[Any]:
        yield event
        if event.json() == 1:
            wait(ctx)
            yield event

    async def many_async(event: Event, ctx: Context) -> AsyncIterator[Any]:
        yield event
        if event.json() == 1:
            await sleep()

    def whole(batch: Batch, out: Emitter, ctx: Context) -> None:
        if batch.json() != [0]:
            wait(ctx)
        out.pass_through(slice(None))

    async def whole_async(batch: Batch, out: Emitter, ctx: Context) -> None:
        if batch.json() != [0]:
            await sleep()
        out.pass_through(slice(None))

    if "batch" in kind:
        node.batch(whole_async if "async" in kind else whole)
    elif "flat" in kind:
        node.flat_map(many_async if "async" in kind else many)
    else:
        node.map(handle_async if "async" in kind else handle)
    return node


@pytest.mark.parametrize("kind", ["def", "deaf", "async", "flat", "async flat", "batch", "async batch"])
def test_a_call_over_its_time_is_retried_and_others_go_on(serving: Any, kind: str) -> None:
    ended = threading.Event()
    stream = opened(serving, slow(kind, ended))
    answer = stream.run([0, 1, 0], timeout=0.3)
    if "batch" in kind:
        assert answer.reasons() == {wire.WHOLE: reasons.TIMEOUT}
        assert answer.consumed == 0
    else:
        assert answer.reasons() == {1: reasons.TIMEOUT}
        assert sorted({parent for parent, _ in answer.rows}) == [0, 2]
    assert all(f.action == wire.RETRY for f in answer.failures.values())
    assert ended.is_set()
    assert stream.run([0], timeout=wire.DEADLINE).reasons() == {}  # the stream goes on


@pytest.mark.parametrize("kind", ["def", "async", "flat", "async flat", "batch", "async batch"])
def test_a_work_that_is_taken_back(serving: Any, kind: str) -> None:
    ended = threading.Event()
    stream = opened(serving, slow(kind, ended))
    sequence = stream.work([0, 1, 0])
    running(stream)
    stream.cancel(sequence)
    stream.cancel(99)  # not in hand: ignored
    answer = wire.Answer(stream.results(sequence))
    expected = {wire.WHOLE} if "batch" in kind else {1, 2}
    assert answer.reasons() == dict.fromkeys(expected, reasons.CANCELLED)
    assert ended.is_set()
    assert stream.run([0]).reasons() == {}


def test_a_cancelled_call_leaves_nothing_to_the_next(serving: Any) -> None:
    """A task that was cancelled once must not make asyncio.timeout in the next call believe that it is."""
    node: Node = Node("n", concurrency=1)

    @node.map
    async def handle(event: Event) -> Any:
        if event.json() == 0:
            await asyncio.sleep(2 * wire.DEADLINE)
        return await asyncio.wait_for(asyncio.sleep(0, "fine"), wire.DEADLINE)

    answer = opened(serving, node).run([0, 1], timeout=0.1)
    assert (answer.reasons(), answer.json()) == ({0: reasons.TIMEOUT}, [(1, "fine")])


def test_the_events_of_its_key_wait_for_one_over_its_time(serving: Any) -> None:
    stream = opened(serving, slow("async", threading.Event()), ordering=process_pb2.ORDERING_KEY)
    answer = stream.run([1, 0, 0], keys=["a", "a", "b"], timeout=0.1)
    assert answer.reasons() == {0: reasons.TIMEOUT, 1: reasons.KEY_HELD}


def test_those_behind_one_that_was_taken_back_are_taken_back(serving: Any) -> None:
    stream = opened(serving, slow("async", threading.Event()), ordering=process_pb2.ORDERING_KEY)
    sequence = stream.work([1, 0], keys=["a", "a"])
    running(stream, 0)
    stream.cancel(sequence)
    answer = wire.Answer(stream.results(sequence))
    assert answer.reasons() == dict.fromkeys((0, 1), reasons.CANCELLED)


def test_spans_say_so() -> None:
    [span] = run(slow("async", threading.Event()), [1], sampled=True, timeout=0.1).spans
    assert (span.attributes[attributes.VERDICT], span.attributes[attributes.ERROR_TYPE]) == ("retry", reasons.TIMEOUT)


def test_in_order_of_all_one_call_at_a_time(serving: Any) -> None:
    node: Node = Node("n", concurrency=8)
    running: list[int] = []
    most: list[int] = []

    @node.map
    def handle(event: Event) -> Any:
        running.append(1)
        most.append(len(running))
        time.sleep(0.01)
        running.pop()
        return event

    stream = opened(serving, node, ordering=process_pb2.ORDERING_ALL, concurrency=4)
    works = [stream.work([0] * 5) for _ in range(4)]
    for work in works:
        assert len(wire.Answer(stream.results(work)).rows) == 5
    assert max(most) == 1


def test_limits_of_outputs_reject_their_input_alone(serving: Any) -> None:
    from meshloom import Output

    made = {
        "key": lambda: Output(1, key="k" * 1025),
        "type": lambda: Output(1, type="t" * 65_537),
        "extension": lambda: Output(1, extensions={"x": "v" * 65_537}),
        "extensions": lambda: Output(1, extensions={f"x{i}": 1 for i in range(65)}),
        "size": lambda: b"x" * ((16 << 20) + 1),
        "name": lambda: Output(1, extensions={"Bad": 1}),
        "time": lambda: Output(1, time="soon"),
        "object": lambda: object(),
        "route": lambda: Output(1, route="cold"),
        "checkpoint": lambda: Output(1, checkpoint=1),
        "fine": lambda: Output(1, extensions={f"x{i}": 1 for i in range(64)}, key="k" * 1024),
    }
    one: Node = Node("one")
    one.map(lambda event: made[event.json()]())
    whole: Node = Node("whole")

    @whole.batch
    def each(batch: Batch, out: Emitter) -> None:
        for row, name in enumerate(batch.json()):
            out.emit(row, made[name]())
            out.emit(row, "more")  # of a row that is rejected already nothing is taken any more

    expected = {
        "key": "ATTRIBUTE_TOO_LARGE",
        "type": "ATTRIBUTE_TOO_LARGE",
        "extension": "ATTRIBUTE_TOO_LARGE",
        "extensions": "TOO_MANY_EXTENSIONS",
        "size": "EVENT_TOO_LARGE",
        "route": "ROUTE_UNDECLARED",
    } | dict.fromkeys(("name", "time", "object", "checkpoint"), "OUTPUT_INVALID")
    names = list(made)
    channel = serving(one, whole)
    for handler in ("one", "whole"):
        stream = wire.Process(channel, handler=handler)
        stream.opened()
        answer = stream.run(names)
        assert {names[i]: reason for i, reason in answer.reasons().items()} == expected
        assert all(failed.action == wire.REJECT for failed in answer.failures.values())
        assert {names[parent] for parent, _ in answer.rows} == {"fine"}


def test_results_are_cut_at_the_limits_of_a_batch(serving: Any) -> None:
    from meshloom import Output

    node: Node = Node("n")
    node.map(lambda event: Output(event.json(), subject="s" * 65_536, extensions={f"x{event.json()}": 1}))
    answer = opened(serving, node).run(list(range(600)))
    assert [parent for parent, _ in answer.rows] == list(range(600))
    for result in answer.results:
        assert len(result.outputs.extensions) <= 64
        assert result.outputs.ByteSize() <= 32 << 20
    mixed: Node = Node("n")
    mixed.map(lambda event: event if event.data[0] else b"\1" * (15 << 20))
    batch = wire.batch([b"\1" * (15 << 20), b"\0", b"\1" * (15 << 20), b"\0"])
    answer = opened(serving, mixed).run(batch)
    assert [len(payload) for _, payload in answer.rows if payload is not None].count(15 << 20) >= 2
    assert len(answer.rows) == 4
    assert all(result.outputs.ByteSize() <= 32 << 20 for result in answer.results)


def test_a_row_named_twice_or_not_there_retries_the_batch(serving: Any) -> None:
    wrong = {"twice": lambda out: (out.drop(0), out.drop(0)), "absent": lambda out: out.reject([7])}
    node: Node = Node("n")

    @node.batch
    def handle(batch: Batch, out: Emitter) -> None:
        wrong[batch.json()[0]](out)

    stream = opened(serving, node)
    for name in wrong:
        answer = stream.run([name, name])
        assert answer.reasons() == {wire.WHOLE: reasons.RESULT_INDEX_REPEATED}
        assert answer.failures[wire.WHOLE].action == wire.RETRY
        assert f"{__file__}:" in answer.failures[wire.WHOLE].message  # the user's line, not the SDK's


def test_timestamps_of_extensions_keep_their_nanoseconds(serving: Any) -> None:
    from meshloom import Output

    node: Node = Node("n")
    node.map(lambda event: Output(event, extensions=event.extensions))
    batch = wire.batch([1])
    raw = (1_234_567_890_123_456_789).to_bytes(8, "little")
    values = batch_pb2.Values(data=raw, ends=(8).to_bytes(4, "little"))
    batch.extensions.append(batch_pb2.Extension(name="at", type=batch_pb2.EXTENSION_TYPE_TIMESTAMP, values=values))
    [extension] = opened(serving, node).run(batch).results[-1].outputs.extensions
    assert (extension.type, extension.values.data) == (batch_pb2.EXTENSION_TYPE_TIMESTAMP, raw)
