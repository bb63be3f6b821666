"""Publisher: events into a pipeline from a program that is no node of it."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Any

import grpc

from . import limits
from ._frames import SourceFault, encode_row
from ._pb import ingress_pb2, session_pb2
from ._queue import Entry, Queue
from .output import UNSET, Output

_PATH = "/meshloom.v1.IngressService/Publish"
_OPTIONS = [
    ("grpc.max_receive_message_length", limits.MAX_MESSAGE),
    ("grpc.max_send_message_length", limits.MAX_MESSAGE),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.use_local_subchannel_pool", 1),
]
#: Statuses that another attempt would not change.
_FATAL = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.OUT_OF_RANGE,
}
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 30.0


class PublishError(Exception):
    """An event was not published. `reason` is a code: INVALID (it was not sent), REJECTED (the source refused this
    publisher, nothing more is published), CLOSED, QUEUE_FULL, UNACKNOWLEDGED, or the code with which the pipeline
    refused the event."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class Unacknowledged(PublishError):
    """Not everything was acknowledged in time. `ids` are those of the events, in the order of publishing."""

    def __init__(self, ids: list[str], seconds: float, cause: str | None) -> None:
        why = f" ({cause})" if cause else ""
        text = f"{len(ids)} events were not acknowledged within {seconds:g} s{why}"
        super().__init__("UNACKNOWLEDGED", f"{text}; publish them again with the same ids")
        self.ids = ids


