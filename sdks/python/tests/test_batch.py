"""Batch handlers: columns in, outputs and verdicts by row."""

from __future__ import annotations

from typing import Any

import numpy
import pandas
import pytest
import wire

from meshloom import Batch, Context, Emitter, Node, Output, Reject, Retry, reasons
from meshloom._pb import process_pb2
from meshloom.testing import run


def answer_of(serving: Any, handler: Any, payloads: Any, **options: Any) -> wire.Answer:
    node = Node("n", routes=["hot"])
    node.batch(handler)
    stream = wire.Process(serving(node))
    stream.opened()
    return stream.run(payloads, **options)


def test_verdicts_by_row(serving: Any) -> None:
    def handle(batch: Batch, out: Emitter, ctx: Context) -> None:
        assert ctx.attempt == 3
        assert list(batch.attempts) == [1, 3, 1, 1, 1, 1, 1]
        out.emit(0, {"a": 1}, key="k", route="hot")
        out.emit(0, {"a": 2})
        out.drop(1)
        out.reject([2], "no", reason="NO")
        out.retry(3, "later", after=2)
        out.pass_through([4], key="new")
        out.pass_through(numpy.array([False] * 5 + [True, False]))

    answer = answer_of(serving, handle, list(range(7)), attempts=[1, 3, 1, 1, 1, 1, 1])
    assert answer.rows == [(0, b'{"a":1}'), (0, b'{"a":2}'), (4, b"4"), (5, b"5")]
    assert answer.keys == ["k", None, "new", None]
    assert answer.routes == ["hot", None, None, None]
    assert answer.reasons() == {2: "NO", 3: "RETRY", 6: reasons.UNACCOUNTED}
    assert answer.failures[6].action == wire.RETRY
    assert answer.failures[3].retry_after.ToMilliseconds() == 2000
    assert answer.consumed == 1


def test_dataframes_and_masks(serving: Any) -> None:
    def handle(batch: Batch, out: Emitter) -> None:
        frame = batch.to_pandas()
        bad = frame.celsius.isna()
        out.reject(bad, "no temperature", reason="NO_TEMPERATURE")
        good = frame[~bad].assign(twice=frame.celsius[~bad] * 2)
        out.rows(good, parents=good.index, key=good.sensor)

    rows = [{"sensor": "a", "celsius": 1.5}, {"sensor": "b"}, {"sensor": "c", "celsius": 2.0}]
    answer = answer_of(serving, handle, rows)
    assert answer.json() == [
        (0, {"sensor": "a", "celsius": 1.5, "twice": 3.0}),
        (2, {"sensor": "c", "celsius": 2.0, "twice": 4.0}),
    ]
    assert answer.keys == ["a", "c"]
    assert answer.reasons() == {1: "NO_TEMPERATURE"}


def test_columns(serving: Any) -> None:
    def handle(batch: Batch, out: Emitter) -> None:
        assert [bytes(p) for p in batch.payloads()] == [b'{"a": 1}', b'{"a": "x"}']
        assert all(isinstance(p, memoryview) for p in batch.payloads())
        assert list(batch.offsets) == [0, 8, 18]
        assert bytes(batch.data[8:18]) == b'{"a": "x"}'
        assert bytes(batch.uids) == wire.uid(0) + wire.uid(1)
        assert batch.keys == ["k", None]
        assert batch.times_ns is not None
        assert list(batch.times_ns) == [1, 2]
        assert batch.event(1).json() == {"a": "x"}
        assert len(batch) == len(list(batch)) == 2
        numbers = batch.to_numpy("a", "b")
        assert numbers.shape == (2, 2)
        assert numbers[0, 0] == 1
        assert numpy.isnan(numbers[1, 0])
        assert batch.json() == [{"a": 1}, {"a": "x"}]
        out.whole({"rows": len(batch)}, key="sum")

    answer = answer_of(serving, handle, [{"a": 1}, {"a": "x"}], keys=["k", None], times=[1, 2])
    assert answer.json() == [(wire.WHOLE, {"rows": 2})]
    assert answer.keys == ["sum"]
    assert (answer.failures, answer.consumed) == ({}, 2)


