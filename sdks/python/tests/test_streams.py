"""Cancel, timeout, limits, progress, drain: what a stream does when things take long or end."""

from __future__ import annotations

import threading
import time
from typing import Any

import grpc
import pytest
import wire
from grpc_health.v1 import health_pb2, health_pb2_grpc

from meshloom import Context, Event, Limits, Node, Server, reasons
from meshloom._session import ProcessSession


def opened(serving: Any, node: Node, **options: Any) -> wire.Process:
    stream = wire.Process(serving(node), **options)
    stream.opened()
    return stream


def test_cancel_reaches_a_def_handler(serving: Any) -> None:
    node: Node = Node("n")
    began = threading.Event()

    @node.map
    def handle(event: Event, ctx: Context) -> Any:
        if event.json() == 1:
            began.set()
            assert ctx.cancelled.wait(wire.DEADLINE)
        return event.json()

    stream = opened(serving, node)
    sequence = stream.work([0, 1, 2])
    assert began.wait(wire.DEADLINE)
    stream.cancel(sequence)
    answer = wire.Answer(stream.results(sequence))
    assert answer.json() == [(0, 0)]  # what was done stays done
    assert answer.reasons() == {1: reasons.CANCELLED, 2: reasons.CANCELLED}
    assert stream.run([0]).json() == [(0, 0)]  # the stream goes on


def test_blocking_handlers_block_neither_health_nor_progress(serving: Any) -> None:
    node: Node = Node("n")
    release = threading.Event()
    node.map(lambda event: event if event.json() == "free" else release.wait(wire.DEADLINE))
    channel = serving(node)
    stream = wire.Process(channel)
    stream.opened()
    sequence = stream.work([0, 1])
    health = health_pb2_grpc.HealthStub(channel)
    checked = health.Check(health_pb2.HealthCheckRequest(), timeout=wire.DEADLINE)
    assert checked.status == health_pb2.HealthCheckResponse.SERVING
    assert wire.describe(channel).sdk.language == "python"
    beside = wire.Process(channel)
    beside.opened()
    assert beside.run(["free"]).rows == [(0, None)]  # a new stream flows
    ages: list[int] = []
    while len(ages) < 2:
        response = stream.read()
        assert response.WhichOneof("response") == "progress"
        for call in response.progress.calls:
            assert (call.sequence, call.index) == (sequence, 0)
            ages.append(call.age.ToMilliseconds())
    assert ages[0] < ages[1]
    release.set()
    assert len(wire.Answer(stream.results(sequence)).rows) == 2


def test_limits_are_held(serving: Any) -> None:
    node: Node = Node("n", limits=Limits(works=1, batch_events=3, batch_bytes=2000))
    release = threading.Event()
    node.map(lambda event: release.wait(wire.DEADLINE))
    channel = serving(node)
    stream = wire.Process(channel)
    limits = stream.opened().limits
    assert (limits.max_in_flight_works, limits.max_batch_events) == (1, 3)
    held = stream.work([0])
    refused = stream.work([0])
    assert wire.Answer(stream.results(refused)).reasons() == {wire.WHOLE: reasons.LIMITS_EXCEEDED}
    release.set()
    stream.results(held)
    assert stream.run([0] * 4).reasons() == {wire.WHOLE: reasons.BATCH_TOO_LARGE}
    assert stream.run([b"x" * 2000]).reasons() == {wire.WHOLE: reasons.BATCH_TOO_LARGE}
    assert len(stream.run([0] * 3).rows) == 3


def test_a_sequence_is_used_once(serving: Any) -> None:
    node: Node = Node("n")
    release = threading.Event()
    node.map(lambda event: release.wait(wire.DEADLINE))
    stream = opened(serving, node)
    stream.work([0])
    stream._next -= 1
    stream.work([0])
    with pytest.raises(grpc.RpcError, match="sequence 1 is in hand already") as refused:
        stream.rest()
    release.set()
    assert wire.info(refused.value).reason == reasons.PROTOCOL_VIOLATION


def test_half_close_answers_what_is_held(serving: Any) -> None:
    node: Node = Node("n")
    release = threading.Event()
    node.map(lambda event: release.wait(wire.DEADLINE) and event.json())
    stream = opened(serving, node)
    for n in range(3):
        stream.work([n])
    stream.close()
    release.set()
    results = [r.result for r in stream.rest() if r.WhichOneof("response") == "result"]
    assert [(r.sequence, r.last) for r in results] == [(1, True), (2, True), (3, True)]


