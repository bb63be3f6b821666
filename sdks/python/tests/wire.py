"""A bare gRPC client for tests: what a coordinator would send, and what came back, by hand."""

from __future__ import annotations

import itertools
import json
import queue
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from meshloom._outputs import pack_i64, pack_strings, pack_u32, pack_values
from meshloom._pb import batch_pb2, node_pb2, process_pb2, produce_pb2, session_pb2

SERVICE = "/meshloom.v1.NodeService"
DEADLINE = 60.0
RETRY = process_pb2.FAILURE_ACTION_RETRY
REJECT = process_pb2.FAILURE_ACTION_REJECT
WHOLE = 0xFFFFFFFF


def uid(i: int) -> bytes:
    return (i + 1).to_bytes(16, "big")


def batch(payloads: Sequence[Any], *, keys: Sequence[str | None] = (), times: Sequence[int] = ()) -> batch_pb2.Batch:
    """Payloads that are not bytes are sent as JSON."""
    raw = [p if isinstance(p, bytes) else json.dumps(p).encode() for p in payloads]
    made = batch_pb2.Batch(count=len(raw), payload=pack_values(raw), uid=b"".join(uid(i) for i in range(len(raw))))
    column = pack_strings({i: k for i, k in enumerate(keys) if k is not None}, len(raw))
    if column is not None:
        made.key.CopyFrom(column)
    if times:
        made.time = pack_i64(times)
    return made


