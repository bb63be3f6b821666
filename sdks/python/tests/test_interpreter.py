"""The interpreter of the conformance kit, and the queue of the chaos tests, in the SDK's own test kit."""

from __future__ import annotations

import base64
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID

import pytest

from meshloom import ConfigError, Node, Output, Timestamp, Uri
from meshloom.testing import Run, run

NODES = Path(__file__).resolve().parents[3] / "tests" / "nodes" / "python"


@pytest.fixture
def interpreter(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module, with nothing reported yet."""
    monkeypatch.syspath_prepend(str(NODES))
    yield __import__("interpreter")
    for name in [name for name in sys.modules if name.partition(".")[0] in ("interpreter", "interpreting")]:
        del sys.modules[name]


@pytest.fixture
def nodes(interpreter: ModuleType) -> dict[str, Node]:
    """Its nodes by name."""
    return {node.name: node for node in interpreter.nodes()}


def do(name: str, **options: Any) -> dict[str, Any]:
    return {"do": name, **options}


EACH = [
    do("pass"),
    do("drop"),
    do("emit", outputs=[{"value": None, "key": "k", "time": "5", "type": ""}]),
    do("reject", reason="NO", message="why"),
    do("retry", until=2, after_ms=1500),
    do("throw", message="broken", until=2),
    do("panic", message="off"),
    do("hold", ms=1),
    do("unknown"),
]


def told(result: Run) -> tuple[list[int | None], list[int], dict[int, str]]:
    return [output.parent for output in result.outputs], result.dropped, result.reasons


@pytest.mark.parametrize("name", ["map", "narrow", "flat_map"])
def test_handlers_of_one_event(nodes: dict[str, Node], name: str) -> None:
    result = run(nodes[name], EACH, attempts=2)
    assert told(result) == (
        [0, 2, 4, 5, 7],
        [1],
        {3: "NO", 4: "RETRY", 5: "HANDLER_ERROR", 6: "HANDLER_ERROR", 8: "PAYLOAD_MISMATCH"},
    )
    emitted = result.of(2)[0]
    assert (emitted.data, emitted.key, emitted.time_ns, emitted.type) == (b"null", "k", 5, None)
    assert [failed.after for failed in result.retried if failed.index == 4] == [1.5]


def test_filter_and_sink(nodes: dict[str, Node]) -> None:
    assert told(run(nodes["filter"], [do("pass"), do("drop"), do("nothing")])) == ([0], [1], {2: "NOT_BOOL"})
    assert told(run(nodes["sink"], [do("pass"), do("reject")])) == ([], [0], {1: "REJECTED"})


def test_streams_of_outputs(nodes: dict[str, Node]) -> None:
    events = [do("stream", count=3, bytes=2), do("stream", count=3, bytes=2, fail_after=1), do("nothing")]
    result = run(nodes["flat_map"], [*events, do("emit", outputs=[{"text": "a"}, {"base64": "AAE="}])])
    assert [output.data for output in result.of(0)] == [b"xx"] * 3
    assert [output.data for output in result.of(3)] == [b"a", b"\0\1"]
    assert result.reasons == {1: "HANDLER_ERROR", 2: "NO_RESULT"}


def test_batches(nodes: dict[str, Node]) -> None:
    rows = [do("pass"), do("drop"), do("nothing"), do("reject"), do("retry"), do("emit", outputs=[{"value": 1}] * 2), 5]
    result = run(nodes["batch"], rows)
    expected = {2: "UNACCOUNTED", 3: "REJECTED", 4: "RETRY", 6: "PAYLOAD_MISMATCH"}
    assert told(result) == ([0, 5, 5], [1], expected)
    whole = run(nodes["batch"], [do("whole", outputs=[{"value": 1}]), do("pass")])
    assert told(whole) == ([1, None], [0], {})
    for wrong in ("twice", "misname"):
        assert run(nodes["batch"], [do(wrong), do("pass")]).reasons == dict.fromkeys((0, 1), "RESULT_INDEX_REPEATED")
        assert run(nodes["map"], [do(wrong)]).reasons == {0: "PAYLOAD_MISMATCH"}


def test_copy_and_context(nodes: dict[str, Node]) -> None:
    extensions = {"at": Timestamp.of_ns(1_000_000_001), "to": Uri("a:b"), "n": 1, "yes": True, "raw": b"\xff", "s": "t"}
    attributes: dict[str, Any] = {"key": "k", "type": "T", "subject": "s", "id": "i", "time": 5, "data_schema": "d"}
    config = {"label": "L", "wait": "250ms", "room": "2KiB"}
    event = Output(do("copy"), extensions=extensions, **attributes)
    [copied] = run(nodes["map"], [event], config=config).outputs
    assert (copied.json(), copied.extensions, copied.time_ns) == (do("copy"), extensions, 5)
    assert (copied.key, copied.type, copied.subject, copied.id, copied.data_schema) == ("k", "T", "s", "i", "d")
    event = Output(do("context"), extensions=extensions, **attributes)
    [told] = run(nodes["map"], [event, do("drop")], config=config, sampled=True).values
    assert told["extensions"]["at"] == {"type": "timestamp", "value": "1000000001"}
    assert told["extensions"]["raw"] == {"type": "binary", "value": "/w=="}
    assert base64.b64decode(told["payload"]) == b'{"do":"context"}'
    assert (told["label"], told["wait_ms"], told["room_bytes"], told["attempt"]) == ("L", 250, 2048, 1)
    assert (told["node"], told["replica"], told["time"], told["from"]) == ("map", "map/0", "5", None)
    assert 0 < told["deadline_ms"] <= 30_000
    assert told["trace"].startswith(f"{1:032x}-")


def test_report(nodes: dict[str, Node]) -> None:
    events = [Output(do("note", n=7), key="k"), do("report"), do("report")]
    first, second = run(nodes["map"], events).values[1:]
    assert (first["calls"], first["notes"], first["most"], first["setups"]) == (2, [["k", 7]], 1, 1)
    assert (second["calls"], second["notes"], second["cancelled"]) == (3, [], [])
    late = run(nodes["map"], [do("sleep", ms=600_000), do("report")], timeout=0.1)
    assert late.reasons == {0: "TIMEOUT"}
    assert [len(uid) for uid in late.values[0]["cancelled"]] == [32]


def test_spans_and_logs(nodes: dict[str, Node], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        spans = run(nodes["map"], [do("spans", names=["a", "b"]), do("log", message="here")], sampled=True).spans
    named = {span.name: span for span in spans}
    assert named["b"].parent.span_id == named["a"].context.span_id
    [record] = [record for record in caplog.records if "here" in record.message]
    assert (record.trace_id, record.node) == (f"{2:032x}", "map")  # type: ignore[attr-defined]
    assert record.uid == str(UUID(record.uid))  # type: ignore[attr-defined]


def test_config(nodes: dict[str, Node], tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as refused:
        run(nodes["map"], config={"setup": "refuse"})
    assert refused.value.violations == [("setup", "asked to refuse")]
    for wrong, field in (({"x": 1}, "x"), ({"label": 1}, "label"), ({"program": {"y": 1}}, "program.y")):
        with pytest.raises(ConfigError) as refused:
            run(nodes["map"], config=wrong)
        assert [name for name, _ in refused.value.violations] == [field]
    for setup in ("fail", "fail_once"):
        with pytest.raises(RuntimeError, match="asked to fail"):
            run(nodes["map"], config={"setup": setup})
    log = tmp_path / "log"
    result = run(nodes["map"], [1], config={"setup": "fail_once", "command": do("pass"), "label": "L", "log": str(log)})
    assert result.values == [1]
    assert log.read_text() == "setup L\nteardown L\n"


@pytest.mark.parametrize("name", ["source", "queue"])
def test_sources(nodes: dict[str, Node], tmp_path: Path, name: str) -> None:
    log = tmp_path / "log"
    program = {"count": 5, "checkpoint_every": 2, "ids": True, "attributes": True, "bytes": 3, "traceparent": "t"}
    result = run(nodes[name], config={"program": program, "log": str(log)}, checkpoint=2)
    assert result.values == [{"n": n, "fill": "xxx"} for n in (3, 4, 5)]
    assert (result.checkpoint, result.exhausted) == (4, True)
    first = result.outputs[0]
    assert (first.id, first.key, first.type, first.time_ns) == ("e3", "k0", "test", 3)
    assert first.extensions == {"part": 1, "traceparent": "t"}
    lines = log.read_text().splitlines()
    assert sorted(lines) == ["receipt 3", "receipt 4", "receipt 5", "settled 4", "setup ", "teardown "]
    for wrong, reason in (({"fail_at": 2}, "SOURCE_FAILED"), ({"repeat_checkpoint": 2}, "CHECKPOINT_REPEATED")):
        with pytest.raises(RuntimeError, match=reason):
            run(nodes[name], config={"program": {"count": 3, **wrong}})


def test_checkpoints_in_digits(nodes: dict[str, Node], tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = {"count": 3, "checkpoint_digits": 4}
    result = run(nodes["source"], config={"program": program, "log": str(log)}, checkpoint="0001")
    assert ([output.id for output in result.outputs], result.checkpoint) == (['"0001"#1', '"0002"#1'], "0003")
    assert "settled 3" in log.read_text().splitlines()


def test_the_queue_forgets_what_has_settled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.syspath_prepend(str(NODES))
    monkeypatch.delitem(sys.modules, "node", raising=False)
    queue = __import__("node").queue_node
    out = tmp_path / "out"
    out.write_text("2\n")
    config = {"label": "q", "first": 1, "count": 4, "out": str(out)}
    result = run(queue, config=config, limit=3)
    assert result.values == [{"n": n, "do": "pass"} for n in (1, 3, 4)]
    assert [output.id for output in result.outputs] == ["1", "3", "4"]
    assert out.read_text() == "2\n1\n3\n4\n"
    with pytest.raises(ConfigError, match="needs the path of a file"):
        run(queue, config={"label": "q"})
