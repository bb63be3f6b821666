"""From a decorated function to a call per event: what it takes, whether it is async, how payloads are decoded."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, get_origin, get_type_hints

from ._codec import decoder
from ._decode import Decode
from .batch import Batch
from .context import Assignment, Context, SourceContext
from .event import Event
from .verdicts import ServeError

if TYPE_CHECKING:
    from .node import Node

#: Calls the handler for event `i`.
Invoke = Callable[[int], Any]


@dataclass(frozen=True)
class Bound:
    """A handler that is ready to be called."""

    node: Node[Any, Any]
    function: Callable[..., Any]
    is_async: bool
    takes_context: bool
    decode: Decode | None

    @property
    def concurrency(self) -> int:
        """Calls at one time unless the pipeline file says otherwise."""
        return self.node.concurrency or (64 if self.is_async else 1)

    def invoker(self, work: Assignment) -> Invoke:
        """The call for the events of one work; made once per work so that the call per event is short."""
        function, decode, view = self.function, self.decode, work.view
        data, edges = view.data, view.edges
        if self.takes_context:
            if decode is None:
                return lambda i: function(Event(view, i), Context(work, i, monotonic()))
            if decode is bytes:
                return lambda i: function(data[edges[i] : edges[i + 1]], Context(work, i, monotonic()))
            typed = decode
            return lambda i: function(typed(data[edges[i] : edges[i + 1]]), Context(work, i, monotonic()))
        if decode is None:
            return lambda i: function(Event(view, i))
        if decode is bytes:
            return lambda i: function(data[edges[i] : edges[i + 1]])
        plain = decode
        return lambda i: function(plain(data[edges[i] : edges[i + 1]]))

    @property
    def of_bytes(self) -> Callable[[bytes], Any] | None:
        """The handler, if a payload is all that it takes: its caller can spare the call of the invoker."""
        return self.function if self.decode is bytes and not self.takes_context else None


def _is_async(function: Callable[..., Any]) -> bool:
    while isinstance(function, functools.partial):
        function = function.func
    call = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    return inspect.iscoroutinefunction(call) or inspect.isasyncgenfunction(call)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    target = function if inspect.isroutine(function) else getattr(function, "__call__", function)  # noqa: B004
    try:
        return get_type_hints(target)
    except NameError as error:
        raise ServeError(
            f"{_place(function)}: an annotation cannot be resolved: {error}; define or import it at module level", 78
        ) from None


def _place(function: Callable[..., Any]) -> str:
    code = getattr(function, "__code__", None)
    name = getattr(function, "__qualname__", repr(function))
    return f"{code.co_filename}:{code.co_firstlineno}: {name}" if code else name


def _is_context(parameter: inspect.Parameter, hint: Any) -> bool:
    kind = get_origin(hint) or hint
    return kind in (Context, SourceContext) or (hint is None and parameter.name in ("ctx", "context"))


def positional(function: Callable[..., Any]) -> list[inspect.Parameter]:
    """The parameters that a call fills by position."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [p for p in inspect.signature(function).parameters.values() if p.kind in kinds]


def bind(node: Node[Any, Any]) -> Bound:
    """Checks a node's handler and makes it callable. ServeError says what is wrong with its signature."""
    function = node.handler
    if function is None:
        raise ServeError(
            f"node {node.name!r} has no handler; decorate a function with "
            "@node.map, filter, flat_map, sink, batch or source",
            78,
        )
    hints = _hints(function)
    parameters = [
        p for p in positional(function) if p.default is inspect.Parameter.empty or p.name in ("ctx", "context")
    ]
    contexts = [at for at, p in enumerate(parameters) if _is_context(p, hints.get(p.name))]
    data = [p for at, p in enumerate(parameters) if at not in contexts]
    wanted, shape = {
        "batch": (2, "(batch, out) or (batch, out, ctx)"),
        "source": (0, "() or (ctx)"),
    }.get(node.role, (1, "(event) or (event, ctx)"))
    if (
        node.role != "batch"
        and len(contexts) == 0
        and len(parameters) == wanted + 1
        and not hints.get(parameters[-1].name)
    ):
        contexts, data = [len(parameters) - 1], parameters[:-1]
    if node.role == "batch" and not contexts and len(parameters) == 3:
        contexts, data = [2], parameters[:2]
    if len(data) != wanted or len(contexts) > 1:
        raise ServeError(
            f"{_place(function)}: a {node.role} handler takes {shape}; "
            f"this one takes ({', '.join(p.name for p in parameters)})",
            78,
        )
    called = function
    if contexts and contexts[0] < wanted:
        handler = function

        def called(*arguments: Any) -> Any:
            return handler(*_moved(arguments, contexts[0]))

    decode = None
    if node.role not in ("batch", "source"):
        try:
            decode = decoder(hints.get(data[0].name))
        except TypeError as error:
            raise ServeError(f"{_place(function)}: {error}", 78) from None
    elif node.role == "batch" and hints.get(data[0].name) not in (None, Batch):
        raise ServeError(f"{_place(function)}: the first parameter of a batch handler is a Batch", 78)
    return Bound(node, called, _is_async(function), bool(contexts), decode)


def _moved(arguments: tuple[Any, ...], to: int) -> list[Any]:
    """The context, which calls pass last, at its place."""
    moved = list(arguments[:-1])
    moved.insert(to, arguments[-1])
    return moved
