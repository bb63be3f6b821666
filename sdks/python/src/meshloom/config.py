"""A node's config: typed, validated as a whole, unknown keys refused with a violation per field."""

from __future__ import annotations

import dataclasses
import difflib
import itertools
import re
import types
import typing
from datetime import timedelta
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec
from typing_extensions import NotRequired, Required

from ._codec import encode_other
from .verdicts import ConfigError

Violation = tuple[str, str]

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_SIZE = re.compile(r"(\d+)(B|KiB|MiB|GiB|TiB)")
_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}


#: Annotation of a number of bytes, in a config written with its unit: `64MiB`. (Durations are `timedelta`: `10s`.)
Size = Annotated[
    int,
    msgspec.Meta(
        description="A size with its unit, such as 64MiB",
        extra_json_schema={"pattern": _SIZE.pattern},
    ),
]


def _unit(hint: Any, value: Any) -> Any:
    """A value of type timedelta or Size, from its text. ValueError says what is wrong."""
    if not isinstance(value, str):
        example = "10s" if hint is timedelta else "64MiB"
        raise ValueError(f"Expected a text with a unit such as `{example}`, got `{value!r}`")
    if hint is timedelta:
        parts = _DURATION.findall(value)
        if not parts or "".join(n + u for n, u in parts) != value:
            raise ValueError(f"Expected a duration such as `500ms`, `10s` or `1h30m`, got `{value}`")
        return timedelta(seconds=sum(float(n) * _SECONDS[u] for n, u in parts))
    size = _SIZE.fullmatch(value)
    if size is None:
        raise ValueError(f"Expected a size such as `64KiB` or `8MiB`, got `{value}`")
    return int(size[1]) * _BYTES[size[2]]


@dataclasses.dataclass(frozen=True)
class _Field:
    hint: Any
    required: bool


def _fields(cls: Any) -> dict[str, _Field] | None:
    """The fields of a dataclass, TypedDict or msgspec.Struct by their names in a config; None for other types."""
    if not isinstance(cls, type):
        return None
    hints = get_type_hints(cls, include_extras=True) if hasattr(cls, "__annotations__") else {}
    if dataclasses.is_dataclass(cls):
        missing = dataclasses.MISSING
        return {
            f.name: _Field(hints[f.name], f.default is missing and f.default_factory is missing)
            for f in dataclasses.fields(cls)
            if f.init
        }
    if issubclass(cls, msgspec.Struct):
        return {f.encode_name: _Field(hints[f.name], f.required) for f in msgspec.structs.fields(cls)}
    if typing.is_typeddict(cls):
        required: frozenset[str] = cls.__required_keys__  # type: ignore[attr-defined]
        return {name: _Field(hint, name in required) for name, hint in hints.items()}
    return None


def _convert(value: Any, hint: Any, path: str, wrong: list[Violation]) -> Any:
    """`value` with every nested field checked; texts with units become timedelta and Size. Collects into `wrong`."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is timedelta or hint == Size:
        try:
            return _unit(hint, value)
        except ValueError as error:
            wrong.append((path, str(error)))
            return value
    if origin is Annotated:
        return _convert(value, arguments[0], path, wrong)
    if origin in (Union, types.UnionType):
        others = [a for a in arguments if a is not type(None)]
        return value if value is None or len(others) != 1 else _convert(value, others[0], path, wrong)
    fields = _fields(hint)
    if fields is not None and isinstance(value, dict):
        return _convert_object(value, fields, path, wrong)
    if origin in (list, tuple, set, frozenset) and isinstance(value, list) and arguments:
        hints = itertools.repeat(arguments[0]) if origin is not tuple or arguments[-1] is ... else arguments
        return [_checked(v, h, f"{path}[{i}]", wrong) for i, (v, h) in enumerate(zip(value, hints, strict=False))]
    if origin is dict and isinstance(value, dict):
        return {k: _checked(v, arguments[1], f"{path}.{k}", wrong) for k, v in value.items()}
    return value


def _checked(value: Any, hint: Any, path: str, wrong: list[Violation]) -> Any:
    """As _convert; what is still wrong with the whole of it then is one violation, at the place that msgspec names."""
    before = len(wrong)
    converted = _convert(value, hint, path, wrong)
    if len(wrong) == before:
        try:
            msgspec.convert(converted, hint)
        except msgspec.ValidationError as error:
            text, _, inner = str(error).partition(" - at `$")
            wrong.append((path + inner.rstrip("`"), text))
    return converted


def _convert_object(value: dict[str, Any], fields: dict[str, _Field], path: str, wrong: list[Violation]) -> Any:
    at = f"{path}." if path else ""
    converted: dict[str, Any] = {}
    for name, item in value.items():
        if name not in fields:
            wrong.append((at + name, unknown_key(name, fields)))
            continue
        converted[name] = _checked(item, _bare(fields[name].hint), at + name, wrong)
    for name, field in fields.items():
        if field.required and name not in value:
            wrong.append((at + name, "is required"))
    return converted


def _bare(hint: Any) -> Any:
    return get_args(hint)[0] if get_origin(hint) in (Required, NotRequired) else hint


def unknown_key(name: str, known: typing.Iterable[str]) -> str:
    """The message for a key that does not exist."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, 1)
    if near:
        return f"is unknown; did you mean `{near[0]}`?"
    return f"is unknown; this node takes {', '.join(f'`{n}`' for n in names) or 'no config'}"


