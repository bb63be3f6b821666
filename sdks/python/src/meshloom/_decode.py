"""JSON payloads as the type that the user names: checked by msgspec, or by pydantic where a model of it is in it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, get_args

import msgspec

from .verdicts import PayloadError

#: A payload decoded; PayloadError says what does not fit, and where.
Decode = Callable[[bytes], Any]


def typed(kind: Any) -> Decode:
    """Decodes and checks JSON. Made once for a type, for that takes longer than to decode. TypeError: it cannot."""
    try:
        return _cached(kind)
    except TypeError:  # it cannot be hashed, or be decoded, and then this says why
        return _made(kind)


def not_json(data: bytes, error: Exception) -> PayloadError:
    """The rejection of a payload that is not JSON, with its beginning."""
    start = data[:60].decode("utf-8", "replace")
    return PayloadError(f"the payload is not JSON ({error}); it starts {start!r}")


def text(data: bytes) -> str:
    """A payload as UTF-8 text."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        raise PayloadError(f"the payload is not UTF-8 text: {error}") from None


def _made(kind: Any) -> Decode:
    if _has_model(kind):
        return _pydantic(kind)
    try:
        inner = msgspec.json.Decoder(kind).decode
    except TypeError as error:
        raise TypeError(f"payloads cannot be decoded as {kind!r}: {error}") from None

    def decode(data: bytes) -> Any:
        try:
            return inner(data)
        except msgspec.ValidationError as error:
            raise PayloadError(str(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise not_json(data, error) from None

    return decode


_cached = functools.lru_cache(maxsize=256)(_made)


def _has_model(kind: Any) -> bool:
    return hasattr(kind, "__pydantic_validator__") or any(map(_has_model, get_args(kind)))


def _pydantic(kind: Any) -> Decode:
    from pydantic import TypeAdapter, ValidationError  # the user's type has a model of pydantic, so it is there

    validate = TypeAdapter(kind).validate_json

    def decode(data: bytes) -> Any:
        try:
            return validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            if first["type"] == "json_invalid":
                raise not_json(data, error.errors()[0]["ctx"]["error"]) from None
            place = ".".join(map(str, first["loc"])) or "$"
            raise PayloadError(f"{first['msg']} - at `{place}`") from None

    return decode
