from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from meshnode.base.errors import MeshError
from meshnode.proxy.authorize import Identity
from meshnode.runtime.tasks import cancel_and_wait, spawn
from meshnode.sdk.asgi import MeshMiddleware
from meshnode.sdk.material import MAX_CHAIN
from tests.support.asynchronous import asynchronous
from tests.support.chains import issued
from tests.support.proxy import Ca, spiffe
from tests.support.sdk import Native, native
from tests.support.waiting import until

Message = MutableMapping[str, Any]


class Call:
    """One request or websocket, as a server would make it."""

    def __init__(self, kind: str = "http", **scope: Any) -> None:
        self.scope: dict[str, Any] = {"type": kind, **scope}
        self.sent: list[Message] = []
        self.received: asyncio.Queue[Message] = asyncio.Queue()

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    async def through(self, middleware: MeshMiddleware) -> Call:
        await middleware(self.scope, self.received.get, self.send)
        return self

    @property
    def status(self) -> int:
        return int(
            next(message["status"] for message in self.sent if message["type"] == "http.response.start")
        )

    @property
    def body(self) -> str:
        return b"".join(message.get("body", b"") for message in self.sent).decode()


class App:
    """Answers with 200 and remembers what it was given."""

    def __init__(self) -> None:
        self.scopes: list[MutableMapping[str, Any]] = []

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        self.scopes.append(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"welcome"})

    @property
    def identity(self) -> Identity:
        found: Identity = self.scopes[-1]["extensions"]["mesh"]["identity"]
        return found


def tls(*chain: str, error: str | None = None) -> dict[str, Any]:
    return {
        "extensions": {"tls": {"client_cert_chain": list(chain), "client_cert_error": error}, "other": {}}
    }


def leaf_of(ca: Ca, service: str = "web") -> str:
    return ca.leaf(service).chain_pem


@asynchronous
async def test_a_request_of_an_allowed_service_reaches_the_application_with_its_identity() -> None:
    ca, app = Ca(), App()
    async with native(ca, "api") as api:
        call = await Call(**tls(leaf_of(ca))).through(MeshMiddleware(app, api.service))
    assert (call.status, call.body) == (200, "welcome")
    assert app.identity.uri == spiffe("web")
    assert set(app.scopes[0]["extensions"]) == {"tls", "other", "mesh"}
    assert "mesh" not in call.scope["extensions"], "the server's own scope stays as it is"


@asynchronous
async def test_a_denied_service_gets_403_with_the_reason() -> None:
    ca, app = Ca(), App()
    async with native(ca, "api") as api:
        api.decisions.denied.add("web")
        call = await Call(**tls(leaf_of(ca))).through(MeshMiddleware(app, api.service))
        assert (call.status, call.body) == (403, "intention web => api denies it\n")
        assert app.scopes == []
        assert api.service.refusals.total == 1


@asynchronous
async def test_a_request_is_in_the_ledger_while_it_is_under_way_and_a_refusal_with_its_rule() -> None:
    ca, seen = Ca(), []
    async with native(ca, "api") as api:
        ledger = api.service.live.ledger

        async def app(scope: Any, receive: Any, send: Any) -> None:
            seen.extend(ledger.live())

        middleware, web = MeshMiddleware(app, api.service), tls(leaf_of(ca))
        await Call(client=("10.0.0.1", 5), **web).through(middleware)
        (entry,) = seen
        assert (entry.listener, entry.peer, entry.source) == ("asgi", "10.0.0.1:5", spiffe("web"))
        assert (entry.destination, entry.rule) == (spiffe("api"), "allow-1")
        assert (len(ledger), entry.close_cause) == (0, "it ended")
        api.decisions.deny("web")
        await until(lambda: len(api.decisions.asked) >= 1, "it was asked")
        await api.service._enforcer.recheck()  # type: ignore[union-attr]
        await Call(client="odd", **web).through(middleware)
        (refused,) = ledger.refused
        assert (refused.listener, refused.kind, refused.rule, refused.peer) == (
            "asgi",
            "denied",
            "deny-1",
            "a client",
        )
        assert refused.request == "GET /"


@asynchronous
async def test_nobody_decides_is_403_too() -> None:
    ca, app = Ca(), App()
    async with native(ca, "api") as api:
        api.decisions.fail = True
        call = await Call(**tls(leaf_of(ca))).through(MeshMiddleware(app, api.service))
    assert call.status == 403
    assert app.scopes == []


@pytest.mark.parametrize(
    ("scope", "because"),
    [
        (lambda ca: {}, "has to support the TLS extension"),
        (lambda ca: {"extensions": None}, "has to support the TLS extension"),
        (lambda ca: {"extensions": {"tls": {}}}, "showed no certificate"),
        (lambda ca: tls(), "showed no certificate"),
        (lambda ca: tls(leaf_of(ca), error="expired"), "does not verify: expired"),
        (lambda ca: tls("no PEM"), "not PEM"),
        (lambda ca: tls("-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----"), "not PEM"),
        (lambda ca: tls("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"), "can't be read"),
        (lambda ca: tls(leaf_of(Ca())), "leads to no root"),
        (lambda ca: tls(*[leaf_of(ca)] * (MAX_CHAIN + 1)), f"more than {MAX_CHAIN} certificates"),
        (lambda ca: tls(ca.odd_leaf([spiffe("web"), spiffe("x")]).chain_pem), "exactly one"),
        (lambda ca: tls(ca.root.certificate_pem), "an authority's"),
        (
            lambda ca: {"headers": [(b"x-forwarded-client-cert", b"x")], "client": ("127.0.0.1", 1)},
            "has to support",
        ),
        (lambda ca: {"transport": object()}, "has to support"),
    ],
)
@asynchronous
async def test_who_proves_nothing_is_refused(scope: Any, because: str) -> None:
    ca, app = Ca(), App()
    async with native(ca, "api") as api:
        call = await Call(**scope(ca)).through(MeshMiddleware(app, api.service))
    assert call.status == 403
    assert because in call.body
    assert app.scopes == []


