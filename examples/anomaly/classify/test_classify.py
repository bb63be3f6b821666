"""The node and its training: the same verdicts however batches are cut, and the ones worked out independently."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).resolve().parent
DATA = HERE.parent / "data" / "readings.txt"
sys.path.insert(0, str(HERE))

from classify import node  # noqa: E402
from readings import Reading, load, parse  # noqa: E402

from meshloom import ConfigError  # noqa: E402
from meshloom.testing import run  # noqa: E402


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A freshly trained model."""
    folder = tmp_path_factory.mktemp("model")
    subprocess.run([sys.executable, HERE / "train.py", DATA, folder], check=True, capture_output=True)
    return folder


def classified(out: Path, readings: list[dict[str, Any]], splits: int = 1) -> list[dict[str, Any]]:
    result = run(node, readings, config={"model": str(out / "model.joblib")}, splits=splits)
    assert (result.rejected, result.retried, result.dropped) == ([], [], [])
    return result.values


def events() -> list[dict[str, Any]]:
    return [{"sensor": r.sensor, "celsius": r.celsius, "time": r.time} for r in load(DATA)]


def test_the_pipeline_agrees_with_the_independent_script(out: Path) -> None:
    script = [sys.executable, HERE / "expected.py", DATA, out / "model.json"]
    expected = json.loads(subprocess.run(script, check=True, capture_output=True).stdout)
    assert (expected["readings"], expected["blank"], expected["malformed"]) == (17_518, 181, 89)
    lines = [reading.line for reading in load(DATA)]
    results = classified(out, events())
    got = {line: r for line, r in zip(lines, results, strict=True) if r["prediction"] != "normal"}
    assert {line: r["prediction"] for line, r in got.items()} == {
        a["line"]: a["prediction"] for a in expected["alerts"]
    }
    assert all(got[a["line"]]["score"] == pytest.approx(a["score"], abs=1.1e-4) for a in expected["alerts"])
    assert 30 <= len(got) <= 150
    assert {r["prediction"] for r in got.values()} == {"warning", "critical"}


def test_results_do_not_depend_on_the_batches(out: Path) -> None:
    some = events()[9700:9900]
    assert classified(out, some) == classified(out, some, splits=7) == classified(out, some, splits=len(some))


def test_the_input_is_kept(out: Path) -> None:
    [result] = classified(out, [{"sensor": "x", "celsius": 55.0, "time": "2010-07-20T00:00:00Z"}])
    assert result.pop("score") < -0.6
    assert result == {"sensor": "x", "celsius": 55.0, "time": "2010-07-20T00:00:00Z", "prediction": "critical"}


def test_misfits_are_rejected_alone(out: Path) -> None:
    good = {"sensor": "x", "celsius": 8.0, "time": "2010-07-20T00:00:00Z"}
    bad = [{"sensor": "x"}, good | {"celsius": "8"}, good | {"time": "soon"}]
    result = run(node, [bad[0], good, *bad[1:]], config={"model": str(out / "model.joblib")})
    assert [o.parent for o in result.outputs] == [1]
    assert [(r.index, r.reason) for r in result.rejected] == [(i, "PAYLOAD_MISMATCH") for i in (0, 2, 3)]


def test_training_is_deterministic(out: Path, tmp_path: Path) -> None:
    subprocess.run([sys.executable, HERE / "train.py", DATA, tmp_path], check=True, capture_output=True)
    assert (tmp_path / "model.json").read_bytes() == (out / "model.json").read_bytes()


def test_a_missing_model_is_named() -> None:
    with pytest.raises(ConfigError, match=r"/none/model\.joblib.*train\.py"):
        run(node, [], config={"model": "/none/model.joblib"})


MALFORMED = """
temperature:-- unit=F sensor_id=a time=2010/01/01T00:00
temperature:1 unit=F sens
unit=F
temperature:1 unit=F sensor_id=a time=2010/13/45T99:00
temperature:999.9 unit=F sensor_id=a time=2010/01/01T00:00
"""


@pytest.mark.parametrize("line", MALFORMED.splitlines())
def test_only_well_formed_lines_train(line: str) -> None:
    assert parse(line) is None


def test_parse() -> None:
    line = "temperature:39.4 unit=F sensor_id=alpha time=2010/12/31T23:00\n"
    assert parse(line, 3) == Reading(3, "alpha", 4.11, "2011-01-01T07:00:00Z")
