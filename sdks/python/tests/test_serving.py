"""A node as a process: where it listens, what it refuses, how it ends; health and reflection."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import pytest
import wire
from google.protobuf import descriptor_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from meshloom import Node, ServeError, Server

NODE = """
import time, meshloom
node = meshloom.Node("small")
@node.setup
def load():
    yield 1
    print("torn down", flush=True)
@node.map
def double(event):
    print("began", flush=True)
    time.sleep(0.2)
    return event.json() * 2
if __name__ == "__main__":
    node.serve()
"""


def spawn(script: str = NODE, **env: str) -> subprocess.Popen[str]:
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("MESHLOOM_", "OTEL_"))}
    return subprocess.Popen(
        [sys.executable, "-c", script],
        env=clean | env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def plain() -> Node:
    node: Node = Node("n")
    node.filter(lambda event: True)
    return node


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_and_exits_0(sockets: Path, number: signal.Signals) -> None:
    address = f"unix:{sockets}/s"
    process = spawn(MESHLOOM_LISTEN=address)
    try:
        with grpc.insecure_channel(address) as channel:
            grpc.channel_ready_future(channel).result(wire.DEADLINE)
            stream = wire.Process(channel)
            stream.opened()
            sequence = stream.work([1, 2, 3])
            assert process.stdout is not None
            assert process.stdout.readline() == "began\n"
            process.send_signal(number)
            assert wire.Answer(stream.results(sequence)).json() == [(0, 2), (1, 4), (2, 6)]
            assert stream.rest() == []
        out, err = process.communicate(timeout=wire.DEADLINE)
        assert (process.returncode, out, err) == (0, "began\nbegan\ntorn down\n", "")
    finally:
        process.kill()


def test_a_signal_that_another_thread_is_given(sockets: Path) -> None:
    """The main thread waits in C then, and nobody else runs Python's handlers."""
    kill = """
import signal, sys, threading
def kill():
    sys.stdin.readline()
    signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
threading.Thread(target=kill).start()
"""
    address = f"unix:{sockets}/s"
    process = spawn(kill + NODE, MESHLOOM_LISTEN=address)
    try:
        with grpc.insecure_channel(address) as channel:
            grpc.channel_ready_future(channel).result(wire.DEADLINE)
            stream = wire.Process(channel)
            stream.opened()
            assert process.stdin is not None
            process.stdin.write("\n")
            process.stdin.flush()
            assert stream.rest() == []
        out, err = process.communicate(timeout=wire.DEADLINE)
        assert (process.returncode, out, err) == (0, "torn down\n", "")
    finally:
        process.kill()


def test_a_second_signal_ends_at_once(sockets: Path) -> None:
    address = f"unix:{sockets}/s"
    process = spawn(NODE.replace("time.sleep(0.2)", "time.sleep(600)"), MESHLOOM_LISTEN=address)
    try:
        with grpc.insecure_channel(address) as channel:
            grpc.channel_ready_future(channel).result(wire.DEADLINE)
            health = health_pb2_grpc.HealthStub(channel)
            watch = health.Watch(health_pb2.HealthCheckRequest())
            assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
            stream = wire.Process(channel)
            stream.opened()
            stream.work([1])
            assert process.stdout is not None
            assert process.stdout.readline() == "began\n"
            process.terminate()
            assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
            late = wire.Process(channel)
            with pytest.raises(grpc.RpcError, match="shutting down") as refused:
                late.rest()
            assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
            process.terminate()
            assert process.wait(wire.DEADLINE) == 128 + signal.SIGTERM
    finally:
        process.kill()
        process.communicate()


def test_a_handler_that_holds_the_lock_of_the_interpreter(sockets: Path) -> None:
    """It holds up all of its process, for as long as it holds it, and nothing is lost."""
    script = """
import itertools, re, time, meshloom
node = meshloom.Node("n")
@node.map
def hold(event):
    until = time.monotonic() + event.json()
    for length in itertools.count(12):
        re.match(r"(a+)+$", "a" * length + "b")
        if time.monotonic() >= until:
            return event
node.serve()
"""
    address = f"unix:{sockets}/s"
    process = spawn(script, MESHLOOM_LISTEN=address)
    try:
        with grpc.insecure_channel(address) as channel:
            grpc.channel_ready_future(channel).result(wire.DEADLINE)
            stream = wire.Process(channel)
            stream.opened()
            work = stream.work([1.0, 0.0])
            beside = wire.Process(channel)
            beside.opened()
            assert beside.run([0.0]).rows == [(0, None)]
            assert wire.Answer(stream.results(work)).rows == [(0, None), (1, None)]
        process.terminate()
        assert process.wait(wire.DEADLINE) == 0
    finally:
        process.kill()
        process.communicate()


def test_a_watch_of_health_does_not_hold_up_a_drain(sockets: Path) -> None:
    with grpc.insecure_channel(f"unix:{sockets}/s") as channel:
        server = Server([plain()], f"unix:{sockets}/s")
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        began = time.monotonic()
        server.stop(600.0)
        assert time.monotonic() - began < 300.0


