from . import batch_pb2 as _batch_pb2
from . import session_pb2 as _session_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import Any as _Any, ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ProduceRequest(_message.Message):
    __slots__ = ("open", "demand", "settled", "stop")
    OPEN_FIELD_NUMBER: _ClassVar[int]
    DEMAND_FIELD_NUMBER: _ClassVar[int]
    SETTLED_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    open: OpenProduce
    demand: Demand
    settled: Settled
    stop: Stop
    def __init__(self, open: _Optional[_Union[OpenProduce, _Mapping[str, _Any]]] = ..., demand: _Optional[_Union[Demand, _Mapping[str, _Any]]] = ..., settled: _Optional[_Union[Settled, _Mapping[str, _Any]]] = ..., stop: _Optional[_Union[Stop, _Mapping[str, _Any]]] = ...) -> None: ...

class ProduceResponse(_message.Message):
    __slots__ = ("opened", "produced", "exhausted")
    OPENED_FIELD_NUMBER: _ClassVar[int]
    PRODUCED_FIELD_NUMBER: _ClassVar[int]
    EXHAUSTED_FIELD_NUMBER: _ClassVar[int]
    opened: _session_pb2.Opened
    produced: Produced
    exhausted: Exhausted
    def __init__(self, opened: _Optional[_Union[_session_pb2.Opened, _Mapping[str, _Any]]] = ..., produced: _Optional[_Union[Produced, _Mapping[str, _Any]]] = ..., exhausted: _Optional[_Union[Exhausted, _Mapping[str, _Any]]] = ...) -> None: ...

class OpenProduce(_message.Message):
    __slots__ = ("protocol", "pipeline", "node", "handler", "replica", "capabilities", "config_json", "checkpoint", "trace")
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    PIPELINE_FIELD_NUMBER: _ClassVar[int]
    NODE_FIELD_NUMBER: _ClassVar[int]
    HANDLER_FIELD_NUMBER: _ClassVar[int]
    REPLICA_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    CONFIG_JSON_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    TRACE_FIELD_NUMBER: _ClassVar[int]
    protocol: _session_pb2.ProtocolRange
    pipeline: str
    node: str
    handler: str
    replica: _session_pb2.Replica
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    config_json: bytes
    checkpoint: bytes
    trace: TraceSampling
    def __init__(self, protocol: _Optional[_Union[_session_pb2.ProtocolRange, _Mapping[str, _Any]]] = ..., pipeline: _Optional[str] = ..., node: _Optional[str] = ..., handler: _Optional[str] = ..., replica: _Optional[_Union[_session_pb2.Replica, _Mapping[str, _Any]]] = ..., capabilities: _Optional[_Iterable[str]] = ..., config_json: _Optional[bytes] = ..., checkpoint: _Optional[bytes] = ..., trace: _Optional[_Union[TraceSampling, _Mapping[str, _Any]]] = ...) -> None: ...

class TraceSampling(_message.Message):
    __slots__ = ("rate", "ratio")
    RATE_FIELD_NUMBER: _ClassVar[int]
    RATIO_FIELD_NUMBER: _ClassVar[int]
    rate: float
    ratio: float
    def __init__(self, rate: _Optional[float] = ..., ratio: _Optional[float] = ...) -> None: ...

class Demand(_message.Message):
    __slots__ = ("events", "bytes")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    events: int
    bytes: int
    def __init__(self, events: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class Produced(_message.Message):
    __slots__ = ("sequence", "batch", "checkpoint")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    batch: _batch_pb2.Batch
    checkpoint: bytes
    def __init__(self, sequence: _Optional[int] = ..., batch: _Optional[_Union[_batch_pb2.Batch, _Mapping[str, _Any]]] = ..., checkpoint: _Optional[bytes] = ...) -> None: ...

class Settled(_message.Message):
    __slots__ = ("sequence", "checkpoint")
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_FIELD_NUMBER: _ClassVar[int]
    sequence: int
    checkpoint: bytes
    def __init__(self, sequence: _Optional[int] = ..., checkpoint: _Optional[bytes] = ...) -> None: ...

class Stop(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Exhausted(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
