"""What has happened in this process."""

from __future__ import annotations

import threading
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any


class Report:
    """Counts that several handlers share; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._failed = False
        self._calls = 0
        self._running = 0
        self._most = 0
        self._cancelled: list[str] = []
        self._notes: list[tuple[str | None, int]] = []
        self.setups = 0
        self.teardowns = 0

    def fails_once(self) -> bool:
        """True for the first that asks."""
        with self._lock:
            first, self._failed = not self._failed, True
        return first

    @contextmanager
    def call(self) -> Generator[None, None, None]:
        """Around a handler call."""
        with self._lock:
            self._calls += 1
            self._running += 1
            self._most = max(self._most, self._running)
        try:
            yield
        finally:
            with self._lock:
                self._running -= 1

    def cancelled(self, uid: str) -> None:
        """A call was told to stop."""
        with self._lock:
            self._cancelled.append(uid)

    def note(self, key: str | None, n: int) -> None:
        """A call has begun that wants to be remembered."""
        with self._lock:
            self._notes.append((key, n))

    def read(self) -> dict[str, Any]:
        """Everything; what is told once is then forgotten."""
        with self._lock:
            told = {
                "setups": self.setups,
                "teardowns": self.teardowns,
                "calls": self._calls,
                "cancelled": self._cancelled,
                "notes": self._notes,
                "most": self._most,
            }
            self._cancelled, self._notes, self._most = [], [], self._running
        return told


REPORT = Report()
