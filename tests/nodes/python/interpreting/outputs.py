"""Outputs and attribute values as commands write them, to and from those of the SDK."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET, UnsetType

from meshloom import Event, Output, Timestamp, Uri, UriReference


class Typed(msgspec.Struct):
    """An extension value with its CloudEvents type."""

    type: str
    value: Any

    def decode(self) -> Any:
        """As a handler gives it."""
        return _DECODERS[self.type](self.value)


_DECODERS: dict[str, Callable[[Any], Any]] = {
    "boolean": bool,
    "integer": int,
    "string": str,
    "uri": Uri,
    "uri_reference": UriReference,
    "binary": base64.b64decode,
    "timestamp": lambda text: Timestamp.of_ns(int(text)),
}


def typed(value: Any) -> Typed:
    """As a handler reads it."""
    match value:
        case bool():
            return Typed("boolean", value)
        case int():
            return Typed("integer", value)
        case Uri():
            return Typed("uri", value)
        case UriReference():
            return Typed("uri_reference", value)
        case str():
            return Typed("string", value)
        case Timestamp():
            return Typed("timestamp", str(value.ns))
        case bytes():
            return Typed("binary", base64.b64encode(value).decode())
        case _:
            raise TypeError(f"{value!r} is no attribute value")


class Out(msgspec.Struct):
    """An output that a command asks for. What it leaves out stays as the event's."""

    value: Any = UNSET
    text: str | UnsetType = UNSET
    base64: bytes | UnsetType = UNSET
    content_type: str | None = None
    type: str | None = None
    subject: str | None = None
    key: str | None = None
    route: str | None = None
    data_schema: str | None = None
    id: str | None = None
    time: str | UnsetType | None = UNSET
    extensions: dict[str, Typed | None] = {}

    def output(self, event: Event) -> Output[Any]:
        """The output for this event."""
        attributes: dict[str, Any] = {}
        if self.time is not UNSET:
            attributes["time"] = None if self.time is None else int(self.time)
        return Output(
            self._value(event),
            content_type=self.content_type,
            type=self.type,
            subject=self.subject,
            key=self.key,
            route=self.route,
            data_schema=self.data_schema,
            id=self.id,
            extensions={name: given and given.decode() for name, given in self.extensions.items()},
            **attributes,
        )

    def _value(self, event: Event) -> Any:
        if self.value is not UNSET:
            return self.value
        if isinstance(self.text, str):
            return self.text.encode()
        return event if self.base64 is UNSET else self.base64


def copied(event: Event) -> Output[bytes]:
    """An output whose payload and attributes are all set to what was read."""
    return Output(
        event.data,
        content_type=event.content_type or "",
        type=event.type,
        subject=event.subject,
        key=event.key,
        data_schema=event.data_schema,
        id=event.id,
        time=event.time_ns,
        extensions=event.extensions,
    )
