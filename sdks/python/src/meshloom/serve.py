"""Serving nodes: listening, health, reflection, signals, drain."""

from __future__ import annotations

import ipaddress
import logging
import os
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2, reflection_pb2_grpc

from . import _tracing, limits
from ._bind import bind
from ._host import Host
from ._service import SERVICE, NodeService
from ._signals import Signals
from .node import Node
from .verdicts import ServeError

log: logging.Logger = logging.getLogger("meshloom")

BY_HAND = "127.0.0.1:7480"
#: How long a drain waits for handlers, in seconds, before it gives up on them.
DRAIN_SECONDS = 30.0

#: How long a probe may take that is under way when the last stream has ended; a watch of health is cut off then.
_PROBE_SECONDS = 0.5

#: Streams, probes and reflection each hold a thread while they are open; threads are made when needed.
_STREAMS = 512

OPTIONS: list[tuple[str, Any]] = [
    ("grpc.max_receive_message_length", limits.MAX_MESSAGE),
    ("grpc.max_send_message_length", limits.MAX_MESSAGE),
    ("grpc.http2.lookahead_bytes", 8 * limits.MIB),
    ("grpc.http2.max_frame_size", 1 * limits.MIB),
    ("grpc.http2.write_buffer_size", 8 * limits.MIB),
    ("grpc.http2.bdp_probe", 0),
    # The coordinator pings every 20 s; nothing it sends may count as abuse.
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.keepalive_permit_without_calls", 1),
    # Two nodes on one port would share its connections unnoticed.
    ("grpc.so_reuseport", 0),
]


class Server:
    """Nodes served in the background. A context manager: leaving it drains and tears down."""

    def __init__(self, nodes: Sequence[Node[Any, Any]], listen: str) -> None:
        names = [node.name for node in nodes]
        twice = {name for name in names if names.count(name) > 1}
        if not nodes or twice:
            raise ServeError(f"nodes served together need different names; twice: {', '.join(twice)}", 78)
        handlers = [bind(node) for node in nodes]
        self._host = Host()
        self._service = NodeService(handlers, self._host)
        self._health = health.HealthServicer()
        self._server = grpc.server(ThreadPoolExecutor(_STREAMS, thread_name_prefix="meshloom-grpc"), options=OPTIONS)
        self._stopped = threading.Lock()
        self._over = False
        self._register()
        #: Where the node listens, in gRPC's name syntax.
        self.address: str = self._bind(listen)
        _tracing.start()
        self._server.start()
        for name in ("", SERVICE):
            self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    def _register(self) -> None:
        server = self._server
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, self._service.rpc_handlers()),))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        names = (SERVICE, health.SERVICE_NAME, "grpc.reflection.v1.ServerReflection", reflection.SERVICE_NAME)
        servicer = reflection.ReflectionServicer(names)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(servicer, server)
        # v1 has the messages of v1alpha under another name.
        v1 = grpc.stream_stream_rpc_method_handler(
            servicer.ServerReflectionInfo,
            reflection_pb2.ServerReflectionRequest.FromString,
            reflection_pb2.ServerReflectionResponse.SerializeToString,
        )
        v1_handler = grpc.method_handlers_generic_handler(
            "grpc.reflection.v1.ServerReflection", {"ServerReflectionInfo": v1}
        )
        server.add_generic_rpc_handlers((v1_handler,))

    def _bind(self, listen: str) -> str:
        credentials = _credentials()
        if credentials is None:
            _check_plaintext(listen)
        try:
            if credentials is None:
                port = self._server.add_insecure_port(listen)
            else:
                port = self._server.add_secure_port(listen, credentials)
        except RuntimeError as error:
            port, reason = 0, str(error)
        else:
            reason = "the address cannot be bound"
        if port == 0:
            raise ServeError(
                f"cannot listen on {listen}: {reason}. Something else may be using it; "
                "set MESHLOOM_LISTEN to another address (unix:/path, 127.0.0.1:0, HOST:PORT)"
            )
        if listen.startswith("unix:"):
            return listen
        return f"{listen.rpartition(':')[0]}:{port}"

    def stop(self, grace: float = DRAIN_SECONDS) -> None:
        """Health says NOT_SERVING, streams answer what they hold and end, tear-down runs, spans are flushed. Once."""
        with self._stopped:
            if self._over:
                return
            self._over = True
            self._health.enter_graceful_shutdown()
            self._service.drain(grace)
            self._server.stop(_PROBE_SECONDS).wait()
            self._host.close()
            _tracing.flush()

    def __enter__(self) -> Server:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _credentials() -> grpc.ServerCredentials | None:
    """TLS from MESHLOOM_TLS_CERT, MESHLOOM_TLS_KEY and, for mutual TLS, MESHLOOM_TLS_CLIENT_CA."""
    cert, key, client_ca = (os.environ.get(f"MESHLOOM_TLS_{name}", "") for name in ("CERT", "KEY", "CLIENT_CA"))
    if not (cert or key or client_ca):
        return None
    if not (cert and key):
        raise ServeError("TLS needs both MESHLOOM_TLS_CERT and MESHLOOM_TLS_KEY (paths of PEM files)", 78)
    authority = _pem("MESHLOOM_TLS_CLIENT_CA", client_ca) if client_ca else None
    pair = (_pem("MESHLOOM_TLS_KEY", key), _pem("MESHLOOM_TLS_CERT", cert))
    return grpc.ssl_server_credentials([pair], authority, require_client_auth=authority is not None)


