from . import process_pb2 as _process_pb2
from . import produce_pb2 as _produce_pb2
from . import session_pb2 as _session_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import Any as _Any, ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class HandlerRole(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HANDLER_ROLE_UNSPECIFIED: _ClassVar[HandlerRole]
    HANDLER_ROLE_MAP: _ClassVar[HandlerRole]
    HANDLER_ROLE_FILTER: _ClassVar[HandlerRole]
    HANDLER_ROLE_FLAT_MAP: _ClassVar[HandlerRole]
    HANDLER_ROLE_BATCH: _ClassVar[HandlerRole]
    HANDLER_ROLE_SINK: _ClassVar[HandlerRole]
    HANDLER_ROLE_SOURCE: _ClassVar[HandlerRole]
HANDLER_ROLE_UNSPECIFIED: HandlerRole
HANDLER_ROLE_MAP: HandlerRole
HANDLER_ROLE_FILTER: HandlerRole
HANDLER_ROLE_FLAT_MAP: HandlerRole
HANDLER_ROLE_BATCH: HandlerRole
HANDLER_ROLE_SINK: HandlerRole
HANDLER_ROLE_SOURCE: HandlerRole

class DescribeRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeResponse(_message.Message):
    __slots__ = ("sdk", "protocol", "capabilities", "handlers")
    SDK_FIELD_NUMBER: _ClassVar[int]
    PROTOCOL_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    HANDLERS_FIELD_NUMBER: _ClassVar[int]
    sdk: _session_pb2.Sdk
    protocol: _session_pb2.ProtocolRange
    capabilities: _containers.RepeatedScalarFieldContainer[str]
    handlers: _containers.RepeatedCompositeFieldContainer[Handler]
    def __init__(self, sdk: _Optional[_Union[_session_pb2.Sdk, _Mapping[str, _Any]]] = ..., protocol: _Optional[_Union[_session_pb2.ProtocolRange, _Mapping[str, _Any]]] = ..., capabilities: _Optional[_Iterable[str]] = ..., handlers: _Optional[_Iterable[_Union[Handler, _Mapping[str, _Any]]]] = ...) -> None: ...

class Handler(_message.Message):
    __slots__ = ("name", "role", "config_schema", "routes", "limits", "replays", "partitioned", "description")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    CONFIG_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    ROUTES_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    REPLAYS_FIELD_NUMBER: _ClassVar[int]
    PARTITIONED_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    name: str
    role: HandlerRole
    config_schema: bytes
    routes: _containers.RepeatedScalarFieldContainer[str]
    limits: _session_pb2.Limits
    replays: bool
    partitioned: bool
    description: str
    def __init__(self, name: _Optional[str] = ..., role: _Optional[_Union[HandlerRole, str]] = ..., config_schema: _Optional[bytes] = ..., routes: _Optional[_Iterable[str]] = ..., limits: _Optional[_Union[_session_pb2.Limits, _Mapping[str, _Any]]] = ..., replays: bool = ..., partitioned: bool = ..., description: _Optional[str] = ...) -> None: ...
