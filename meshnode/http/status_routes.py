"""``/v1/status``: who leads and who votes. A server answers from memory, a client agent asks a server."""

from __future__ import annotations

from typing import Any

from meshnode.http.context import Context
from meshnode.http.effects import ReadServer, Steps, ask
from meshnode.http.message import Request
from meshnode.http.router import Answer, Outcome

__all__ = ["leader", "peers"]


def leader(context: Context, request: Request) -> Outcome:
    """GET /v1/status/leader -> ``"10.0.0.1:8300"`` or ``""``."""
    if _elsewhere(context, request):
        return _call(context, request, "Status.Leader", "")
    address = context.view.leader()
    return context.json_of(request, "leader", address, lambda: address)


def peers(context: Context, request: Request) -> Outcome:
    """GET /v1/status/peers -> list of ``ip:port``."""
    if _elsewhere(context, request):
        return _call(context, request, "Status.Peers", [])
    return context.json(request, list(context.view.peers()))


def _elsewhere(context: Context, request: Request) -> bool:
    if not context.view.is_server:
        return True
    datacenter = request.query.get("dc") if request.raw_query else ""
    return datacenter not in ("", context.view.datacenter)


def _call(context: Context, request: Request, method: str, nothing: Any) -> Steps[Answer]:
    reply = yield from ask(ReadServer(method, {}, request.query.get("dc"), request.token))
    return context.json(request, reply or nothing)
