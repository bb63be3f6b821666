"""Spans: where they hang, what they carry, and that an unsampled event makes none."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import wire
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as otlp

from meshloom import DROP, Batch, Context, Emitter, Event, Node, Output, Reject, SourceContext, _tracing, attributes
from meshloom._frames import RowMaker
from meshloom._pb import batch_pb2
from meshloom._tracing import Sampler
from meshloom.testing import run

TRACE, PARENT = "1".rjust(32, "0"), "1".rjust(16, "0")


def by_name(spans: Any, name: str) -> list[Any]:
    return [span for span in spans if span.name == name]


def test_process_span_is_the_parent_of_the_users_own() -> None:
    node: Node = Node("n")

    @node.map
    def handle(event: Event, ctx: Context) -> Any:
        with ctx.tracer.start_as_current_span("user-work"), trace.get_tracer("any").start_as_current_span("deeper"):
            return {"logged": ctx.log.extra["uid"] if ctx.log.extra else None}

    spans = run(node, [{}], sampled=True).spans
    [process], [work], [deeper] = (by_name(spans, name) for name in ("process n", "user-work", "deeper"))
    assert format(process.context.trace_id, "032x") == TRACE
    assert format(process.parent.span_id, "016x") == PARENT
    assert work.parent.span_id == process.context.span_id
    assert deeper.parent.span_id == work.context.span_id
    assert process.kind == trace.SpanKind.CONSUMER
    found = dict(process.attributes)
    assert found[attributes.DESTINATION] == "n"
    assert found[attributes.SYSTEM] == "meshloom"
    assert found[attributes.ATTEMPT] == 1
    assert found[attributes.CLIENT_ID] == "n/0"
    assert len(found[attributes.MESSAGE_ID]) == 32


def test_a_span_says_what_became_of_its_event() -> None:
    plain, kept, sink, whole = Node("plain"), Node("kept"), Node("sink"), Node("whole")

    @kept.filter
    def keep(event: Event) -> bool:
        return bool(event.json())

    @plain.map
    def double(event: Event) -> Any:
        return DROP if event.json() == 0 else event.json()

    @sink.sink
    def store(event: Event) -> None:
        pass

    @whole.batch
    def pick(batch: Batch, out: Emitter) -> None:
        out.drop(0)
        out.emit(1, 1)
        out.retry(2)
        out.reject(3)

    def verdicts(node: Node, events: list[int]) -> list[Any]:
        spans = by_name(run(node, events, sampled=True).spans, f"process {node.name}")
        found = [span.attributes.get(attributes.VERDICT) for span in spans]
        return [verdict for verdict in found if verdict is not None]

    assert verdicts(plain, [0, 1]) == ["consumed", "delivered"]
    assert verdicts(kept, [0, 1, 1]) == ["consumed", "delivered", "delivered"]
    assert verdicts(sink, [0]) == ["delivered"]
    assert verdicts(whole, [0, 1, 2, 3]) == ["consumed", "delivered", "retry", "reject"]


def test_failures_are_errors() -> None:
    node: Node = Node("n")

    @node.filter
    def handle(event: Event) -> bool:
        if event.json() == 0:
            raise Reject("no", reason="NO")
        raise ValueError("boom")

    rejected, failed = by_name(run(node, [0, 1], sampled=True).spans, "process n")
    assert (rejected.attributes[attributes.ERROR_TYPE], rejected.attributes[attributes.VERDICT]) == ("NO", "reject")
    found = failed.attributes
    assert (found[attributes.ERROR_TYPE], found[attributes.VERDICT]) == ("HANDLER_ERROR", "retry")
    assert failed.events[0].name == "exception"
    assert not failed.status.is_ok


def test_unsampled_events_make_no_spans(serving: Any) -> None:
    node: Node = Node("n")

    @node.map
    def handle(event: Event, ctx: Context) -> Any:
        with ctx.tracer.start_as_current_span("user-work") as span:
            return span.is_recording()

    recorded = run(node, [0], sampled=True)
    assert recorded.values == [True]
    stream = wire.Process(serving(node))
    stream.opened()
    batch = wire.batch([0, 1, 2])
    batch.spans.append(batch_pb2.SpanContext(index=1, trace_id=b"t" * 16, span_id=b"s" * 8, flags=1))
    assert [value for _, value in stream.run(batch).json()] == [False, True, False]


def test_async_handlers_keep_their_spans_apart() -> None:
    node: Node = Node("n", concurrency=4)

    @node.map
    async def handle(event: Event, ctx: Context) -> Any:
        import asyncio

        await asyncio.sleep(0)
        return format(trace.get_current_span().get_span_context().trace_id, "x")

    result = run(node, list(range(8)), sampled=True)
    assert [o.json() for o in sorted(result.outputs, key=lambda o: o.parent or 0)] == [
        format(i + 1, "x") for i in range(8)
    ]


def test_batch_span_has_links_both_ways() -> None:
    node: Node = Node("n")

    @node.batch
    def handle(batch: Batch, out: Emitter, ctx: Context) -> None:
        with ctx.tracer.start_as_current_span("user-work"):
            out.pass_through(slice(None))

    spans = run(node, list(range(200)), sampled=True).spans
    process = by_name(spans, "process n")
    [call] = [span for span in process if span.parent is None]
    events = [span for span in process if span.parent is not None]
    assert len(call.links) == 128
    assert call.attributes[attributes.BATCH_COUNT] == 200
    assert len(events) == 200
    assert all(span.links[0].context.span_id == call.context.span_id for span in events)
    assert {format(span.context.trace_id, "x") for span in events} == {format(i + 1, "x") for i in range(200)}
    [work] = by_name(spans, "user-work")
    assert work.parent.span_id == call.context.span_id


def test_sampling_at_a_source(serving: Any) -> None:
    from meshloom._pb import produce_pb2

    node: Node = Node("n")

    @node.source
    def numbers(ctx: SourceContext) -> Iterator[Any]:
        for n in range(100):
            brought = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"} if n == 50 else None
            yield Output(n, extensions=brought)

    channel = serving(node)
    for sampling, low, high in (
        (produce_pb2.TraceSampling(rate=0), 1, 1),  # an event that brings a sampled context is always traced
        (produce_pb2.TraceSampling(ratio=1), 100, 100),
        (None, 10, 100),  # 10 at once, then 10 a second
    ):
        stream = wire.Produce(channel, trace=sampling)
        stream.opened()
        stream.demand(1000)
        offset, spans = 0, {}
        for frame in stream.frames():
            for span in frame.batch.spans:
                assert (len(span.trace_id), len(span.span_id), span.flags) == (16, 8, 1)
                spans[offset + span.index] = span
            offset += frame.batch.count
        assert low <= len(spans) <= high
        assert spans[50].trace_id == b"\xaa" * 16
    [sent] = [s for s in run(node, sampled=True, limit=1).spans if s.name == "send n"]
    assert (sent.kind, sent.parent) == (trace.SpanKind.PRODUCER, None)


def test_sampler() -> None:
    assert not any(Sampler(rate=0).wants() for _ in range(100))
    assert not any(Sampler(ratio=0).wants() for _ in range(100))
    assert all(Sampler(ratio=1).wants() for _ in range(100))
    now = [100.0]
    limited = Sampler(rate=5, clock=lambda: now[0])
    assert sum(limited.wants() for _ in range(1000)) == 5
    now[0] += 0.5
    assert sum(limited.wants() for _ in range(1000)) == 2
    assert RowMaker


class Collector:
    """An OTLP receiver."""

    def __init__(self) -> None:
        self.spans: list[tuple[dict[str, str], Any]] = []
        self.some = threading.Event()
        self._server = grpc.server(ThreadPoolExecutor(2))
        export = grpc.unary_unary_rpc_method_handler(
            self._export,
            otlp.ExportTraceServiceRequest.FromString,
            otlp.ExportTraceServiceResponse.SerializeToString,
        )
        name = "opentelemetry.proto.collector.trace.v1.TraceService"
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"Export": export}),))
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        self._server.start()

    def _export(self, request: Any, _: Any) -> Any:
        for resource in request.resource_spans:
            about = {a.key: a.value.string_value for a in resource.resource.attributes}
            self.spans += [(about, span) for scope in resource.scope_spans for span in scope.spans]
        self.some.set()
        return otlp.ExportTraceServiceResponse()

    def stop(self) -> None:
        self._server.stop(0)


def test_a_process_exports_with_no_code(sockets: Path) -> None:
    collector = Collector()
    script = """
