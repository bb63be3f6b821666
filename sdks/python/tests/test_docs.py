"""What is written for users: the README's snippets run, the reference has no warnings and no gaps."""

from __future__ import annotations

import inspect
import os
import queue
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import meshloom
from meshloom import testing

HERE = Path(__file__).resolve().parent.parent
QUICK_START, ITS_TEST, BATCH, QUEUE, PUBLISHER = re.findall(
    r"```python\n(.*?)```", (HERE / "README.md").read_text(), re.DOTALL
)


def executed(snippet: str) -> dict[str, Any]:
    names: dict[str, Any] = {"__name__": "snippet"}
    exec(compile(snippet, "README.md", "exec"), names)
    return names


def test_the_quick_start_and_its_test(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("classify")
    module.__dict__.update(executed(QUICK_START))
    monkeypatch.setitem(sys.modules, "classify", module)
    executed(ITS_TEST)["test_classify"]()


def test_the_batch() -> None:
    result = testing.run(executed(BATCH)["node"], [{"sensor": "a", "celsius": 10.0}, {"sensor": "b", "celsius": None}])
    assert result.values == [{"sensor": "a", "celsius": 10.0, "fahrenheit": 50.0}]
    assert (result.outputs[0].key, result.reasons) == ("a", {1: "NO_TEMPERATURE"})


def test_the_queue() -> None:
    names = executed(QUEUE)
    jobs: queue.Queue[Any] = names["jobs"]
    for n in range(3):
        jobs.put({"id": str(n)})
    assert testing.run(names["node"], limit=3).values == [{"id": "0"}, {"id": "1"}, {"id": "2"}]
    jobs.join()  # every one is done


def test_the_publisher(monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[Any] = []

    class Publisher:
        def __init__(self, address: str) -> None:
            assert address == "127.0.0.1:7490"

        def __enter__(self) -> Publisher:
            return self

        def __exit__(self, *_: object) -> None: ...

        def publish(self, event: Any) -> Any:
            published.append(event.value)
            return self

        def result(self, timeout: float) -> str:
            return "id"

    assert inspect.signature(meshloom.Publisher.publish).parameters.keys() >= {"event"}
    monkeypatch.setattr(meshloom, "Publisher", Publisher)
    executed(PUBLISHER)
    assert published == [{"degrees": 21.5}]


def test_the_reference_has_no_warnings(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHON": sys.executable}
    made = subprocess.run([HERE / "docs.sh", tmp_path], env=environment, capture_output=True, text=True, check=False)
    assert (made.returncode, made.stderr) == (0, "")
    page = (tmp_path / "meshloom.html").read_text()
    for name in meshloom.__all__:
        assert f'id="{name}"' in page


def test_everything_public_is_documented() -> None:
    missing = []
    for module in (meshloom, testing):
        for name in module.__all__:
            item = getattr(module, name)
            if not callable(item):
                continue
            assert inspect.getdoc(item), name
            members = vars(item).items() if inspect.isclass(item) else ()
            for member, value in members:
                documented = isinstance(value, property) or inspect.isfunction(value)
                if documented and not member.startswith("_") and not inspect.getdoc(value):
                    missing.append(f"{name}.{member}")
    assert missing == []
