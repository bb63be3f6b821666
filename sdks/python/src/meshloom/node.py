"""Node: a name, a config type, set-up, and one handler."""

from __future__ import annotations

import re
from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeAlias, TypeVar, overload

from . import config as config_module
from ._pb import node_pb2
from .context import C, Context, S, SourceContext
from .limits import Limits

if TYPE_CHECKING:
    import numpy

    from .batch import Batch
    from .emitter import Emitter
    from .serve import Server
    from .verdicts import Drop

#: What a handler gives, at once or awaited.
_One: TypeAlias = "object | Awaitable[object]"
_Bool: TypeAlias = "bool | numpy.bool_ | Awaitable[bool] | Awaitable[numpy.bool_]"
_Many: TypeAlias = "Iterable[object] | AsyncIterable[object] | Drop | Awaitable[Iterable[object] | Drop]"

# The shapes of functions that decorators take. They give back the very function, with all of its type.
F = TypeVar("F", bound="Callable[..., object]")
Map = TypeVar("Map", bound="Callable[[Any], _One] | Callable[[Any, Context[Any, Any]], _One]")
Filter = TypeVar("Filter", bound="Callable[[Any], _Bool] | Callable[[Any, Context[Any, Any]], _Bool]")
FlatMap = TypeVar("FlatMap", bound="Callable[[Any], _Many] | Callable[[Any, Context[Any, Any]], _Many]")
BatchHandler = TypeVar(
    "BatchHandler",
    bound="Callable[[Batch, Emitter], _One] | Callable[[Batch, Emitter, Context[Any, Any]], _One]",
)
Source = TypeVar(
    "Source",
    bound="Callable[[], Iterable[object] | AsyncIterable[object]]"
    " | Callable[[SourceContext[Any, Any]], Iterable[object] | AsyncIterable[object]]",
)
Settled = TypeVar("Settled", bound="Callable[[Any], _One] | Callable[[Any, SourceContext[Any, Any]], _One]")

_NAME = re.compile(r"[a-z][a-z0-9_-]*")
ROLES = {
    "map": node_pb2.HANDLER_ROLE_MAP,
    "filter": node_pb2.HANDLER_ROLE_FILTER,
    "flat_map": node_pb2.HANDLER_ROLE_FLAT_MAP,
    "batch": node_pb2.HANDLER_ROLE_BATCH,
    "sink": node_pb2.HANDLER_ROLE_SINK,
    "source": node_pb2.HANDLER_ROLE_SOURCE,
}


class Node(Generic[C, S]):
    """One step of a pipeline. Decorate a function with the role it plays; it stays a plain function.

    `config` is a dataclass, TypedDict, msgspec.Struct or pydantic model; `dict` takes any object; None takes none.
    `routes` are the routes that outputs may name. `concurrency` is how many handler calls may run at one time unless
    the pipeline file says so: 1 for `def` by default (raise it for one that waits on I/O), 64 for `async def`.
    """

    def __init__(
        self,
        name: str,
        *,
        config: type[C] | None = None,
        routes: Iterable[str] = (),
        limits: Limits | None = None,
        concurrency: int | None = None,
    ) -> None:
        if _NAME.fullmatch(name) is None:
            raise ValueError(f"a node's name is [a-z][a-z0-9_-]*, for instance `classify`; not {name!r}")
        if concurrency is not None and not 1 <= concurrency <= 1024:
            raise ValueError(f"concurrency is 1 to 1024, not {concurrency}")
        self.name = name
        self.config_type = config
        self.routes: frozenset[str] = frozenset(routes)
        self.limits: Limits = limits or Limits()
        self.concurrency = concurrency
        self.role: str = ""
        self.replays = True
        self.partitioned = False
        self.checkpoint_type: Any = Any
        self.handler: Callable[..., Any] | None = None
        self.setup_function: Callable[..., Any] | None = None
        self.settled_function: Callable[..., Any] | None = None
        for route in self.routes:
            if _NAME.fullmatch(route) is None or route in ("rejected", "unmatched"):
                raise ValueError(f"a route is [a-z][a-z0-9_-]* and not `rejected` or `unmatched`; not {route!r}")

    def map(self, function: Map) -> Map:
        """One output for each event: a value, an Output, the event itself, or DROP."""
        return self._handle("map", function)

    def filter(self, function: Filter) -> Filter:
        """True lets the event pass unchanged, False drops it."""
        return self._handle("filter", function)

    def flat_map(self, function: FlatMap) -> FlatMap:
        """Any number of outputs: an iterable, a generator or an async generator of values and Outputs."""
        return self._handle("flat_map", function)

    def sink(self, function: Map) -> Map:
        """Delivers the event somewhere; once it returns the event is done. Its result is ignored."""
        return self._handle("sink", function)

    def batch(self, function: BatchHandler) -> BatchHandler:
        """Whole batches: (batch, out) or (batch, out, ctx)."""
        return self._handle("batch", function)

    @overload
    def source(self, function: Source) -> Source: ...

    @overload
    def source(
        self, *, replays: bool = True, partitioned: bool = False, checkpoint: Any = Any
    ) -> Callable[[Source], Source]: ...

    def source(
        self,
        function: Any = None,
        *,
        replays: bool = True,
        partitioned: bool = False,
        checkpoint: Any = Any,
    ) -> Any:
        """A generator (or async generator) of events. `replays=False`: it cannot resume, so it is journalled.

        `partitioned`: several replicas share the work, each by its `ctx.partition`. `checkpoint` is the type of its
        checkpoints (`int`, a dataclass, ...), any JSON value by default; another one refuses the run, not the event.
        """

        def decorate(function: Source) -> Source:
            self.replays, self.partitioned, self.checkpoint_type = replays, partitioned, checkpoint
            return self._handle("source", function)

        return decorate if function is None else decorate(function)

    def setup(self, function: F) -> F:
        """Makes ctx.state from the config, once per process and config; a generator tears down after its yield."""
        if self.setup_function is not None:
            raise TypeError(f"node {self.name!r} has a set-up already: {self.setup_function!r}")
        self.setup_function = function
        return function

    def settled(self, function: Settled) -> Settled:
        """Sources: called with (checkpoint) or (checkpoint, ctx) once all up to that checkpoint is done, durably."""
        self.settled_function = function
        return function

    def _handle(self, role: str, function: F) -> F:
        if not callable(function):
            raise TypeError(f"@node.{role} decorates a function, not {function!r}")
        if self.handler is not None:
            raise TypeError(
                f"node {self.name!r} has a handler already ({self.role}); "
                "make a Node for each and serve them together: meshloom.serve(a, b)"
            )
        self.role, self.handler = role, function
        return function

    def describe(self) -> node_pb2.Handler:
        """The handler as Describe shows it."""
        doc = (getattr(self.handler, "__doc__", None) or "").strip()
        return node_pb2.Handler(
            name=self.name,
            role=ROLES[self.role],
            config_schema=config_module.schema(self.config_type),
            routes=sorted(self.routes),
            replays=self.role == "source" and self.replays,
            partitioned=self.partitioned,
            description=doc.splitlines()[0] if doc else "",
        )

    def serve(self) -> None:
        """Serves this node until SIGTERM or SIGINT; see meshloom.serve."""
        from .serve import serve

        serve(self)

    def start(self, listen: str = "127.0.0.1:0") -> Server:
        """Serves in the background: `with node.start() as server: ... server.address`."""
        from .serve import Server

        return Server([self], listen)

    def __repr__(self) -> str:
        return f"Node({self.name!r}, role={self.role or 'none'})"
