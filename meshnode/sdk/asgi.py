"""ASGI middleware: a request reaches the application when its peer is known and may connect, and no other does.

Servers differ in what they tell of the peer's certificate. Two ways are read, and a request that has neither is
refused: the TLS extension (``scope["extensions"]["tls"]["client_cert_chain"]``, ASGI TLS extension 0.2), whose chain
is verified here once more; and ``scope["transport"]``, a transport of asyncio's that a server puts there, of a
connection made with ``service.server_context()``. Headers are never believed.
"""

from __future__ import annotations

import asyncio
import logging
from base64 import b64decode
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from meshnode.base.errors import MeshError
from meshnode.proxy.authorize import Identity
from meshnode.proxy.ledger import shown_path
from meshnode.runtime.proxy.host import peer_name
from meshnode.sdk.errors import PeerUnknownError
from meshnode.sdk.live import Live
from meshnode.sdk.material import MAX_CHAIN

if TYPE_CHECKING:
    from meshnode.sdk.service import Service

__all__ = ["EXTENSION", "MeshMiddleware"]

Scope: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

#: Where the application finds ``{"identity": Identity, "because": str}`` among ``scope["extensions"]``.
EXTENSION: Final = "mesh"
#: WebSocket's "policy violation" (RFC 6455 7.4.1).
_POLICY_VIOLATION: Final = 1008
_BEGIN: Final = "-----BEGIN CERTIFICATE-----"
_END: Final = "-----END CERTIFICATE-----"

#: What the ledger calls it.
LISTENER: Final = "asgi"

_log: Final = logging.getLogger("meshnode.sdk")


class MeshMiddleware:
    """``app`` behind the intentions of ``service``: 403 with the reason for who may not.

    The identity of the peer is in ``scope["extensions"]["mesh"]["identity"]``. Asked for each request, so a change
    holds for the next one of an open connection; a request or websocket under way is ended when its source is denied.
    """

    def __init__(self, app: App, service: Service) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI wants it."""
        kind = scope.get("type")
        if kind == "lifespan":
            await self._app(scope, receive, send)
            return
        if kind not in {"http", "websocket"}:
            raise MeshError(
                f"MeshMiddleware knows http and websocket, not {kind!r:.40}: nothing says who it is from"
            )
        answer, peer = _Answer(str(kind), send, _request(scope)), _peer(scope)
        try:
            identity = self._identity(scope)
        except PeerUnknownError as error:
            await self._refuse(answer, peer, str(error), kind="identity")
            return
        task = asyncio.current_task()
        reasons: list[str] = []

        def cut(because: str) -> None:
            if task is not None and not reasons:
                reasons.append(because)
                task.cancel()

        with self._service.live.entered(identity, cut) as live:
            try:
                await self._decided(scope, receive, answer, live)
                if reasons and task is not None:
                    task.uncancel()  # the application took our cancellation for its own end
                return
            except asyncio.CancelledError:
                # As asyncio.timeout does: was it us, and only us?
                if not reasons or task is None or task.uncancel() > 0:
                    raise
        await self._refuse(answer, peer, reasons[0], kind="cut", source=identity.uri)

    async def _decided(self, scope: Scope, receive: Receive, answer: _Answer, live: Live) -> None:
        identity, service, peer = live.identity, self._service, _peer(scope)
        decision = await service.authorize(identity)
        if not decision.allowed:
            why, rule = decision.because, decision.rule
            await self._refuse(answer, peer, why, kind="denied", source=identity.uri, rule=rule)
            return
        service.live.allow(live, decision, own=service.identity.uri, listener=LISTENER, peer=peer)
        known = {"identity": identity, "because": decision.because}
        extensions = {**(scope.get("extensions") or {}), EXTENSION: known}
        await self._app({**scope, "extensions": extensions}, receive, answer.send)

    def _identity(self, scope: Scope) -> Identity:
        extensions = scope.get("extensions")
        tls = extensions.get("tls") if isinstance(extensions, Mapping) else None
        if isinstance(tls, Mapping):
            if tls.get("client_cert_error"):
                raise PeerUnknownError(f"its certificate does not verify: {tls['client_cert_error']!s:.200}")
            if chain := _chain(tls.get("client_cert_chain")):
                return self._service.identify_chain(chain)
        transport = scope.get("transport")
        if isinstance(transport, asyncio.BaseTransport):
            return self._service.identify(transport.get_extra_info("ssl_object"))
        if isinstance(tls, Mapping):
            raise PeerUnknownError("it showed no certificate")
        raise PeerUnknownError(
            "the ASGI server does not tell the certificate of its client: it has to support the TLS extension, "
            "or to put its transport into scope['transport']"
        )

    async def _refuse(
        self, answer: _Answer, peer: str, because: str, *, kind: str, source: str = "", rule: str = ""
    ) -> None:
        shown = f"{source}: {because}" if source else because
        self._service.refusals.tell(
            peer, shown, kind=kind, listener=LISTENER, source=source, rule=rule, request=answer.request
        )
        await answer.refuse(because)


def _peer(scope: Scope) -> str:
    """The client's address, if the server tells it."""
    client = scope.get("client")
    known = isinstance(client, list | tuple) and len(client) == 2
    return peer_name(tuple(client)) if known else "a client"  # type: ignore[arg-type]


def _request(scope: Scope) -> str:
    """Method and path; a websocket has no method, and begins as GET."""
    return f"{scope.get('method', 'GET')!s:.20} {shown_path(str(scope.get('path', '/')))}"


class _Answer:
    """What has been sent so far, so that a refusal fits in; to ``request``."""

    def __init__(self, kind: str, send: Send, request: str) -> None:
        self.request = request
        self._websocket = kind == "websocket"
        self._send = send
        self._started = False
        self._ended = False

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """For the application."""
        kind = message.get("type")
        if kind in {"http.response.start", "websocket.accept"}:
            self._started = True
        if kind == "websocket.close" or (
            kind == "http.response.body" and not message.get("more_body", False)
        ):
            self._ended = True
        await self._send(message)

    async def refuse(self, because: str) -> None:
        """403, or the end of a websocket. Raises :class:`MeshError` to break off an answer that is half sent."""
        if self._ended:
            return
        if self._websocket:
            # A close before an accept is answered with 403 by the server.
            await self._send({"type": "websocket.close", "code": _POLICY_VIOLATION, "reason": because[:100]})
            return
        if self._started:
            raise MeshError(f"the answer is broken off: {because}")
        body = (because + "\n").encode()
        headers = [
            (b"content-type", b"text/plain; charset=utf-8"),
            (b"content-length", str(len(body)).encode()),
        ]
        await self._send({"type": "http.response.start", "status": 403, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


def _chain(given: object) -> list[bytes]:
    """The certificates as DER; one more than are allowed at most, so that a longer chain is refused."""
    if not isinstance(given, Iterable) or isinstance(given, str | bytes):
        return []
    found: list[bytes] = []
    for text in given:
        found.append(_der(text))
        if len(found) > MAX_CHAIN:
            break
    return found


def _der(text: object) -> bytes:
    if isinstance(text, str) and (body := text.strip()).startswith(_BEGIN) and body.endswith(_END):
        try:
            return b64decode("".join(body[len(_BEGIN) : -len(_END)].split()), validate=True)
        except ValueError:
            pass
    raise PeerUnknownError("its certificate, as the ASGI server tells it, is not PEM")
