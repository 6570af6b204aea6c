"""``/v1/kv``: keys and values."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Final

from meshnode.http.context import Context
from meshnode.http.effects import Pieces
from meshnode.http.errors import HttpError
from meshnode.http.message import JSON, Request, Response, StreamResponse
from meshnode.http.render import array_json
from meshnode.http.router import Outcome
from meshnode.http.state import flag, read, write

__all__ = ["delete", "entry_as_json", "get", "put"]

_MAX_FLAGS: Final = 2**64 - 1
#: Type of a raw value, which may be anything.
_OCTETS: Final = "application/octet-stream"
#: A list of entries that is longer (about, as JSON) is rendered in slices while it is sent.
MAX_WHOLE_BYTES: Final = 256 * 1024
#: About the length of a slice: a millisecond or two of rendering.
SLICE_BYTES: Final = 128 * 1024
#: About what an entry takes beside its value.
_ENTRY_BYTES: Final = 128


def entry_as_json(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A ``DirEntry`` with its value in base64, ``null`` when empty, in the order of Consul's struct."""
    value = entry.get("Value")
    fields = {
        "LockIndex": entry["LockIndex"],
        "Key": entry["Key"],
        "Flags": entry["Flags"],
        "Value": b64encode(value).decode("ascii") if value else None,
    }
    if entry.get("Session"):
        fields["Session"] = entry["Session"]
    fields["CreateIndex"] = entry["CreateIndex"]
    fields["ModifyIndex"] = entry["ModifyIndex"]
    return fields


def get(context: Context, request: Request) -> Outcome:
    """GET /v1/kv/:key with ``recurse``, ``keys`` and ``separator``, or ``raw``; 404 when there is nothing."""
    key = _key(request)
    if flag(request, "keys"):
        separator = request.query.get("separator") or request.query.get("seperator")
        body = {"Prefix": key, "Seperator": separator}
        return read(context, request, "KVS.ListKeys", body, lambda reply: reply["Keys"] or Response(404))
    if flag(request, "recurse"):
        return read(context, request, "KVS.List", {"Key": key}, partial(_tree, context, request))
    if not key:
        raise HttpError(400, "Missing key name")
    return read(context, request, "KVS.Get", {"Key": key}, _raw if flag(request, "raw") else _entries)


def put(context: Context, request: Request) -> Outcome:
    """PUT /v1/kv/:key; the body is the value; ``flags`` and one of ``cas``, ``acquire``, ``release``."""
    key = _key(request)
    if not key:
        raise HttpError(400, "Missing key name")
    if not request.raw_query:
        entry: dict[str, Any] = {"Key": key, "Value": request.body, "Flags": 0}
        return write(context, request, "KVS.Apply", {"Op": "set", "DirEnt": entry}, bool)
    _refuse_conflict(request, "cas", "acquire", "release")
    entry = {"Key": key, "Value": request.body, "Flags": _number(request, "flags")}
    operation = "set"
    if flag(request, "cas"):
        operation, entry["ModifyIndex"] = "cas", _number(request, "cas")
    elif flag(request, "acquire"):
        operation, entry["Session"] = "lock", request.query.get("acquire")
    elif flag(request, "release"):
        operation, entry["Session"] = "unlock", request.query.get("release")
    return write(context, request, "KVS.Apply", {"Op": operation, "DirEnt": entry}, bool)


def delete(context: Context, request: Request) -> Outcome:
    """DELETE /v1/kv/:key, with all under it (``recurse``), or if its index is ``cas``."""
    key = _key(request)
    _refuse_conflict(request, "recurse", "cas")
    entry: dict[str, Any] = {"Key": key}
    operation = "delete"
    if flag(request, "recurse"):
        operation = "delete-tree"
    elif not key:
        raise HttpError(400, "Missing key name")
    elif flag(request, "cas"):
        operation, entry["ModifyIndex"] = "delete-cas", _number(request, "cas")
    return write(context, request, "KVS.Apply", {"Op": operation, "DirEnt": entry}, bool)


def _entries(reply: Mapping[str, Any]) -> Any:
    return [entry_as_json(entry) for entry in reply["Entries"]] or Response(404)


def _tree(context: Context, request: Request, reply: Mapping[str, Any]) -> Any:
    """As :func:`_entries`, in slices where that would keep every other request waiting."""
    entries = reply["Entries"]
    if _slice_end(entries, 0, MAX_WHOLE_BYTES) == len(entries):
        return _entries(reply)
    pieces = array_json(_slices(entries), pretty=context.pretty(request))
    return StreamResponse(Pieces(pieces), content_type=JSON)


def _slices(entries: Sequence[Mapping[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    start = 0
    while start < len(entries):
        end = _slice_end(entries, start, SLICE_BYTES)
        yield [entry_as_json(entry) for entry in entries[start:end]]
        start = end


def _slice_end(entries: Sequence[Mapping[str, Any]], start: int, max_bytes: int) -> int:
    """The end of the slice from ``start`` on: the entry with which it has ``max_bytes`` is its last."""
    size = 0
    for at in range(start, len(entries)):
        size += _ENTRY_BYTES + len(entries[at].get("Value") or b"") * 4 // 3
        if size >= max_bytes:
            return at + 1
    return len(entries)


def _raw(reply: Mapping[str, Any]) -> Response:
    entries = reply["Entries"]
    return Response(200, entries[0]["Value"] or b"", _OCTETS) if entries else Response(404)


def _key(request: Request) -> str:
    try:
        request.param.encode()
    except UnicodeEncodeError:
        raise HttpError(400, "The key is not UTF-8: keys are text, values may be any bytes") from None
    return request.param


def _refuse_conflict(request: Request, *names: str) -> None:
    given = [name for name in names if flag(request, name)]
    if len(given) > 1:
        raise HttpError(400, f"Conflicting flags: {', '.join(given)}")


def _number(request: Request, name: str) -> int:
    value = request.query.get(name) if request.raw_query else ""
    if not value and not flag(request, name):
        return 0
    if not (value.isascii() and value.isdigit() and len(value) <= 20 and int(value) <= _MAX_FLAGS):
        raise HttpError(400, f"Invalid {name} {value!r}: must be a whole number from 0 to {_MAX_FLAGS}")
    return int(value)
