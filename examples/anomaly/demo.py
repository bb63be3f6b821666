"""The anomaly pipeline with all around it, in one command: `make demo`. Standard library only.

Builds the coordinator, starts a receiver in Slack's place, runs pipeline.yaml from a fresh state, and shows what came
of it. EVENTS=N reads the data again until there are N events (0: once). TRACE_RATIO says which share of them is traced
(default: all of a small run, one in a thousand of a large one). OTEL_EXPORTER_OTLP_ENDPOINT=URL sends the traces to a
collector as well.
"""

from __future__ import annotations

import collections
import contextlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
OUT = HERE / "out"
PIPELINE = HERE / "pipeline.yaml"
STATE = OUT / "state"
STREAMS = {"raw.ndjson": "raw", "filtered.ndjson": "filtered", "classified.ndjson": "classified"}
#: Up to so many events, all of them are traced unless TRACE_RATIO says otherwise.
SMALL_RUN = 100_000
#: How long the receiver may take to listen, and to end, seconds.
PATIENCE = 10

sys.path.insert(0, str(ROOT / "tests"))
from suites import toolchains  # noqa: E402


class Failed(Exception):
    """Something the demo needs did not work; the text says what."""


def main() -> int:
    missing = toolchains.missing()
    if missing:
        print("\n".join(missing), file=sys.stderr)
        return 69
    try:
        demo()
    except Failed as failure:
        print(f"\ndemo: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def demo() -> None:
    heading("Building the coordinator and the Rust node (the others are built by the pipeline's `build:` lines)")
    started = time.monotonic()
    call(["cargo", "build", "--locked", "-p", "meshloom-cli", "-p", "ingest"], cwd=ROOT)
    meshloom = target() / "debug" / "meshloom"
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)

    with receiver(OUT / "alerts.ndjson") as url:
        command = ["run", relative(PIPELINE), "--state", relative(STATE)]
        heading(" ".join(["meshloom", *command]))
        call([str(meshloom), *command], env=environment(url))
        alerts = fetch(url)

    show_alerts(alerts)
    show_archive(sorted((OUT / "archive").glob("*.tar.gz"), key=lambda path: path.stat().st_mtime_ns))
    show_dead_letters(dead_letters(meshloom))
    show_trace(meshloom, alerts)
    print(f"\nAll of it in {time.monotonic() - started:.0f} s. What it left is in {relative(OUT)}")


def environment(webhook: str) -> dict[str, str]:
    """What pipeline.yaml reads, and all else as it is."""
    events = os.environ.get("EVENTS", "0")
    small = events.isdecimal() and int(events) <= SMALL_RUN
    ratio = os.environ.get("TRACE_RATIO") or ("1" if small else "0.001")
    ours = {"EVENTS": events, "TRACE_RATIO": ratio, "SLACK_WEBHOOK_URL": webhook, "ARCHIVE_DIR": str(OUT / "archive")}
    return {"MESHLOOM_TRACE_MEMORY": "256MiB", **os.environ, **ours}


