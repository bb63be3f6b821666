"""Every malformed batch is refused with the rule it breaks, before a handler sees it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import pytest
import wire

from meshloom import Node, limits, reasons
from meshloom._columns import Malformed, rises
from meshloom._outputs import Rows, pack_strings, pack_u32, pack_values
from meshloom._pb import batch_pb2 as pb
from meshloom._pb import process_pb2
from meshloom._view import BatchView, check_size, column_bytes

U32 = struct.Struct("<I")


def good() -> pb.Batch:
    return wire.batch([b"one", b"two", b"three"], keys=["a", None, "b"], times=[1, limits.TIME_ABSENT, -5])


def span(index: int) -> pb.SpanContext:
    return pb.SpanContext(index=index, trace_id=b"t" * 16, span_id=b"s" * 8, flags=1)


def extension(**fields: Any) -> pb.Extension:
    filled: dict[str, Any] = {"name": "x", "type": pb.EXTENSION_TYPE_STRING, "values": pack_values([b"v"] * 3)} | fields
    return pb.Extension(**filled)


BREAKS: dict[str, tuple[Callable[[pb.Batch], Any], str]] = {
    "no events": (lambda b: setattr(b, "count", 0), "1 to 65536 events"),
    "too many events": (lambda b: setattr(b, "count", 65_537), "1 to 65536 events"),
    "ends too short": (lambda b: setattr(b.payload, "ends", b.payload.ends[:-4]), "payload.ends has 8 bytes"),
    "ends torn": (lambda b: setattr(b.payload, "ends", b.payload.ends[:-1]), "payload.ends has 11 bytes"),
    "ends fall": (lambda b: setattr(b.payload, "ends", pack_u32([3, 2, 11])), "payload.ends falls"),
    "ends beyond data": (lambda b: setattr(b.payload, "ends", pack_u32([3, 6, 12])), "stops at 12, but there are 11"),
    "ends before data": (lambda b: setattr(b.payload, "ends", pack_u32([3, 6, 10])), "stops at 10, but there are 11"),
    "uid too short": (lambda b: setattr(b, "uid", b.uid[:-1]), "uid has 47 bytes"),
    "uid absent": (lambda b: setattr(b, "uid", b""), "uid has 0 bytes"),
    "time too short": (lambda b: setattr(b, "time", b.time[:-8]), "time has 16 bytes"),
    "index beyond values": (lambda b: setattr(b.key, "index", pack_u32([0, 2, 1])), "key.index names value 2 of 2"),
    "index too short": (lambda b: setattr(b.key, "index", pack_u32([0, 1])), "key.index has 8 bytes"),
    "strings fit no rule": (lambda b: setattr(b.key, "index", b""), "2 values and no index for 3 events"),
    "not UTF-8": (lambda b: b.type.CopyFrom(pb.Strings(values=pack_values([b"\xff"]))), "type is not UTF-8"),
    "a character cut in two": (
        lambda b: b.type.CopyFrom(pb.Strings(values=pb.Values(data="é".encode(), ends=pack_u32([1, 2, 2])))),
        "type is not UTF-8",
    ),
    "key too long": (lambda b: b.key.CopyFrom(pack_strings({0: "k" * 1025}, 3)), "key is larger than 1024"),
    "attribute too long": (lambda b: b.id.CopyFrom(pack_strings({0: "k" * 65_537}, 3)), "id is larger than 65536"),
    "span index repeated": (lambda b: b.spans.extend([span(1), span(1)]), "index 1 is not strictly ascending"),
    "span index falls": (lambda b: b.spans.extend([span(2), span(1)]), "index 1 is not strictly ascending"),
    "span index too high": (lambda b: b.spans.append(span(3)), "index 3 is not strictly ascending within 3"),
    "trace id of 5 bytes": (
        lambda b: b.spans.append(pb.SpanContext(index=1, trace_id=b"short", span_id=b"s" * 8)),
        "the ids of event 1 have 5 and 8 bytes",
    ),
    "data without values": (lambda b: b.type.CopyFrom(pb.Strings(values=pb.Values(data=b"x"))), "stops at 0"),
    "a value that no index names": (
        lambda b: b.type.CopyFrom(pb.Strings(values=pack_values([b"a", b"\xff"]), index=pack_u32([0, 0, 0]))),
        "type is not UTF-8",
    ),
    "65 extensions": (
        lambda b: b.extensions.extend(extension(name=f"x{i}") for i in range(65)),
        "65 extension columns; at most 64",
    ),
    "extension name": (lambda b: b.extensions.append(extension(name="Bad")), "[a-z0-9]"),
    "extension type": (lambda b: b.extensions.append(extension(type=0)), "unknown type 0"),
    "extension type of the future": (lambda b: b.extensions.append(extension(type=99)), "unknown type 99"),
    "extension count": (lambda b: b.extensions.append(extension(values=pack_values([b"v"]))), "ends has 4 bytes"),
    "extension index falls": (
        lambda b: b.extensions.append(extension(values=pack_values([b"v", b"w"]), index=pack_u32([1, 0]))),
        "not strictly ascending",
    ),
    "extension index too high": (
        lambda b: b.extensions.append(extension(values=pack_values([b"v"]), index=pack_u32([3]))),
        "not strictly ascending within 3",
    ),
    "extension twice": (lambda b: b.extensions.extend([extension(), extension()]), "covers event 0 twice"),
    "extension not UTF-8": (lambda b: b.extensions.append(extension(values=pack_values([b"\xff"] * 3))), "decode"),
    "boolean of two bytes": (
        lambda b: b.extensions.append(extension(type=pb.EXTENSION_TYPE_BOOLEAN, values=pack_values([b"ab"] * 3))),
        "a boolean is one byte",
    ),
    "integer of three bytes": (
        lambda b: b.extensions.append(extension(type=pb.EXTENSION_TYPE_INTEGER, values=pack_values([b"abc"] * 3))),
        "4 bytes",
    ),
    "extension too long": (
        lambda b: b.extensions.append(extension(values=pack_values([b"v" * 65_537, b"", b""]))),
        "larger than 65536",
    ),
}


@pytest.mark.parametrize("name", BREAKS)
def test_malformed_batch(name: str) -> None:
    batch = good()
    BatchView(batch)
    change, message = BREAKS[name]
    change(batch)
    with pytest.raises(Malformed) as refused:
        BatchView(batch)
    assert message in str(refused.value)


def test_event_too_large() -> None:
    batch = wire.batch([b"x" * (limits.MAX_EVENT + 1)])
    with pytest.raises(Malformed, match="larger than 16777216"):
        BatchView(batch)
    BatchView(wire.batch([b"x" * limits.MAX_EVENT]))


def test_batch_too_large() -> None:
    batch = good()
    size = column_bytes(batch)
    assert size == 11 + 12 + 2 + 8 + 12 + 48 + 24  # payload, key, uid and time with their ends and indexes
    check_size(batch, 3, size)
    for events, most, message in ((2, size, "has 3 events; the limit is 2"), (3, size - 1, "have 117 bytes")):
        with pytest.raises(Malformed, match=message) as refused:
            check_size(batch, events, most)
        assert refused.value.reason == reasons.BATCH_TOO_LARGE


def test_columns_read_back() -> None:
    batch = good()
    batch.type.CopyFrom(pb.Strings(values=pack_values([b"t"])))
    batch.id.CopyFrom(pb.Strings(values=pack_values([b"1", "zwei-ü".encode(), b"3"])))
    batch.extensions.extend(
        [
            extension(name="n", type=pb.EXTENSION_TYPE_INTEGER, values=pack_values([U32.pack(7)]), index=pack_u32([1])),
            extension(name="n", type=pb.EXTENSION_TYPE_STRING, values=pack_values([b"x"]), index=pack_u32([2])),
            extension(name="b", type=pb.EXTENSION_TYPE_BOOLEAN, values=pack_values([b"\0", b"\1", b"\0"])),
        ]
    )
    view = BatchView(batch)
    assert [view.payload(i) for i in range(3)] == [b"one", b"two", b"three"]
    assert [view.attribute("key", i) for i in range(3)] == ["a", None, "b"]
    assert [view.attribute("type", i) for i in range(3)] == ["t"] * 3
    assert [view.attribute("id", i) for i in range(3)] == ["1", "zwei-ü", "3"]
    assert [view.attribute("subject", i) for i in range(3)] == [None] * 3
    assert [view.time_ns(i) for i in range(3)] == [1, None, -5]
    assert view.extensions == {0: {"b": False}, 1: {"n": 7, "b": True}, 2: {"n": "x", "b": False}}


def test_bad_trace_context_never_fails_work() -> None:
    batch = good()
    batch.spans.append(pb.SpanContext(index=0, trace_id=b"\0" * 16, span_id=b"s" * 8, flags=1))
    batch.spans.append(pb.SpanContext(index=1, trace_id=b"t" * 16, span_id=b"s" * 8, flags=1, trace_state="x" * 513))
    batch.spans.append(pb.SpanContext(index=2, trace_id=b"t" * 16, span_id=b"s" * 8, flags=0x103))
    assert {i: found.flags for i, found in BatchView(batch).spans.items()} == {2: 3}
    batch.spans[2].flags = 2  # not sampled
    assert BatchView(batch).spans == {}


def test_malformed_work_is_answered_and_the_stream_goes_on(serving: Any) -> None:
    node = Node("n")
    node.filter(lambda event: True)
    stream = wire.Process(serving(node))
    stream.opened()
    broken = good()
    broken.payload.ends = pack_u32([3, 2, 11])
    for wrong, options in ((broken, {}), (good(), {"attempts": [1, 1]}), (good(), {"attempts": [0, 1, 1]})):
        answer = stream.run(wrong, **options)
        assert answer.reasons() == {wire.WHOLE: reasons.BATCH_MALFORMED}
        assert answer.failures[wire.WHOLE].action == wire.RETRY
    assert len(stream.run(good()).rows) == 3


def test_outputs_need_no_parents_when_each_input_has_one() -> None:
    view = BatchView(good())
    rows = Rows()
    for i in range(3):
        rows.keep(i)
    out = process_pb2.Outputs()
    rows.encode(view, out)
    assert (out.count, out.parent, out.HasField("payload"), out.HasField("content_type")) == (3, b"", False, False)


def test_mixed_outputs_copy_unchanged_payloads() -> None:
    view = BatchView(good())
    rows = Rows()
    rows.keep(0)
    rows.add(2, {"a": 1})
    out = process_pb2.Outputs()
    rows.encode(view, out)
    assert wire.ends(out.parent) == [0, 2]
    assert wire.values(out.payload) == [b"one", b'{"a":1}']
    assert wire.column(out.content_type, 2) == [None, "application/json"]


def test_rises() -> None:
    top = 2**31 - 1
    for rising in ([], [7], [0, 0], [1, 2, 2, 9], [0, top], [top, top], list(range(0, 90_000, 9))):
        assert rises(pack_u32(rising), len(rising)), rising
    for falling in ([1, 0], [1, 2, 1], [0, top, 0, top], [top, top - 1], [*range(5000), 4998, 5000]):
        assert not rises(pack_u32(falling), len(falling)), falling
    assert not rises(pack_u32([0, 2**31]), 2)  # no column is so long