@asynchronous
async def test_a_chain_over_an_intermediate_is_followed_to_a_root_and_a_leaf_is_no_intermediate() -> None:
    ca, app = Ca(), App()
    async with native(ca, "api") as api:
        middleware = MeshMiddleware(app, api.service)
        # Whoever holds a leaf could sign more, if only signatures counted.
        holder = ca.leaf("web")
        forged, _ = issued(holder.chain_pem, holder.key_pem, spiffe("admin"))
        assert (await Call(**tls(forged, holder.chain_pem)).through(middleware)).status == 403
        between, key = issued(ca.root.certificate_pem, ca.root.key, "", is_ca=True)
        fine, _ = issued(between, key, spiffe("web"))
        assert (await Call(**tls(fine, between)).through(middleware)).status == 200
        assert (await Call(**tls(fine)).through(middleware)).status == 403


@asynchronous
async def test_a_transport_of_a_connection_of_ours_identifies_its_peer_and_no_other_does() -> None:
    ca, app = Ca(), App()
    async with native(ca, "api") as api, native(ca, "web") as web:
        transports: list[asyncio.BaseTransport] = []

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            transports.append(writer.transport)
            await reader.read()
            writer.close()

        for context in (api.service.server_context(), None):
            server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
            client = web.service.client_context("api") if context else None
            _, writer = await asyncio.open_connection(
                *server.sockets[0].getsockname(), ssl=client, server_hostname="" if client else None
            )
            await until(lambda: transports, "the connection is there")
            call = await Call(transport=transports.pop()).through(MeshMiddleware(app, api.service))
            assert call.status == (200 if context else 403)
            writer.close()
            await writer.wait_closed()
            server.close()
        assert app.identity.uri == spiffe("web")


@asynchronous
async def test_the_lifespan_passes_and_what_is_unknown_does_not() -> None:
    seen: list[str] = []

    async def app(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        seen.append(scope["type"])

    async with native(Ca(), "api") as api:
        await Call("lifespan").through(MeshMiddleware(app, api.service))
        with pytest.raises(MeshError, match="'telepathy'"):
            await Call("telepathy").through(MeshMiddleware(app, api.service))
    assert seen == ["lifespan"]


@asynchronous
async def test_a_refused_websocket_is_closed_before_it_opens() -> None:
    ca, app = Ca(), App()
    async with native(ca, "api") as api:
        api.decisions.denied.add("web")
        call = await Call("websocket", **tls(leaf_of(ca))).through(MeshMiddleware(app, api.service))
    assert call.sent == [
        {"type": "websocket.close", "code": 1008, "reason": "intention web => api denies it"}
    ]


async def denied_while(api: Native, app: Any, call: Call) -> None:
    """Run ``call`` until the application waits, then deny its source."""
    middleware = MeshMiddleware(app, api.service)
    task = spawn(call.through(middleware), name="call")
    try:
        await until(lambda: call.sent, "the application has begun")
        api.decisions.deny("web")
        await asyncio.wait_for(asyncio.shield(task), 10)
    finally:
        await cancel_and_wait(task)


@asynchronous
async def test_an_open_websocket_is_closed_when_its_source_is_denied() -> None:
    ca = Ca()

    async def app(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        await receive()

    async with native(ca, "api") as api:
        call = Call("websocket", **tls(leaf_of(ca)))
        await denied_while(api, app, call)
        assert call.sent[-1]["code"] == 1008
        assert len(api.service.live) == 0


@asynchronous
async def test_an_answer_under_way_is_broken_off_when_its_source_is_denied() -> None:
    ca = Ca()

    async def app(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()

    async with native(ca, "api") as api:
        with pytest.raises(MeshError, match="broken off: intention web => api denies it"):
            await denied_while(api, app, Call(**tls(leaf_of(ca))))


@asynchronous
async def test_a_cancelled_request_is_not_taken_for_a_denied_one() -> None:
    ca = Ca()

    async def app(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await receive()

    async with native(ca, "api") as api:
        call = Call(**tls(leaf_of(ca)))
        task = spawn(call.through(MeshMiddleware(app, api.service)), name="call")
        await until(lambda: call.sent, "the application has begun")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


@asynchronous
async def test_an_application_that_swallows_its_end_leaves_its_server_alone() -> None:
    ca = Ca()

    async def app(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            await receive()
        except asyncio.CancelledError:
            await send({"type": "http.response.body"})

    async with native(ca, "api") as api:
        middleware = MeshMiddleware(app, api.service)
        call, after = Call(**tls(leaf_of(ca))), asyncio.Event()

        async def as_a_server_does() -> int:
            await call.through(middleware)
            await asyncio.sleep(0)
            after.set()
            task = asyncio.current_task()
            assert task is not None
            return task.cancelling()

        task = spawn(as_a_server_does(), name="server")
        await until(lambda: call.sent, "the application has begun")
        api.decisions.deny("web")
        assert await asyncio.wait_for(task, 10) == 0
        assert after.is_set()
