"""Payloads in the language's own types: whatever does not fit names the field."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import msgspec
import pydantic
import pytest

from meshloom import (
    Batch,
    ConfigError,
    Emitter,
    Event,
    Node,
    Output,
    PayloadError,
    Timestamp,
    Uri,
    UriReference,
)
from meshloom.config import parse
from meshloom.testing import run


@dataclass
class Inner:
    n: int


@dataclass
class Data:
    inner: Inner
    kind: Literal["a", "b"] = "a"


class Dict(TypedDict):
    inner: Inner


class Struct(msgspec.Struct):
    inner: Inner


class InnerModel(pydantic.BaseModel):
    n: int


class Model(pydantic.BaseModel):
    inner: InnerModel


@pydantic.dataclasses.dataclass
class PydanticData:
    inner: InnerModel


KINDS = [Data, Dict, Struct, Model, PydanticData]
GOOD = {"inner": {"n": 1}}
BAD: list[Any] = [{"inner": {"n": "x"}}, {}, b"!", []]


@pytest.mark.parametrize("kind", [*KINDS, list[Data], list[Model], Data | int])
@pytest.mark.parametrize("way", ["annotation", "event", "batch"])
def test_misfits_name_the_field(kind: Any, way: str) -> None:
    node: Node = Node("n")
    listed = getattr(kind, "__origin__", None) is list

    def annotated(value: Any) -> Any:
        return value

    annotated.__annotations__["value"] = kind

    def event(event: Event) -> Any:
        return event.json(kind)

    def batch(batch: Batch, out: Emitter) -> None:
        for row, value in batch.valid(kind, out).items():
            out.emit(row, value)

    {"annotation": node.map, "event": node.map, "batch": node.batch}[way](
        {"annotation": annotated, "event": event, "batch": batch}[way]
    )
    events = [[item] if listed and not isinstance(item, bytes) else item for item in (GOOD, *BAD)]
    result = run(node, events)
    [output] = result.outputs
    value = output.json()[0] if listed else output.json()
    assert (output.parent, value["inner"]) == (0, GOOD["inner"])
    assert result.reasons == dict.fromkeys((1, 2, 3, 4), "PAYLOAD_MISMATCH")
    messages = {failed.index: failed.message for failed in result.rejected}
    assert "inner.n`" in messages[1]
    assert "inner`" in messages[2]
    assert messages[3].startswith("the payload is not JSON (")
    assert "it starts '!'" in messages[3]


def test_a_type_that_is_none() -> None:
    node: Node = Node("n")

    class Odd:
        pass

    @node.map
    def handle(event: Event) -> Any:
        return event.json(set[Odd])

    [failed] = run(node, [[1]]).rejected or run(node, [[1]]).retried
    assert "Odd" in failed.message


def test_a_batch_names_the_row() -> None:
    node: Node = Node("n")
    seen: list[str] = []

    @node.batch
    def handle(batch: Batch, out: Emitter) -> None:
        with pytest.raises(PayloadError) as wrong:
            batch.json(Data)
        seen.append(wrong.value.message)
        out.drop(slice(None))

    run(node, [GOOD, BAD[0]])
    assert seen == ["row 1: Expected `int`, got `str` - at `$.inner.n`"]


def test_values_that_the_sdk_gives_can_be_given_back() -> None:
    node: Node = Node("n")
    node.map(lambda event: dict(event.extensions))
    given = {"at": Timestamp.of_ns(1_500_000_000_000_001_001), "to": Uri("a:b"), "ref": UriReference("b"), "n": 1}
    [value] = run(node, [Output(1, extensions=given)]).values
    assert value == {"at": "2017-07-14T02:40:00.000001Z", "to": "a:b", "ref": "b", "n": 1}


def test_json_that_is_no_utf_8() -> None:
    raw = b'{"s":"\xff"}'
    typed: Node = Node("typed")
    typed.map(lambda event: event.json(dict[str, str]))
    plain: Node = Node("plain")
    plain.map(lambda event: event.json())
    for node in (typed, plain):
        [failed] = run(node, [Output(raw)]).rejected
        assert failed.message.startswith("the payload is not JSON (")
    with pytest.raises(ConfigError, match="the config is not JSON"):
        parse(dict, raw)
