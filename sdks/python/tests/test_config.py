"""Config and opening: what is refused, with which status and which machine-readable details."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypedDict

import grpc
import msgspec
import pytest
import wire
from google.rpc import error_details_pb2, status_pb2
from pydantic import BaseModel

from meshloom import ConfigError, Node, Size, _service, reasons
from meshloom._pb import process_pb2, session_pb2
from meshloom.config import parse, schema


@dataclass
class Inner:
    path: str
    every: timedelta = timedelta(seconds=1)


@dataclass
class Config:
    label: str
    count: int = 0
    most: Size = 1024
    inner: Inner | None = None
    many: list[Inner] = field(default_factory=list)


class Pydantic(BaseModel):
    label: str
    count: int = 0


class Typed(TypedDict, total=False):
    count: int


class Struct(msgspec.Struct, rename="camel"):
    some_thing: int = 3


def details(error: grpc.RpcError, kind: Any) -> Any:
    raw = dict(error.trailing_metadata())["grpc-status-details-bin"]
    status = status_pb2.Status.FromString(raw)
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    found = kind()
    assert status.details[0].Unpack(found)
    return found


def refusal(channel: grpc.Channel, **options: Any) -> grpc.RpcError:
    with pytest.raises(grpc.RpcError) as refused:
        wire.Process(channel, **options).read()
    return refused.value


def plain(config: Any = None) -> Node:
    node: Node = Node("n", config=config)
    node.filter(lambda event: True)
    return node


def test_config_with_units() -> None:
    raw = b'{"label":"x","most":"64MiB","inner":{"path":"p","every":"1m30s"},"many":[{"path":"q","every":"250ms"}]}'
    config = parse(Config, raw)
    assert config.most == 64 << 20
    assert config.inner.every == timedelta(seconds=90)
    assert config.many == [Inner("q", timedelta(milliseconds=250))]
    assert parse(Typed, b"") == {}
    assert parse(Struct, b'{"someThing":4}').some_thing == 4
    assert parse(None, b"{}") is None


def test_every_violation_is_named(serving: Any) -> None:
    wrong = {"lable": "x", "count": "many", "most": "64", "inner": {"every": "10"}, "many": [{"path": 3}]}
    error = refusal(serving(plain(Config)), config=wrong)
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    violations = details(error, error_details_pb2.BadRequest).field_violations
    assert {v.field: v.description for v in violations} == {
        "lable": "is unknown; did you mean `label`?",
        "label": "is required",
        "count": "Expected `int`, got `str`",
        "most": "Expected a size such as `64KiB` or `8MiB`, got `64`",
        "inner.every": "Expected a duration such as `500ms`, `10s` or `1h30m`, got `10`",
        "inner.path": "is required",
        "many[0].path": "Expected `str`, got `int`",
    }


def test_a_node_without_config_refuses_keys(serving: Any) -> None:
    error = refusal(serving(plain()), config={"a": 1})
    [violation] = details(error, error_details_pb2.BadRequest).field_violations
    assert (violation.field, violation.description) == ("a", "is unknown; this node takes no config")


def test_pydantic_and_other_types() -> None:
    assert parse(Pydantic, b'{"label":"x"}').label == "x"
    with pytest.raises(ConfigError) as refused:
        parse(Pydantic, b'{"cuont":1}')
    assert refused.value.violations == [("cuont", "is unknown; did you mean `count`?"), ("label", "Field required")]
    for raw, message in ((b"[]", "not an object"), (b"{", "not JSON")):
        with pytest.raises(ConfigError, match=message):
            parse(Config, raw)


def test_schema() -> None:
    described = msgspec.json.decode(schema(Config))
    config = described["$defs"]["Config"]
    assert config["required"] == ["label"]
    assert config["additionalProperties"] is False
    assert config["properties"]["most"]["type"] == "string"
    assert schema(dict) == b""


def test_set_up_may_refuse(serving: Any) -> None:
    node = plain(Config)

    @node.setup
    def load(config: Config) -> None:
        raise ConfigError("no such file", field="inner.path")

    error = refusal(serving(node), config={"label": "x"})
    [violation] = details(error, error_details_pb2.BadRequest).field_violations
    assert (violation.field, violation.description) == ("inner.path", "no such file")


def test_set_up_that_fails(serving: Any) -> None:
    node = plain()
    attempts: list[int] = []

    @node.setup
    def load() -> int:
        attempts.append(1)
        if len(attempts) == 1:
            raise OSError("no database")
        return 7

    channel = serving(node)
    error = refusal(channel)
    assert error.code() == grpc.StatusCode.UNAVAILABLE
    assert "set-up of 'n' failed: OSError: no database" in error.details()
    assert details(error, error_details_pb2.ErrorInfo).reason == reasons.SETUP_FAILED
    wire.Process(channel).opened()  # the next open tries again


@pytest.mark.parametrize("kind", ["def", "async", "generator", "async generator"])
def test_set_up_runs_once_and_is_torn_down_once(kind: str, sockets: Any) -> None:
    node: Node = Node("n", config=dict)
    calls: list[Any] = []

    def plain_set_up(config: dict[str, Any]) -> Any:
        calls.append(("up", config["c"]))
        return config["c"]

    async def async_set_up(config: dict[str, Any]) -> Any:
        return plain_set_up(config)

    def generator(config: dict[str, Any]) -> Iterator[Any]:
        yield plain_set_up(config)
        calls.append(("down", config["c"]))

    async def async_generator(config: dict[str, Any]) -> Any:
        yield plain_set_up(config)
        calls.append(("down", config["c"]))

    made = {"def": plain_set_up, "async": async_set_up, "generator": generator, "async generator": async_generator}
    node.setup(made[kind])
    node.map(lambda event, ctx: ctx.state)
    with node.start(f"unix:{sockets}/s") as server, grpc.insecure_channel(server.address) as channel:
        for config in (1, 1, 2):
            stream = wire.Process(channel, config={"c": config})
            stream.opened()
            assert stream.run([0]).json() == [(0, config)]
            stream.close()
            assert stream.rest() == []
        assert calls == [("up", 1), ("up", 2)]
    down = [("down", 2), ("down", 1)] if "generator" in kind else []
    assert calls == [("up", 1), ("up", 2), *down]


@pytest.mark.parametrize(("mine", "low", "high", "side", "to"), [(1, 2, 3, "node", "2"), (2, 1, 1, "coordinator", "2")])
def test_protocol_ranges(
    serving: Any, monkeypatch: pytest.MonkeyPatch, mine: int, low: int, high: int, side: str, to: str
) -> None:
    monkeypatch.setattr(_service, "PROTOCOL", mine)
    error = refusal(serving(plain()), protocol=session_pb2.ProtocolRange(min=low, max=high))
    assert error.code() == grpc.StatusCode.FAILED_PRECONDITION
    info = details(error, error_details_pb2.ErrorInfo)
    assert (info.reason, info.metadata["upgrade"], info.metadata["to"]) == (reasons.PROTOCOL_UNSUPPORTED, side, to)
    assert f"upgrade the {side}" in error.details()


@pytest.mark.parametrize("given", [None, (0, 0), (0, 1), (2, 1)])
def test_a_range_that_is_none(serving: Any, given: tuple[int, int] | None) -> None:
    error = refusal(serving(plain()), protocol=given and session_pb2.ProtocolRange(min=given[0], max=given[1]))
    assert error.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert wire.violations(error).keys() == {"protocol"}


def test_a_wider_range_is_fine(serving: Any) -> None:
    opened = wire.Process(serving(plain()), protocol=session_pb2.ProtocolRange(min=1, max=9)).opened()
    assert (opened.protocol, opened.sdk.language) == (1, "python")


def test_handlers_are_found_by_name(serving: Any) -> None:
    other: Node = Node("other")
    other.source(lambda: iter(()))
    channel = serving(plain(), other)
    wire.Process(channel, handler="n").opened()
    for handler, code, text in (
        ("", grpc.StatusCode.NOT_FOUND, "one of: n, other"),
        ("nn", grpc.StatusCode.NOT_FOUND, "there is no handler 'nn'"),
        ("other", grpc.StatusCode.FAILED_PRECONDITION, "is a source"),
    ):
        error = refusal(channel, handler=handler)
        assert error.code() == code
        assert text in error.details()
    with pytest.raises(grpc.RpcError, match="is a filter; it is opened with Process"):
        wire.Produce(channel, handler="n").read()
    found = {h.name: h.role for h in wire.describe(channel).handlers}
    assert found == {"n": 2, "other": 6}


def test_streams_are_opened_first_and_once(serving: Any) -> None:
    channel = serving(plain())
    stream = wire.Stream(channel, "Process", process_pb2.ProcessRequest, process_pb2.ProcessResponse)
    stream.send(process_pb2.ProcessRequest(cancel=process_pb2.Cancel(sequence=1)))
    with pytest.raises(grpc.RpcError, match="must be `open`"):
        stream.read()
    twice = wire.Process(channel)
    twice.opened()
    twice.send(process_pb2.ProcessRequest(open=process_pb2.OpenProcess()))
    with pytest.raises(grpc.RpcError, match="opened once"):
        twice.rest()
