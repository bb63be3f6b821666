"""One event, read lazily from the columns of its batch."""

from __future__ import annotations

import builtins
import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar, overload

import msgspec

from ._decode import not_json, text, typed
from ._times import from_nanoseconds

if TYPE_CHECKING:
    from ._view import BatchView

T = TypeVar("T")
_decode_any = msgspec.json.Decoder().decode


class Event(msgspec.Struct, frozen=True, eq=False, gc=False):
    """An event with CloudEvents attributes. Nothing is decoded until it is asked for; attributes are None if absent."""

    # A Struct only because it is made for every event: its constructor is four times as fast as a Python one.
    _view: BatchView
    _index: int

    @property
    def uid(self) -> uuid.UUID:
        """Identity inside Meshloom, the same on every attempt: the key for idempotent writes."""
        return uuid.UUID(bytes=self._view.uid(self._index))

    @property
    def id(self) -> str | None:
        """CloudEvents id."""
        return self._view.attribute("id", self._index)

    @property
    def source(self) -> str | None:
        """CloudEvents source."""
        return self._view.attribute("source", self._index)

    @property
    def type(self) -> str | None:
        """CloudEvents type."""
        return self._view.attribute("type", self._index)

    @property
    def subject(self) -> str | None:
        """CloudEvents subject."""
        return self._view.attribute("subject", self._index)

    @property
    def key(self) -> str | None:
        """Ordering key."""
        return self._view.attribute("key", self._index)

    @property
    def from_(self) -> str | None:
        """The upstream as the pipeline file writes it, if the node has several."""
        return self._view.attribute("from", self._index)

    @property
    def content_type(self) -> str | None:
        """Media type of the payload."""
        return self._view.attribute("content_type", self._index)

    @property
    def data_schema(self) -> str | None:
        """CloudEvents dataschema."""
        return self._view.attribute("data_schema", self._index)

    @property
    def time(self) -> datetime | None:
        """Time of occurrence, aware, UTC, cut to microseconds."""
        value = self._view.time_ns(self._index)
        return None if value is None else from_nanoseconds(value)

    @property
    def time_ns(self) -> int | None:
        """Time of occurrence in nanoseconds since the Unix epoch, without loss."""
        return self._view.time_ns(self._index)

    @property
    def extensions(self) -> Mapping[str, Any]:
        """CloudEvents extension attributes."""
        return self._view.extensions.get(self._index, {})

    @property
    def data(self) -> bytes:
        """The payload."""
        view, i = self._view, self._index
        return view.data[view.edges[i] : view.edges[i + 1]]

    def text(self) -> str:
        """The payload as UTF-8 text; PayloadError (a rejection) if it is none."""
        return text(self.data)

    @overload
    def json(self) -> Any: ...

    @overload
    def json(self, type: builtins.type[T]) -> T: ...

    @overload
    def json(self, type: object) -> Any: ...

    def json(self, type: Any = None) -> Any:
        """The payload as JSON, checked against `type` if given; PayloadError (a rejection) if it does not fit."""
        view, i = self._view, self._index
        data = view.data[view.edges[i] : view.edges[i + 1]]
        if type is not None:
            return typed(type)(data)
        try:
            return _decode_any(data)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise not_json(data, error) from None

    def __repr__(self) -> str:
        return f"Event(id={self.id!r}, source={self.source!r}, {len(self.data)} bytes)"
