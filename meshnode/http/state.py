"""The way of every call on the cluster's state: query parameters in, ``X-Consul-*`` headers out.

A handler builds the body of a server's method and says how its reply is shown::

    def nodes(context: Context, request: Request) -> Outcome:
        return read(context, request, "Catalog.ListNodes", {}, lambda reply: reply["Nodes"])

What this agent can tell from memory is answered at once; all else becomes an effect. Answers that were rendered from
memory are kept until something that they depend on changes, see ``AnswerCache``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from meshnode.base.duration import parse_duration
from meshnode.base.errors import ConfigError, MeshError
from meshnode.control.body import NANOSECONDS
from meshnode.http.blocking import index_headers, parse_blocking, refuse_conflicting_consistency
from meshnode.http.context import Context
from meshnode.http.effects import CallServer, ReadServer, Steps, ask
from meshnode.http.errors import HttpError
from meshnode.http.message import Headers, Request, Response, StreamResponse
from meshnode.http.router import Answer, Outcome, recovered
from meshnode.http.translate import TRANSLATED

__all__ = ["Render", "flag", "node_meta", "or_404", "read", "write"]

#: Reply in, JSON value out; or a ``Response`` or ``StreamResponse``, to which the headers of the read are added.
Render = Callable[[Mapping[str, Any]], Any]

#: What an answer doesn't depend on.
_NOT_IN_KEY: Final = re.compile(r"(?:^|&)(?:index|wait|token)=[^&]*")


@dataclass(frozen=True, slots=True)
class _Consistency:
    stale: bool
    consistent: bool
    max_stale: float

    @property
    def name(self) -> str:
        return "consistent" if self.consistent else "stale" if self.stale else "leader"


_DEFAULT: Final = _Consistency(stale=False, consistent=False, max_stale=0.0)


def read(
    context: Context,
    request: Request,
    method: str,
    body: Mapping[str, Any],
    render: Render,
    *,
    discovery: bool = False,
) -> Outcome:
    """Answer a GET with the reply of the server's read ``method``, waiting as ``?index`` and ``?wait`` say.

    ``discovery``: the configuration's ``discovery_max_stale`` applies. Raises :class:`HttpError` 400 for bad ones.
    """
    consistency = _consistency(context, request, discovery=discovery)
    wanted = parse_blocking(request)
    token = request.token or context.view.default_token
    cache = context.view.answers
    key = _cache_key(request, token) if cache is not None and consistency is _DEFAULT else None
    if cache is not None and key is not None and not wanted.index:
        kept = cache.get(key)
        if kept is not None:
            return kept
    fields = dict(body)
    if wanted.index:
        fields["MinQueryIndex"] = wanted.index
        fields["MaxQueryTime"] = int(wanted.timeout(context.rng) * NANOSECONDS)
    if consistency is not _DEFAULT:
        fields["AllowStale"] = consistency.stale
        fields["RequireConsistent"] = consistency.consistent
        if consistency.max_stale:
            fields["MaxStaleDuration"] = int(consistency.max_stale * NANOSECONDS)
    datacenter = request.query.get("dc") if request.raw_query else ""
    query = ReadServer(method, fields, datacenter, token)
    reply = context.view.read_now(query)
    if reply is None:
        return _asked(context, request, query, render, consistency, key)
    return _answer(context, request, query, reply, render, consistency, key)


def write(
    context: Context,
    request: Request,
    method: str,
    body: Mapping[str, Any],
    render: Render | None = None,
) -> Steps[Answer]:
    """Answer a write with the reply of the server's ``method``; without ``render``, 200 and no body."""
    datacenter = request.query.get("dc") if request.raw_query else ""
    reply = yield from ask(CallServer(method, body, datacenter, request.token))
    if render is None:
        return Response(200)
    value = render(reply)
    return value if isinstance(value, Response) else context.json(request, value)


def or_404(outcome: Callable[[], Outcome], sentence: str) -> Outcome:
    """The outcome, or 404 when the server refuses with ``sentence``: what is asked for isn't there."""

    def recover(error: MeshError) -> Response:
        if not str(error).endswith(sentence):
            raise error
        return Response.text(404, sentence)

    return recovered(outcome, recover)


def flag(request: Request, name: str) -> bool:
    """Whether a parameter without a value was given."""
    return bool(request.raw_query) and name in request.query


def node_meta(request: Request) -> dict[str, str]:
    """``?node-meta=key:value``, which may be repeated."""
    pairs = request.query.all("node-meta") if request.raw_query else ()
    return {key: value for key, _, value in (pair.partition(":") for pair in pairs)}


def _asked(
    context: Context,
    request: Request,
    query: ReadServer,
    render: Render,
    consistency: _Consistency,
    key: object,
) -> Steps[Answer]:
    reply = yield from ask(query)
    return _answer(context, request, query, reply, render, consistency, key)


def _answer(
    context: Context,
    request: Request,
    query: ReadServer,
    reply: Mapping[str, Any],
    render: Render,
    consistency: _Consistency,
    key: object,
) -> Answer:
    cache = context.view.answers
    headers = _headers(reply, consistency)
    if context.view.settings.translate_wan_addrs:
        headers = (*headers, *TRANSLATED)
    if key is not None and cache is not None:
        kept = cache.get(key)
        # The index of a table may move although nothing that is shown does; who blocks on it must see it move.
        if kept is not None and kept.headers[: len(headers)] == headers:
            return kept
    value = render(reply)
    if isinstance(value, StreamResponse):
        value.headers = (*headers, *value.headers)
        return value
    if isinstance(value, Response):
        value.headers = (*headers, *value.headers)
        answer = value
    else:
        answer = context.json(request, value, headers)
    if key is not None and cache is not None:
        cache.keep(key, answer, query, reply)
    return answer


def _headers(reply: Mapping[str, Any], consistency: _Consistency) -> Headers:
    return (
        *index_headers(
            reply.get("Index", 0),
            known_leader=bool(reply.get("KnownLeader", False)),
            last_contact=reply.get("LastContact", 0) / NANOSECONDS,
        ),
        ("X-Consul-Effective-Consistency", consistency.name),
    )


def _consistency(context: Context, request: Request, *, discovery: bool) -> _Consistency:
    refuse_conflicting_consistency(request)
    query = request.query if request.raw_query else None
    if query is not None:
        consistent, max_stale = "consistent" in query, query.get("max_stale")
        if max_stale and not consistent:
            return _Consistency(stale=True, consistent=False, max_stale=_seconds(max_stale))
        if consistent or "stale" in query:
            return _Consistency(stale=not consistent, consistent=consistent, max_stale=0.0)
        if "leader" in query:
            return _DEFAULT
    allowed = context.view.settings.discovery_max_stale if discovery else 0.0
    return _Consistency(stale=True, consistent=False, max_stale=allowed) if allowed > 0 else _DEFAULT


def _seconds(value: str) -> float:
    try:
        return parse_duration(value)
    except ConfigError:
        raise HttpError(400, f"Invalid max_stale value {value!r}") from None


def _cache_key(request: Request, token: str) -> tuple[str, str, str] | None:
    """What an answer from memory depends on beside the state; ``None``: it is not to be kept."""
    raw = request.raw_query
    if not raw:
        return request.path, "", token
    if "near" in raw or "dc=" in raw:
        return None
    return request.path, _NOT_IN_KEY.sub("", raw), token
