"""Events per second through a real node process over a Unix socket, 8 works in flight, against a plain loop.

The plain loop is the typed JSON map without Meshloom: the same function, the same codec. Client and node share the
machine, so read the ratios: $(./venv.sh) bench.py [BATCH [WORKS]]
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import msgspec

from meshloom._outputs import pack_values
from meshloom._pb import batch_pb2, process_pb2, session_pb2

#: Each of a plain loop with the same codec and of the node.
ROUNDS = 3

NODES = {
    "typed JSON map": "@node.map\ndef f(d: dict):\n    d['hot'] = d['temperature'] > 30\n    return d",
    "JSON map, event": "@node.map\ndef f(e):\n    d = e.json()\n    d['hot'] = d['temperature'] > 30\n    return d",
    "filter, payload untouched": "@node.filter\ndef f(e):\n    return True",
    "filter, JSON": "@node.filter\ndef f(e):\n    return e.json()['temperature'] < 1000",
    "batch, passed through": "@node.batch\ndef f(batch, out):\n    out.pass_through(slice(None))",
}


def payloads(count: int) -> list[bytes]:
    """JSON objects of about 100 bytes."""
    return [
        msgspec.json.encode(
            {"sensor": "alpha", "temperature": 20 + i % 20, "time": "2010-01-01T00:00:00Z", "pad": "x" * 30}
        )
        for i in range(count)
    ]


def plain_loop(raw: list[bytes], rounds: int) -> float:
    """The same map in a loop with the same codec."""
    decode, encode = msgspec.json.Decoder().decode, msgspec.json.Encoder().encode

    def handle(value: dict[str, object]) -> dict[str, object]:
        value["hot"] = value["temperature"] > 30  # type: ignore[operator]
        return value

    began = time.perf_counter()
    for _ in range(rounds):
        [encode(handle(decode(data))) for data in raw]
    return rounds * len(raw) / (time.perf_counter() - began)


def through_node(body: str, raw: list[bytes], works: int) -> float:
    """Events per second of one node."""
    batch = batch_pb2.Batch(count=len(raw), payload=pack_values(raw), uid=bytes(16 * len(raw)))
    slots = threading.Semaphore(8)

    def requests() -> Iterator[process_pb2.ProcessRequest]:
        spoken = session_pb2.ProtocolRange(min=1, max=1)
        yield process_pb2.ProcessRequest(open=process_pb2.OpenProcess(protocol=spoken, node="n"))
        for sequence in range(1, works + 1):
            slots.acquire()
            yield process_pb2.ProcessRequest(work=process_pb2.Work(sequence=sequence, batch=batch))

    with tempfile.TemporaryDirectory(prefix="ml") as folder:
        address = f"unix:{Path(folder)}/s"
        script = f"import meshloom\nnode = meshloom.Node('n')\n{body}\nnode.serve()"
        node = subprocess.Popen([sys.executable, "-c", script], env=os.environ | {"MESHLOOM_LISTEN": address})
        try:
            options = [("grpc.max_receive_message_length", 64 << 20), ("grpc.http2.lookahead_bytes", 8 << 20)]
            with grpc.insecure_channel(address, options=options) as channel:
                grpc.channel_ready_future(channel).result(20)
                call = channel.stream_stream(
                    "/meshloom.v1.NodeService/Process",
                    request_serializer=process_pb2.ProcessRequest.SerializeToString,
                    response_deserializer=process_pb2.ProcessResponse.FromString,
                )
                began = time.perf_counter()
                for response in call(requests()):
                    if response.result.last:
                        assert not response.result.failures, response.result.failures[0]
                        slots.release()
                return works * len(raw) / (time.perf_counter() - began)
        finally:
            node.terminate()
            node.wait(20)


def main() -> None:
    size = int(sys.argv[1]) if len(sys.argv) > 1 else 1024
    works = int(sys.argv[2]) if len(sys.argv) > 2 else 500
    raw = payloads(size)
    for name, body in NODES.items():
        # Interleaved, so that what else the machine does weighs on both; the median of the rounds.
        rounds = [(plain_loop(raw, works // 4), through_node(body, raw, works)) for _ in range(ROUNDS)]
        plain, rate = (statistics.median(column) for column in zip(*rounds, strict=True))
        ratio = statistics.median(node / loop for loop, node in rounds)
        print(f"{name:28}{rate / 1e3:8.0f} k events/s   {ratio:.2f} x the plain loop's {plain / 1e3:.0f} k", flush=True)


if __name__ == "__main__":
    main()