def test_arrow() -> None:
    node = Node("n")

    @node.batch
    def handle(batch: Batch, out: Emitter) -> None:
        table = batch.to_arrow()
        assert table.column("a").to_pylist() == [1, 2]
        out.drop(slice(None))

    assert run(node, [{"a": 1}, {"a": 2}]).dropped == [0, 1]


def test_misfits_are_rejected_by_row() -> None:
    node = Node("n")

    @node.batch
    def handle(batch: Batch, out: Emitter) -> None:
        values = batch.valid(int, out)
        out.rows(values.values(), parents=values)

    result = run(node, [1, "x", b"{", 4])
    assert [(o.parent, o.json()) for o in result.outputs] == [(0, 1), (3, 4)]
    assert [(r.index, r.reason) for r in result.rejected] == [(1, "PAYLOAD_MISMATCH"), (2, "PAYLOAD_MISMATCH")]


@pytest.mark.parametrize(
    ("error", "action", "reason"),
    [
        (ValueError("boom"), wire.RETRY, reasons.HANDLER_ERROR),
        (Retry("later"), wire.RETRY, "RETRY"),
        (Reject("all", reason="ALL"), wire.REJECT, "ALL"),
    ],
)
def test_exception_is_of_the_whole_batch(serving: Any, error: Exception, action: int, reason: str) -> None:
    def handle(batch: Batch, out: Emitter) -> None:
        out.drop(0)
        raise error

    answer = answer_of(serving, handle, [1, 2])
    assert answer.rows == []
    assert answer.reasons() == {wire.WHOLE: reason}
    assert answer.failures[wire.WHOLE].action == action


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda out: (out.drop(0), out.emit(0, 1)), "row 0 is dropped already and cannot be emitted too"),
        (lambda out: out.drop(5), "there is no row 5 in a batch of 2"),
        (lambda out: out.drop([True]), "a mask of 1 truth values for 2 rows"),
        (lambda out: out.rows([1], parents=[0, 1]), "1 values for 2 parents"),
        (lambda out: out.rows([1, 2], key=["a"]), "key has 1 values for 2 outputs"),
        (lambda out: out.emit(0, None), "Output(None) is JSON null"),
        (lambda out: out.reject(0, reason="bad reason"), "[A-Z0-9_]"),
    ],
)
def test_misuse_says_what_is_wrong(serving: Any, wrong: Any, message: str) -> None:
    answer = answer_of(serving, lambda batch, out: wrong(out), [1, 2])
    assert message in answer.failures[wire.WHOLE].message


def test_async_batch(serving: Any) -> None:
    async def handle(batch: Batch, out: Emitter) -> None:
        out.rows([Output(event.json(), type="t") for event in batch])

    assert answer_of(serving, handle, [1, 2]).json() == [(0, 1), (1, 2)]


def test_large_answers_are_cut(serving: Any) -> None:
    piece = b"x" * (6 * 1024 * 1024)

    def handle(batch: Batch, out: Emitter) -> None:
        for _ in range(5):
            out.emit(0, piece)
        out.emit(1, b"end")

    answer = answer_of(serving, handle, [1, 2])
    assert [parent for parent, _ in answer.rows] == [0] * 5 + [1]
    assert len(answer.results) == 3
    assert [r.outputs.continued for r in answer.results] == [True, True, False]


def test_series_of_routes() -> None:
    node = Node("n", routes=["hot"])

    @node.batch
    def handle(batch: Batch, out: Emitter) -> None:
        out.rows(batch.json(), route=pandas.Series([None, "hot"]))

    assert [o.route for o in run(node, [1, 2]).outputs] == [None, "hot"]