def ends(raw: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(raw) // 4}I", raw))


def values(column: batch_pb2.Values) -> list[bytes]:
    edges = [0, *ends(column.ends)]
    return [column.data[a:b] for a, b in itertools.pairwise(edges)]


def column(strings: batch_pb2.Strings, count: int) -> list[str | None]:
    texts = [v.decode() for v in values(strings.values)]
    if strings.index:
        return [None if i == WHOLE else texts[i] for i in ends(strings.index)]
    if not texts:
        return [None] * count
    return list(texts * count if len(texts) == 1 else texts)


class Stream:
    """One Process or Produce stream."""

    def __init__(self, channel: grpc.Channel, method: str, request: Any, response: Any) -> None:
        self._requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        call = channel.stream_stream(
            f"{SERVICE}/{method}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )
        self.call = call(iter(self._requests.get, None))
        self._responses: queue.SimpleQueue[Any] = queue.SimpleQueue()
        import threading

        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        try:
            for response in self.call:
                self._responses.put(response)
        except grpc.RpcError as error:
            self._responses.put(error)
        else:
            self._responses.put(None)

    def send(self, request: Any) -> None:
        self._requests.put(request)

    def close(self) -> None:
        """Half-closes."""
        self._requests.put(None)

    def read(self, timeout: float = DEADLINE) -> Any:
        """The next response; None at the end; raises the stream's error."""
        response = self._responses.get(timeout=timeout)
        if isinstance(response, grpc.RpcError):
            raise response
        return response

    def rest(self) -> list[Any]:
        return list(iter(self.read, None))


class Process(Stream):
    """A Process stream with shortcuts."""

    def __init__(self, channel: grpc.Channel, **fields: Any) -> None:
        super().__init__(channel, "Process", process_pb2.ProcessRequest, process_pb2.ProcessResponse)
        config = fields.pop("config", None)
        fields.setdefault("protocol", session_pb2.ProtocolRange(min=1, max=1))
        opened = process_pb2.OpenProcess(
            pipeline="p", replica=session_pb2.Replica(index=0, of=1), **{"node": "n"} | fields
        )
        if config is not None:
            opened.config_json = json.dumps(config).encode()
        self.send(process_pb2.ProcessRequest(open=opened))
        self._next = 0

    def opened(self) -> session_pb2.Opened:
        response = self.read()
        assert response.WhichOneof("response") == "opened"
        return response.opened  # type: ignore[no-any-return]

    def work(self, payloads: Any, *, attempts: Sequence[int] = (), timeout: float | None = None, **columns: Any) -> int:
        self._next += 1
        made = payloads if isinstance(payloads, batch_pb2.Batch) else batch(payloads, **columns)
        work = process_pb2.Work(sequence=self._next, batch=made, attempts=pack_u32(attempts))
        if timeout is not None:
            work.timeout.FromNanoseconds(round(timeout * 1e9))
        self.send(process_pb2.ProcessRequest(work=work))
        return self._next

    def cancel(self, sequence: int) -> None:
        self.send(process_pb2.ProcessRequest(cancel=process_pb2.Cancel(sequence=sequence, reason="test")))

    def results(self, sequence: int) -> list[process_pb2.WorkResult]:
        """All results of a work, to its last. Results of other works in between are an error."""
        found = []
        while True:
            response = self.read()
            assert response is not None, "the stream ended before the work did"
            if response.WhichOneof("response") != "result":
                continue
            assert response.result.sequence == sequence
            found.append(response.result)
            if response.result.last:
                return found

    def run(self, payloads: Any, **options: Any) -> Answer:
        return Answer(self.results(self.work(payloads, **options)))


class Answer:
    """The results of one work, put together."""

    def __init__(self, results: Sequence[process_pb2.WorkResult]) -> None:
        self.results = results
        self.rows: list[tuple[int, Any]] = []
        self.routes: list[str | None] = []
        self.keys: list[str | None] = []
        self.types: list[str | None] = []
        self.failures: dict[int, process_pb2.EventFailure] = {}
        for result in results:
            out = result.outputs
            if result.HasField("outputs"):
                parents = ends(out.parent) or list(range(out.count))
                assert len(parents) == out.count
                assert parents == sorted(parents)
                payloads: Sequence[Any] = [None] * out.count
                if out.HasField("payload"):
                    payloads = values(out.payload)
                    assert out.HasField("content_type")
                self.rows += zip(parents, payloads, strict=True)
                self.routes += column(out.route, out.count)
                self.keys += column(out.key, out.count)
                self.types += column(out.content_type, out.count)
            for failed in result.failures:
                assert failed.index not in self.failures
                self.failures[failed.index] = failed
        self.consumed = results[-1].consumed

    def json(self) -> list[tuple[int, Any]]:
        return [(parent, json.loads(payload)) for parent, payload in self.rows]

    def reasons(self) -> dict[int, str]:
        return {index: failed.reason for index, failed in self.failures.items()}


class Produce(Stream):
    """A Produce stream with shortcuts."""

    def __init__(
        self, channel: grpc.Channel, *, checkpoint: bytes | None = None, config: Any = None, **fields: Any
    ) -> None:
        super().__init__(channel, "Produce", produce_pb2.ProduceRequest, produce_pb2.ProduceResponse)
        opened = produce_pb2.OpenProduce(
            protocol=session_pb2.ProtocolRange(min=1, max=1), pipeline="p", node="n", checkpoint=checkpoint, **fields
        )
        if config is not None:
            opened.config_json = json.dumps(config).encode()
        self.send(produce_pb2.ProduceRequest(open=opened))

    def opened(self) -> None:
        assert self.read().WhichOneof("response") == "opened"

    def demand(self, events: int, size: int = 1 << 30) -> None:
        self.send(produce_pb2.ProduceRequest(demand=produce_pb2.Demand(events=events, bytes=size)))

    def settled(self, sequence: int, checkpoint: bytes) -> None:
        self.send(produce_pb2.ProduceRequest(settled=produce_pb2.Settled(sequence=sequence, checkpoint=checkpoint)))

    def stop(self) -> None:
        self.send(produce_pb2.ProduceRequest(stop=produce_pb2.Stop()))

    def frames(self) -> Iterator[produce_pb2.Produced]:
        """Frames until Exhausted or the end."""
        while (response := self.read()) is not None:
            if response.WhichOneof("response") == "exhausted":
                return
            yield response.produced


def status(error: Any) -> status_pb2.Status:
    """The google.rpc.Status of a refused stream."""
    packed = dict(error.trailing_metadata())["grpc-status-details-bin"]
    return status_pb2.Status.FromString(packed)


def info(error: Any) -> error_details_pb2.ErrorInfo:
    """Its ErrorInfo."""
    found = error_details_pb2.ErrorInfo()
    [packed] = [detail for detail in status(error).details if detail.Is(found.DESCRIPTOR)]
    packed.Unpack(found)
    assert found.domain == "meshloom"
    return found


def violations(error: Any) -> dict[str, str]:
    """Field and description of its BadRequest."""
    found = error_details_pb2.BadRequest()
    [packed] = [detail for detail in status(error).details if detail.Is(found.DESCRIPTOR)]
    packed.Unpack(found)
    return {violation.field: violation.description for violation in found.field_violations}


def describe(channel: grpc.Channel) -> node_pb2.DescribeResponse:
    call = channel.unary_unary(
        f"{SERVICE}/Describe",
        request_serializer=node_pb2.DescribeRequest.SerializeToString,
        response_deserializer=node_pb2.DescribeResponse.FromString,
    )
    return call(node_pb2.DescribeRequest(), timeout=DEADLINE)  # type: ignore[no-any-return]
