"""Meshloom nodes in Python: plain functions over streamed batches of events. Start with Node."""

from ._extensions import Uri, UriReference
from ._times import Timestamp
from ._version import __version__
from .batch import Batch
from .config import Size
from .context import Cancellation, Context, SourceContext, current
from .emitter import Emitter
from .event import Event
from .limits import Limits
from .node import Node
from .output import Output
from .publisher import Publisher, PublishError, Unacknowledged
from .serve import Server, serve
from .verdicts import DROP, ConfigError, PayloadError, Reject, Retry, ServeError

__all__ = [
    "DROP",
    "Batch",
    "Cancellation",
    "ConfigError",
    "Context",
    "Emitter",
    "Event",
    "Limits",
    "Node",
    "Output",
    "PayloadError",
    "PublishError",
    "Publisher",
    "Reject",
    "Retry",
    "ServeError",
    "Server",
    "Size",
    "SourceContext",
    "Timestamp",
    "Unacknowledged",
    "Uri",
    "UriReference",
    "__version__",
    "current",
    "serve",
]
