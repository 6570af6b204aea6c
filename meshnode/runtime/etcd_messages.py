"""The part of etcd's v3 API that we speak: its messages and methods, from ``rpc.proto`` and ``kv.proto`` of etcd 3.4.

protobuf makes the classes from this table when it is imported: no generated code to keep, no compiler at build time.
Field numbers are etcd's and never change; fields that we neither set nor read are left out, as protobuf allows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = [
    "COMPACT",
    "LEASE_GRANT",
    "LEASE_KEEP_ALIVE",
    "LEASE_REVOKE",
    "RANGE",
    "TXN",
    "WATCH",
    "Method",
    "message",
]

_PACKAGE: Final = "etcdserverpb"
_SCALARS: Final = {
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
    "bool": descriptor_pb2.FieldDescriptorProto.TYPE_BOOL,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    "uint64": descriptor_pb2.FieldDescriptorProto.TYPE_UINT64,
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    # An enum is a varint on the wire, as an int32 is.
    "enum": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
}
#: Message -> fields as ``name=number:type``; ``*``: repeated, ``?``: one of a oneof.
_MESSAGES: Final = {
    "ResponseHeader": "cluster_id=1:uint64 member_id=2:uint64 revision=3:int64 raft_term=4:uint64",
    "KeyValue": "key=1:bytes create_revision=2:int64 mod_revision=3:int64 version=4:int64 value=5:bytes lease=6:int64",
    "RangeRequest": "key=1:bytes range_end=2:bytes limit=3:int64 revision=4:int64 serializable=7:bool keys_only=8:bool",
    "RangeResponse": "header=1:ResponseHeader kvs=2:*KeyValue more=3:bool count=4:int64",
    "PutRequest": "key=1:bytes value=2:bytes lease=3:int64",
    "PutResponse": "header=1:ResponseHeader",
    "DeleteRangeRequest": "key=1:bytes range_end=2:bytes",
    "DeleteRangeResponse": "header=1:ResponseHeader deleted=2:int64",
    "Compare": "result=1:enum target=2:enum key=3:bytes "
    "version=4:?int64 create_revision=5:?int64 mod_revision=6:?int64 value=7:?bytes",
    "RequestOp": "request_range=1:?RangeRequest request_put=2:?PutRequest request_delete_range=3:?DeleteRangeRequest",
    "ResponseOp": "response_range=1:?RangeResponse response_put=2:?PutResponse "
    "response_delete_range=3:?DeleteRangeResponse",
    "TxnRequest": "compare=1:*Compare success=2:*RequestOp failure=3:*RequestOp",
    "TxnResponse": "header=1:ResponseHeader succeeded=2:bool responses=3:*ResponseOp",
    "CompactionRequest": "revision=1:int64 physical=2:bool",
    "CompactionResponse": "header=1:ResponseHeader",
    "WatchCreateRequest": "key=1:bytes range_end=2:bytes start_revision=3:int64 progress_notify=4:bool filters=5:*enum "
    "fragment=8:bool",
    "WatchRequest": "create_request=1:?WatchCreateRequest",
    "Event": "type=1:enum kv=2:KeyValue",
    "WatchResponse": "header=1:ResponseHeader watch_id=2:int64 created=3:bool canceled=4:bool compact_revision=5:int64 "
    "cancel_reason=6:string fragment=7:bool events=11:*Event",
    "LeaseGrantRequest": "TTL=1:int64 ID=2:int64",
    "LeaseGrantResponse": "header=1:ResponseHeader ID=2:int64 TTL=3:int64 error=4:string",
    "LeaseRevokeRequest": "ID=1:int64",
    "LeaseRevokeResponse": "header=1:ResponseHeader",
    "LeaseKeepAliveRequest": "ID=1:int64",
    "LeaseKeepAliveResponse": "header=1:ResponseHeader ID=2:int64 TTL=3:int64",
}


def _pool() -> descriptor_pool.DescriptorPool:
    """A pool of our own, so that another package's copy of etcd's messages doesn't collide with ours."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="meshnode/etcd.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        described = file.message_type.add(name=name)
        for text in fields.split():
            left, _, kind = text.partition(":")
            label = field.LABEL_REPEATED if kind.startswith("*") else field.LABEL_OPTIONAL
            added = described.field.add(
                name=left.partition("=")[0], number=int(left.partition("=")[2]), label=label
            )
            if kind.startswith("?"):
                if not described.oneof_decl:
                    described.oneof_decl.add(name="one_of")
                added.oneof_index = 0
            plain = kind.lstrip("*?")
            if plain in _SCALARS:
                added.type = _SCALARS[plain]
            else:
                added.type, added.type_name = field.TYPE_MESSAGE, f".{_PACKAGE}.{plain}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return pool


_POOL: Final = _pool()
_CLASSES: Final[dict[str, type[Any]]] = {
    name: message_factory.GetMessageClass(_POOL.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
    for name in _MESSAGES
}


def message(kind: str, **fields: Any) -> Any:
    """A message of ``kind`` (``PutRequest``); unknown fields raise ``ValueError``."""
    return _CLASSES[kind](**fields)


@dataclass(frozen=True, slots=True)
class Method:
    """One call: its path and the classes that go out and come back. ``streams``: both ways, else one each."""

    path: str
    request: type[Any]
    response: type[Any]
    streams: bool = False


def _method(service: str, name: str, kind: str, *, streams: bool = False) -> Method:
    return Method(
        f"/{_PACKAGE}.{service}/{name}", _CLASSES[f"{kind}Request"], _CLASSES[f"{kind}Response"], streams
    )


RANGE: Final = _method("KV", "Range", "Range")
TXN: Final = _method("KV", "Txn", "Txn")
COMPACT: Final = _method("KV", "Compact", "Compaction")
WATCH: Final = _method("Watch", "Watch", "Watch", streams=True)
LEASE_GRANT: Final = _method("Lease", "LeaseGrant", "LeaseGrant")
LEASE_REVOKE: Final = _method("Lease", "LeaseRevoke", "LeaseRevoke")
LEASE_KEEP_ALIVE: Final = _method("Lease", "LeaseKeepAlive", "LeaseKeepAlive", streams=True)