def test_rows_behind_one_that_comes_again_are_held(serving: Any) -> None:
    node = Node("n", concurrency=1)

    @node.batch
    def handle(batch: Batch, out: Emitter) -> None:
        for row, value in enumerate(batch.json()):
            if value == "retry":
                out.retry(row, "later")
            elif value == "reject":
                out.reject(row, reason="BAD")
            elif value == "drop":
                out.drop(row)
            elif value != "forget":
                out.emit(row, value)
                out.emit(row, value + "!")

    values = ["a0", "retry", "a2", "drop", "reject", "b5", "none", "forget", "c8", "reject", "d10"]
    keys = ["a", "a", "a", "a", "a", "b", None, "c", "c", "d", "d"]

    address = serving(node)

    def stream(ordering: Any) -> wire.Process:
        opened = wire.Process(address, ordering=ordering)
        opened.opened()
        return opened

    keyed = stream(process_pb2.ORDERING_KEY).run(values, keys=keys)
    held = dict.fromkeys([2, 3, 4, 8], reasons.KEY_HELD)
    assert keyed.reasons() == {1: "RETRY", **held, 7: "UNACCOUNTED", 9: "BAD"}
    assert sorted({row for row, _ in keyed.json()}) == [0, 5, 6, 10]
    assert keyed.consumed == 0
    everything = stream(process_pb2.ORDERING_ALL).run(["a", "retry", "drop", "c"])
    assert everything.reasons() == {1: "RETRY", 2: reasons.KEY_HELD, 3: reasons.KEY_HELD}
    free = stream(process_pb2.ORDERING_NONE).run(values[:4], keys=keys[:4])
    assert free.reasons() == {1: "RETRY"}


READINGS = [{"sensor": "a", "celsius": 1.5}, {"sensor": "b", "celsius": None}, {"sensor": "c", "celsius": 2.0}]
GOOD = [{"sensor": "a", "celsius": 2.5}, {"sensor": "c", "celsius": 3.0}]


def with_pandas(batch: Batch, out: Emitter) -> None:
    frame = batch.to_pandas()
    missing = frame.celsius.isna()
    out.reject(missing, reason="NO")
    good = frame[~missing].assign(celsius=frame.celsius[~missing] + 1)
    out.rows(good, parents=good.index, key=good.sensor)


def with_arrow(batch: Batch, out: Emitter) -> None:
    from pyarrow import array, compute

    table = batch.to_arrow().append_column("row", array(range(len(batch))))
    out.reject(compute.is_null(table["celsius"]), reason="NO")
    good = table.filter(compute.is_valid(table["celsius"]))
    parents = good["row"]
    good = good.drop_columns("row").set_column(1, "celsius", compute.add(good["celsius"], 1.0))
    out.rows(good, parents=parents, key=good["sensor"])


def with_numpy(batch: Batch, out: Emitter) -> None:
    celsius = batch.to_numpy("celsius")[:, 0]
    missing = numpy.isnan(celsius)
    out.reject(missing, reason="NO")
    sensors = numpy.array([reading["sensor"] for reading in batch.json()])[~missing]
    columns = {"sensor": sensors, "celsius": celsius[~missing] + 1}
    out.rows(columns, parents=numpy.flatnonzero(~missing), key=sensors)


@pytest.mark.parametrize("handler", [with_pandas, with_arrow, with_numpy])
def test_there_and_back(handler: Any) -> None:
    node: Node = Node("n")
    node.batch(handler)
    result = run(node, READINGS)
    assert result.values == GOOD
    assert [(output.parent, output.key) for output in result.outputs] == [(0, "a"), (2, "c")]
    assert result.reasons == {1: "NO"}


def test_times_and_missing_values_of_tables() -> None:
    node: Node = Node("n")

    @node.batch
    def handle(batch: Batch, out: Emitter) -> None:
        frame = pandas.DataFrame(
            {"at": pandas.to_datetime(["2020-01-01T00:00:00Z", None]), "n": pandas.array([1, None], dtype="Int64")}
        )
        out.rows(frame, time=pandas.Series([5, 6]))

    result = run(node, [0, 1])
    assert result.values == [{"at": "2020-01-01T00:00:00Z", "n": 1}, {"at": None, "n": None}]
    assert [output.time_ns for output in result.outputs] == [5, 6]


def test_columns_of_different_lengths() -> None:
    node: Node = Node("n")
    node.batch(lambda batch, out: out.rows({"a": [1], "b": [1, 2]}))
    [failed] = run(node, [0]).retried
    assert "columns of different lengths (a: 1, b: 2)" in failed.message
