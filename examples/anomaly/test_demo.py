"""What the demo makes of what a run has left."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import demo
import pytest


def test_dead_letters_are_counted_by_node_and_reason() -> None:
    letters = [
        {"node": "filter", "reason": "BAD_TIME", "message": "time x"},
        {"node": "filter", "reason": "BAD_LINE", "message": "line 1"},
        {"node": "filter", "reason": "BAD_LINE", "message": "line 2"},
        {"node": "alert", "reason": "BAD_TIME", "message": "time y"},
    ]
    assert demo.by_reason(letters) == [
        (2, "filter", "BAD_LINE", "line 1"),
        (1, "alert", "BAD_TIME", "time y"),
        (1, "filter", "BAD_TIME", "time x"),
    ]


def test_lines_of_an_archive_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        for name, text in (("raw.ndjson", b"{}\n{}\n"), ("filtered.ndjson", b"")):
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
    assert demo.lines(path) == {"raw.ndjson": 2, "filtered.ndjson": 0}


@pytest.mark.parametrize(
    ("events", "given", "ratio"),
    [(None, None, "1"), ("0", None, "1"), ("1000000", None, "0.001"), ("1000000", "0.5", "0.5")],
)
def test_a_large_run_traces_few_of_its_events(
    monkeypatch: pytest.MonkeyPatch, events: str | None, given: str | None, ratio: str
) -> None:
    for name, value in (("EVENTS", events), ("TRACE_RATIO", given)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)
    assert demo.environment("http://127.0.0.1:1/")["TRACE_RATIO"] == ratio


def test_the_receiver_is_started_and_ended(tmp_path: Path) -> None:
    with demo.receiver(tmp_path / "alerts.ndjson") as url:
        assert demo.fetch(url) == {"count": 0, "unique": 0, "last": []}
    with pytest.raises(OSError, match=r"refused|reset"):
        demo.fetch(url)


def test_what_is_not_there_fails_the_demo() -> None:
    with pytest.raises(demo.Failed, match="no alert"):
        demo.show_alerts({"count": 0, "unique": 0, "last": []})
    with pytest.raises(demo.Failed, match="nothing was archived"):
        demo.show_archive([])
    with pytest.raises(demo.Failed, match="exit status 3"):
        demo.call(["sh", "-c", "exit 3"])
