"""``/v1/txn``: several operations on keys, all or none."""

from __future__ import annotations

import binascii
from base64 import b64decode
from collections.abc import Mapping, Sequence
from typing import Any, Final

from meshnode.base.json_fields import json_type
from meshnode.control.body import NANOSECONDS
from meshnode.control.endpoints.txn import READ_VERBS
from meshnode.http.blocking import index_headers, refuse_conflicting_consistency
from meshnode.http.body import Fields, decode_json
from meshnode.http.context import Context
from meshnode.http.effects import CallServer, ReadServer, Steps, ask
from meshnode.http.errors import HttpError
from meshnode.http.kv_routes import entry_as_json
from meshnode.http.message import Request
from meshnode.http.router import Answer
from meshnode.http.state import flag

__all__ = ["MAX_OPERATIONS", "MAX_VALUE_BYTES", "txn"]

#: Source: Consul 1.2.3, agent/txn_endpoint.go and agent/kvs_endpoint.go.
MAX_OPERATIONS: Final = 64
#: Of one value, and of all values of a transaction together.
MAX_VALUE_BYTES: Final = 512 * 1024
_MAX_FLAGS: Final = 2**64 - 1
#: What later versions of Consul do in a transaction.
_LATER: Final = ("Node", "Service", "Check", "Session", "Intention")


def txn(context: Context, request: Request) -> Steps[Answer]:
    """PUT /v1/txn: ``[{"KV": {"Verb", "Key", "Value", "Flags", "Index", "Session"}}]``; 409 when it is rolled back."""
    operations = _operations(request)
    body: dict[str, Any] = {"Ops": operations}
    datacenter = request.query.get("dc") if request.raw_query else ""
    headers: tuple[tuple[str, str], ...] = ()
    if all(operation["KV"]["Verb"] in READ_VERBS for operation in operations):
        refuse_conflicting_consistency(request)
        body |= {"AllowStale": flag(request, "stale"), "RequireConsistent": flag(request, "consistent")}
        reply = yield from ask(ReadServer("Txn.Read", body, datacenter, request.token))
        headers = index_headers(
            reply.get("Index", 0),
            known_leader=bool(reply.get("KnownLeader", False)),
            last_contact=reply.get("LastContact", 0) / NANOSECONDS,
        )
    else:
        reply = yield from ask(CallServer("Txn.Apply", body, datacenter, request.token))
    answer = context.json(request, _as_json(reply), headers)
    if reply["Errors"]:
        answer.status = 409
    return answer


def _as_json(reply: Mapping[str, Any]) -> dict[str, Any]:
    results = [{"KV": entry_as_json(result["KV"])} for result in reply["Results"]]
    errors = [{"OpIndex": error["OpIndex"], "What": error["What"]} for error in reply["Errors"]]
    return {"Results": results or None, "Errors": errors or None}


def _operations(request: Request) -> Sequence[dict[str, Any]]:
    listed = decode_json(request.body)
    if not isinstance(listed, list):
        raise HttpError(400, f"Request decode failed: expected list of operations, got {json_type(listed)}")
    if len(listed) > MAX_OPERATIONS:
        message = f"Transaction contains too many operations ({len(listed)} > {MAX_OPERATIONS})"
        raise HttpError(413, message)
    # Wrapped in an object, so that a fault is named by its place in the list.
    operations = [_operation(fields) for fields in Fields({"Ops": listed}).objects("Ops")]
    total = sum(len(operation["KV"]["DirEnt"]["Value"]) for operation in operations)
    if total > MAX_VALUE_BYTES:
        raise HttpError(413, f"Cumulative size of key data is too large ({total} > {MAX_VALUE_BYTES} bytes)")
    return operations


def _operation(fields: Fields) -> dict[str, Any]:
    later = [name for name in _LATER if fields.has(name)]
    if later:
        fields.refuse(
            later[0], "came with a later version than Consul 1.2.3, whose transactions are on KV only"
        )
    key_value = fields.object("KV")
    if key_value is None:
        fields.refuse("KV", 'is missing: an operation is {"KV": {"Verb": "get", "Key": "app/x"}}')
    verb = key_value.text("Verb")
    if not verb:
        key_value.refuse("Verb", "is missing: write for instance set, cas, get, delete or check-index")
    entry = {
        "Key": key_value.text("Key"),
        "Value": _value(key_value),
        "Flags": _unsigned(key_value, "Flags"),
        "ModifyIndex": _unsigned(key_value, "Index"),
        "Session": key_value.text("Session"),
    }
    return {"KV": {"Verb": verb, "DirEnt": entry}}


def _value(fields: Fields) -> bytes:
    try:
        value = b64decode(fields.text("Value"), validate=True)
    except (binascii.Error, ValueError):
        fields.refuse("Value", "is not base64")
    if len(value) > MAX_VALUE_BYTES:
        key = fields.text("Key")
        message = f'Value for key "{key}" is too large ({len(value)} > {MAX_VALUE_BYTES} bytes)'
        raise HttpError(413, message)
    return value


def _unsigned(fields: Fields, name: str) -> int:
    """A whole number of 64 bits without a sign, which is one bit more than ``Fields.integer`` takes."""
    value = fields.value(name)
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_FLAGS:
        return value
    number = fields.integer(name)
    if number < 0:
        fields.refuse(name, f"must be a whole number from 0 to {_MAX_FLAGS}")
    return number
