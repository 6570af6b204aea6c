"""The door of the API: a request in; out comes an answer, or a generator of effects that ends in one."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

from meshnode.base.errors import MeshError
from meshnode.http.context import Context
from meshnode.http.effects import Steps
from meshnode.http.errors import HttpError, status_of
from meshnode.http.message import Request, Response, StreamResponse
from meshnode.http.render import Heads, compressed, compressed_pieces
from meshnode.http.router import MAX_BODY_BYTES, Answer, Outcome, Route, Router
from meshnode.http.routes import ROUTES
from meshnode.http.view import AgentView

if TYPE_CHECKING:
    from meshnode.http.page import Page

__all__ = ["Api", "ProxyTokens", "failure"]


class ProxyTokens(Protocol):
    """The tokens that managed proxies were given; false while there are none."""

    def __bool__(self) -> bool:
        """Whether there are any."""

    def identify(self, token: str) -> tuple[str, str] | None:
        """The id of the proxy that has ``token``, and the token of its service (empty: none); ``None``: nobody."""


class Api:
    """Routes requests to handlers. Holds no state but what it has rendered.

    ``proxies``: tokens of managed proxies; ``page``: the web page, where it is on.
    """

    def __init__(
        self,
        view: AgentView,
        rng: random.Random,
        routes: Iterable[Route] = ROUTES,
        proxies: ProxyTokens | None = None,
        page: Page | None = None,
    ) -> None:
        self._proxies = proxies
        self._page = page
        self.context = Context(view, rng)
        self._view = view
        self._router = Router(routes)
        self._settings = view.settings
        self.heads = Heads(self._settings.response_headers)

    def handle(self, request: Request) -> Outcome:
        """Answer at once, or give the generator that will: send it outcomes, throw it the ``MeshError`` of an effect.

        Raises nothing that a request can cause; what the generator returns is as finished as what is returned here.
        """
        settings = self._view.settings
        if settings is not self._settings:
            self._settings, self.heads = settings, Heads(settings.response_headers)
        route, request.param = self._router.find(request.path)
        if route is None:
            shown = self._page.answer(request) if self._page is not None else None
            return shown or self._router.missing(request)
        request.metric = route.metric
        if settings.block_endpoints and request.path.startswith(settings.block_endpoints):
            return Response.text(403, "Endpoint is blocked by agent configuration")
        if self._proxies and (known := self._proxies.identify(request.token)) is not None:
            request.proxy_id, request.acting_token = known
        try:
            outcome = (route.methods.get(request.method) or route.handler(request.method))(
                self.context, request
            )
        except MeshError as error:
            return failure(error)
        if type(outcome) is Response:
            return compressed(request, outcome)
        if isinstance(outcome, StreamResponse):
            return compressed_pieces(request, outcome)
        if isinstance(outcome, Response):
            return outcome
        return _finished(request, outcome)

    def max_body_bytes(self, path: str) -> int:
        """How long a body the route of ``path`` takes."""
        route, _ = self._router.find(path)
        return route.max_body_bytes if route is not None else MAX_BODY_BYTES

    def observe(self, request: Request, milliseconds: float) -> None:
        """Record how long a request took, as ``consul.http.GET.v1.agent.self``; only of routes that exist."""
        if request.metric:
            name = f"consul.http.{request.method}.{request.metric}"
            self._view.metrics.add_sample(name, milliseconds, self._view.now)


def failure(error: MeshError) -> Response:
    """The answer that an error is: its status and its sentence as plain text."""
    headers = error.headers if isinstance(error, HttpError) else ()
    return Response.text(status_of(error), str(error), headers)


def _finished(request: Request, steps: Steps[Answer]) -> Steps[Answer]:
    try:
        answer = yield from steps
    except MeshError as error:
        return failure(error)
    if isinstance(answer, StreamResponse):
        return compressed_pieces(request, answer)
    return compressed(request, answer)