class Publisher:
    """Publishes events to a source with `use: grpc`, and says when each is durable.

    Events are gathered into batches for at most 5 ms and sent as the pipeline gives credit. When the connection breaks
    it is made again, and what was not acknowledged is sent again under the same ids, so that it is the same event to
    every sink that keys by uid. What is not acknowledged is held in memory, at most `queue_events` and `queue_bytes`
    (a larger event goes alone); then `publish` blocks. Thread-safe. It connects in the background, for as long as it
    takes; `pipeline` and `node` say which source is meant, so that no other takes the events by mistake.

        with Publisher("127.0.0.1:7490") as publisher:
            publisher.publish({"degrees": 21.5}).result()
    """

    def __init__(
        self,
        address: str,
        *,
        pipeline: str = "",
        node: str = "",
        queue_events: int = 16_384,
        queue_bytes: int = 16 * limits.MIB,
    ) -> None:
        host, colon, port = address.rpartition(":")
        if not (host and colon and port.isascii() and port.isdigit()):
            raise ValueError(f"{address!r} is no address to publish to: write HOST:PORT, the `listen` of the source")
        if queue_events < 1 or queue_bytes < 1:
            raise ValueError("queue_events and queue_bytes must be at least 1")
        self._address = address
        protocol = session_pb2.ProtocolRange(min=1, max=1)
        self._open = ingress_pb2.OpenPublish(pipeline=pipeline, node=node, protocol=protocol)
        self._most_events = queue_events
        self._most_bytes = queue_bytes
        lock = threading.Lock()
        self._changed = threading.Condition(lock)  # for the stream
        self._closed_some = threading.Condition(lock)  # for publish, flush and close
        self._queue = Queue()
        self._open_entries: dict[Entry, None] = {}
        self._open_bytes = 0
        self._stream: object | None = None
        self._call: Any = None
        self._no_more = False
        self._done = threading.Event()
        self._rejected: PublishError | None = None
        self._cause: str | None = None
        self._worker = threading.Thread(target=self._run, name="meshloom-publisher", daemon=True)
        self._worker.start()

    @classmethod
    def connect(cls, address: str, **settings: Any) -> Publisher:
        """The same as the constructor."""
        return cls(address, **settings)

    # -- the user's side -----------------------------------------------------------------------------------------

    def publish(self, event: Any, *, timeout: float | None = None) -> Future[str]:
        """Queues an event, and gives a future of its id, done once the event is durable.

        `event` is what a handler may return: anything JSON can hold, bytes, or an Output with attributes. One without
        an id gets a UUIDv7. Blocks while the queue is full, at most `timeout` seconds: then PublishError QUEUE_FULL.
        In async code call it in a thread (`asyncio.to_thread`), and await `asyncio.wrap_future(future)`.
        """
        output = event if type(event) is Output else Output(event)
        if output.checkpoint is not UNSET:
            raise PublishError("INVALID", "a publisher has no checkpoints: remove `checkpoint`")
        try:
            row = encode_row(output)
        except SourceFault as fault:
            raise PublishError("INVALID", f"the event cannot be published: {fault}") from None
        if not row.texts.get("id"):
            row.texts["id"] = uuid7()
        future: Future[str] = Future()
        future.set_running_or_notify_cancel()  # what is on its way cannot be called back
        entry = Entry(row, future)
        with self._closed_some:
            if not self._closed_some.wait_for(lambda: self._no_more or self._has_room(entry.size), timeout):
                text = f"the queue is full of events that are not acknowledged, for {timeout} s"
                raise PublishError("QUEUE_FULL", f"{text} ({self._cause})" if self._cause else text)
            if self._no_more:
                raise self._rejected or PublishError("CLOSED", "the publisher is closed; make another")
            self._open_entries[entry] = None
            self._open_bytes += entry.size
            idle = not self._queue.waiting
            self._queue.push(entry, time.monotonic())
            # Between the first event and a full batch the stream sleeps until the linger is over.
            if idle or self._queue.wait(0.0) == 0.0:
                self._changed.notify_all()
        return future

    def flush(self, timeout: float) -> None:
        """Waits until nothing is unacknowledged; Unacknowledged after `timeout` seconds."""
        with self._closed_some:
            flushed = self._closed_some.wait_for(lambda: not self._open_entries, timeout)
            if self._rejected is not None:
                raise self._rejected
            if not flushed:
                raise Unacknowledged([entry.id for entry in self._open_entries], timeout, self._cause)

    def close(self, timeout: float = 30.0) -> None:
        """Takes no more events, waits as flush does, and ends the connection. What was not acknowledged by then is
        given up: Unacknowledged names it, and its futures fail with CLOSED. May be called again."""
        with self._closed_some:
            self._no_more = True
            self._closed_some.notify_all()
        try:
            self.flush(timeout)
        finally:
            self._end()

    def __enter__(self) -> Publisher:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self.close()

    # -- the stream's side ---------------------------------------------------------------------------------------

    def _has_room(self, size: int) -> bool:
        opened = len(self._open_entries)
        return opened == 0 or (opened < self._most_events and self._open_bytes + size <= self._most_bytes)

    def _settle(self, entries: list[tuple[Entry, PublishError | None]]) -> None:
        with self._closed_some:
            for entry, _ in entries:
                del self._open_entries[entry]
                self._open_bytes -= entry.size
            self._closed_some.notify_all()
        # Callbacks of the user run here, so without the lock.
        for entry, error in entries:
            if error is None:
                entry.future.set_result(entry.id)
            else:
                entry.future.set_exception(error)

    def _end(self) -> None:
        self._done.set()
        with self._changed:
            self._stream = None
            call = self._call
            self._changed.notify_all()
        if call is not None:
            call.cancel()
        if threading.current_thread() is not self._worker:
            self._worker.join(5.0)

    def _run(self) -> None:
        failures = 0
        while not self._done.is_set():
            opened, code, text = self._connect()
            with self._changed:
                self._stream = None
                self._queue.disconnected(time.monotonic())
                self._cause = text
                self._changed.notify_all()
            if code in _FATAL:
                self._reject(f"the source at {self._address} refused this publisher: {text}")
                return
            failures = 1 if opened else failures + 1
            self._done.wait(backoff(failures - 1))
        with self._changed:
            entries = self._queue.everything()
        text = "the publisher was closed before the event was acknowledged; publish it again with the same id"
        self._settle([(entry, PublishError("CLOSED", text)) for entry in entries])

    def _reject(self, text: str) -> None:
        with self._changed:
            self._no_more = True
            self._rejected = PublishError("REJECTED", text)
            entries = self._queue.everything()
        self._settle([(entry, PublishError("REJECTED", text)) for entry in entries])

    def _connect(self) -> tuple[bool, grpc.StatusCode | None, str]:
        """One connection to its end: whether it was open, and how it ended."""
        opened = False
        stream = object()
        with grpc.insecure_channel(self._address, options=_OPTIONS) as channel:
            method = channel.stream_stream(
                _PATH,
                request_serializer=ingress_pb2.PublishRequest.SerializeToString,
                response_deserializer=ingress_pb2.PublishResponse.FromString,
            )
            with self._changed:
                if self._done.is_set():
                    return opened, None, "the publisher is closed"
                self._stream = stream
                self._call = call = method(self._requests(stream))
            try:
                for response in call:
                    opened = opened or response.WhichOneof("response") == "opened"
                    self._take(response)
                return opened, None, f"the connection to {self._address} has ended"
            except grpc.RpcError as error:
                return opened, error.code(), error.details() or str(error.code())

    def _requests(self, stream: object) -> Iterator[ingress_pb2.PublishRequest]:
        """What is sent on a stream; runs on a thread of gRPC."""
        yield ingress_pb2.PublishRequest(open=self._open)
        while (publication := self._next(stream)) is not None:
            yield ingress_pb2.PublishRequest(publication=publication)

    def _next(self, stream: object) -> ingress_pb2.Publication | None:
        with self._changed:
            while self._stream is stream:
                now = time.monotonic()
                wait = self._queue.wait(now)
                if wait == 0.0 and (publication := self._queue.next(now)) is not None:
                    return publication
                self._changed.wait(wait)
        return None

    def _take(self, response: ingress_pb2.PublishResponse) -> None:
        kind = response.WhichOneof("response")
        if kind == "opened":
            self._cause = None
        elif kind == "credit":
            with self._changed:
                self._queue.grant(response.credit.events, response.credit.bytes)
                self._changed.notify_all()
        elif kind == "acknowledged":
            with self._changed:
                entries = self._queue.acknowledged(response.acknowledged.sequence)
            self._settle([(entry, None) for entry in entries])
        elif kind == "refused":
            with self._changed:
                closed = self._queue.refused(response.refused, time.monotonic())
                self._changed.notify_all()
            self._settle([(entry, PublishError(reason, message)) for entry, reason, message in closed])


def uuid7() -> str:
    """A UUIDv7, RFC 9562: milliseconds since the Unix epoch, then random bits."""
    value = (time.time_ns() // 1_000_000) << 80 | int.from_bytes(os.urandom(10), "big")
    value = value & ~(0xF << 76) | 0x7 << 76
    value = value & ~(0x3 << 62) | 0x2 << 62
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def backoff(failures: int) -> float:
    """Seconds before the next attempt: doubling, with equal jitter."""
    whole = min(_LONGEST_WAIT, _FIRST_WAIT * 2.0 ** min(failures, 16))
    return whole / 2 + random.uniform(0.0, whole / 2)
