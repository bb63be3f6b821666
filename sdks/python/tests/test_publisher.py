"""The publisher against a small ingress server of its own."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from typing import Any

import grpc
import pytest

from meshloom import Output, Publisher, PublishError, Unacknowledged
from meshloom._pb import ingress_pb2

SOON = 60.0


class Stream:
    """One publisher's stream, as the test sees it."""

    def __init__(self) -> None:
        self.requests: queue.Queue[ingress_pb2.PublishRequest | None] = queue.Queue()
        self.responses: queue.Queue[ingress_pb2.PublishResponse | tuple[grpc.StatusCode, str]] = queue.Queue()

    def say(self, **response: Any) -> None:
        self.responses.put(ingress_pb2.PublishResponse(**response))

    def credit(self, events: int, size: int = 1 << 20) -> None:
        self.say(credit=ingress_pb2.PublishCredit(events=events, bytes=size))

    def acknowledge(self, sequence: int) -> None:
        self.say(acknowledged=ingress_pb2.Acknowledged(sequence=sequence))

    def fail(self, code: grpc.StatusCode, text: str) -> None:
        self.responses.put((code, text))

    def publication(self) -> tuple[int, list[str]]:
        request = self.requests.get(timeout=SOON)
        assert request is not None
        assert request.WhichOneof("request") == "publication"
        ids = request.publication.batch.id
        ends = memoryview(ids.values.ends).cast("I")
        texts, start = [], 0
        for end in ends:
            texts.append(ids.values.data[start:end].decode())
            start = end
        index = memoryview(ids.index).cast("I") if ids.index else range(len(texts))
        return request.publication.sequence, [texts[i] for i in index]


class Ingress:
    """A real gRPC server whose streams the test drives."""

    def __init__(self, port: int = 0) -> None:
        self.streams: queue.Queue[Stream] = queue.Queue()
        self.opens: list[ingress_pb2.OpenPublish] = []
        self._server = grpc.server(futures.ThreadPoolExecutor(8))
        handler = grpc.stream_stream_rpc_method_handler(
            self._publish,
            request_deserializer=ingress_pb2.PublishRequest.FromString,
            response_serializer=ingress_pb2.PublishResponse.SerializeToString,
        )
        service = grpc.method_handlers_generic_handler("meshloom.v1.IngressService", {"Publish": handler})
        self._server.add_generic_rpc_handlers((service,))
        self.port = self._server.add_insecure_port(f"127.0.0.1:{port}")
        self.address = f"127.0.0.1:{self.port}"
        self._server.start()

    def _publish(
        self, requests: Iterator[ingress_pb2.PublishRequest], context: grpc.ServicerContext
    ) -> Iterator[ingress_pb2.PublishResponse]:
        stream = Stream()
        self.opens.append(next(requests).open)

        def read() -> None:
            try:
                for request in requests:
                    stream.requests.put(request)
            except Exception:
                pass  # the stream is gone
            stream.requests.put(None)

        threading.Thread(target=read, daemon=True).start()
        stream.say(opened=ingress_pb2.OpenedPublish(protocol=1))
        self.streams.put(stream)
        while context.is_active():
            try:
                response = stream.responses.get(timeout=0.05)
            except queue.Empty:
                continue
            if isinstance(response, tuple):
                context.abort(*response)
            yield response

    def stream(self) -> Stream:
        return self.streams.get(timeout=SOON)

    def stop(self) -> None:
        self._server.stop(None).wait(SOON)


@pytest.fixture
def ingress() -> Iterator[Ingress]:
    server = Ingress()
    yield server
    server.stop()


@pytest.fixture
def connect(ingress: Ingress) -> Iterator[Callable[..., Publisher]]:
    made: list[Publisher] = []

    def start(**settings: Any) -> Publisher:
        made.append(Publisher(ingress.address, **settings))
        return made[-1]

    yield start
    for publisher in made:
        try:
            publisher.close(0.0)
        except PublishError:
            pass


def test_acknowledgements_may_come_in_any_order(ingress: Ingress, connect: Callable[..., Publisher]) -> None:
    publisher = connect(pipeline="p", node="n")
    stream = ingress.stream()
    assert (ingress.opens[0].pipeline, ingress.opens[0].node, ingress.opens[0].protocol.max) == ("p", "n", 1)
    stream.credit(1)
    first = publisher.publish(Output({"n": 1}, id="a", key="k"))
    one, ids = stream.publication()
    assert ids == ["a"]
    stream.credit(10)
    second = publisher.publish({"n": 2})
    two, ids = stream.publication()
    assert len(ids[0]) == 36
    assert ids[0][14] == "7"
    stream.acknowledge(two)
    assert second.result(SOON) == ids[0]
    assert not first.done()
    stream.acknowledge(one)
    assert first.result(SOON) == "a"
    publisher.close(SOON)


def test_a_batch_is_what_the_credit_admits(ingress: Ingress, connect: Callable[..., Publisher]) -> None:
    publisher = connect()
    published = [publisher.publish(b"x" * 10) for _ in range(5)]
    stream = ingress.stream()
    with pytest.raises(queue.Empty):  # no credit, no events
        stream.requests.get(timeout=0.2)
    stream.credit(10, 20)
    sequence, ids = stream.publication()
    assert len(ids) == 2
    stream.acknowledge(sequence)
    stream.credit(10, 1)  # any credit admits one event, whatever its size
    sequence, ids = stream.publication()
    assert len(ids) == 1
    stream.acknowledge(sequence)
    stream.credit(10)
    sequence, ids = stream.publication()
    assert len(ids) == 2
    stream.acknowledge(sequence)
    publisher.flush(SOON)
    assert all(future.done() for future in published)


