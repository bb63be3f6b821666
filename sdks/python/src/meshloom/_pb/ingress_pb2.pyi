from . import batch_pb2 as _batch_pb2
from . import process_pb2 as _process_pb2
from . import session_pb2 as _session_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import Any as _Any, ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PublishRequest(_message.Message):
    __slots__ = ("open", "publication")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    PUBLICATION_FIELD_NUMBER: _ClassVar[int]
    open: OpenPublish
    publication: Publication
    def __init__(self, open: _Optional[_Union[OpenPublish, _Mapping[str, _Any]]] = ..., publication: _Optional[_Union[Publication, _Mapping[str, _Any]]] = ...) -> None: ...

class PublishResponse(_message.Message):
    __slots__ = ("credit", "acknowledged", "refused", "opened")
    CREDIT_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    REFUSED_FIELD_NUMBER: _ClassVar[int]
    OPENED_FIELD_NUMBER: _ClassVar[int]
    credit: PublishCredit
    acknowledged: Acknowledged
    refused: Refused
    opened: OpenedPublish
    def __init__(self, credit: _Optional[_Union[PublishCredit, _Mapping[str, _Any]]] = ..., acknowledged: _Optional[_Union[Acknowledged, _Mapping[str, _Any]]] = ..., refused: _Optional[_Union[Refused, _Mapping[str, _Any]]] = ..., opened: _Optional[_Union[OpenedPublish, _Mapping[str, _Any]]] = ...) -> None: ...

class OpenPublish(_message.Message):
    __slots__ = ("pipeline", "node", "protocol")
    PIPELINE_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    pipeline: str
    node: str
    protocol: _session_pb2.ProtocolRange
    def __init__(self, pipeline: _Optional[str] = ..., node: _Optional[str] = ..., protocol: _Optional[_Union[_session_pb2.ProtocolRange, _Mapping[str, _Any]]] = ...) -> None: ...

class OpenedPublish(_message.Message):
    __slots__ = ("protocol", "max_event_bytes")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    MAX_EVENT_BYTES_FIELD_NUMBER: _ClassVar[int]
    protocol: int
    max_event_bytes: int
    def __init__(self, protocol: _Optional[int] = ..., max_event_bytes: _Optional[int] = ...) -> None: ...

class Publication(_message.Message):
    __slots__ = ("sequence", "batch")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    batch: _batch_pb2.Batch
    def __init__(self, sequence: _Optional[int] = ..., batch: _Optional[_Union[_batch_pb2.Batch, _Mapping[str, _Any]]] = ...) -> None: ...

class PublishCredit(_message.Message):
    __slots__ = ("events", "bytes")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    events: int
    bytes: int
    def __init__(self, events: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class Acknowledged(_message.Message):
    __slots__ = ("sequence",)
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    def __init__(self, sequence: _Optional[int] = ...) -> None: ...

class Refused(_message.Message):
    __slots__ = ("sequence", "failures")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    FAILURES_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    failures: _containers.RepeatedCompositeFieldContainer[_process_pb2.EventFailure]
    def __init__(self, sequence: _Optional[int] = ..., failures: _Optional[_Iterable[_Union[_process_pb2.EventFailure, _Mapping[str, _Any]]]] = ...) -> None: ...
