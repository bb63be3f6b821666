"""Steps: a command each, run in lanes side by side."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

ROOT = Path(__file__).resolve().parent.parent.parent


@dataclass(frozen=True)
class Count:
    """What a step tells of its tests."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0


@dataclass(frozen=True)
class Step:
    """A command of a suite. With `count` it runs tests and must run at least one; without, it is a check."""

    suite: str
    name: str
    command: list[str]
    folder: Path = ROOT
    count: Callable[[str], Count] | None = None
    env: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """Lanes that run side by side, the steps of each one after the other. `needed`: what follows needs all of it."""

    lanes: list[list[Step]]
    needed: bool = False


@dataclass(frozen=True)
class Result:
    """How a step ended."""

    step: Step
    status: int
    count: Count
    seconds: float
    log: Path

    @property
    def ok(self) -> bool:
        """Whether it ended well and, if it runs tests, ran some."""
        if self.status != 0 or self.count.failed:
            return False
        return self.step.count is None or self.count.passed > 0


class Listener(Protocol):
    """Who is told of steps."""

    def log(self, step: Step) -> Path: ...
    def started(self, step: Step) -> None: ...
    def ended(self, result: Result) -> None: ...


def run(step: Step, listener: Listener) -> Result:
    """Runs a step to its end."""
    log = listener.log(step)
    listener.started(step)
    started = time.monotonic()
    with open(log, "wb") as out:
        try:
            status = subprocess.run(
                step.command,
                cwd=step.folder,
                env={**os.environ, **step.env},
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        except OSError as error:
            out.write(f"{step.command[0]} cannot be run: {error}\n".encode())
            status = 127
    text = log.read_text(errors="replace")
    count = step.count(text) if step.count else Count(passed=int(status == 0), failed=int(status != 0))
    result = Result(step, status, count, time.monotonic() - started, log)
    listener.ended(result)
    return result


def run_lanes(lanes: list[list[Step]], listener: Listener) -> bool:
    """Runs lanes side by side, each to its end whatever fails in it. Whether all was well."""
    outcome: list[bool] = []

    def lane(steps: list[Step]) -> None:
        for step in steps:
            outcome.append(run(step, listener).ok)

    threads = [threading.Thread(target=lane, args=(steps,)) for steps in lanes]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return all(outcome) and len(outcome) == sum(len(steps) for steps in lanes)