def _pem(name: str, path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ServeError(f"{name}: cannot read {path}: {error.strerror}", 78) from None


def _check_plaintext(listen: str) -> None:
    """Refuses to serve without TLS where others can reach it."""
    if listen.startswith(("unix:", "unix-abstract:")) or os.environ.get("MESHLOOM_INSECURE") == "1":
        return
    host = listen.removeprefix("dns:").removeprefix("ipv4:").removeprefix("ipv6:").lstrip("/").rpartition(":")[0]
    host = host.strip("[]")
    try:
        local = ipaddress.ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    if not local:
        raise ServeError(
            f"{listen} can be reached from other machines and there is no TLS: set MESHLOOM_TLS_CERT and "
            "MESHLOOM_TLS_KEY, listen on 127.0.0.1, or set MESHLOOM_INSECURE=1 on a network you trust",
            78,
        )


def _configure_logging() -> None:
    if not logging.getLogger().handlers:
        level = os.environ.get("MESHLOOM_LOG", "info").upper()
        known = level if level in ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL") else "INFO"
        logging.basicConfig(stream=sys.stderr, level=known, format="%(levelname)s %(name)s: %(message)s")


def serve(*nodes: Node[Any, Any]) -> None:
    """Serves nodes on MESHLOOM_LISTEN until SIGTERM or SIGINT, then drains and returns.

    By hand (no MESHLOOM_LISTEN) it listens on 127.0.0.1:7480 and says how to use it. What keeps it from starting ends
    the process with a message: exit status 69 (address taken) or 78 (configuration).
    """
    _configure_logging()
    listen = os.environ.get("MESHLOOM_LISTEN", "")
    signals = Signals()
    try:
        server = Server(nodes, listen or BY_HAND)
    except ServeError as error:
        print(f"meshloom: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    if not listen:
        roles = ", ".join(f"{node.name} ({node.role})" for node in nodes)
        print(
            f"meshloom node {roles} listens on {server.address}; use it with `connect: {server.address}` in a pipeline "
            f"file, or `meshloom run --attach {nodes[0].name}={server.address}`",
            file=sys.stderr,
        )
    signals.wait()

    def stop() -> None:
        try:
            server.stop()
        finally:
            signals.done()

    threading.Thread(target=stop, name="meshloom-stop").start()
    if again := signals.wait():
        os._exit(128 + again)
