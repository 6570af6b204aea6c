"""``/v1/snapshot``: the whole state as a file, and back."""

from __future__ import annotations

from typing import Final

from meshnode.http.blocking import index_headers, refuse_conflicting_consistency
from meshnode.http.context import Context
from meshnode.http.effects import CallServer, Steps, ask
from meshnode.http.errors import HttpError
from meshnode.http.message import Request, Response
from meshnode.http.router import Answer, Outcome
from meshnode.http.state import flag

__all__ = ["restore", "save"]

_GZIP: Final = "application/x-gzip"


def save(context: Context, request: Request) -> Outcome:
    """GET /v1/snapshot -> a gzipped tar; ``?stale`` takes it from any server."""
    del context
    refuse_conflicting_consistency(request)
    return _save(request, stale=flag(request, "stale"))


def _save(request: Request, *, stale: bool) -> Steps[Answer]:
    body = {"AllowStale": True} if stale else {}
    reply = yield from ask(CallServer("Snapshot.Save", body, _datacenter(request), request.token))
    headers = index_headers(
        reply["Index"], known_leader=bool(reply["KnownLeader"]), last_contact=reply["LastContact"] / 1e9
    )
    return Response(200, reply["Archive"], _GZIP, headers)


def restore(context: Context, request: Request) -> Outcome:
    """PUT /v1/snapshot: the body is such a file, which replaces everything."""
    del context
    if not request.body:
        raise HttpError(400, "Missing snapshot: send the file that GET /v1/snapshot gave as the body")
    if flag(request, "stale"):
        raise HttpError(400, "stale not allowed for restore")
    return _restore(request)


def _restore(request: Request) -> Steps[Answer]:
    body = {"Archive": request.body}
    yield from ask(CallServer("Snapshot.Restore", body, _datacenter(request), request.token))
    return Response(200)


def _datacenter(request: Request) -> str:
    return request.query.get("dc") if request.raw_query else ""
