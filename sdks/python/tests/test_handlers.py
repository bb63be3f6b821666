"""Each kind of handler through a real gRPC stream over a Unix socket."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any, TypedDict

import msgspec
import numpy
import pytest
import wire
from pydantic import BaseModel

import meshloom
from meshloom import DROP, Context, Event, Node, Output, Reject, Retry, reasons


@dataclass
class Reading:
    n: int
    name: str = "none"


class ReadingDict(TypedDict):
    n: int


class ReadingStruct(msgspec.Struct):
    n: int


class ReadingModel(BaseModel):
    n: int


def stream(serving: Any, node: Node, **options: Any) -> wire.Process:
    opened = wire.Process(serving(node), **options)
    opened.opened()
    return opened


def test_map_verdicts(serving: Any) -> None:
    node = Node("n", routes=["hot"])

    @node.map
    def handle(event: Event) -> Any:
        do = event.json()["do"]
        if do == "reject":
            raise Reject("no", reason="NO")
        if do == "retry":
            raise Retry("later", after=1.5)
        if do == "cause":
            raise Retry(cause=OSError("disk"))
        if do == "error":
            raise KeyError("missing")
        if do == "exit":
            raise SystemExit(1)
        return {
            "drop": DROP,
            "none": None,
            "event": event,
            "bytes": b"raw",
            "null": Output(None),
            "list": [1],
            "text": "t",
            "bool": numpy.bool_(True),
            "object": object(),
            "route": Output({"r": 1}, route="hot", key="k", type="T", content_type="application/x"),
            "badroute": Output(1, route="cold"),
            "rekey": Output(event, key="new"),
        }.get(do, {"done": do})

    does = [
        "plain",
        "drop",
        "none",
        "event",
        "bytes",
        "null",
        "list",
        "text",
        "bool",
        "object",
        "route",
        "badroute",
        "rekey",
        "reject",
        "retry",
        "cause",
        "error",
        "exit",
    ]
    answer = stream(serving, node).run([{"do": do} for do in does])
    got = {does[parent]: payload for parent, payload in answer.rows}
    assert got == {
        "plain": b'{"done":"plain"}',
        "event": b'{"do": "event"}',
        "bytes": b"raw",
        "null": b"null",
        "list": b"[1]",
        "text": b'"t"',
        "bool": b"true",
        "route": b'{"r":1}',
        "rekey": b'{"do": "rekey"}',
    }
    named = {does[i]: (f.action == wire.REJECT, f.reason) for i, f in answer.failures.items()}
    assert named == {
        "none": (True, reasons.NO_RESULT),
        "object": (True, reasons.OUTPUT_INVALID),
        "badroute": (True, reasons.ROUTE_UNDECLARED),
        "reject": (True, "NO"),
        "retry": (False, "RETRY"),
        "cause": (False, "RETRY"),
        "error": (False, reasons.HANDLER_ERROR),
        "exit": (False, reasons.HANDLER_ERROR),
    }
    assert answer.failures[does.index("retry")].retry_after.ToMilliseconds() == 1500
    assert not answer.failures[does.index("cause")].HasField("retry_after")
    assert "KeyError: 'missing'" in answer.failures[does.index("error")].message
    assert answer.consumed == 1
    order = [does[parent] for parent, _ in answer.rows]
    types = dict(zip(order, answer.types, strict=True))
    assert types["bytes"] == "application/octet-stream"
    assert types["plain"] == "application/json"
    assert types["route"] == "application/x"
    assert types["event"] is None  # unchanged payload keeps the parent's
    assert dict(zip(order, answer.routes, strict=True))["route"] == "hot"
    assert dict(zip(order, answer.keys, strict=True))["rekey"] == "new"


@pytest.mark.parametrize("kind", [Reading, ReadingDict, ReadingStruct, ReadingModel])
def test_typed_payloads(serving: Any, kind: Any) -> None:
    node = Node("n")

    def handle(reading: Any) -> Any:
        assert isinstance(reading, dict if kind is ReadingDict else kind)
        return {"n": reading["n"] if kind is ReadingDict else reading.n}

    handle.__annotations__["reading"] = kind
    node.map(handle)
    answer = stream(serving, node).run([{"n": 3}, {"n": "x"}, b"{", {}])
    assert answer.json() == [(0, {"n": 3})]
    assert answer.reasons() == dict.fromkeys((1, 2, 3), reasons.PAYLOAD_MISMATCH)
    assert all(f.action == wire.REJECT for f in answer.failures.values())
    assert "n`" in answer.failures[1].message  # the field is named
    assert "n`" in answer.failures[3].message


def test_text_bytes_and_any(serving: Any) -> None:
    node = Node("n")

    @node.map
    def handle(line: str) -> str:
        return line.upper()

    answer = stream(serving, node).run([b"abc", b"\xff"])
    assert answer.json() == [(0, "ABC")]
    assert answer.reasons() == {1: reasons.PAYLOAD_MISMATCH}


def test_event_and_context(serving: Any) -> None:
    node = Node("n", config=dict)
    node.setup(lambda config: config["a"] + 1)

    @node.map
    def handle(event: Event, ctx: Context[dict[str, int], int]) -> Any:
        assert meshloom.current().attempt == ctx.attempt
        assert ctx.event.uid == event.uid
        return {
            "uid": event.uid.hex,
            "key": event.key,
            "time": event.time and event.time.isoformat(),
            "ns": event.time_ns,
            "attempt": ctx.attempt,
            "state": ctx.state,
            "config": ctx.config,
            "deadline": ctx.deadline is not None,
            "cancelled": bool(ctx.cancelled),
            "node": [ctx.node, ctx.pipeline, ctx.replica],
            "id": event.id,
            "extensions": dict(event.extensions),
        }

    channel = stream(serving, node, config={"a": 1})
    answer = channel.run([1, 2], keys=["k", None], times=[1_500_000_001, -(2**63)], attempts=[1, 4], timeout=5.0)
    first, second = (value for _, value in answer.json())
    assert first["uid"] == wire.uid(0).hex()
    assert (first["key"], second["key"]) == ("k", None)
    assert (first["time"], first["ns"]) == ("1970-01-01T00:00:01.500000+00:00", 1_500_000_001)
    assert (second["time"], second["ns"]) == (None, None)
    assert (first["attempt"], second["attempt"]) == (1, 4)
    assert (first["state"], first["config"]) == (2, {"a": 1})
    assert first["deadline"] is True
    assert first["cancelled"] is False
    assert first["node"] == ["n", "p", "n/0"]
    with pytest.raises(RuntimeError, match="inside a handler call only"):
        meshloom.current()


def test_filter(serving: Any) -> None:
    node = Node("n")

    @node.filter
    def keep(event: Event) -> Any:
        return {0: True, 1: False, 2: numpy.bool_(True), 3: numpy.bool_(False), 4: 1, 5: None}[event.json()]

    answer = stream(serving, node).run(list(range(6)))
    assert answer.rows == [(0, None), (2, None)]
    assert answer.reasons() == {4: reasons.NOT_BOOL, 5: reasons.NOT_BOOL}
    assert answer.consumed == 2


def test_flat_map(serving: Any) -> None:
    node = Node("n")

    @node.flat_map
    def many(event: Event) -> Any:
        do = event.json()
        if do == "generator":
            return (x for x in (1, 2, 3))
        if do == "fails":

            def failing() -> Iterator[int]:
                yield 1
                raise ValueError("half way")

            return failing()
        return {"list": [Output("a", key="x"), "b"], "empty": [], "dict": {"no": 1}, "none": None, "drop": DROP}[do]

    does = ["generator", "list", "empty", "fails", "dict", "none", "drop"]
    answer = stream(serving, node).run(does)
    assert answer.json() == [(0, 1), (0, 2), (0, 3), (1, "a"), (1, "b")]
    assert answer.reasons() == {3: reasons.HANDLER_ERROR, 4: reasons.NOT_ITERABLE, 5: reasons.NO_RESULT}
    assert answer.consumed == 2


@pytest.mark.parametrize("asynchronous", [False, True])
def test_flat_map_streams_what_is_large(serving: Any, asynchronous: bool) -> None:
    node = Node("n")
    piece = b"x" * 300_000

    def pieces(data: bytes) -> Iterator[bytes]:
        for _ in range(int(data)):
            yield piece
        if data == b"9":
            raise ValueError("at the end")

    async def pieces_async(data: bytes) -> AsyncIterator[bytes]:
        for item in pieces(data):
            yield item

    node.flat_map(pieces_async if asynchronous else pieces)
    node.concurrency = 1
    answer = stream(serving, node).run([b"1", b"10", b"0", b"9", b"2"])
    counts = [sum(1 for parent, _ in answer.rows if parent == i) for i in range(5)]
    assert counts[0] == 1
    assert counts[1] == 10
    assert counts[2] == 0
    assert counts[3] < 9  # what was streamed before the failure stays
    assert counts[4] == 2
    assert answer.reasons() == {3: reasons.HANDLER_ERROR}
    assert answer.consumed == 1
    assert len(answer.results) > 3
    for result, following in zip(answer.results, answer.results[1:], strict=False):
        if result.outputs.continued:
            last = wire.ends(result.outputs.parent)[-1]
            goes_on = following.HasField("outputs") and wire.ends(following.outputs.parent)[0] == last
            assert goes_on or following.failures[0].index == last


def test_sink(serving: Any) -> None:
    node = Node("n")
    seen: list[Any] = []

    @node.sink
    def keep(event: Event) -> None:
        if event.json() == 2:
            raise Retry("not now")
        seen.append(event.json())

    answer = stream(serving, node).run([1, 2, 3])
    assert (seen, answer.rows, answer.reasons(), answer.consumed) == ([1, 3], [], {1: "RETRY"}, 2)


def test_async_handlers_run_side_by_side(serving: Any) -> None:
    node = Node("n", concurrency=8)
    together = asyncio.Barrier(8) if hasattr(asyncio, "Barrier") else None
    running = 0
    most = 0

    @node.map
    async def handle(event: Event) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        if together is not None:
            await together.wait()
        else:
            await asyncio.sleep(0.05)
        running -= 1
        return event.json()

    answer = stream(serving, node).run(list(range(16)))
    assert sorted(answer.json()) == [(i, i) for i in range(16)]
    assert most == 8


def test_def_handlers_run_side_by_side_when_asked(serving: Any) -> None:
    node = Node("n")
    together = threading.Barrier(4, timeout=wire.DEADLINE)

    @node.map
    def handle(event: Event) -> Any:
        together.wait()
        return event.json()

    answer = stream(serving, node, concurrency=4).run(list(range(8)))
    assert sorted(answer.json()) == [(i, i) for i in range(8)]


def test_key_order_within_a_work(serving: Any) -> None:
    from meshloom._pb import process_pb2

    node = Node("n")
    seen: list[int] = []

    @node.map
    def handle(event: Event) -> Any:
        n = event.json()
        seen.append(n)
        if n == 2:
            raise Retry("hold")
        if n == 3:
            raise Reject("gone", reason="GONE")
        return n

    keys = ["a", "b", "a", "b", "a", None, "a", "b"]
    opened = stream(serving, node, ordering=process_pb2.ORDERING_KEY, concurrency=4)
    answer = opened.run(list(range(8)), keys=keys)
    assert answer.reasons() == {2: "RETRY", 3: "GONE", 4: reasons.KEY_HELD, 6: reasons.KEY_HELD}
    assert sorted(n for _, n in answer.json()) == [0, 1, 5, 7]
    assert [n for n in seen if keys[n] == "b"] == [1, 3, 7]
    assert 4 not in seen
    assert 6 not in seen


def test_everything_in_sequence(serving: Any) -> None:
    from meshloom._pb import process_pb2

    node = Node("n")

    @node.filter
    def handle(event: Event) -> bool:
        if event.json() == 1:
            raise Retry("hold")
        return True

    answer = stream(serving, node, ordering=process_pb2.ORDERING_ALL, concurrency=4).run([0, 1, 2])
    assert answer.reasons() == {1: "RETRY", 2: reasons.KEY_HELD}


def test_times_and_extensions_of_outputs(serving: Any) -> None:
    node = Node("n")
    noon = datetime(2020, 1, 1, 12, tzinfo=timezone.utc)

    @node.map
    def handle(event: Event) -> Any:
        n = event.json()
        return [
            Output(0, time=noon, extensions={"a": 1, "b": None}),
            Output(1, time=None, subject=""),
            {"plain": True},
        ][n]

    answer = stream(serving, node).run([0, 1, 2], times=[5, 5, 5])
    out = answer.results[-1].outputs
    times = list(memoryview(out.time).cast("q"))
    assert times == [int(noon.timestamp()) * 10**9, -(2**63), -(2**63) + 1]
    assert {(e.name, e.type) for e in out.extensions} == {("a", 2), ("b", 0)}
    assert wire.column(out.subject, 3) == [None, "", None]


def test_outputs_that_are_too_large_are_rejected(serving: Any) -> None:
    node = Node("n")
    node.map(lambda event: b"x" * (16 * 1024 * 1024 + 1) if event.json() else b"")
    answer = stream(serving, node).run([1, 0])
    assert answer.reasons() == {0: reasons.EVENT_TOO_LARGE}
    assert answer.rows == [(1, b"")]


def test_long_messages_are_cut(serving: Any) -> None:
    node = Node("n")

    @node.map
    def handle(event: Event) -> Any:
        raise ValueError("ü" * 10_000)

    message = stream(serving, node).run([1]).failures[0].message
    assert len(message.encode()) <= 4096
    assert message.startswith("ValueError: üü")


def test_decorated_functions_stay_plain() -> None:
    node = Node("n")

    @node.map
    def double(n: int) -> int:
        return n * 2

    assert double(2) == 4
    with pytest.raises(TypeError, match=r"has a handler already \(map\)"):
        node.filter(lambda event: True)
    with pytest.raises(ValueError, match=r"1 to 64 characters of \[A-Z0-9_\]"):
        Reject("x", reason="lower case")


def test_json_of_results(serving: Any) -> None:
    node = Node("n")
    node.map(lambda event: {"a": numpy.float64(1.5), "m": ReadingModel(n=1), "d": Reading(2), "v": numpy.arange(2)})
    [(_, payload)] = stream(serving, node).run([0]).rows
    assert json.loads(payload) == {"a": 1.5, "m": {"n": 1}, "d": {"n": 2, "name": "none"}, "v": [0, 1]}


def test_results_of_many_types_in_one_work(serving: Any) -> None:
    node: Node = Node("n")
    kinds: dict[bytes, Any] = {
        b"bytes": b"raw",
        b"dict": {"a": 1},
        b"list": [1],
        b"view": memoryview(b"raw"),
        b"text": Output(b"raw", content_type="text/plain"),
        b"drop": DROP,
    }

    @node.map
    def one(payload: bytes) -> Any:
        if payload == b"fail":
            raise ValueError("no")
        return kinds[payload]

    sent = [b"bytes", b"dict", b"dict", b"fail", b"bytes", b"list", b"list", b"view", b"drop", b"text", b"dict"] * 3
    stream = wire.Process(serving(node))
    stream.opened()
    answer = stream.run(sent)
    raw, json_type = "application/octet-stream", "application/json"
    wanted = {b"bytes": (b"raw", raw), b"dict": (b'{"a":1}', json_type), b"list": (b"[1]", json_type)}
    wanted |= {b"view": (b"raw", raw), b"text": (b"raw", "text/plain")}
    left = [(i, *wanted[name]) for i, name in enumerate(sent) if name in wanted]
    assert [(i, data, kind) for (i, data), kind in zip(answer.rows, answer.types, strict=True)] == left
    assert answer.reasons() == {i: reasons.HANDLER_ERROR for i, name in enumerate(sent) if name == b"fail"}
    assert answer.consumed == 3


def test_flat_map_items_of_many_types(serving: Any) -> None:
    node: Node = Node("n")

    @node.flat_map
    def many(payload: bytes) -> Any:
        yield payload
        yield payload
        if payload == b"fail":
            raise ValueError("no")
        yield {"n": 1}
        yield b"end"

    stream = wire.Process(serving(node))
    stream.opened()
    answer = stream.run([b"a", b"fail", b"b"])
    assert answer.rows == [(i, item) for i, p in ((0, b"a"), (2, b"b")) for item in (p, p, b'{"n":1}', b"end")]
    raw, json_type = "application/octet-stream", "application/json"
    assert answer.types == [raw, raw, json_type, raw] * 2
    assert answer.reasons() == {1: reasons.HANDLER_ERROR}
