"""The test kit, the README's first node, and the project's own Python nodes in it."""

from __future__ import annotations

import importlib.util
import json
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from meshloom import (
    Batch,
    ConfigError,
    Context,
    Emitter,
    Event,
    Node,
    Output,
    Reject,
    Retry,
    Timestamp,
    reasons,
)
from meshloom.testing import run

ROOT = Path(__file__).resolve().parents[3]


def load(path: Path, name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def test_splits_and_redelivery() -> None:
    node: Node = Node("n")
    batches: set[int] = set()

    @node.map
    def handle(event: Event, ctx: Context) -> Any:
        batches.add(ctx._work.sequence)
        if event.json() == 3 and ctx.attempt < 3:
            raise Retry("again", after=1)
        if event.json() == 4:
            raise Reject("no", reason="NO")
        return {"n": event.json(), "attempt": ctx.attempt}

    result = run(node, list(range(7)), splits=3, attempts=10)
    assert len(batches) == 3 + 2
    assert {v["n"]: v["attempt"] for v in result.values} == {0: 1, 1: 1, 2: 1, 3: 3, 5: 1, 6: 1}
    assert [(r.index, r.attempt, r.after) for r in result.retried] == [(3, 1, 1.0), (3, 2, 1.0)]
    assert [(r.index, r.reason, r.message) for r in result.rejected] == [(4, "NO", "no")]
    once = run(node, [3])
    assert (once.values, len(once.retried)) == ([], 1)


def test_events_with_attributes() -> None:
    node: Node = Node("n", routes=["side"])

    @node.map
    def handle(event: Event) -> Any:
        return Output({"key": event.key, "type": event.type}, route="side", subject="s")

    [output] = run(node, [Output({}, key="k", type="t", time=5)]).outputs
    assert output.json() == {"key": "k", "type": "t"}
    assert (output.parent, output.route, output.key, output.subject, output.time_ns) == (0, "side", "k", "s", 5)


def test_refused_config() -> None:
    node: Node = Node("n")
    node.filter(lambda event: True)
    with pytest.raises(ConfigError, match="unknown"):
        run(node, [1], config={"x": 1})


def test_events_come_twice() -> None:
    node: Node = Node("n")
    seen: list[Any] = []

    @node.map
    def handle(event: Event, ctx: Context) -> Any:
        seen.append((event.uid, ctx.attempt))
        return event

    result = run(node, [1, 2], redeliver=True)
    assert result.redelivered is not None
    assert (result.values, result.redelivered.values) == ([1, 2], [1, 2])
    assert [uid for uid, _ in seen[:2]] == [uid for uid, _ in seen[2:]]
    assert [attempt for _, attempt in seen] == [1, 1, 2, 2]


def test_random_batches_have_a_seed(capsys: pytest.CaptureFixture[str]) -> None:
    node: Node = Node("n")
    sizes: list[int] = []

    @node.batch
    def handle(batch: Batch, out: Emitter) -> None:
        sizes.append(len(batch))
        out.pass_through(slice(None))

    result = run(node, list(range(100)), splits="random")
    assert result.values == list(range(100))
    assert f"seed={result.seed})" in capsys.readouterr().out
    first, sizes[:] = list(sizes), []
    assert run(node, list(range(100)), splits="random", seed=result.seed).seed == result.seed
    assert sizes == first
    assert sum(sizes) == 100
    different = {tuple(sizes)}
    for seed in range(10):
        sizes.clear()
        run(node, list(range(100)), splits="random", seed=seed)
        different.add(tuple(sizes))
    assert len(different) > 5


def test_a_batch_that_is_taken_back() -> None:
    node: Node = Node("n")
    began = threading.Event()

    @node.map
    def handle(event: Event, ctx: Context) -> Any:
        if event.json() == 1:
            began.set()
            assert ctx.cancelled.wait(60)
        return event

    result = run(node, [0, 1, 2], cancel=began, timeout=None)
    assert result.values == [0]
    assert result.reasons == {1: reasons.CANCELLED, 2: reasons.CANCELLED}


def test_what_a_run_tells() -> None:
    node: Node = Node("n")

    @node.flat_map
    def handle(event: Event) -> Any:
        if event.json() == 0:
            raise Reject("no", reason="NO")
        return [Output(str(n), extensions={"n": n, "gone": None}, data_schema="s") for n in range(event.json())]

    result = run(node, [0, Output(2, extensions={"gone": 1, "kept": Timestamp.of_ns(5)})])
    assert result.reasons == {0: "NO"}
    assert [output.text() for output in result.of(1)] == ['"0"', '"1"']
    assert (result.of(1)[1].extensions, result.of(0)) == ({"n": 1, "kept": Timestamp.of_ns(5)}, [])
    assert (result.of(1)[0].data_schema, result.of(1)[0].id) == ("s", "#2")


LABEL = {"label": "L"}


def orders(*does: str) -> list[dict[str, Any]]:
    return [{"n": n, "do": do} for n, do in enumerate(does)]


@pytest.fixture(scope="module")
def nodes() -> ModuleType:
    return load(ROOT / "tests/nodes/python/node.py", "meshloom_test_node")


def test_the_test_node_maps(nodes: ModuleType) -> None:
    does = orders("pass", "drop", "reject", "retry", "fail", "route", "key", "none")
    result = run(nodes.map_node, does, config=LABEL, attempts=10, sampled=True)
    by_n = {o.json()["n"]: o for o in result.outputs}
    assert by_n[0].json() == {"n": 0, "label": "L", "lang": "python", "attempt": 1}
    assert (by_n[3].json()["attempt"], by_n[4].json()["attempt"]) == (3, 2)
    assert (by_n[5].route, by_n[6].key) == ("side", "k6")
    assert result.dropped == [1]
    rejected = {r.index: (r.reason, r.message) for r in result.rejected}
    assert rejected[2] == ("TEST_REJECT", "asked to reject 2")
    assert rejected[7][0] == reasons.NO_RESULT
    assert "user-work" in {span.name for span in result.spans}
    for wrong in ({}, {"label": "x", "more": 1}):
        with pytest.raises(ConfigError):
            run(nodes.map_node, [], config=wrong)


def test_the_test_node_filters_and_splits(nodes: ModuleType) -> None:
    result = run(nodes.filter_node, orders("pass", "drop", "reject", "retry", "fail"), config=LABEL, attempts=10)
    assert sorted(o.parent for o in result.outputs) == [0, 3, 4]
    assert (result.dropped, [r.index for r in result.rejected]) == ([1], [2])
    does = orders("pass", "drop", "split", "route", "key", "retry", "fail", "reject")
    result = run(nodes.flat_map_node, does, config=LABEL, attempts=10)
    assert [o.parent for o in result.outputs if o.parent == 2] == [2, 2, 2]
    assert result.values[1] == {"n": 2, "part": 0, "label": "L", "lang": "python"}
    assert result.dropped == [1]


def test_the_test_node_in_batches(nodes: ModuleType) -> None:
    does = orders("pass", "drop", "split", "route", "key", "retry", "reject", "forget")
    result = run(nodes.batch_node, does, config=LABEL)
    assert [o.parent for o in result.outputs] == [0, 2, 2, 2, 3, 4]
    assert {r.index: r.reason for r in result.retried} == {5: "RETRY", 7: reasons.UNACCOUNTED}
    failed = run(nodes.batch_node, orders("pass", "fail"), config=LABEL, attempts=10)
    assert len(failed.outputs) == 2
    poisoned = run(nodes.batch_node, orders("pass", "poison"), config=LABEL)
    assert {r.reason for r in poisoned.retried} == {reasons.HANDLER_ERROR}


def test_the_test_node_delivers_and_produces(nodes: ModuleType, tmp_path: Path) -> None:
    out = tmp_path / "out"
    run(nodes.sink_node, orders("pass", "drop", "reject", "retry"), config=LABEL | {"out": str(out)}, attempts=10)
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(line["n"], line["attempt"], line["lang"], line["label"]) for line in lines] == [
        (0, 1, "python", "L"),
        (1, 1, "python", "L"),
        (3, 3, "python", "L"),
    ]
    assert all(len(line["uid"]) == 32 for line in lines)
    result = run(nodes.source_node, config=LABEL | {"count": 5}, checkpoint=2)
    assert result.values == [{"n": n, "do": "pass"} for n in (3, 4, 5)]
    assert (result.checkpoint, result.exhausted) == (5, True)


