"""``/v1/operator``: the gossip keyring."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from meshnode.http.context import Context
from meshnode.http.effects import KeyOperation, KeyringStatus, KeyVerb, Steps, ask
from meshnode.http.errors import HttpError
from meshnode.http.message import Request, Response
from meshnode.http.router import Answer

__all__ = ["keyring_list", "keyring_status_as_json", "keyring_write"]

MAX_RELAY_FACTOR: Final = 5
#: Values of ``?pool=``, which Consul has not: there every pool is changed.
_POOLS: Final = {"lan": False, "wan": True}
_VERBS: Final = {"POST": KeyVerb.INSTALL, "PUT": KeyVerb.USE, "DELETE": KeyVerb.REMOVE}


def keyring_status_as_json(status: KeyringStatus) -> dict[str, Any]:
    """The shape of Consul's API; ``Messages`` and ``Error`` only when there are some."""
    shape: dict[str, Any] = {"WAN": status.wan, "Datacenter": status.datacenter, "Segment": status.segment}
    if status.messages:
        shape["Messages"] = dict(status.messages)
    shape |= {"Keys": dict(status.keys), "NumNodes": status.num_nodes}
    if status.error:
        shape["Error"] = status.error
    return shape


def keyring_list(context: Context, request: Request) -> Steps[Answer]:
    """GET /v1/operator/keyring: which keys are on how many nodes, by pool; ``?pool=lan`` or ``wan``: of that one."""
    _require_server(context)
    operation = KeyOperation(KeyVerb.LIST, "", _relay_factor(request), request.token, _pool(request))
    pools = yield from ask(operation)
    _raise_failures(pools)
    return context.json(request, [keyring_status_as_json(pool) for pool in pools])


def keyring_write(context: Context, request: Request) -> Steps[Answer]:
    """POST installs, PUT makes primary, DELETE removes the key ``{"Key": "<base64>"}``; 500 if any node failed.

    Without ``?pool=lan`` or ``?pool=wan`` that is done in every pool of this server.
    """
    _require_server(context)
    operation = KeyOperation(
        _VERBS[request.method], _key_in(request.body), _relay_factor(request), request.token, _pool(request)
    )
    _raise_failures((yield from ask(operation)))
    return Response()


def _require_server(context: Context) -> None:
    if not context.view.is_server:
        raise HttpError(500, "keyring operations must run against a server node")


def _relay_factor(request: Request) -> int:
    text = request.query.get("relay-factor")
    if not text:
        return 0
    if not (text.isascii() and text.lstrip("-").isdigit() and len(text) < 10):
        raise HttpError(400, f"Error parsing relay factor: {text!r} is not a number")
    if not 0 <= int(text) <= MAX_RELAY_FACTOR:
        raise HttpError(400, f"Invalid relay factor: Relay factor must be in range: [0, {MAX_RELAY_FACTOR}]")
    return int(text)


def _pool(request: Request) -> bool | None:
    """Whether the WAN is meant; ``None``: every pool."""
    text = request.query.get("pool")
    if not text:
        return None
    if text not in _POOLS:
        raise HttpError(
            400, f"Invalid pool: {text!r} is not a gossip pool: write lan or wan, or leave it out for both"
        )
    return _POOLS[text]


def _key_in(body: bytes) -> str:
    try:
        decoded = json.loads(body)
    except (ValueError, RecursionError):
        # The body holds a key, so no part of it may be shown.
        raise HttpError(400, 'Request decode failed: the body is not JSON like {"Key": "<base64>"}') from None
    fields = decoded if isinstance(decoded, dict) else {}
    found = [value for name, value in fields.items() if name.lower() == "key"]
    if len(found) != 1 or not isinstance(found[0], str) or not found[0]:
        raise HttpError(400, 'Request decode failed: the body needs one "Key" with a key in base64')
    return found[0]


def _raise_failures(pools: Iterable[KeyringStatus]) -> None:
    lines = []
    for pool in pools:
        if pool.error:
            lines.append(f"{'WAN' if pool.wan else f'{pool.datacenter} (LAN)'} error: {pool.error}")
            lines += [f"{node}: {message}" for node, message in sorted(pool.messages.items())]
    if lines:
        count = f"{len(lines)} error{'s' if len(lines) > 1 else ''} occurred:"
        raise HttpError(500, "\n\n".join((count, "\n".join(f"* {line}" for line in lines))))