@contextlib.contextmanager
def receiver(out: Path) -> Iterator[str]:
    """receiver.js while the block runs; gives the URL to post to."""
    command = ["node", str(HERE / "alert" / "receiver.js"), "--out", str(out)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            url = process.stdout.readline().strip()
            if not url:
                raise Failed(f"the receiver of the alerts ended with {process.wait(PATIENCE)} before it listened")
            yield url
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()


def fetch(url: str) -> dict[str, Any]:
    """What the receiver got: `count`, `unique`, and the `last` of them."""
    with urllib.request.urlopen(f"{url}alerts", timeout=PATIENCE) as answer:
        return json.load(answer)  # type: ignore[no-any-return]


def show_alerts(alerts: dict[str, Any]) -> None:
    again = alerts["count"] - alerts["unique"]
    heading(f"Alerts received: {alerts['unique']:,}" + (f" (and {again} of them again)" if again else ""))
    if not alerts["unique"]:
        raise Failed("no alert was received")
    for alert in alerts["last"][-5:]:
        print(f"  {alert['text']}")
    print(f"  all of them: {relative(OUT / 'alerts.ndjson')}")


def show_archive(archives: list[Path]) -> None:
    heading(f"Archive written: {len(archives)} batches in {relative(OUT / 'archive')}")
    if not archives:
        raise Failed("nothing was archived")
    total: collections.Counter[str] = collections.Counter()
    for place, path in enumerate(archives):
        counts = lines(path)
        total.update(counts)
        if place < 3:
            print(f"  $ tar tzf {path.name}    {path.stat().st_size / 1024:,.0f} KiB")
            for member, count in counts.items():
                print(f"  {member:<18} {count:>10,} events")
    if len(archives) > 3:
        print(f"  ... and {len(archives) - 3} more")
    print("  together: " + ", ".join(f"{total[member]:,} {name}" for member, name in STREAMS.items()))


def lines(archive: Path) -> dict[str, int]:
    """The members of an archive and how many lines each has."""
    found = {}
    with tarfile.open(archive) as tar:
        for member in tar.getmembers():
            file = tar.extractfile(member)
            found[member.name] = sum(1 for _ in file) if file else 0
    return found


def dead_letters(meshloom: Path) -> list[dict[str, Any]]:
    """All of them, as the command line lists them."""
    command = [str(meshloom), "dead-letters", "list", "--output", "json", "--state", str(STATE)]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        raise Failed(f"`meshloom dead-letters list` failed: {listed.stderr.strip()}")
    return [json.loads(line) for line in listed.stdout.splitlines()]


def by_reason(letters: list[dict[str, Any]]) -> list[tuple[int, str, str, str]]:
    """(count, node, reason, one message) for each node and reason, most first."""
    groups: dict[tuple[str, str], list[str]] = {}
    for letter in letters:
        groups.setdefault((letter["node"], letter["reason"]), []).append(letter["message"])
    rows = [(len(messages), node, reason, messages[0]) for (node, reason), messages in groups.items()]
    return sorted(rows, key=lambda row: (-row[0], row[1:]))


def show_dead_letters(letters: list[dict[str, Any]]) -> None:
    command = f"meshloom dead-letters list --state {relative(STATE)}"
    heading(f"Dead letters: {len(letters):,}, each with its reason ({command})")
    for count, node, reason, message in by_reason(letters):
        print(f"  {count:>6,}  {node}  {reason:<16} for instance: {message}")


def show_trace(meshloom: Path, alerts: dict[str, Any]) -> None:
    """The newest alert that was traced; of a large run few are, and then the newest trace of all."""
    title = "One alert, from source to last verdict"
    wanted = [([alert["uid"]], title, alert["text"]) for alert in alerts["last"][::-1]]
    for words, title, text in [*wanted, (["--last"], "One of the traced events", "")]:
        command = ["trace", *words, "--state", relative(STATE)]
        shown = subprocess.run([str(meshloom), *command], capture_output=True, text=True, check=False)
        if shown.returncode == 0:
            heading(f"{title} (meshloom {' '.join(command)})")
            print(f"  {text}\n\n{shown.stdout.rstrip()}" if text else shown.stdout.rstrip())
            return
    raise Failed(f"no trace was kept: {shown.stderr.strip()}")


def call(command: list[str], **options: Any) -> None:
    """Runs a command that shows its own output."""
    status = subprocess.run(command, check=False, **options).returncode
    if status != 0:
        raise Failed(f"`{' '.join(command[:4])} ...` ended with exit status {status}")


def target() -> Path:
    """Where cargo puts what it builds."""
    return ROOT / os.environ.get("CARGO_TARGET_DIR", "target")


def relative(path: Path) -> str:
    """As short as it can be written from here."""
    return os.path.relpath(path)


def heading(text: str) -> None:
    bold, plain = ("\033[1m", "\033[0m") if sys.stdout.isatty() and "NO_COLOR" not in os.environ else ("", "")
    print(f"\n{bold}{text}{plain}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
