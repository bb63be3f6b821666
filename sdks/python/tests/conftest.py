from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from meshloom import Node, Server


@pytest.fixture
def sockets() -> Iterator[Path]:
    """A short folder: a socket's path has at most 108 bytes."""
    with tempfile.TemporaryDirectory(prefix="ml") as folder:
        yield Path(folder)


@pytest.fixture
def serving(sockets: Path) -> Iterator[Callable[..., grpc.Channel]]:
    """Serves nodes on a Unix socket and gives a channel to them."""
    opened: list[tuple[Server, grpc.Channel]] = []

    def start(*nodes: Node) -> grpc.Channel:
        server = Server(nodes, f"unix:{sockets}/{len(opened)}.sock")
        channel = grpc.insecure_channel(server.address, options=[("grpc.max_receive_message_length", 64 << 20)])
        opened.append((server, channel))
        return channel

    yield start
    for server, channel in opened:
        channel.close()
        server.stop(5.0)
