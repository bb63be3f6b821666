"""Output: a handler's result together with the attributes it sets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Generic, TypedDict, TypeVar

from . import reasons
from ._extensions import TooLarge, encode
from ._times import to_nanoseconds
from .limits import MAX_ATTRIBUTE, MAX_EXTENSIONS, MAX_KEY

T = TypeVar("T")


class Attributes(TypedDict, total=False):
    """What an output may set besides its value; see Output."""

    key: str | None
    route: str | None
    type: str | None
    subject: str | None
    time: datetime | int | float | str | None
    id: str | None
    data_schema: str | None
    extensions: Mapping[str, Any] | None
    content_type: str | None


class _Unset:
    def __repr__(self) -> str:
        return "UNSET"


UNSET: Any = _Unset()


class Output(Generic[T]):
    """A value and attributes. An attribute not given stays as the parent's; "" clears a text one, None clears the time.

    `value` is anything JSON can hold, bytes, or the input event itself (its payload then stays as it is).
    `time` is an aware datetime, RFC 3339 text, integer nanoseconds or float seconds. An extension None is removed.
    `id`: set it where the order or number of outputs may differ between attempts.
    For sources only: `checkpoint`, any JSON value, says that this event and all before it need not come again;
    `settled` is called once, with nothing, when the event is done for good (or durable, if the source does not replay),
    on a thread of its own or, if it is async, on the loop of `async def` code. Its errors are logged.
    """

    __slots__ = ("checkpoint", "content_type", "extensions", "settled", "texts", "time", "value")

    def __init__(
        self,
        value: T,
        *,
        key: str | None = None,
        route: str | None = None,
        type: str | None = None,
        subject: str | None = None,
        time: datetime | int | float | str | None = UNSET,
        id: str | None = None,
        source: str | None = None,
        data_schema: str | None = None,
        extensions: Mapping[str, Any] | None = None,
        content_type: str | None = None,
        checkpoint: Any = UNSET,
        settled: Callable[[], Awaitable[Any] | Any] | None = None,
    ) -> None:
        self.value: T = value
        self.content_type: str | None = content_type
        self.checkpoint: Any = checkpoint
        self.settled: Callable[[], Awaitable[Any] | Any] | None = settled
        texts: dict[str, str] = {}
        if key is not None:
            texts["key"] = key
        if route is not None:
            texts["route"] = route
        if type is not None:
            texts["type"] = type
        if subject is not None:
            texts["subject"] = subject
        if id is not None:
            texts["id"] = id
        if source is not None:
            texts["source"] = source
        if data_schema is not None:
            texts["data_schema"] = data_schema
        self.texts: dict[str, str] = texts
        self.time: datetime | int | float | str | None = time
        self.extensions: Mapping[str, Any] | None = extensions

    def __repr__(self) -> str:
        return f"Output({self.value!r}, {self.texts})"


def check(output: Output[Any]) -> Any:
    """Refuses attributes that the protocol does not carry. The time in nanoseconds, None to clear, UNSET to keep.

    Not done when an Output is made: a wrong one is the failure of its input, in a batch handler, too.
    """
    for name, text in output.texts.items():
        _check_text(name, text)
    if output.content_type is not None:
        _check_text("content_type", output.content_type)
    if output.extensions:
        if len(output.extensions) > MAX_EXTENSIONS:
            text = f"an output has {len(output.extensions)} extensions; at most {MAX_EXTENSIONS}"
            raise TooLarge(text, reasons.TOO_MANY_EXTENSIONS)
        for name, value in output.extensions.items():
            encode(name, value)
    return output.time if output.time is UNSET or output.time is None else to_nanoseconds(output.time)


def _check_text(name: str, text: object) -> None:
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a str, not {type(text).__name__}: {text!r}")
    largest = MAX_KEY if name == "key" else MAX_ATTRIBUTE
    size = len(text) if text.isascii() else len(text.encode())
    if size > largest:
        raise TooLarge(f"{name} has {size} bytes; at most {largest}", reasons.ATTRIBUTE_TOO_LARGE)
