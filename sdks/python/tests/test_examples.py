"""The ten tasks in examples/, the same in all four languages, each run."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from meshloom import ConfigError
from meshloom.testing import run

EXAMPLES = Path(__file__).resolve().parent.parent / "examples"
ROOF, CELLAR, GATE = {"sensor": "roof", "celsius": 31.5}, {"sensor": "cellar", "celsius": 12.0}, {"sensor": "gate"}


@pytest.fixture
def example(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The node of the example that the test is called after."""
    monkeypatch.syspath_prepend(str(EXAMPLES))
    name = request.node.name.removeprefix("test_")
    for module in (name, "lookup"):
        monkeypatch.delitem(sys.modules, module, raising=False)
    return __import__(name).node


def test_config(example: Any) -> None:
    assert run(example, [ROOF, CELLAR]).values == [ROOF]
    assert run(example, [ROOF, CELLAR], config={"limit": 10, "window": "90s"}).values == [ROOF, CELLAR]
    with pytest.raises(ConfigError) as refused:
        run(example, config={"limit": 99, "window": 5, "windw": "1s"})
    assert [field for field, _ in refused.value.violations] == ["limit", "window", "windw"]


def test_setup(example: Any, tmp_path: Path) -> None:
    path = tmp_path / "places.db"
    with sqlite3.connect(path) as places:
        places.execute("CREATE TABLE place (sensor TEXT, name TEXT)")
        places.execute("INSERT INTO place VALUES ('roof', 'Main Street 1')")
    result = run(example, [ROOF, CELLAR], config={"places": str(path)})
    assert result.values == [ROOF | {"place": "Main Street 1"}, CELLAR | {"place": None}]


def test_reject(example: Any) -> None:
    result = run(example, [ROOF, GATE])
    assert result.values == [ROOF | {"fahrenheit": 88.7}]
    assert [failed.message for failed in result.rejected] == ["sensor gate sent no temperature"]
    assert result.reasons == {1: "NO_TEMPERATURE"}


def test_retry(example: Any) -> None:
    result = run(example, [ROOF, GATE], attempts=2)
    assert result.values == [ROOF | {"place": "Main Street 1"}]
    assert [(failed.attempt, failed.after, failed.message) for failed in result.retried] == [
        (1, 2.0, "Busy: too many requests"),
        (2, 2.0, "Busy: too many requests"),
    ]


def test_route(example: Any) -> None:
    result = run(example, [ROOF, CELLAR])
    assert [(output.key, output.route, output.json()) for output in result.outputs] == [
        ("roof", "hot", ROOF),
        ("cellar", None, CELLAR),
    ]


def test_flat_map(example: Any) -> None:
    result = run(example, [{"readings": [ROOF, CELLAR]}, {"readings": []}, {}])
    assert (result.values, result.dropped, result.reasons) == ([ROOF, CELLAR], [1], {2: "PAYLOAD_MISMATCH"})


def test_batch(example: Any) -> None:
    result = run(example, [ROOF, GATE, CELLAR])
    assert result.values == [{"readings": 2, "celsius": 21.75}]
    assert result.reasons == {1: "NO_TEMPERATURE"}
    assert run(example, [GATE]).values == []


def test_source(example: Any, tmp_path: Path) -> None:
    path = tmp_path / "readings.ndjson"
    path.write_bytes(b'{"n":1}\n{"n":2}\n{"n":3}\n')
    first = run(example, config={"path": str(path)}, limit=2)
    assert (first.values, first.checkpoint) == ([{"n": 1}, {"n": 2}], 2)
    rest = run(example, config={"path": str(path)}, checkpoint=first.checkpoint)
    assert (rest.values, rest.checkpoint, rest.exhausted) == ([{"n": 3}], 3, True)


def test_span(example: Any) -> None:
    lookup, process = run(example, [ROOF], sampled=True).spans
    assert (lookup.name, dict(lookup.attributes)) == ("lookup", {"sensor": "roof", "found": True})
    assert lookup.parent.span_id == process.context.span_id


def test_unit_test() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "unit_test.py"]
    ran = subprocess.run(command, cwd=EXAMPLES, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_what_is_shown_is_short(path: Path) -> None:
    if path.stem == "lookup":
        return
    lines = path.read_text().splitlines()
    shown = lines[lines.index("# snippet:start") + 1 : lines.index("# snippet:end")]
    assert len([line for line in shown if line]) <= 25
