"""Test kit: run a node on events in-process, without a coordinator or a network; set-up and tear-down run.

r = run(node, [{"temperature": 99}, {}], config={"limit": 30})
assert r.values == [{"temperature": 99, "hot": True}]
assert r.reasons == {1: "NO_TEMPERATURE"}
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec

from . import _tracing
from ._bind import bind
from ._frames import RowMaker
from ._host import Host
from ._kit import Delivery, run_source
from ._pb import process_pb2
from ._results import Run, TestFailure, TestOutput
from ._session import ProcessSession
from .context import Opening
from .node import Node
from .output import Output

__all__ = ["Run", "TestFailure", "TestOutput", "run"]


def run(
    node: Node[Any, Any],
    events: Iterable[Any] = (),
    *,
    config: Any = None,
    splits: int | Literal["random"] = 1,
    seed: int | None = None,
    attempts: int = 1,
    redeliver: bool = False,
    ordering: Literal["none", "key", "all"] = "none",
    sampled: bool = False,
    timeout: float | None = 30.0,
    cancel: threading.Event | None = None,
    checkpoint: Any = None,
    limit: int = 1000,
) -> Run:
    """Runs a node to the end. Events are JSON values, bytes, str (as text) or Output(value, key=..., ...).

    `config` is what the pipeline file has under `with`. A refused one raises ConfigError, a failing set-up its own
    exception.

    `splits` cuts the events into that many batches, which a node must not notice; "random" into batches of random
    sizes, by a seed that is printed (pytest shows it when the test fails) and can be given again as `seed`.

    `attempts` is how often an event is brought at most while it asks for a retry. `redeliver` brings every event a
    second time once all are answered, under the same uid, as after a lost connection: see Run.redelivered.

    `ordering` is that of the pipeline file. `sampled` traces every event: see Run.spans. `timeout` is the time for one
    handler call in seconds, None: no limit. Once `cancel` is set, by the handler or a thread of the test, the batch in
    hand is taken back.

    A source is run from `checkpoint` until it ends or has given `limit` events; each frame settles at once.
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
            concurrency=1 if ordering == "all" else bound.concurrency,
        )
        if node.role == "source":
            result = run_source(opening, bound, host, checkpoint, limit, sampled)
        else:
            maker = RowMaker(opening, None, _tracing.Sampler(rate=0))
            rows = [maker.make(_as_output(event)) for event in events]
            sizes, seed = _sizes(len(rows), splits, node.limits.batch_events, seed)
            delivery = Delivery(ProcessSession(opening, bound, host), rows, sampled, timeout, cancel)
            result = delivery.run(sizes, attempts)
            result.seed = seed
            if redeliver:
                result.redelivered = delivery.run(sizes, attempts, again=True)
            delivery.end()
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


def _as_output(event: Any) -> Output[Any]:
    if isinstance(event, str):
        return Output(event.encode(), content_type="text/plain")
    return event if isinstance(event, Output) else Output(event)


def _sizes(
    count: int, splits: int | Literal["random"], most: int, seed: int | None
) -> tuple[Sequence[int], int | None]:
    """How many events each batch has, and the seed by which they were chosen."""
    if splits != "random":
        size = max(1, min(most, -(-count // max(1, splits))))
        return [min(size, count - start) for start in range(0, count, size)], None
    if seed is None:
        seed = random.SystemRandom().randrange(1 << 32)
    print(f"meshloom.testing: random batches, again with run(..., splits='random', seed={seed})")
    chosen, sizes = random.Random(seed), list[int]()
    while (left := count - sum(sizes)) > 0:
        sizes.append(chosen.randint(1, min(most, left)))
    return sizes, seed
