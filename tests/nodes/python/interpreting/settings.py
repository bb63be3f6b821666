"""The config of every handler, and the set-up that it asks for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import timedelta

import msgspec

from meshloom import ConfigError, Size

from .commands import Command
from .report import REPORT


class Program(msgspec.Struct, forbid_unknown_fields=True):
    """What a source does."""

    count: int = 0
    checkpoint_every: int = 1
    checkpoint_digits: int = 0
    ids: bool = False
    attributes: bool = False
    traceparent: str = ""
    pause_ms: int = 0
    bytes: int = 0
    fail_at: int = 0
    repeat_checkpoint: int = 0


class Settings(msgspec.Struct):
    """One config for all handlers."""

    label: str = ""
    command: Command | None = None
    setup: str = ""
    wait: timedelta = timedelta(0)
    room: Size = 1024
    log: str = ""
    program: Program | None = None


def append(settings: Settings, line: str) -> None:
    """One line to the log file, in one write, if there is one."""
    if settings.log:
        file = os.open(settings.log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(file, f"{line}\n".encode())
        finally:
            os.close(file)


def set_up(settings: Settings) -> Iterator[None]:
    """Refuses, fails, or tells of itself and of its end."""
    if settings.setup == "refuse":
        raise ConfigError("asked to refuse", field="setup")
    if settings.setup == "fail" or (settings.setup == "fail_once" and REPORT.fails_once()):
        raise RuntimeError("asked to fail")
    REPORT.setups += 1
    append(settings, f"setup {settings.label}")
    yield
    REPORT.teardowns += 1
    append(settings, f"teardown {settings.label}")