def test_stop_drains(sockets: Any) -> None:
    node: Node = Node("n")
    began, release = threading.Event(), threading.Event()

    @node.map
    def handle(event: Event) -> Any:
        began.set()
        release.wait(wire.DEADLINE)
        return event.json()

    server = Server([node], f"unix:{sockets}/s")
    with grpc.insecure_channel(server.address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        stream = wire.Process(channel)
        stream.opened()
        sequence = stream.work([5])
        assert began.wait(wire.DEADLINE)
        stopping = threading.Thread(target=server.stop)
        stopping.start()
        assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watch.cancel()
        release.set()
        assert wire.Answer(stream.results(sequence)).json() == [(0, 5)]
        assert stream.rest() == []  # ends with OK
        stopping.join(wire.DEADLINE)
        assert not stopping.is_alive()


def test_slow_events_do_not_hold_back_results(serving: Any) -> None:
    node: Node = Node("n")
    release = threading.Event()

    @node.map
    def handle(event: Event) -> Any:
        if event.json() == 1:
            time.sleep(0.15)  # longer than results may wait
        if event.json() == 2:
            release.wait(wire.DEADLINE)
        return event.json()

    stream = opened(serving, node)
    sequence = stream.work([0, 1, 2])
    first = stream.read().result
    assert (first.outputs.count, first.last) == (2, False)
    release.set()
    assert [r.outputs.count for r in stream.results(sequence)] == [1]


def test_a_vanished_coordinator_cancels_the_work(serving: Any) -> None:
    node: Node = Node("n")
    began, ended = threading.Event(), threading.Event()

    @node.map
    def handle(event: Event, ctx: Context) -> Any:
        began.set()
        if ctx.cancelled.wait(wire.DEADLINE):
            ended.set()
        return 1

    stream = opened(serving, node)
    stream.work([0])
    assert began.wait(wire.DEADLINE)
    stream.call.cancel()
    assert ended.wait(wire.DEADLINE)


def test_streams_leave_no_threads(serving: Any) -> None:
    def ours() -> int:
        """gRPC keeps its pool's threads; ours must end with their streams."""
        prefixes = ("meshloom-read", "meshloom-progress", "meshloom-worker")
        return sum(thread.name.startswith(prefixes) for thread in threading.enumerate())

    node: Node = Node("n")
    node.filter(lambda event: True)
    channel = serving(node)
    before = ours()
    for _ in range(20):
        stream = wire.Process(channel)
        stream.opened()
        assert len(stream.run([0] * 10).rows) == 10
        stream.close()
        assert stream.rest() == []
    deadline = time.monotonic() + wire.DEADLINE
    while ours() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert ours() <= before


def test_progress_tells_the_age_of_the_call_not_of_the_work(serving: Any) -> None:
    node: Node = Node("n")
    slow = threading.Event()
    began: list[float] = []

    @node.sink
    def handle(payload: bytes) -> None:
        began.append(time.monotonic())
        if payload == b"last":
            slow.wait(wire.DEADLINE)
        else:
            time.sleep(0.1)

    stream = opened(serving, node)
    sequence = stream.work([b"quick"] * 12 + [b"last"])
    reported: set[int] = set()
    while 12 not in reported:
        response = stream.read()
        if response.WhichOneof("response") == "progress":
            [call] = response.progress.calls
            assert call.age.ToNanoseconds() / 1e9 <= time.monotonic() - began[call.index]
            reported.add(call.index)
    slow.set()
    assert wire.Answer(stream.results(sequence)).consumed == 13


def test_a_work_is_out_of_hand_before_its_last_result_is_read(serving: Any, monkeypatch: Any) -> None:
    """Otherwise a coordinator that answers at once with the next work is refused LIMITS_EXCEEDED."""
    in_hand: list[bool] = []
    send = ProcessSession._send

    def watched(session: ProcessSession, response: Any, size: int) -> None:
        if response.result.last:
            in_hand.append(response.result.sequence in session._works)
        send(session, response, size)

    monkeypatch.setattr(ProcessSession, "_send", watched)
    node: Node = Node("n")
    node.filter(lambda event: True)
    stream = opened(serving, node)
    stream.run([0])
    assert in_hand == [False]