def test_the_stand_in_filter() -> None:
    node = load(ROOT / "tests/swap/python/filter.py", "meshloom_swap_filter").node
    lines = {
        "temperature:39.4 unit=F sensor_id=alpha time=2010/01/01T00:00": None,
        " time=2010/12/31T23:30 sensor_id=b temperature:-0.005": None,
        "": "dropped",
        "  \t": "dropped",
        "unit=F sensor_id=a time=2010/01/01T00:00": "BAD_LINE",
        "temperature:1 unit=F sens": "BAD_LINE",
        "temperature:1 temperature:2 sensor_id=a": "BAD_LINE",
        "temperature:-- sensor_id=a time=2010/01/01T00:00": "BAD_TEMPERATURE",
        "temperature:nan sensor_id=a time=2010/01/01T00:00": "BAD_TEMPERATURE",
        "temperature:1 unit=K sensor_id=a time=2010/01/01T00:00": "BAD_UNIT",
        "temperature:1 time=2010/01/01T00:00": "NO_SENSOR",
        "temperature:999.9 unit=F sensor_id=a time=2010/01/01T00:00": "OUT_OF_RANGE",
        "temperature:1 sensor_id=a time=2010/13/45T99:00": "BAD_TIME",
        "temperature:1 sensor_id=a time=2010/1/1T00:00": "BAD_TIME",
    }
    result = run(node, list(lines))
    assert result.values == [
        {"sensor": "alpha", "celsius": 4.11, "time": "2010-01-01T08:00:00Z"},
        {"sensor": "b", "celsius": -0.01, "time": "2011-01-01T07:30:00Z"},
    ]
    assert [o.key for o in result.outputs] == ["alpha", "b"]
    assert result.outputs[0].time_ns == 1262332800 * 10**9
    got = {list(lines)[r.index or 0]: r.reason for r in result.rejected}
    assert got == {line: reason for line, reason in lines.items() if reason not in (None, "dropped")}
    assert len(result.dropped) == 2