import meshloom
node = meshloom.Node("n")
@node.map
def handle(event, ctx):
    with ctx.tracer.start_as_current_span("user-work"):
        return 1
node.serve()
"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OTEL_")} | {
        "MESHLOOM_LISTEN": f"unix:{sockets}/s",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector.port}",
        "OTEL_SERVICE_NAME": "p/n",
        "OTEL_RESOURCE_ATTRIBUTES": "service.instance.id=n-0",
    }
    process = subprocess.Popen([sys.executable, "-c", script], env=environment)
    try:
        with grpc.insecure_channel(f"unix:{sockets}/s") as channel:
            grpc.channel_ready_future(channel).result(wire.DEADLINE)
            stream = wire.Process(channel)
            stream.opened()
            batch = wire.batch([0, 1, 2])
            batch.spans.append(batch_pb2.SpanContext(index=1, trace_id=b"t" * 16, span_id=b"s" * 8, flags=1))
            assert len(stream.run(batch).rows) == 3
        process.terminate()
        assert process.wait(wire.DEADLINE) == 0
        assert collector.some.wait(wire.DEADLINE)  # flushed at the end, not after the batch processor's 5 s
        spans = {span.name: (about, span) for about, span in collector.spans}
        assert set(spans) == {"process n", "user-work"}
        about, process_span = spans["process n"]
        assert (about["service.name"], about["service.instance.id"]) == ("p/n", "n-0")
        assert (process_span.trace_id, process_span.parent_span_id) == (b"t" * 16, b"s" * 8)
        assert spans["user-work"][1].parent_span_id == process_span.span_id
    finally:
        process.kill()
        collector.stop()


def test_spans_that_nobody_takes_do_not_hold_up_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    collector_is_back = threading.Event()

    class Retrying:
        def shutdown(self) -> None:
            collector_is_back.wait()

    monkeypatch.setattr(_tracing, "_exporter", Retrying())
    monkeypatch.setattr(_tracing, "_FLUSH_SECONDS", 0.01)
    _tracing.flush()  # returns
    collector_is_back.set()
