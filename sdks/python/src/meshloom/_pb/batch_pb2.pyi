from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import Any as _Any, ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ExtensionType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EXTENSION_TYPE_UNSPECIFIED: _ClassVar[ExtensionType]
    EXTENSION_TYPE_BOOLEAN: _ClassVar[ExtensionType]
    EXTENSION_TYPE_INTEGER: _ClassVar[ExtensionType]
    EXTENSION_TYPE_STRING: _ClassVar[ExtensionType]
    EXTENSION_TYPE_BINARY: _ClassVar[ExtensionType]
    EXTENSION_TYPE_URI: _ClassVar[ExtensionType]
    EXTENSION_TYPE_URI_REFERENCE: _ClassVar[ExtensionType]
    EXTENSION_TYPE_TIMESTAMP: _ClassVar[ExtensionType]
EXTENSION_TYPE_UNSPECIFIED: ExtensionType
EXTENSION_TYPE_BOOLEAN: ExtensionType
EXTENSION_TYPE_INTEGER: ExtensionType
EXTENSION_TYPE_STRING: ExtensionType
EXTENSION_TYPE_BINARY: ExtensionType
EXTENSION_TYPE_URI: ExtensionType
EXTENSION_TYPE_URI_REFERENCE: ExtensionType
EXTENSION_TYPE_TIMESTAMP: ExtensionType

class Values(_message.Message):
    __slots__ = ("data", "ends")
    DATA_FIELD_NUMBER: _ClassVar[int]
    ENDS_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    ends: bytes
    def __init__(self, data: _Optional[bytes] = ..., ends: _Optional[bytes] = ...) -> None: ...

class Strings(_message.Message):
    __slots__ = ("values", "index")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    values: Values
    index: bytes
    def __init__(self, values: _Optional[_Union[Values, _Mapping[str, _Any]]] = ..., index: _Optional[bytes] = ...) -> None: ...

class Batch(_message.Message):
    __slots__ = ("count", "payload", "content_type", "uid", "time", "id", "source", "type", "subject", "key", "data_schema", "extensions", "spans")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    CONTENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    DATA_SCHEMA_FIELD_NUMBER: _ClassVar[int]
    FROM_FIELD_NUMBER: _ClassVar[int]
    EXTENSIONS_FIELD_NUMBER: _ClassVar[int]
    SPANS_FIELD_NUMBER: _ClassVar[int]
    count: int
    payload: Values
    content_type: Strings
    uid: bytes
    time: bytes
    id: Strings
    source: Strings
    type: Strings
    subject: Strings
    key: Strings
    data_schema: Strings
    extensions: _containers.RepeatedCompositeFieldContainer[Extension]
    spans: _containers.RepeatedCompositeFieldContainer[SpanContext]
    def __init__(self, count: _Optional[int] = ..., payload: _Optional[_Union[Values, _Mapping[str, _Any]]] = ..., content_type: _Optional[_Union[Strings, _Mapping[str, _Any]]] = ..., uid: _Optional[bytes] = ..., time: _Optional[bytes] = ..., id: _Optional[_Union[Strings, _Mapping[str, _Any]]] = ..., source: _Optional[_Union[Strings, _Mapping[str, _Any]]] = ..., type: _Optional[_Union[Strings, _Mapping[str, _Any]]] = ..., subject: _Optional[_Union[Strings, _Mapping[str, _Any]]] = ..., key: _Optional[_Union[Strings, _Mapping[str, _Any]]] = ..., data_schema: _Optional[_Union[Strings, _Mapping[str, _Any]]] = ..., extensions: _Optional[_Iterable[_Union[Extension, _Mapping[str, _Any]]]] = ..., spans: _Optional[_Iterable[_Union[SpanContext, _Mapping[str, _Any]]]] = ..., **kwargs: _Any) -> None: ...

class Extension(_message.Message):
    __slots__ = ("name", "type", "values", "index")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    name: str
    type: ExtensionType
    values: Values
    index: bytes
    def __init__(self, name: _Optional[str] = ..., type: _Optional[_Union[ExtensionType, str]] = ..., values: _Optional[_Union[Values, _Mapping[str, _Any]]] = ..., index: _Optional[bytes] = ...) -> None: ...

class SpanContext(_message.Message):
    __slots__ = ("index", "trace_id", "span_id", "flags", "trace_state")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TRACE_ID_FIELD_NUMBER: _ClassVar[int]
    SPAN_ID_FIELD_NUMBER: _ClassVar[int]
    FLAGS_FIELD_NUMBER: _ClassVar[int]
    TRACE_STATE_FIELD_NUMBER: _ClassVar[int]
    index: int
    trace_id: bytes
    span_id: bytes
    flags: int
    trace_state: str
    def __init__(self, index: _Optional[int] = ..., trace_id: _Optional[bytes] = ..., span_id: _Optional[bytes] = ..., flags: _Optional[int] = ..., trace_state: _Optional[str] = ...) -> None: ...
