"""Test kit: run a node on events in-process, without a coordinator or a network; set-up and tear-down run.

r = run(node, [{"temperature": 99}], config={"limit": 30})
assert r.values == [{"temperature": 99, "hot": True}]
"""

from __future__ import annotations

import dataclasses
import queue
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from . import _tracing, limits
from ._bind import bind
from ._columns import StringColumn, bounds, u32
from ._frames import RowMaker, SourceFault, decode_checkpoint, make_batch
from ._host import Host
from ._outputs import pack_u32
from ._pb import batch_pb2, process_pb2, produce_pb2
from ._session import ProcessSession
from ._source import SourceSession
from ._view import BatchView
from .context import Opening
from .node import Node
from .output import Output

_NAMESPACE = uuid.UUID("5d6f5f0c-9f0e-5c39-8f4e-6d6573686c6d")


@dataclass(frozen=True)
class TestOutput:
    """One output. Attributes are the output's own, or the parent's where it set none."""

    __test__ = False  # not a test class, whatever its name says to pytest

    #: Position of the input in `events`; None: from the whole batch, or from a source.
    parent: int | None
    data: bytes
    content_type: str | None = None
    key: str | None = None
    route: str | None = None
    type: str | None = None
    subject: str | None = None
    id: str | None = None
    time_ns: int | None = None

    def json(self) -> Any:
        """The payload as JSON."""
        return msgspec.json.decode(self.data)


@dataclass(frozen=True)
class TestFailure:
    """A rejected or retried event."""

    __test__ = False

    #: Position in `events`; None: the whole batch.
    index: int | None
    reason: str
    message: str
    attempt: int
    #: Seconds, if the handler asked for a delay.
    after: float | None = None


@dataclass
class Run:
    """What became of the events."""

    outputs: list[TestOutput] = field(default_factory=list)
    #: Positions of the events that ended with no output on purpose (also: delivered by a sink).
    dropped: list[int] = field(default_factory=list)
    rejected: list[TestFailure] = field(default_factory=list)
    #: Every answer that asked for a retry; with `redeliver` these came again.
    retried: list[TestFailure] = field(default_factory=list)
    #: Finished OpenTelemetry spans (with `sampled=True`), the user's own among them.
    spans: Sequence[Any] = ()
    #: Sources: the last checkpoint, and whether the source ended by itself.
    checkpoint: Any = None
    exhausted: bool = False

    @property
    def values(self) -> list[Any]:
        """The outputs as JSON values."""
        return [output.json() for output in self.outputs]


def run(
    node: Node[Any, Any],
    events: Iterable[Any] = (),
    *,
    config: Any = None,
    splits: int = 1,
    redeliver: bool = False,
    attempts: int = 10,
    ordering: str = "none",
    sampled: bool = False,
    timeout: float | None = 30.0,
    checkpoint: Any = None,
    limit: int = 1000,
) -> Run:
    """Runs a node to the end. Events are JSON values, bytes, str (as text) or Output(value, key=..., ...).

    `splits` cuts the events into that many batches: a node must not care. `redeliver` sends events that asked for a
    retry again, up to `attempts`. `ordering` is none, key or all. `sampled` traces every event. `timeout` is seconds
    per handler call. A source is run from `checkpoint` until it ends or has given `limit` events.
    A refused config raises ConfigError, a failing set-up its own exception.
    """
    bound = bind(node)
    host = Host()
    exporter = _memory_exporter() if sampled else None
    try:
        parsed, state = host.prepare(node, b"" if config is None else msgspec.json.encode(config))
        opening = Opening(
            node=node,
            pipeline="test",
            name=node.name,
            replica=0,
            replicas=1,
            config=parsed,
            state=state,
            ordering=process_pb2.Ordering.Value(f"ORDERING_{ordering.upper()}"),
            concurrency=bound.concurrency,
        )
        if node.role == "source":
            result = _run_source(opening, host, checkpoint, limit, sampled)
        else:
            rows = [_row(opening, event) for event in events]
            delivery = _Delivery(ProcessSession(opening, bound, host), rows, sampled, timeout, node.limits.batch_events)
            result = delivery.run(splits, attempts if redeliver else 1)
    finally:
        host.close()
        if exporter is not None:
            exporter.shutdown()  # later spans are not ours
    if exporter is not None:
        result.spans = exporter.get_finished_spans()
    return result


def _memory_exporter() -> Any:
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    _tracing.install(SimpleSpanProcessor(exporter))
    return exporter


def _row(opening: Opening, event: Any) -> Any:
    if isinstance(event, str):
        event = Output(event.encode(), content_type="text/plain")
    return RowMaker(opening, None, _tracing.Sampler(rate=0)).make(event)


