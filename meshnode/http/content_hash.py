"""Blocking queries of this agent's own things: ``?hash=`` in, ``X-Consul-ContentHash`` out (Consul 1.3)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final, TypeAlias

from meshnode.acl.authorizer import Authorizer
from meshnode.http.authorize import authorizer_of
from meshnode.http.blocking import parse_blocking
from meshnode.http.context import Context
from meshnode.http.effects import Steps, ask
from meshnode.http.local_view import LocalView, WaitForLocal, local_of
from meshnode.http.message import Request
from meshnode.http.router import Answer

__all__ = ["CONTENT_HASH", "Look", "answer_by_hash"]

CONTENT_HASH: Final = "X-Consul-ContentHash"

#: What is there now, for the rights of who asks: its hash and its body. Raises ``HttpError`` for what may not be seen.
Look: TypeAlias = Callable[[LocalView, Authorizer], tuple[str, Mapping[str, Any]]]


def answer_by_hash(context: Context, request: Request, look: Look) -> Steps[Answer]:
    """What ``look`` sees; with ``?hash=`` once it has another hash than that, or ``?wait=`` is over."""
    known = request.query.get("hash")
    deadline = context.view.now + parse_blocking(request).timeout(context.rng)
    rights = yield from authorizer_of(context, request)
    while True:
        local = local_of(context)
        generation = local.generation
        content_hash, body = look(local, rights)
        left = deadline - context.view.now
        if content_hash != known or left <= 0:
            return context.json(request, body, ((CONTENT_HASH, content_hash),))
        yield from ask(WaitForLocal(generation, left))
