"""Columns of the user's libraries as rows: pandas, Arrow, numpy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from .output import UNSET


def records(values: Any) -> list[Any]:
    """Rows of a DataFrame, an Arrow Table or RecordBatch, a mapping of names to columns, or any iterable of values."""
    if isinstance(values, Mapping):
        names = list(values)
        columns = [listed(column) for column in values.values()]
        if len({len(column) for column in columns}) > 1:
            sizes = ", ".join(f"{name}: {len(column)}" for name, column in zip(names, columns, strict=True))
            raise ValueError(f"columns of different lengths ({sizes})")
        return [dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True)]
    if hasattr(values, "to_pylist"):
        rows: list[Any] = values.to_pylist()
        return rows
    if hasattr(values, "to_dict") and hasattr(values, "columns"):
        return list(values.to_dict("records"))
    return list(values)


def listed(column: Any) -> Sequence[Any]:
    """The values of a column; what pandas or Arrow call missing is None."""
    if hasattr(column, "to_pylist"):
        values: list[Any] = column.to_pylist()
        return values
    if hasattr(column, "notna"):
        column = column.astype(object).where(column.notna(), None)
    return column.tolist() if hasattr(column, "tolist") else list(column)


def attribute(name: str, value: Any, count: int) -> Sequence[Any]:
    """An attribute of `count` outputs: one value for all, or a column with one for each."""
    if isinstance(value, (str, int, float, datetime)) or value is UNSET or not isinstance(value, Iterable):
        return [value] * count
    column = listed(value)
    if len(column) != count:
        raise ValueError(f"{name} has {len(column)} values for {count} outputs")
    return column
