"""The golden vectors of the conformance kit: what a batch says, what is refused, and what is written again."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import grpc
import pytest
import wire

from meshloom import Event, Node, Output, Timestamp, Uri, UriReference, limits, reasons
from meshloom._columns import Malformed
from meshloom._frames import encode_row, make_batch
from meshloom._kit import outputs
from meshloom._outputs import Rows
from meshloom._pb import batch_pb2, process_pb2
from meshloom._view import BatchView
from meshloom.batch import attempts_column

VECTORS = Path(__file__).parents[3] / "tests/conformance/vectors"
TEXTS = ("content_type", "id", "type", "subject", "key", "data_schema")
KINDS: dict[type, str] = {
    bool: "boolean",
    int: "integer",
    str: "string",
    bytes: "binary",
    Uri: "uri",
    UriReference: "uri_reference",
    Timestamp: "timestamp",
}
#: What says more than BATCH_MALFORMED.
SPECIFIC = {
    "b4-key-long": reasons.ATTRIBUTE_TOO_LARGE,
    "b4-key-long-unnamed": reasons.ATTRIBUTE_TOO_LARGE,
    "b1-largest-number": reasons.BATCH_TOO_LARGE,
    "b1-overflow": reasons.BATCH_TOO_LARGE,
    "b6-many": reasons.TOO_MANY_EXTENSIONS,
}


def vectors(file: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((VECTORS / f"{file}.json").read_text())
    assert found, file
    return found


def name(vector: dict[str, Any]) -> str:
    return str(vector["name"])


def read(vector: dict[str, Any], field: str = "batch") -> BatchView:
    return BatchView(batch_pb2.Batch.FromString(base64.b64decode(vector[field])))


def text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def typed(value: Any) -> dict[str, Any]:
    """An extension as the vectors write it."""
    kind = KINDS[type(value)]
    if kind == "timestamp":
        value = str(value.ns)
    return {"type": kind, "value": text(value) if kind == "binary" else value}


def told(event: Any, *more: str) -> dict[str, Any]:
    """An event or output as the vectors write it, with these attributes besides those that an output has."""
    time = event.time_ns
    return {
        "payload": text(event.data),
        "time": None if time is None else str(time),
        "extensions": {name: typed(value) for name, value in event.extensions.items()},
        **{name: getattr(event, name) for name in (*TEXTS, *more)},
    }


def received(event: Event) -> dict[str, Any]:
    return told(event, "source") | {"uid": event.uid.hex, "from": event.from_}


def cleared(event: dict[str, Any], *without: str) -> dict[str, Any]:
    """The event without what an encoder does not write; a text that it writes as empty is absent."""
    kept = {name: None if value == "" and name != "payload" else value for name, value in event.items()}
    return kept | dict.fromkeys(without)


def as_output(wanted: Any, parent: Event | None) -> Output[Any]:
    """The output of a parent that says what it has to, and nothing that is the parent's."""
    theirs = {} if parent is None else {name: getattr(parent, name) for name in TEXTS}
    given: dict[str, Any] = {
        name: getattr(wanted, name) or "" for name in TEXTS if getattr(wanted, name) != theirs.get(name)
    }
    given["route"] = getattr(wanted, "route", None)  # an event has none
    if wanted.time_ns != (None if parent is None else parent.time_ns):
        given["time"] = wanted.time_ns
    before = {} if parent is None else parent.extensions
    changed = {at: wanted.extensions.get(at) for at in {**before, **wanted.extensions}}
    given["extensions"] = {
        at: value
        for at, value in changed.items()
        if value is None or at not in before or typed(value) != typed(before[at])
    }
    if parent is not None and wanted.data == parent.data:
        return Output(parent, **given)
    return Output(wanted.data, **given | {"content_type": wanted.content_type or ""})


def rewritten(view: BatchView, wanted: Iterable[tuple[int | None, Any]]) -> list[tuple[int | None, Any]]:
    """Outputs after the encoder, the wire and the test kit's decoder."""
    rows = Rows()
    for parent, row in wanted:
        at = limits.NONE if parent is None else parent
        rows.add(at, as_output(row, None if parent is None else Event(view, parent)))
    out = process_pb2.Outputs()
    rows.encode(view, out)
    return list(outputs(view, process_pb2.Outputs.FromString(out.SerializeToString())))


