"""The loops in which nearly all calls run. They are the node's hot path: nothing in them that can be spared.

A loop calls the handler for one event after the other and holds the results, as long as all is plain. It returns what
is not, unheld: the result of the call it is in (of an odd type, or large, or the lane wants attention), UNCALLED
before a sampled event, EXHAUSTED after the last. What such a result means is said once, by the lane and the acceptor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain
from types import GeneratorType
from typing import TYPE_CHECKING, Any

from . import limits
from ._codec import BINARY, JSON, encode_json

if TYPE_CHECKING:
    from ._outputs import Rows
    from ._work import WorkRun
    from .context import Call

EXHAUSTED, UNCALLED = object(), object()

Loop = Callable[["WorkRun", "Call", Iterator[int], "Rows"], Any]

_SEVERAL = (list, tuple, GeneratorType)


def _map(run: WorkRun, call: Call, indexes: Iterator[int], rows: Rows) -> Any:
    """Holds results of the acceptor's kind: bytes, or one type that is encoded as JSON."""
    function, invoke, data, edges = run.of_bytes, run.invoke, run.view.data, run.view.edges
    spans, traced = run.view.spans, bool(run.view.spans)
    kind, encoded = run.acceptor.kind, run.acceptor.kind is not bytes
    parents, payloads, mark = rows.parents, rows.payloads, len(rows.parents)
    size, most = rows.size, limits.FLUSH_BYTES
    try:
        for i in indexes:
            call.index = i
            if traced and i in spans:
                return UNCALLED
            value = function(data[edges[i] : edges[i + 1]]) if function is not None else invoke(i)
            if type(value) is not kind or call.due:
                return value
            payload: Any = value
            if encoded:
                try:
                    payload = encode_json(value)
                except Exception:
                    return value
            size += len(payload)
            if size >= most:
                size -= len(payload)
                return value
            parents.append(i)
            payloads.append(payload)
    finally:
        rows.size = size
        rows.typed(mark, JSON if encoded else BINARY)
    return EXHAUSTED


def _flat_map(run: WorkRun, call: Call, indexes: Iterator[int], rows: Rows) -> Any:
    """As _map, for each item; what is left of an input's items when one is not plain is returned."""
    function, invoke, data, edges = run.of_bytes, run.invoke, run.view.data, run.view.edges
    spans, traced = run.view.spans, bool(run.view.spans)
    kind, encoded = run.acceptor.kind, run.acceptor.kind is not bytes
    parents, payloads, mark = rows.parents, rows.payloads, len(rows.parents)
    size, most = rows.size, limits.FLUSH_BYTES
    try:
        for i in indexes:
            call.index = i
            if traced and i in spans:
                return UNCALLED
            value = function(data[edges[i] : edges[i + 1]]) if function is not None else invoke(i)
            if type(value) not in _SEVERAL or call.due:
                return value
            items = iter(value)
            for item in items:
                if type(item) is not kind or call.due:
                    return chain((item,), items)
                payload: Any = item
                if encoded:
                    try:
                        payload = encode_json(item)
                    except Exception:
                        return chain((item,), items)
                size += len(payload)
                if size >= most:
                    size -= len(payload)
                    return chain((item,), items)
                parents.append(i)
                payloads.append(payload)
            if call.due:
                return ()
    finally:
        rows.size = size
        rows.typed(mark, JSON if encoded else BINARY)
    return EXHAUSTED


def _filter(run: WorkRun, call: Call, indexes: Iterator[int], rows: Rows) -> Any:
    function, invoke, data, edges = run.of_bytes, run.invoke, run.view.data, run.view.edges
    spans, traced = run.view.spans, bool(run.view.spans)
    parents = rows.parents
    try:
        for i in indexes:
            call.index = i
            if traced and i in spans:
                return UNCALLED
            value = function(data[edges[i] : edges[i + 1]]) if function is not None else invoke(i)
            if call.due:
                return value
            if value is True:
                parents.append(i)
            elif value is not False:
                return value
    finally:
        rows.same_payloads()
    return EXHAUSTED


def _sink(run: WorkRun, call: Call, indexes: Iterator[int], _rows: Rows) -> Any:
    function, invoke, data, edges = run.of_bytes, run.invoke, run.view.data, run.view.edges
    spans, traced = run.view.spans, bool(run.view.spans)
    for i in indexes:
        call.index = i
        if traced and i in spans:
            return UNCALLED
        value = function(data[edges[i] : edges[i + 1]]) if function is not None else invoke(i)
        if call.due:
            return value
    return EXHAUSTED


LOOPS: dict[str, Loop] = {"map": _map, "flat_map": _flat_map, "filter": _filter, "sink": _sink}