def test_what_was_not_acknowledged_is_sent_again_with_the_same_ids(
    ingress: Ingress, connect: Callable[..., Publisher]
) -> None:
    publisher = connect()
    stream = ingress.stream()
    first = [publisher.publish({"n": n}) for n in range(2)]
    stream.credit(2)  # only now, so that both are in one batch
    _, ids = stream.publication()
    later = publisher.publish({"n": 2})
    stream.fail(grpc.StatusCode.UNAVAILABLE, "the pipeline is stopping")
    again = ingress.stream()
    again.credit(100)
    sequence, resent = again.publication()
    assert resent[:2] == ids
    again.acknowledge(sequence)
    if len(resent) == 2:
        sequence, more = again.publication()
        resent += more
        again.acknowledge(sequence)
    assert [future.result(SOON) for future in [*first, later]] == resent


def test_a_refused_event_fails_alone(ingress: Ingress, connect: Callable[..., Publisher]) -> None:
    publisher = connect()
    published = [publisher.publish(Output(n, id=str(n))) for n in range(3)]
    stream = ingress.stream()
    stream.credit(3)
    sequence, ids = stream.publication()
    assert ids == ["0", "1", "2"]
    refused = ingress_pb2.Refused(sequence=sequence)
    refused.failures.add(index=1, reason="EVENT_TOO_LARGE", message="raise it at the source")
    stream.say(refused=refused)
    with pytest.raises(PublishError, match="raise it at the source") as raised:
        published[1].result(SOON)
    assert raised.value.reason == "EVENT_TOO_LARGE"
    stream.credit(3)
    sequence, ids = stream.publication()
    assert ids == ["0", "2"]
    stream.acknowledge(sequence)
    publisher.close(SOON)


def test_close_says_what_was_not_acknowledged(ingress: Ingress, connect: Callable[..., Publisher]) -> None:
    publisher = connect()
    futures_ = [publisher.publish(Output(n, id=f"e{n}")) for n in range(2)]
    with pytest.raises(Unacknowledged, match=r"2 events were not acknowledged within 0\.1 s") as raised:
        publisher.close(0.1)
    assert raised.value.ids == ["e0", "e1"]
    with pytest.raises(PublishError, match="publish it again with the same id") as closed:
        futures_[0].result(SOON)
    assert closed.value.reason == "CLOSED"
    with pytest.raises(PublishError, match="the publisher is closed"):
        publisher.publish(1)


def test_a_publisher_that_is_refused_says_why_and_stops(ingress: Ingress, connect: Callable[..., Publisher]) -> None:
    publisher = connect(node="other")
    future = publisher.publish(1)
    ingress.stream().fail(grpc.StatusCode.NOT_FOUND, "there is no node `other` here")
    with pytest.raises(PublishError, match="refused this publisher: there is no node `other` here") as raised:
        future.result(SOON)
    assert raised.value.reason == "REJECTED"
    with pytest.raises(PublishError, match="there is no node `other` here"):
        publisher.publish(2)
    with pytest.raises(PublishError, match="there is no node `other` here"):
        publisher.flush(SOON)


def test_a_full_queue_blocks_until_something_is_acknowledged(
    ingress: Ingress, connect: Callable[..., Publisher]
) -> None:
    publisher = connect(queue_events=2)
    stream = ingress.stream()
    first = publisher.publish(1)
    publisher.publish(2)
    with pytest.raises(PublishError) as full:
        publisher.publish(3, timeout=0.1)
    assert full.value.reason == "QUEUE_FULL"
    waiting = futures.ThreadPoolExecutor(1).submit(publisher.publish, 3)
    stream.credit(2)
    sequence, ids = stream.publication()
    assert len(ids) == 2
    assert not waiting.done()
    stream.acknowledge(sequence)
    third = waiting.result(SOON)
    assert first.done()
    stream.credit(1)
    sequence, _ = stream.publication()
    stream.acknowledge(sequence)
    third.result(SOON)


def test_it_waits_for_a_source_that_is_not_there_yet() -> None:
    probe = Ingress()
    port = probe.port
    probe.stop()
    publisher = Publisher(f"127.0.0.1:{port}")
    future = publisher.publish(1)
    with pytest.raises(Unacknowledged) as raised:
        publisher.flush(0.3)
    assert len(raised.value.ids) == 1
    server = Ingress(port)
    try:
        stream = server.stream()
        stream.credit(1)
        sequence, _ = stream.publication()
        stream.acknowledge(sequence)
        future.result(SOON)
        publisher.close(SOON)
    finally:
        server.stop()


@pytest.mark.parametrize("address", ["", "localhost", ":7490", "host:port"])
def test_a_bad_address_is_refused_at_once(address: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        Publisher(address)


def test_an_event_that_cannot_be_sent_is_refused_at_once(connect: Callable[..., Publisher]) -> None:
    publisher = connect()
    for event, words in [
        (object(), "cannot be encoded"),
        (Output(1, checkpoint=1), "no checkpoints"),
        (Output(1, route="hot"), "no route"),
        (b"x" * ((16 << 20) + 1), "at most"),
    ]:
        with pytest.raises(PublishError, match=words) as raised:
            publisher.publish(event)
        assert raised.value.reason == "INVALID"
    started = time.monotonic()
    publisher.close(SOON)  # nothing is open
    assert time.monotonic() - started < SOON
