"""What a person sees of a run: a line per step, the log of what failed, a summary per suite at the end."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from . import count
from .step import Result, Step

#: Lines of a failed step's log that are shown.
SHOWN = 150


class Report:
    """Told of steps by several lanes at once."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.results: list[Result] = []
        self._lock = threading.Lock()

    def log(self, step: Step) -> Path:
        """Where the output of a step goes."""
        return self.folder / f"{step.suite}-{step.name.replace('/', '-').replace(' ', '-')}.log"

    def started(self, step: Step) -> None:
        """A step begins."""
        self._say(f"...  {step.suite}: {step.name}")

    def ended(self, result: Result) -> None:
        """A step has ended."""
        with self._lock:
            self.results.append(result)
        line = f"{'ok ' if result.ok else 'FAILED'}  {result.step.suite}: {result.step.name}  {outcome(result)}"
        if result.ok:
            self._say(line)
            return
        text = count.readable(result.log.read_text(errors="replace")).splitlines()
        left_out = [f"[{len(text) - SHOWN} lines left out; all of it: {result.log}]"] if len(text) > SHOWN else []
        self._say("\n".join([line, *left_out, *(f"    {row}" for row in text[-SHOWN:]), ""]))

    def passed(self) -> bool:
        """Whether something ran and all of it was well."""
        return bool(self.results) and all(result.ok for result in self.results)

    def _say(self, text: str) -> None:
        with self._lock:
            print(text, flush=True, file=sys.stdout)


def outcome(result: Result) -> str:
    """How a step ended, in words."""
    parts = []
    if result.step.count is not None:
        parts.append(f"{result.count.passed} passed, {result.count.failed} failed")
        if result.count.skipped:
            parts.append(f"{result.count.skipped} skipped")
        if result.count.passed == 0 and result.status == 0:
            parts.append("no test ran")
    if result.status != 0:
        parts.append(f"exit status {result.status}")
    parts.append(f"{result.seconds:.1f} s")
    return ", ".join(parts)


def summary(results: list[Result], seconds: float) -> str:
    """A line per suite, and one for all of them. A step that failed without naming a test is one failure."""
    lines = [""]
    suites = list(dict.fromkeys(result.step.suite for result in results))
    total = [0, 0, 0]
    for suite in suites:
        of = [result for result in results if result.step.suite == suite]
        passed = sum(result.count.passed for result in of)
        failed = sum(result.count.failed or int(not result.ok) for result in of)
        skipped = sum(result.count.skipped for result in of)
        total = [total[0] + passed, total[1] + failed, total[2] + skipped]
        lines.append(f"{suite:<15} {_numbers(passed, failed, skipped)}")
    lines.append(f"{'all':<15} {_numbers(*total)} in {int(seconds) // 60} min {int(seconds) % 60} s")
    return "\n".join(lines)


def _numbers(passed: int, failed: int, skipped: int) -> str:
    return f"{passed} passed, {failed} failed" + (f", {skipped} skipped" if skipped else "")