@pytest.mark.parametrize("vector", vectors("batches"), ids=name)
def test_a_batch_says_what_stands_there(vector: dict[str, Any]) -> None:
    view = read(vector)
    assert [received(Event(view, i)) for i in range(view.count)] == vector["events"]


@pytest.mark.parametrize("vector", vectors("batches"), ids=name)
def test_events_of_a_source_say_the_same_again(vector: dict[str, Any]) -> None:
    view = read(vector)
    events = [Event(view, i) for i in range(view.count)]
    rows = []
    for event in events:
        texts = {at: getattr(event, at) for at in (*TEXTS, "source")} | {"content_type": event.content_type or ""}
        rows.append(encode_row(Output(event.data, time=event.time_ns, extensions=event.extensions, **texts)))
    sent = batch_pb2.Batch.FromString(make_batch(rows).SerializeToString())
    again = BatchView(sent, with_uids=False)
    found = [told(Event(again, i), "source") | {"uid": None, "from": None} for i in range(again.count)]
    assert found == [cleared(event, "uid", "from") for event in vector["events"]]


@pytest.mark.parametrize("vector", vectors("batches"), ids=name)
def test_outputs_of_one_event_say_the_same_as_all(vector: dict[str, Any]) -> None:
    view = read(vector)
    found = rewritten(view, [(0, Event(view, i)) for i in range(view.count)])
    wanted = [cleared(event, "uid", "from", "source") for event in vector["events"]]
    assert [told(row) | dict.fromkeys(("uid", "from", "source")) for _, row in found] == wanted


@pytest.mark.parametrize("vector", vectors("outputs"), ids=name)
def test_outputs_say_what_stands_there_and_again(vector: dict[str, Any]) -> None:
    view = read(vector, "inputs")

    def rows(found: Iterable[tuple[int | None, Any]]) -> list[dict[str, Any]]:
        return [{"parent": parent, "route": row.route, "event": told(row)} for parent, row in found]

    given = list(outputs(view, process_pb2.Outputs.FromString(base64.b64decode(vector["outputs"]))))
    assert rows(given) == vector["rows"]
    assert rows(rewritten(view, given)) == vector["rows"]


def test_malformed_works_are_refused_unseen(serving: Callable[..., grpc.Channel]) -> None:
    seen: list[bytes] = []
    node = Node("n")

    @node.filter
    def look(event: Event) -> bool:
        seen.append(event.data)
        return True

    process = wire.Process(serving(node))
    process.opened()
    for sequence, vector in enumerate(vectors("malformed"), 1):
        work = process_pb2.Work(sequence=sequence, attempts=base64.b64decode(vector["attempts"]))
        if vector["batch"] is not None:
            work.batch.MergeFromString(base64.b64decode(vector["batch"]))
        process.send(process_pb2.ProcessRequest(work=work))
        [result] = process.results(sequence)
        failures = [(failed.index, failed.action, failed.reason) for failed in result.failures]
        wanted = SPECIFIC.get(vector["name"], vector["reason"])
        assert failures == [(limits.NONE, wire.RETRY, wanted)], vector["name"]
        assert not result.HasField("outputs"), vector["name"]
        assert result.consumed == 0, vector["name"]
        assert not seen, vector["name"]
    process.send(process_pb2.ProcessRequest(work=process_pb2.Work(sequence=1 << 20, batch=wire.batch([b"good"]))))
    assert wire.Answer(process.results(1 << 20)).rows == [(0, None)]
    assert seen == [b"good"]


@pytest.mark.parametrize("vector", vectors("malformed"), ids=name)
def test_malformed_batches_are_refused_by_the_codec(vector: dict[str, Any]) -> None:
    batch = batch_pb2.Batch.FromString(base64.b64decode(vector["batch"] or ""))
    with pytest.raises(Malformed):  # the reason is that of the answer, see above
        attempts_column(base64.b64decode(vector["attempts"]), BatchView(batch).count)
