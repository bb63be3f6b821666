"""The test kit's part of the coordinator: works to a ProcessSession, demand to a SourceSession."""

from __future__ import annotations

import dataclasses
import itertools
import queue
import threading
import uuid
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from . import _extensions, _tracing, limits
from ._bind import Bound
from ._columns import StringColumn, bounds, u32
from ._frames import Row, SourceFault, decode_checkpoint, encode_checkpoint, make_batch
from ._host import Host
from ._outputs import pack_u32
from ._pb import batch_pb2, process_pb2, produce_pb2
from ._results import Run, TestFailure, TestOutput
from ._session import ProcessSession
from ._source import SourceSession
from ._view import BatchView
from .context import Opening

_NAMESPACE = uuid.UUID("5d6f5f0c-9f0e-5c39-8f4e-6d6573686c6d")
#: How often a run looks whether the test has set `cancel`, in seconds.
_LOOK_SECONDS = 0.02

#: Position of an event, and its attempt.
_Due = tuple[int, int]


class Delivery:
    """Plays the coordinator for one ProcessSession."""

    def __init__(
        self,
        session: ProcessSession,
        rows: list[Row],
        sampled: bool,
        timeout: float | None,
        cancel: threading.Event | None,
    ) -> None:
        self._rows = rows
        self._sampled = sampled
        self._timeout = timeout
        self._requests: queue.SimpleQueue[process_pb2.ProcessRequest | None] = queue.SimpleQueue()
        self._responses = session.responses(iter(self._requests.get, None))
        self._sequence = 0
        self._over = threading.Event()
        if cancel is not None:
            threading.Thread(target=self._take_back, args=(cancel,), daemon=True).start()

    def run(self, sizes: Sequence[int], attempts: int, *, again: bool = False) -> Run:
        """All events in batches of these sizes, until none asks for a retry or the attempts are used up."""
        result = Run()
        first = 2 if again else 1
        due: list[_Due] = [(at, first) for at in range(len(self._rows))]
        while due:
            # Those that come again are cut alike; the last size is for as many batches as are left.
            waiting, retried = iter(due), list[_Due]()
            for size in itertools.chain(sizes, itertools.repeat(sizes[-1])):
                if not (chosen := list(itertools.islice(waiting, size))):
                    break
                retried += self._deliver(chosen, result)
            due = [(at, attempt + 1) for at, attempt in retried if attempt - first + 1 < attempts]
        result.outputs.sort(key=lambda output: len(self._rows) if output.parent is None else output.parent)
        return result

    def end(self) -> None:
        """Half-closes, and reads to the end."""
        self._over.set()
        self._requests.put(None)
        for _ in self._responses:
            pass

    def _take_back(self, cancel: threading.Event) -> None:
        while not self._over.is_set():
            if cancel.wait(_LOOK_SECONDS):
                taken = process_pb2.Cancel(sequence=self._sequence, reason="the test took it back")
                self._requests.put(process_pb2.ProcessRequest(cancel=taken))
                return

    def _deliver(self, chosen: list[_Due], into: Run) -> list[_Due]:
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
        view, named, again = BatchView(batch), set[int](), list[_Due]()
        for response in self._responses:
            if response.WhichOneof("response") != "result":
                continue
            result = response.result
            for row, output in outputs(view, result.outputs):
                if row is not None:
                    named.add(row)
                    output = dataclasses.replace(output, parent=chosen[row][0])
                into.outputs.append(output)
            for failed in result.failures:
                rows = range(len(chosen)) if failed.index == limits.NONE else (failed.index,)
                named.update(rows)
                again += _failed(failed, [chosen[row] for row in rows], into)
            if result.last:
                left = [at for row, (at, _) in enumerate(chosen) if row not in named]
                assert len(left) == result.consumed, f"{len(left)} inputs left, {result.consumed} consumed"
                into.dropped += left
                return again
        raise AssertionError("the session ended before the work did")


def _failed(failed: process_pb2.EventFailure, hit: list[_Due], into: Run) -> list[_Due]:
    after = failed.retry_after.ToNanoseconds() / 1e9 if failed.HasField("retry_after") else None
    final = failed.action == process_pb2.FAILURE_ACTION_REJECT
    told = into.rejected if final else into.retried
    told += [TestFailure(at, failed.reason, failed.message, attempt, after) for at, attempt in hit]
    return [] if final else hit


_INHERITED = ("content_type", "key", "type", "subject", "id", "data_schema")
_TEXTS = (*_INHERITED, "route")


def outputs(view: BatchView, out: process_pb2.Outputs) -> Iterator[tuple[int | None, TestOutput]]:
    """The outputs of a result with their parents' rows, as the coordinator would forward them."""
    count = out.count
    parents: Iterable[int] = u32(out.parent, count, "parent") if out.parent else range(count)
    payload = out.payload.data
    edges = (
        bounds(out.payload.ends, len(payload), count, "payload", limits.MAX_EVENT) if out.HasField("payload") else None
    )
    columns = {name: StringColumn(getattr(out, name), count, name) for name in _TEXTS if out.HasField(name)}
    times = memoryview(out.time).cast("q") if out.time else None
    extensions = _extensions.read(out.extensions, count, removals=True)
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
        inherited = {} if row is None else view.extensions.get(row, {})
        merged = {name: v for name, v in (inherited | extensions.get(at, {})).items() if v is not None}
        data = payload[edges[at] : edges[at + 1]] if edges else view.payload(parent)
        texts = {name: text or None for name, text in own.items()}
        yield row, TestOutput(row, data, time_ns=shown, extensions=merged, **texts)


def run_source(opening: Opening, bound: Bound, host: Host, checkpoint: Any, limit: int, sampled: bool) -> Run:
    """A source from a checkpoint until it ends or has given `limit` events."""
    resumed = None if checkpoint is None else encode_checkpoint(checkpoint)
    sampler = _tracing.Sampler(ratio=1.0 if sampled else 0.0)
    session = SourceSession(opening, bound, host, resumed, sampler)
    requests: queue.SimpleQueue[produce_pb2.ProduceRequest | None] = queue.SimpleQueue()
    requests.put(produce_pb2.ProduceRequest(demand=produce_pb2.Demand(events=limit, bytes=limits.MAX_BATCH_BYTES)))
    result = Run()
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
                extensions = view.extensions.get(i, {})
                output = TestOutput(None, view.payload(i), time_ns=view.time_ns(i), extensions=extensions, **texts)
                result.outputs.append(output)
            settled = produce_pb2.Settled(sequence=produced.sequence)
            if produced.HasField("checkpoint"):
                settled.checkpoint = produced.checkpoint
                result.checkpoint = decode_checkpoint(produced.checkpoint, opening.node.checkpoint_type)
            requests.put(produce_pb2.ProduceRequest(settled=settled))
            if len(result.outputs) >= limit:
                requests.put(produce_pb2.ProduceRequest(stop=produce_pb2.Stop()))
    except SourceFault as fault:
        raise RuntimeError(f"the source failed: {fault.reason}: {fault}") from fault
    return result
