"""CloudEvents extension attributes: typed values in columns that may cover some events only."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Mapping
from datetime import datetime
from typing import Any

from . import limits, reasons
from ._columns import Malformed, ascending, bounds, u32
from ._pb import batch_pb2 as pb
from ._times import Timestamp, to_nanoseconds

_NAME = re.compile(r"[a-z0-9]{1,64}")
_ABSENT_TYPE = pb.EXTENSION_TYPE_UNSPECIFIED


class TooLarge(ValueError):
    """An output is larger than the protocol carries; `reason` is the code."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason


class Uri(str):
    """An extension value of CloudEvents type URI."""

    __slots__ = ()


class UriReference(str):
    """An extension value of CloudEvents type URI-reference."""

    __slots__ = ()


def _boolean(raw: bytes) -> bool:
    if raw not in (b"\0", b"\1"):
        raise ValueError("a boolean is one byte, 0 or 1")
    return raw == b"\1"


_DECODERS: dict[int, Callable[[bytes], Any]] = {
    pb.EXTENSION_TYPE_BOOLEAN: _boolean,
    pb.EXTENSION_TYPE_INTEGER: lambda raw: struct.unpack("<i", raw)[0],
    pb.EXTENSION_TYPE_STRING: bytes.decode,
    pb.EXTENSION_TYPE_BINARY: bytes,
    pb.EXTENSION_TYPE_URI: lambda raw: Uri(raw.decode()),
    pb.EXTENSION_TYPE_URI_REFERENCE: lambda raw: UriReference(raw.decode()),
    pb.EXTENSION_TYPE_TIMESTAMP: lambda raw: Timestamp.of_ns(struct.unpack("<q", raw)[0]),
}


def read(columns: Iterable[pb.Extension], count: int, *, removals: bool = False) -> dict[int, dict[str, Any]]:
    """Extensions by event; events without one are not in the result. `removals`: as of outputs, None where removed."""
    columns = list(columns)
    if len(columns) > limits.MAX_EXTENSIONS:
        raise Malformed(
            f"{len(columns)} extension columns; at most {limits.MAX_EXTENSIONS}", reasons.TOO_MANY_EXTENSIONS
        )
    found: dict[int, dict[str, Any]] = {}
    for column in columns:
        what = f"extension {column.name!r}"
        if _NAME.fullmatch(column.name) is None:
            raise Malformed(f"{what}: a name is 1 to 64 characters of [a-z0-9]")
        if removals and column.type == _ABSENT_TYPE:
            for i in u32(column.index, len(column.index) // 4, f"{what}.index") if column.index else range(count):
                found.setdefault(i, {})[column.name] = None
            continue
        decode = _DECODERS.get(column.type)
        if decode is None:
            raise Malformed(f"{what} has the unknown type {column.type}")
        covered: Iterable[int] = range(count)
        if column.index:
            listed = u32(column.index, len(column.index) // 4, f"{what}.index")
            ascending(listed, count, f"{what}.index")
            covered = listed
        covered = list(covered)
        data = column.values.data
        edges = bounds(column.values.ends, len(data), len(covered), what, limits.MAX_ATTRIBUTE)
        for at, i in enumerate(covered):
            mine = found.setdefault(i, {})
            if column.name in mine:
                raise Malformed(f"{what} covers event {i} twice")
            try:
                mine[column.name] = decode(data[edges[at] : edges[at + 1]])
            except (ValueError, struct.error) as error:
                raise Malformed(f"{what} of event {i}: {error}") from None
    return found


def encode(name: str, value: Any) -> tuple[int, bytes]:
    """Type and bytes of one value; None removes the extension. ValueError says what is wrong."""
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"extension {name!r}: a name is 1 to 64 characters of [a-z0-9]")
    if value is None:
        return _ABSENT_TYPE, b""
    kind, raw = _encode_value(name, value)
    if len(raw) > limits.MAX_ATTRIBUTE:
        raise TooLarge(
            f"extension {name!r} has {len(raw)} bytes; at most {limits.MAX_ATTRIBUTE}", reasons.ATTRIBUTE_TOO_LARGE
        )
    return kind, raw


def _encode_value(name: str, value: Any) -> tuple[int, bytes]:
    if isinstance(value, bool):
        return pb.EXTENSION_TYPE_BOOLEAN, b"\1" if value else b"\0"
    if isinstance(value, int):
        if not -(2**31) <= value < 2**31:
            raise ValueError(f"extension {name!r}: CloudEvents integers have 32 bits; {value} does not fit")
        return pb.EXTENSION_TYPE_INTEGER, struct.pack("<i", value)
    if isinstance(value, Uri):
        return pb.EXTENSION_TYPE_URI, value.encode()
    if isinstance(value, UriReference):
        return pb.EXTENSION_TYPE_URI_REFERENCE, value.encode()
    if isinstance(value, str):
        return pb.EXTENSION_TYPE_STRING, value.encode()
    if isinstance(value, (bytes, bytearray, memoryview)):
        return pb.EXTENSION_TYPE_BINARY, bytes(value)
    if isinstance(value, datetime):
        return pb.EXTENSION_TYPE_TIMESTAMP, struct.pack("<q", to_nanoseconds(value))
    raise ValueError(f"extension {name!r}: a {type(value).__name__} is no CloudEvents attribute value")


def write(rows: Mapping[int, Mapping[str, Any]]) -> list[pb.Extension]:
    """Columns for outputs: row -> name -> value. The rows ascend in each column."""
    columns: dict[tuple[str, int], tuple[list[int], list[bytes]]] = {}
    for row in sorted(rows):
        for name, value in rows[row].items():
            kind, raw = encode(name, value)
            indexes, values = columns.setdefault((name, kind), ([], []))
            indexes.append(row)
            values.append(raw)
    from ._outputs import pack_u32, pack_values

    return [
        pb.Extension(
            name=name,
            type=kind,  # type: ignore[arg-type]
            values=None if kind == _ABSENT_TYPE else pack_values(values),
            index=pack_u32(indexes),
        )
        for (name, kind), (indexes, values) in columns.items()
    ]