class _Delivery:
    """Plays the coordinator for one ProcessSession."""

    def __init__(
        self, session: ProcessSession, rows: list[Any], sampled: bool, timeout: float | None, most: int
    ) -> None:
        self._rows = rows
        self._sampled = sampled
        self._timeout = timeout
        self._most = most
        self._requests: queue.SimpleQueue[process_pb2.ProcessRequest | None] = queue.SimpleQueue()
        self._responses = session.responses(iter(self._requests.get, None))
        self._sequence = 0
        self._result = Run()

    def run(self, splits: int, attempts: int) -> Run:
        """All events, cut into batches, until none asks for a retry or the attempts are used up."""
        waiting = [(at, 1) for at in range(len(self._rows))]
        largest = self._most
        size = max(1, -(-len(waiting) // max(1, splits)))
        while waiting:
            again: list[tuple[int, int]] = []
            for start in range(0, len(waiting), min(size, largest)):
                again += self._deliver(waiting[start : start + min(size, largest)])
            waiting = [(at, attempt + 1) for at, attempt in again if attempt < attempts]
        self._requests.put(None)
        for _ in self._responses:
            pass
        return self._result

    def _deliver(self, chosen: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """One work; the events that asked for a retry."""
        self._sequence += 1
        batch = make_batch([self._rows[at] for at, _ in chosen])
        batch.uid = b"".join(uuid.uuid5(_NAMESPACE, str(at)).bytes for at, _ in chosen)
        if self._sampled:
            batch.spans.extend(
                batch_pb2.SpanContext(
                    index=i, trace_id=(at + 1).to_bytes(16, "big"), span_id=b"\0" * 7 + b"\1", flags=1
                )
                for i, (at, _) in enumerate(chosen)
            )
        work = process_pb2.Work(sequence=self._sequence, batch=batch, attempts=pack_u32(a for _, a in chosen))
        if self._timeout is not None:
            work.timeout.FromNanoseconds(round(self._timeout * 1e9))
        self._requests.put(process_pb2.ProcessRequest(work=work))
        view, named, again = BatchView(batch), set[int](), list[tuple[int, int]]()
        for response in self._responses:
            if response.WhichOneof("response") != "result":
                continue
            result = response.result
            for row, output in _outputs(view, result.outputs):
                if row is not None:
                    named.add(row)
                    output = dataclasses.replace(output, parent=chosen[row][0])
                self._result.outputs.append(output)
            for failed in result.failures:
                rows = range(len(chosen)) if failed.index == limits.NONE else (failed.index,)
                named.update(rows)
                again += self._failed(failed, chosen, rows)
            if result.last:
                left = [at for row, (at, _) in enumerate(chosen) if row not in named]
                assert len(left) == result.consumed, f"{len(left)} inputs left, {result.consumed} consumed"
                self._result.dropped += left
                return again
        raise AssertionError("the session ended before the work did")

    def _failed(
        self, failed: process_pb2.EventFailure, chosen: list[tuple[int, int]], rows: Iterable[int]
    ) -> list[tuple[int, int]]:
        after = failed.retry_after.ToNanoseconds() / 1e9 if failed.HasField("retry_after") else None
        final = failed.action == process_pb2.FAILURE_ACTION_REJECT
        into = self._result.rejected if final else self._result.retried
        hit = [chosen[row] for row in rows]
        into += [TestFailure(at, failed.reason, failed.message, attempt, after) for at, attempt in hit]
        return [] if final else hit


def _outputs(view: BatchView, out: process_pb2.Outputs) -> Iterator[tuple[int | None, TestOutput]]:
    """The outputs of a result, as the coordinator would forward them."""
    count = out.count
    parents = u32(out.parent, count, "parent") if out.parent else range(count)
    payload = out.payload.data
    edges = (
        bounds(out.payload.ends, len(payload), count, "payload", limits.MAX_EVENT) if out.HasField("payload") else None
    )
    columns = {name: StringColumn(getattr(out, name), count, name) for name in _TEXTS if out.HasField(name)}
    times = memoryview(out.time).cast("q") if out.time else None
    for at, parent in enumerate(parents):
        row = None if parent == limits.NONE else parent
        own = {name: columns[name].get(at) if name in columns else None for name in _TEXTS}
        if row is not None:
            for name in _INHERITED:
                if own[name] is None:
                    own[name] = view.attribute(name, row)
        time = limits.TIME_AS_PARENT if times is None else times[at]
        if time == limits.TIME_AS_PARENT:
            shown = None if row is None else view.time_ns(row)
        else:
            shown = None if time == limits.TIME_ABSENT else time
        data = payload[edges[at] : edges[at + 1]] if edges else view.payload(parent)
        yield row, TestOutput(row, data, time_ns=shown, **{name: text or None for name, text in own.items()})


_INHERITED = ("content_type", "key", "type", "subject", "id")
_TEXTS = (*_INHERITED, "route")


def _run_source(opening: Opening, host: Host, checkpoint: Any, limit: int, sampled: bool) -> Run:
    resumed = None if checkpoint is None else msgspec.json.encode(checkpoint, order="deterministic")
    sampler = _tracing.Sampler(ratio=1.0 if sampled else 0.0)
    session = SourceSession(opening, bind(opening.node), host, resumed, sampler)
    requests: queue.SimpleQueue[produce_pb2.ProduceRequest | None] = queue.SimpleQueue()
    requests.put(produce_pb2.ProduceRequest(demand=produce_pb2.Demand(events=limit, bytes=limits.MAX_BATCH_BYTES)))
    result, last = Run(), resumed
    try:
        for response in session.responses(iter(requests.get, None)):
            if response.WhichOneof("response") == "exhausted":
                result.exhausted = True
                requests.put(None)
                continue
            produced = response.produced
            view = BatchView(produced.batch, with_uids=False)
            for i in range(view.count):
                texts = {name: view.attribute(name, i) for name in _INHERITED}
                result.outputs.append(TestOutput(None, view.payload(i), time_ns=view.time_ns(i), **texts))
            if produced.HasField("checkpoint"):
                if produced.checkpoint != last:
                    requests.put(
                        produce_pb2.ProduceRequest(
                            settled=produce_pb2.Settled(sequence=produced.sequence, checkpoint=produced.checkpoint)
                        )
                    )
                last = produced.checkpoint
                result.checkpoint = decode_checkpoint(last)
            if len(result.outputs) >= limit:
                requests.put(produce_pb2.ProduceRequest(stop=produce_pb2.Stop()))
    except SourceFault as fault:
        raise RuntimeError(f"the source failed: {fault.reason}: {fault}") from fault
    return result
