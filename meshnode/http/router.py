"""Finding the route of a path, and what is answered when there is none for the path or the method."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from meshnode.base.errors import MeshError
from meshnode.http.context import Context
from meshnode.http.effects import Steps
from meshnode.http.message import Request, Response, StreamResponse

__all__ = ["MAX_BODY_BYTES", "Answer", "Handler", "Outcome", "Route", "Router", "recovered"]

Answer = Response | StreamResponse
#: What a handler gives: an answer, or the generator that will find it.
Outcome = Answer | Steps[Answer]
Handler = Callable[[Context, Request], Outcome]

#: Largest request body of a route that doesn't say otherwise.
MAX_BODY_BYTES: Final = 512 * 1024


def recovered(outcome: Callable[[], Outcome], recover: Callable[[MeshError], Answer]) -> Outcome:
    """The outcome, where a :class:`MeshError`, at once or on the way, becomes what ``recover`` answers or raises."""
    try:
        found = outcome()
    except MeshError as error:
        return recover(error)
    return found if isinstance(found, Response | StreamResponse) else _recovered(found, recover)


def _recovered(steps: Steps[Answer], recover: Callable[[MeshError], Answer]) -> Steps[Answer]:
    try:
        return (yield from steps)
    except MeshError as error:
        return recover(error)


@dataclass(frozen=True, slots=True)
class Route:
    """``pattern`` is a path whose ``:name`` or ``*name`` part is left open and may hold slashes, as in Consul.

    ``methods`` maps a method to its handler, or to ``None`` where the route is known but not built yet.
    """

    pattern: str
    methods: Mapping[str, Handler | None]
    max_body_bytes: int = MAX_BODY_BYTES
    prefix: str = field(init=False)
    suffix: str = field(init=False)
    allow: str = field(init=False)
    metric: str = field(init=False)

    def __post_init__(self) -> None:
        start = min((i for i in map(self.pattern.find, "*:") if i >= 0), default=len(self.pattern))
        end = self.pattern.find("/", start)
        fixed, rest = self.pattern[:start], self.pattern[end:] if end >= 0 else ""
        object.__setattr__(self, "prefix", fixed)
        object.__setattr__(self, "suffix", rest)
        object.__setattr__(self, "allow", ",".join(("OPTIONS", *self.methods)))
        parts = [part if part[:1] not in ("", ":", "*") else "_" for part in self.pattern.split("/")[1:]]
        object.__setattr__(self, "metric", ".".join(parts))

    @property
    def is_open(self) -> bool:
        """Whether part of the pattern is left open."""
        return self.prefix != self.pattern

    def handler(self, method: str) -> Handler:
        """The handler of ``method``, or one that says why there is none."""
        known = "GET" if method == "HEAD" else method
        found = self.methods.get(known)
        if found is not None:
            return found
        if method == "OPTIONS":
            return lambda _context, _request: Response(200, headers=(("Allow", self.allow),))
        if known in self.methods:
            reason = f"{method} {self.pattern} is not in this release of meshnode"
            return lambda _context, _request: Response.text(501, reason)
        refusal = f"method {method} not allowed"
        return lambda _context, _request: Response.text(405, refusal, (("Allow", self.allow),))


class Router:
    """The table of routes, ready to be searched."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._exact: dict[str, Route] = {}
        self._open: dict[str, list[Route]] = {}
        self._last: tuple[str, tuple[Route | None, str]] = ("", (None, ""))
        for route in routes:
            if route.is_open:
                self._open.setdefault(route.prefix, []).append(route)
            else:
                self._exact[route.pattern] = route
        for candidates in self._open.values():
            candidates.sort(key=lambda route: -len(route.suffix))
        # The longest of several that fit.
        longest_first = sorted(self._open, key=len, reverse=True)
        self._prefixes: Final = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")

    def find(self, path: str) -> tuple[Route | None, str]:
        """The route of a decoded path and what fills its open part."""
        # A request with a body asks twice: how long that may be, and who answers.
        if path == self._last[0]:
            return self._last[1]
        found = self._find(path)
        self._last = (path, found)
        return found

    def _find(self, path: str) -> tuple[Route | None, str]:
        route = self._exact.get(path)
        if route is not None:
            return route, ""
        prefix = self._prefixes.match(path)
        for route in self._open[prefix[0]] if prefix is not None else ():
            rest = path[len(route.prefix) :]
            if not route.suffix:
                return route, rest
            if rest.endswith(route.suffix) and len(rest) > len(route.suffix):
                return route, rest.removesuffix(route.suffix)
        return None, ""

    def missing(self, request: Request) -> Response:
        """The answer for a path without a route: as Go's mux, 301 to the clean form of a path, else 404."""
        path = request.path
        if path == "/":
            return Response(200, b"Consul Agent")
        if path == "*":
            return Response(200 if request.method == "OPTIONS" else 400)
        clean = posixpath.normpath("/" + path.lstrip("/"))
        if clean != "/" and (path.endswith("/") or f"{clean}/" in self._open):
            clean += "/"
        if clean == path or (clean != "/" and self.find(clean)[0] is None):
            return Response(404)
        location = quote(clean, errors="surrogateescape")
        if request.raw_query:
            location += "?" + request.raw_query
        return Response(301, headers=(("Location", location),))
