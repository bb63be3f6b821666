from google.protobuf import duration_pb2 as _duration_pb2
from . import batch_pb2 as _batch_pb2
from . import session_pb2 as _session_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import Any as _Any, ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Ordering(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ORDERING_UNSPECIFIED: _ClassVar[Ordering]
    ORDERING_NONE: _ClassVar[Ordering]
    ORDERING_KEY: _ClassVar[Ordering]
    ORDERING_ALL: _ClassVar[Ordering]

class FailureAction(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FAILURE_ACTION_UNSPECIFIED: _ClassVar[FailureAction]
    FAILURE_ACTION_RETRY: _ClassVar[FailureAction]
    FAILURE_ACTION_REJECT: _ClassVar[FailureAction]
ORDERING_UNSPECIFIED: Ordering
ORDERING_NONE: Ordering
ORDERING_KEY: Ordering
ORDERING_ALL: Ordering
FAILURE_ACTION_UNSPECIFIED: FailureAction
FAILURE_ACTION_RETRY: FailureAction
FAILURE_ACTION_REJECT: FailureAction

class ProcessRequest(_message.Message):
    __slots__ = ("open", "work", "cancel")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    WORK_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    open: OpenProcess
    work: Work
    cancel: Cancel
    def __init__(self, open: _Optional[_Union[OpenProcess, _Mapping[str, _Any]]] = ..., work: _Optional[_Union[Work, _Mapping[str, _Any]]] = ..., cancel: _Optional[_Union[Cancel, _Mapping[str, _Any]]] = ...) -> None: ...

class ProcessResponse(_message.Message):
    __slots__ = ("opened", "result", "limits", "progress")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    opened: _session_pb2.Opened
    result: WorkResult
    limits: _session_pb2.Limits
    progress: Progress
    def __init__(self, opened: _Optional[_Union[_session_pb2.Opened, _Mapping[str, _Any]]] = ..., result: _Optional[_Union[WorkResult, _Mapping[str, _Any]]] = ..., limits: _Optional[_Union[_session_pb2.Limits, _Mapping[str, _Any]]] = ..., progress: _Optional[_Union[Progress, _Mapping[str, _Any]]] = ...) -> None: ...

class OpenProcess(_message.Message):
    __slots__ = ("protocol", "pipeline", "node", "handler", "replica", "capabilities", "config_json", "ordering", "concurrency")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    PIPELINE_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    HANDLER_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    CONFIG_JSON_FIELD_NUMBER: _ClassVar[int]
    ORDERING_FIELD_NUMBER: _ClassVar[int]
    CONCURRENCY_FIELD_NUMBER: _ClassVar[int]
    protocol: _session_pb2.ProtocolRange
    pipeline: str
    node: str
    handler: str
    replica: _session_pb2.Replica
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    config_json: bytes
    ordering: Ordering
    concurrency: int
    def __init__(self, protocol: _Optional[_Union[_session_pb2.ProtocolRange, _Mapping[str, _Any]]] = ..., pipeline: _Optional[str] = ..., node: _Optional[str] = ..., handler: _Optional[str] = ..., replica: _Optional[_Union[_session_pb2.Replica, _Mapping[str, _Any]]] = ..., capabilities: _Optional[_Iterable[str]] = ..., config_json: _Optional[bytes] = ..., ordering: _Optional[_Union[Ordering, str]] = ..., concurrency: _Optional[int] = ...) -> None: ...

class Work(_message.Message):
    __slots__ = ("sequence", "attempts", "timeout", "batch")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    attempts: bytes
    timeout: _duration_pb2.Duration
    batch: _batch_pb2.Batch
    def __init__(self, sequence: _Optional[int] = ..., attempts: _Optional[bytes] = ..., timeout: _Optional[_Union[_duration_pb2.Duration, _Mapping[str, _Any]]] = ..., batch: _Optional[_Union[_batch_pb2.Batch, _Mapping[str, _Any]]] = ...) -> None: ...

class Cancel(_message.Message):
    __slots__ = ("sequence", "reason")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    reason: str
    def __init__(self, sequence: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class WorkResult(_message.Message):
    __slots__ = ("sequence", "outputs", "failures", "consumed", "last", "busy")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    OUTPUTS_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    CONSUMED_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    BUSY_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    outputs: Outputs
    failures: _containers.RepeatedCompositeFieldContainer[EventFailure]
    consumed: int
    last: bool
    busy: _duration_pb2.Duration
    def __init__(self, sequence: _Optional[int] = ..., outputs: _Optional[_Union[Outputs, _Mapping[str, _Any]]] = ..., failures: _Optional[_Iterable[_Union[EventFailure, _Mapping[str, _Any]]]] = ..., consumed: _Optional[int] = ..., last: bool = ..., busy: _Optional[_Union[_duration_pb2.Duration, _Mapping[str, _Any]]] = ...) -> None: ...

class Outputs(_message.Message):
    __slots__ = ("count", "parent", "continued", "payload", "content_type", "type", "subject", "key", "time", "id", "route", "data_schema", "extensions")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    CONTINUED_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    DATA_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    EXTENSIONS_FIELD_NUMBER: _ClassVar[int]
    count: int
    parent: bytes
    continued: bool
    payload: _batch_pb2.Values
    content_type: _batch_pb2.Strings
    type: _batch_pb2.Strings
    subject: _batch_pb2.Strings
    key: _batch_pb2.Strings
    time: bytes
    id: _batch_pb2.Strings
    route: _batch_pb2.Strings
    data_schema: _batch_pb2.Strings
    extensions: _containers.RepeatedCompositeFieldContainer[_batch_pb2.Extension]
    def __init__(self, count: _Optional[int] = ..., parent: _Optional[bytes] = ..., continued: bool = ..., payload: _Optional[_Union[_batch_pb2.Values, _Mapping[str, _Any]]] = ..., content_type: _Optional[_Union[_batch_pb2.Strings, _Mapping[str, _Any]]] = ..., type: _Optional[_Union[_batch_pb2.Strings, _Mapping[str, _Any]]] = ..., subject: _Optional[_Union[_batch_pb2.Strings, _Mapping[str, _Any]]] = ..., key: _Optional[_Union[_batch_pb2.Strings, _Mapping[str, _Any]]] = ..., time: _Optional[bytes] = ..., id: _Optional[_Union[_batch_pb2.Strings, _Mapping[str, _Any]]] = ..., route: _Optional[_Union[_batch_pb2.Strings, _Mapping[str, _Any]]] = ..., data_schema: _Optional[_Union[_batch_pb2.Strings, _Mapping[str, _Any]]] = ..., extensions: _Optional[_Iterable[_Union[_batch_pb2.Extension, _Mapping[str, _Any]]]] = ...) -> None: ...

class EventFailure(_message.Message):
    __slots__ = ("index", "action", "reason", "message", "retry_after")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RETRY_AFTER_FIELD_NUMBER: _ClassVar[int]
    index: int
    action: FailureAction
    reason: str
    message: str
    retry_after: _duration_pb2.Duration
    def __init__(self, index: _Optional[int] = ..., action: _Optional[_Union[FailureAction, str]] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., retry_after: _Optional[_Union[_duration_pb2.Duration, _Mapping[str, _Any]]] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("calls",)
    CALLS_FIELD_NUMBER: _ClassVar[int]
    calls: _containers.RepeatedCompositeFieldContainer[HandlerCall]
    def __init__(self, calls: _Optional[_Iterable[_Union[HandlerCall, _Mapping[str, _Any]]]] = ...) -> None: ...

class HandlerCall(_message.Message):
    __slots__ = ("sequence", "index", "age")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    AGE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    index: int
    age: _duration_pb2.Duration
    def __init__(self, sequence: _Optional[int] = ..., index: _Optional[int] = ..., age: _Optional[_Union[_duration_pb2.Duration, _Mapping[str, _Any]]] = ...) -> None: ...