def test_a_taken_address_exits_69(sockets: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        process = spawn(MESHLOOM_LISTEN=address)
        _, err = process.communicate(timeout=wire.DEADLINE)
        assert process.returncode == 69
        assert f"cannot listen on {address}" in err
        assert "set MESHLOOM_LISTEN to another address" in err


def test_by_hand_it_says_how_to_use_it() -> None:
    script = NODE.replace(
        "import time, meshloom",
        "import time, meshloom, meshloom.serve\nimport sys\nsys.modules['meshloom.serve'].BY_HAND = '127.0.0.1:0'",
    )
    process = spawn(script)
    assert process.stderr is not None
    line = process.stderr.readline()
    process.terminate()
    process.communicate(timeout=wire.DEADLINE)
    assert line.startswith("meshloom node small (map) listens on 127.0.0.1:")
    assert "`connect: 127.0.0.1:" in line
    assert "`meshloom run --attach small=127.0.0.1:" in line
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("import meshloom; meshloom.Node('n').serve()", "node 'n' has no handler"),
        (
            "import meshloom; n = meshloom.Node('n'); n.map(lambda a, b, c: 1); n.serve()",
            "a map handler takes (event) or (event, ctx)",
        ),
        (
            "import meshloom\nn = meshloom.Node('n')\n@n.map\ndef f(x: 'Nope'): ...\nn.serve()",
            "an annotation cannot be resolved",
        ),
        ("import meshloom; meshloom.serve()", "need different names"),
    ],
)
def test_a_wrong_node_exits_78(script: str, text: str) -> None:
    process = spawn(script, MESHLOOM_LISTEN="127.0.0.1:0")
    _, err = process.communicate(timeout=wire.DEADLINE)
    assert process.returncode == 78
    assert err.startswith("meshloom: ")
    assert text in err


def test_importing_serves_nothing() -> None:
    process = spawn(NODE.replace('__name__ == "__main__"', "False"))
    out, err = process.communicate(timeout=wire.DEADLINE)
    assert (process.returncode, out, err) == (0, "", "")


@pytest.mark.parametrize("listen", ["0.0.0.0:0", "[::]:0", "dns:example.invalid:1", "192.0.2.1:7480"])
def test_no_plaintext_beyond_loopback(listen: str) -> None:
    with pytest.raises(ServeError, match="MESHLOOM_INSECURE=1") as refused:
        Server([plain()], listen)
    assert refused.value.exit_code == 78


def test_insecure_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MESHLOOM_INSECURE", "1")
    from meshloom.serve import _check_plaintext

    _check_plaintext("0.0.0.0:0")


def certificate(folder: Path, name: str) -> tuple[Path, Path]:
    key, cert = folder / f"{name}.key", folder / f"{name}.pem"
    subprocess.run(
        [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            f"/CN={name}",
            "-addext",
            "subjectAltName=DNS:localhost",
            "-keyout",
            str(key),
            "-out",
            str(cert),
        ],
        check=True,
        capture_output=True,
    )
    return key, cert


def test_mutual_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key, cert = certificate(tmp_path, "node")
    client_key, client_cert = certificate(tmp_path, "client")
    monkeypatch.setenv("MESHLOOM_TLS_CERT", str(cert))
    with pytest.raises(ServeError, match="both MESHLOOM_TLS_CERT and MESHLOOM_TLS_KEY"):
        Server([plain()], "127.0.0.1:0")
    monkeypatch.setenv("MESHLOOM_TLS_KEY", str(tmp_path / "absent"))
    with pytest.raises(ServeError, match="MESHLOOM_TLS_KEY: cannot read"):
        Server([plain()], "127.0.0.1:0")
    monkeypatch.setenv("MESHLOOM_TLS_KEY", str(key))
    monkeypatch.setenv("MESHLOOM_TLS_CLIENT_CA", str(client_cert))
    with Server([plain()], "127.0.0.1:0") as server:
        target = f"localhost:{server.address.rpartition(':')[2]}"
        known = grpc.ssl_channel_credentials(cert.read_bytes(), client_key.read_bytes(), client_cert.read_bytes())
        with grpc.secure_channel(target, known) as channel:
            assert wire.describe(channel).sdk.language == "python"
        unknown = grpc.ssl_channel_credentials(cert.read_bytes())
        with grpc.secure_channel(target, unknown) as channel, pytest.raises(grpc.RpcError):
            wire.describe(channel)


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_reflection(serving: Any, version: str) -> None:
    call = serving(plain()).stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="meshloom.v1.NodeService"),
    ]
    listed, file = call(iter(asked), timeout=wire.DEADLINE)
    names = {service.name for service in listed.list_services_response.service}
    assert {"meshloom.v1.NodeService", "grpc.health.v1.Health"} <= names
    first = descriptor_pb2.FileDescriptorProto.FromString(file.file_descriptor_response.file_descriptor_proto[0])
    assert first.name == "meshloom/v1/node.proto"


def test_health(serving: Any) -> None:
    health = health_pb2_grpc.HealthStub(serving(plain()))
    for service in ("", "meshloom.v1.NodeService"):
        answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=wire.DEADLINE)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


def test_keepalive_pings_are_accepted(sockets: Path) -> None:
    with Server([plain()], f"unix:{sockets}/s") as server:
        options = [("grpc.keepalive_time_ms", 50), ("grpc.keepalive_timeout_ms", 5000)]
        options += [("grpc.http2.max_pings_without_data", 0), ("grpc.keepalive_permit_without_calls", 1)]
        with grpc.insecure_channel(server.address, options=options) as channel:
            stream = wire.Process(channel)
            stream.opened()
            until = time.monotonic() + 1.0  # twenty pings; a server that minds sends GOAWAY after three
            while time.monotonic() < until:
                assert len(stream.run([1]).rows) == 1


def test_a_message_of_63_mib_is_taken_and_judged(serving: Any) -> None:
    stream = wire.Process(serving(plain()))
    stream.opened()
    answer = stream.run(wire.batch([b"x" * (16 << 20)] * 3 + [b"x" * (15 << 20)]))
    assert answer.reasons() == {wire.WHOLE: "BATCH_TOO_LARGE"}
    assert "the limit is 33554432" in answer.failures[wire.WHOLE].message
