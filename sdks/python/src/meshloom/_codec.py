"""Payloads in and out: msgspec is the codec, pydantic models decode themselves."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from .event import Event, not_json
from .verdicts import PayloadError

JSON = "application/json"
BINARY = "application/octet-stream"

Decode = Callable[[bytes], Any]


def encode_other(value: Any) -> Any:
    """What msgspec does not know: pydantic models, numpy scalars and arrays."""
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"a {type(value).__module__}.{type(value).__qualname__} is no JSON value")


encode_json: Callable[[Any], bytes] = msgspec.json.Encoder(enc_hook=encode_other).encode


def encode(value: Any) -> tuple[bytes, str]:
    """Payload and content type of a result."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value), BINARY
    return encode_json(value), JSON


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise PayloadError(f"the payload is not UTF-8 text: {error}") from None


def _pydantic(model: Any) -> Decode:
    from pydantic import ValidationError  # the user's annotation is a pydantic model, so it is there

    def decode(data: bytes) -> Any:
        try:
            return model.model_validate_json(data)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(map(str, first["loc"])) or "$"
            raise PayloadError(f"{first['msg']} - at `{place}`") from None

    return decode


def decoder(annotation: Any) -> Decode | None:
    """How a payload becomes what the handler's annotation names; None: the handler wants the event itself.

    bytes is the raw payload, str its UTF-8 text, anything else JSON checked against the annotation.
    """
    if annotation is None or annotation is Event:
        return None
    if annotation is bytes:
        return bytes
    if annotation is str:
        return _text
    if hasattr(annotation, "model_validate_json"):
        return _pydantic(annotation)
    try:
        inner = msgspec.json.Decoder(annotation).decode
    except TypeError as error:
        raise TypeError(f"payloads cannot be decoded as {annotation!r}: {error}") from None

    def decode(data: bytes) -> Any:
        try:
            return inner(data)
        except msgspec.ValidationError as error:
            raise PayloadError(str(error)) from None
        except msgspec.DecodeError as error:
            raise not_json(data, error) from None

    return decode
