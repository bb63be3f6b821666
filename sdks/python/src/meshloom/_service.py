"""NodeService: opens streams (protocol, handler, config, set-up), and says no in a way that names the remedy."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NoReturn

import grpc
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

from . import limits, reasons
from ._bind import Bound
from ._frames import CheckpointUnreadable, SourceFault
from ._host import Host
from ._pb import node_pb2, process_pb2, produce_pb2, session_pb2
from ._session import ProcessSession, limits_message
from ._source import SourceSession
from ._streams import StreamMisused
from ._tracing import Sampler
from ._version import __version__
from .context import Opening
from .verdicts import ConfigError

PROTOCOL = 1
DOMAIN = "meshloom"
SERVICE = "meshloom.v1.NodeService"


def sdk() -> session_pb2.Sdk:
    """This SDK."""
    return session_pb2.Sdk(language="python", version=__version__)


class Refused(Exception):
    """An open request that is answered with a status and machine-readable details."""

    def __init__(self, code: grpc.StatusCode, message: str, *details: Any) -> None:
        super().__init__(message)
        self.code = code
        self.details = details


def _info(reason: str, **metadata: str) -> error_details_pb2.ErrorInfo:
    return error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata)


def _violations(fields: list[tuple[str, str]]) -> error_details_pb2.BadRequest:
    of = error_details_pb2.BadRequest.FieldViolation
    return error_details_pb2.BadRequest(field_violations=[of(field=field, description=text) for field, text in fields])


def _bad_config(error: ConfigError) -> Refused:
    text = f"the config is refused: {error}"
    return Refused(grpc.StatusCode.INVALID_ARGUMENT, text, _violations(error.violations))


class NodeService:
    """Serves the handlers of one process."""

    def __init__(self, handlers: Sequence[Bound], host: Host) -> None:
        self._handlers = {bound.node.name: bound for bound in handlers}
        self._host = host
        self._lock = threading.Lock()
        self._sessions: set[ProcessSession | SourceSession] = set()
        #: Streams that have not ended, the sending of their status included.
        self._streams = 0
        self._ended = threading.Condition(self._lock)
        self._draining = False

    def rpc_handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """The methods of meshloom.v1.NodeService."""
        return {
            "Describe": grpc.unary_unary_rpc_method_handler(
                self.describe,
                node_pb2.DescribeRequest.FromString,
                node_pb2.DescribeResponse.SerializeToString,
            ),
            "Process": grpc.stream_stream_rpc_method_handler(
                self.process,
                process_pb2.ProcessRequest.FromString,
                process_pb2.ProcessResponse.SerializeToString,
            ),
            "Produce": grpc.stream_stream_rpc_method_handler(
                self.produce,
                produce_pb2.ProduceRequest.FromString,
                produce_pb2.ProduceResponse.SerializeToString,
            ),
        }

    def drain(self, grace: float) -> None:
        """Takes no new streams; open ones answer what they hold, then end. Returns once they have, or after `grace`."""
        with self._lock:
            self._draining = True
            sessions = list(self._sessions)
        for session in sessions:
            session.drain()
        with self._ended:
            self._ended.wait_for(lambda: self._streams == 0, grace)

    def describe(self, _request: node_pb2.DescribeRequest, _context: Any) -> node_pb2.DescribeResponse:
        """What this process is."""
        handlers = []
        for bound in self._handlers.values():
            handler = bound.node.describe()
            handler.limits.CopyFrom(limits_message(bound))
            handlers.append(handler)
        spoken = session_pb2.ProtocolRange(min=PROTOCOL, max=PROTOCOL)
        return node_pb2.DescribeResponse(sdk=sdk(), protocol=spoken, handlers=handlers)

    def process(
        self, requests: Iterator[process_pb2.ProcessRequest], context: grpc.ServicerContext
    ) -> Iterator[process_pb2.ProcessResponse]:
        """A stream of works."""
        try:
            first = next(requests, None)
            if first is None:
                return
            if first.WhichOneof("request") != "open":
                raise _not_opened()
            self._admit(context)
            bound, opening = self._open(first.open, source=False)
            session = ProcessSession(opening, bound, self._host)
            opened = session_pb2.Opened(protocol=PROTOCOL, sdk=sdk(), limits=limits_message(bound))
            yield process_pb2.ProcessResponse(opened=opened)
            yield from self._tracked(session, context, session.responses(requests))
        except Refused as refused:
            _abort(context, refused)
        except StreamMisused as error:
            _abort(context, _violation(str(error)))

    def produce(
        self, requests: Iterator[produce_pb2.ProduceRequest], context: grpc.ServicerContext
    ) -> Iterator[produce_pb2.ProduceResponse]:
        """A stream of frames."""
        try:
            first = next(requests, None)
            if first is None:
                return
            if first.WhichOneof("request") != "open":
                raise _not_opened()
            self._admit(context)
            bound, opening = self._open(first.open, source=True)
            resumed = first.open.checkpoint if first.open.HasField("checkpoint") else None
            rule = first.open.trace.WhichOneof("rule")
            sampler = Sampler(**({rule: getattr(first.open.trace, rule)} if rule else {}))
            session = SourceSession(opening, bound, self._host, resumed, sampler)
            yield produce_pb2.ProduceResponse(opened=session_pb2.Opened(protocol=PROTOCOL, sdk=sdk()))
            yield from self._tracked(session, context, session.responses(requests))
        except Refused as refused:
            _abort(context, refused)
        except StreamMisused as error:
            _abort(context, _violation(str(error)))
        except CheckpointUnreadable as error:
            _abort(
                context,
                Refused(grpc.StatusCode.INVALID_ARGUMENT, str(error), _violations([("checkpoint", str(error))])),
            )
        except SourceFault as fault:
            _abort(context, Refused(grpc.StatusCode.ABORTED, f"{fault.reason}: {fault}", _info(fault.reason)))

    def _admit(self, context: grpc.ServicerContext) -> None:
        """Counts a stream until all of it has been sent."""
        with self._lock:
            if self._draining:
                raise Refused(grpc.StatusCode.UNAVAILABLE, "the node is shutting down and takes no new streams")
            self._streams += 1
        if not context.add_callback(self._stream_ended):
            self._stream_ended()

    def _stream_ended(self) -> None:
        with self._ended:
            self._streams -= 1
            self._ended.notify_all()

    def _tracked(
        self, session: ProcessSession | SourceSession, context: grpc.ServicerContext, responses: Iterable[Any]
    ) -> Iterator[Any]:
        with self._lock:
            self._sessions.add(session)
            draining = self._draining
        if not context.add_callback(session.abandon):
            session.abandon()
        if draining:
            session.drain()
        try:
            yield from responses
        finally:
            with self._lock:
                self._sessions.discard(session)

    def _open(
        self, request: process_pb2.OpenProcess | produce_pb2.OpenProduce, *, source: bool
    ) -> tuple[Bound, Opening]:
        _check_protocol(request.protocol)
        bound = self._find(request.handler, source)
        try:
            config, state = self._host.prepare(bound.node, request.config_json)
        except ConfigError as error:
            raise _bad_config(error) from None
        except Exception as error:
            text = f"set-up of {bound.node.name!r} failed: {type(error).__name__}: {error}"
            raise Refused(grpc.StatusCode.UNAVAILABLE, text, _info(reasons.SETUP_FAILED)) from error
        ordering = getattr(request, "ordering", process_pb2.ORDERING_NONE)
        concurrency = getattr(request, "concurrency", 0) or bound.concurrency
        opening = Opening(
            node=bound.node,
            pipeline=request.pipeline,
            name=request.node or bound.node.name,
            replica=request.replica.index,
            replicas=max(1, request.replica.of),
            config=config,
            state=state,
            ordering=ordering,
            concurrency=1 if ordering == process_pb2.ORDERING_ALL else min(1024, concurrency),
        )
        return bound, opening

    def _find(self, name: str, source: bool) -> Bound:
        served = ", ".join(sorted(self._handlers))
        if not name and len(self._handlers) == 1:
            bound: Bound | None = next(iter(self._handlers.values()))
        else:
            bound = self._handlers.get(name)
        if bound is None:
            wanted = f"there is no handler {name!r}" if name else "the process serves several handlers"
            text = f"{wanted}; set `handler:` in the pipeline file to one of: {served}"
            raise Refused(grpc.StatusCode.NOT_FOUND, text, _info(reasons.HANDLER_UNKNOWN))
        if (bound.node.role == "source") != source:
            method = "Produce (a node with no `from`)" if not source else "Process (a node with `from`)"
            text = f"handler {bound.node.name!r} is a {bound.node.role}; it is opened with {method}"
            raise Refused(grpc.StatusCode.FAILED_PRECONDITION, text, _info(reasons.HANDLER_ROLE_MISMATCH))
        return bound


def _violation(text: str) -> Refused:
    return Refused(grpc.StatusCode.INVALID_ARGUMENT, text, _info(reasons.PROTOCOL_VIOLATION))


def _not_opened() -> Refused:
    return _violation("the first request of a stream must be `open`")


def _check_protocol(spoken: session_pb2.ProtocolRange) -> None:
    if not 1 <= spoken.min <= spoken.max:
        text = f"a range of protocols is from 1 up, such as 1 to 1; not {spoken.min} to {spoken.max}"
        raise Refused(grpc.StatusCode.INVALID_ARGUMENT, f"protocol: {text}", _violations([("protocol", text)]))
    if spoken.min <= PROTOCOL <= spoken.max:
        return
    older = spoken.max < PROTOCOL
    side, remedy = (
        ("coordinator", f"upgrade the coordinator to one that speaks protocol {PROTOCOL}")
        if older
        else (
            "node",
            f"upgrade the node's meshloom package (now {__version__}) to one that speaks protocol {spoken.min}",
        )
    )
    text = f"the coordinator speaks protocol {spoken.min} to {spoken.max}, this node {PROTOCOL}: {remedy}"
    info = _info(reasons.PROTOCOL_UNSUPPORTED, upgrade=side, to=str(PROTOCOL if older else spoken.min))
    raise Refused(grpc.StatusCode.FAILED_PRECONDITION, text, info)


def _abort(context: grpc.ServicerContext, refused: Refused) -> NoReturn:
    """Ends the stream with google.rpc.Status details."""
    code_number: int = refused.code.value[0]
    packed = []
    for detail in refused.details:
        holder = any_pb2.Any()
        holder.Pack(detail)
        packed.append(holder)
    message = str(refused)[: limits.MAX_FAILURE_MESSAGE]
    status = status_pb2.Status(code=code_number, message=message, details=packed)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    context.abort(refused.code, message)
    raise AssertionError("abort() always raises")
