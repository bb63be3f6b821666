"""What all streams of a process share: the user's event loop, and set-up with its tear-down."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from concurrent.futures import Future
from typing import Any, cast

import msgspec

from . import config as config_module
from ._bind import positional
from .node import Node

log = logging.getLogger("meshloom")


class Host:
    """Set-up values by node and config, and the loop on which all `async def` code of the user runs."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._entries: dict[tuple[str, bytes], _Entry] = {}

    def loop(self) -> asyncio.AbstractEventLoop:
        """The user's event loop, on a thread of its own."""
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                threading.Thread(target=self._loop.run_forever, name="meshloom-async", daemon=True).start()
            return self._loop

    def submit(self, coroutine: Coroutine[Any, Any, Any]) -> Future[Any]:
        """Runs a coroutine on the user's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop())

    def prepare(self, node: Node[Any, Any], config_json: bytes) -> tuple[Any, Any]:
        """Config and state for a stream. Set-up runs once per node and distinct config. Raises ConfigError."""
        config = config_module.parse(node.config_type, config_json)
        parsed = msgspec.json.decode(config_json) if config_json else {}
        key = (node.name, msgspec.json.encode(parsed, order="deterministic"))
        with self._lock:
            entry = self._entries.setdefault(key, _Entry())
        with entry.lock:
            if not entry.ready:
                entry.config = config
                entry.state, entry.tear_down = self._set_up(node.setup_function, config)
                entry.ready = True
        return entry.config, entry.state

    def _set_up(self, function: Callable[..., Any] | None, config: Any) -> tuple[Any, Callable[[], None] | None]:
        if function is None:
            return None, None
        made = function(config) if positional(function) else function()
        if inspect.iscoroutine(made):
            made = self.submit(made).result()
        if inspect.isgenerator(made):
            generator = cast("Generator[Any, None, None]", made)
            return next(generator), lambda: _finish(generator)
        if inspect.isasyncgen(made):
            agen = cast("AsyncGenerator[Any, None]", made)
            return self.submit(_first(agen)).result(), lambda: self.submit(_last(agen)).result()
        return made, None

    def close(self) -> None:
        """Tears down, newest first, each exactly once; failures are logged. Then stops the loop."""
        with self._lock:
            entries, self._entries = list(self._entries.values()), {}
        for entry in reversed(entries):
            if entry.tear_down is not None:
                try:
                    entry.tear_down()
                except Exception:
                    log.exception("tear-down failed")
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is not None:
            loop.call_soon_threadsafe(loop.stop)


class _Entry:
    __slots__ = ("config", "lock", "ready", "state", "tear_down")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.ready = False
        self.config: Any = None
        self.state: Any = None
        self.tear_down: Callable[[], None] | None = None


def _finish(generator: Generator[Any, None, None]) -> None:
    for _ in generator:
        raise RuntimeError("a set-up generator yields once")


async def _first(agen: AsyncGenerator[Any, None]) -> Any:
    return await agen.__anext__()


async def _last(agen: AsyncGenerator[Any, None]) -> None:
    async for _ in agen:
        raise RuntimeError("a set-up generator yields once")
