"""What handlers take and give, as payloads."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any

import msgspec

from ._decode import Decode, text, typed
from ._times import Timestamp
from .event import Event

JSON = "application/json"
BINARY = "application/octet-stream"


def encode_other(value: Any) -> Any:
    """What msgspec does not know: own kinds of str and datetime, pydantic models, scalars of numpy and pandas."""
    if isinstance(value, str):
        return str(value)
    if isinstance(value, Timestamp):
        return datetime(*value.timetuple()[:6], value.microsecond, tzinfo=value.tzinfo)
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(value, "tolist"):
        return value.tolist()
    if hasattr(value, "to_pydatetime"):
        return None if value != value else value.to_pydatetime()  # NaT is not equal to itself
    if type(value).__name__ == "NAType":
        return None
    raise TypeError(f"a {type(value).__module__}.{type(value).__qualname__} is no JSON value")


encode_json: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=encode_other).encode


def encode(value: Any) -> tuple[bytes, str]:
    """Payload and content type of a result."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value), BINARY
    return encode_json(value), JSON


def decoder(annotation: Any) -> Decode | None:
    """How a payload becomes what the handler's annotation names; None: the handler wants the event itself.

    bytes is the raw payload, str its UTF-8 text, anything else JSON checked against the annotation.
    """
    if annotation is None or annotation is Event:
        return None
    if annotation is bytes:
        return bytes
    return text if annotation is str else typed(annotation)