def parse(kind: Any, config_json: bytes) -> Any:
    """The config as `kind` (dataclass, TypedDict, msgspec.Struct, pydantic model, dict, None). Raises ConfigError."""
    try:
        value = msgspec.json.decode(config_json) if config_json else {}
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the config is not JSON: {error}") from None
    if not isinstance(value, dict):
        raise ConfigError("the config is not an object")
    if kind is None:
        if value:
            raise ConfigError.of([(name, unknown_key(name, ())) for name in value])
        return None
    if kind is dict:
        return value
    if hasattr(kind, "model_validate"):
        return _pydantic(kind, value)
    wrong: list[Violation] = []
    converted = _convert(value, kind, "", wrong)
    if wrong:
        raise ConfigError.of(wrong)
    try:
        return msgspec.convert(converted, kind)
    except msgspec.ValidationError as error:
        raise ConfigError(str(error)) from None
    except (TypeError, ValueError) as error:  # the type's own __post_init__
        raise ConfigError(f"{type(error).__name__}: {error}") from None


def _pydantic(model: Any, value: dict[str, Any]) -> Any:
    from pydantic import ValidationError  # the user's config type is a pydantic model, so it is there

    wrong = _unknown_to_model(model, value, "")
    try:
        parsed = model.model_validate(value)
    except ValidationError as error:
        wrong += [(_path(e["loc"]), e["msg"]) for e in error.errors() if e["type"] != "extra_forbidden"]
    if wrong:
        raise ConfigError.of(wrong)
    return parsed


def _unknown_to_model(hint: Any, value: Any, path: str) -> list[Violation]:
    """The keys that a pydantic model, or one inside of it, has no field for; a model by itself would ignore them."""
    origin, arguments = get_origin(hint), [a for a in get_args(hint) if a is not type(None)]
    if origin is Annotated or (origin in (Union, types.UnionType) and len(arguments) == 1):
        return _unknown_to_model(arguments[0], value, path)
    parts: list[tuple[Any, Any, str]] = []
    if origin in (list, tuple, set, frozenset) and isinstance(value, list) and arguments:
        parts = [(arguments[0], item, f"{path}[{i}]") for i, item in enumerate(value)]
    elif origin is dict and isinstance(value, dict):
        parts = [(arguments[1], item, f"{path}.{name}") for name, item in value.items()]
    found: list[Violation] = []
    if hasattr(hint, "model_fields") and isinstance(value, dict) and hint.model_config.get("extra") != "allow":
        known = {field.alias or name: field.annotation for name, field in hint.model_fields.items()}
        at = f"{path}." if path else ""
        found = [(at + name, unknown_key(name, known)) for name in value if name not in known]
        parts = [(known[name], item, at + name) for name, item in value.items() if name in known]
    return found + [wrong for part in parts for wrong in _unknown_to_model(*part)]


def _path(places: tuple[str | int, ...]) -> str:
    """As `limits.rate` or `sensors[2]`."""
    return "".join(f"[{place}]" if isinstance(place, int) else f".{place}" for place in places).removeprefix(".")


def schema(kind: Any) -> bytes:
    """JSON Schema of the config type; empty if it declares none."""
    if kind is dict:
        return b""
    if kind is None:
        return msgspec.json.encode({"type": "object", "additionalProperties": False})
    if hasattr(kind, "model_json_schema"):
        return msgspec.json.encode(kind.model_json_schema())
    described = msgspec.json.schema(kind)
    _close(described)
    return msgspec.json.encode(described, enc_hook=encode_other)


def _close(described: Any) -> None:
    """Says in a schema what parse() does: unknown keys are refused, durations are written with a unit."""
    if isinstance(described, dict):
        if described.get("type") == "object" and "properties" in described:
            described.setdefault("additionalProperties", False)
        if described.get("pattern") == _SIZE.pattern:
            described["type"] = "string"
        if described.get("format") == "duration":
            described.pop("format")
            described["examples"] = ["10s"]
        for value in described.values():
            _close(value)
    elif isinstance(described, list):
        for value in described:
            _close(value)
