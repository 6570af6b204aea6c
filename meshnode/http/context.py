"""What every handler is given beside the request."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any

from meshnode.http.message import JSON, Headers, Request, Response
from meshnode.http.render import member_json, object_json, to_json
from meshnode.http.view import AgentView

__all__ = ["Context"]


class Context:
    """The agent's view, a generator of random numbers, and answers in JSON."""

    def __init__(self, view: AgentView, rng: random.Random) -> None:
        self.view = view
        self.rng = rng
        self._rendered: dict[tuple[str, bool], tuple[object, Response]] = {}
        self._members: dict[tuple[str, bool], tuple[dict[str, tuple[object, bytes]], Response | None]] = {}

    def pretty(self, request: Request) -> bool:
        """Whether to indent: ``?pretty``, or the agent's default."""
        return self.view.settings.pretty or (bool(request.raw_query) and "pretty" in request.query)

    def json(self, request: Request, value: Any, headers: Headers = ()) -> Response:
        """200 with ``value`` as JSON."""
        return Response(200, to_json(value, pretty=self.pretty(request)), JSON, headers)

    def json_of(self, request: Request, slot: str, source: object, value: Callable[[], Any]) -> Response:
        """As :meth:`json`, rendered again only when ``source`` is another object than last time in this ``slot``.

        ``source`` must be immutable and must determine ``value()``.
        """
        pretty = self.pretty(request)
        known = self._rendered.get((slot, pretty))
        if known is not None and known[0] is source:
            return known[1]
        response = Response(200, to_json(value(), pretty=pretty), JSON)
        self._rendered[slot, pretty] = (source, response)
        return response

    def json_members(self, request: Request, slot: str, members: Mapping[str, Any]) -> Response:
        """As :meth:`json` of an object that mostly stays the same: what equals its value of last time is kept.

        A value that was given may not be changed afterwards; there is at least one.
        """
        pretty = self.pretty(request)
        known, kept = self._members.get((slot, pretty), ({}, None))
        now: dict[str, tuple[object, bytes]] = {}
        for name, value in members.items():
            last = known.get(name)
            if last is None or last[0] != value:
                last, kept = (value, member_json(name, value, pretty=pretty)), None
            now[name] = last
        if kept is not None and len(now) == len(known):
            return kept
        made = Response(200, object_json([text for _, text in now.values()], pretty=pretty), JSON)
        self._members[slot, pretty] = (now, made)
        return made
