"""A sidecar in front of an application of HTTP: identities, intentions about requests, live cuts, the ledger."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from meshnode.intentions.decide import DefaultDecision
from meshnode.intentions.model import HttpMatch, Intention, Permission, ServiceName
from meshnode.l7.rules import IntentionRules
from meshnode.proxy.authorize import Identity
from meshnode.proxy.config import Endpoint, ProxyConfig, PublicListener
from meshnode.proxy.decision_cache import Decision
from meshnode.runtime.proxy.contexts import make_contexts
from meshnode.runtime.proxy.interfaces import RequestAuthorizer
from meshnode.runtime.proxy.sidecar import Sidecar
from tests.support.asynchronous import on_uvloop
from tests.support.http_proxy import show_app
from tests.support.proxy import Ca, Decisions, Instances, local, make_sidecar, server, spiffe
from tests.support.waiting import until

CA = Ca()
API = ServiceName("api")
GET = b"GET %s HTTP/1.1\r\nHost: api\r\n\r\n"
STREAMING = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nbegun\r\n"


@dataclass
class Rules(Decisions):
    """Permissions by the name of the source; the others as :class:`Decisions` says."""

    permissions: dict[str, tuple[Permission, ...]] = field(default_factory=dict)
    audit: bool = False

    async def decide_requests(self, source: Identity) -> Decision:
        found = await self.decide(source)
        name = source.service.service
        if not found.allowed or name not in self.permissions:
            return found
        intention = Intention("rule-7", name, "api", permissions=self.permissions[name], audit=self.audit)
        rules = IntentionRules(intention, ServiceName(name), API, DefaultDecision(False, "the default"))
        return Decision(False, "about requests", "rule-7", rules)


ONLY_V1 = (Permission("allow", HttpMatch(path_prefix="/v1/", methods=("GET",))),)


@dataclass
class Rig:
    api: Sidecar
    rules: Rules

    async def client(self, name: str = "web") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Mutual TLS with a leaf of that service."""
        tls = make_contexts(CA.leaf(name)).client
        return await asyncio.open_connection(
            "127.0.0.1", self.api.address().port, ssl=tls, server_hostname=""
        )


@contextlib.asynccontextmanager
async def sidecar(app: Endpoint, **settings: Any) -> AsyncIterator[Rig]:
    rules = Rules()
    api, _ = make_sidecar(CA, "api", rules, Instances())
    public = PublicListener(local(0), app, **({"protocol": "http"} | settings))
    await api.start(ProxyConfig("api", public))
    try:
        yield Rig(api, rules)
    finally:
        await api.stop(drain_timeout=0)


async def answer(reader: asyncio.StreamReader) -> tuple[int, str]:
    """Status and body of one response that says how long it is."""
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 10)
    length = next(
        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length")
    )
    return int(head.split(b" ")[1]), (await reader.readexactly(length)).decode()


def streaming_app() -> contextlib.AbstractAsyncContextManager[Endpoint]:
    """Begins a response and never ends it."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(STREAMING)
        await reader.read()

    return server(serve)


def test_rules_are_what_the_decider_asks_for() -> None:
    assert isinstance(Rules(), RequestAuthorizer)
    assert not isinstance(Decisions(), RequestAuthorizer)


@on_uvloop
async def test_the_application_is_told_who_asks_by_certificate_and_not_by_what_it_says() -> None:
    async with show_app() as app, sidecar(app) as rig:
        reader, writer = await rig.client()
        writer.write(b"GET / HTTP/1.1\r\nHost: api\r\nX-Forwarded-Client-Cert: URI=spiffe://mallory\r\n\r\n")
        status, body = await answer(reader)
        told = [value for name, value in json.loads(body)["headers"] if name == "x-forwarded-client-cert"]
        assert status == 200
        (told_once,) = told
        assert told_once.startswith(f"By={spiffe('api')};Hash=")
        assert told_once.endswith(f";URI={spiffe('web')}")
        (entry,) = rig.api.ledger.live()
        assert (entry.source, entry.direction) == (spiffe("web"), "inbound")
        assert rig.api.counters()["inbound.requests"] == 1
        writer.close()
        await until(lambda: not rig.api.ledger.live(), "the ledger knows of the end")
        assert rig.api.ledger.closed[0].received > 50


@on_uvloop
async def test_each_request_of_a_connection_is_decided_about(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "meshnode.proxy")
    async with show_app() as app, sidecar(app) as rig:
        rig.rules.permissions["web"] = ONLY_V1
        reader, writer = await rig.client()
        found = []
        for path in (
            b"/v1/a",
            b"/admin",
            b"/v1/../admin",
            b"/v1/%2e%2e/admin",
            b"/v1/..%2fadmin",
            b"/x/../v1/b",
        ):
            writer.write(GET % path)
            found.append((await answer(reader))[0])
        assert found == [200, 403, 403, 403, 400, 200]
        writer.write(GET % b"/admin")
        assert await answer(reader) == (403, "RBAC: access denied")
        assert rig.api.counters()["refused.denied"] == 4
        assert rig.api.counters()["refused.http.400"] == 1
        (connection,) = rig.api.ledger.live()
        found_rows = [(row.kind, row.request, row.rule) for row in rig.api.ledger.refused]
        assert found_rows == [
            ("denied", "GET /admin", "rule-7"), ("denied", "GET /v1/../admin", "rule-7"),
            ("denied", "GET /v1/%2e%2e/admin", "rule-7"), ("http.400", "GET /v1/..%2fadmin", ""),
            ("denied", "GET /admin", "rule-7"),
        ]  # fmt: skip
        assert {(row.connection, row.source) for row in rig.api.ledger.refused} == {
            (connection.id, spiffe("web"))
        }
        writer.close()


@on_uvloop
async def test_the_log_leads_from_a_refused_request_to_its_entry_and_its_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "meshnode.proxy")
    async with show_app() as app, sidecar(app) as rig:
        rig.rules.permissions["web"] = ONLY_V1
        reader, writer = await rig.client()
        writer.write(GET % b"/admin?token=secret")
        assert (await answer(reader))[0] == 403
        await until(lambda: "-> 403" in caplog.text, "it is in the log")
        ((row,), (connection,)) = rig.api.ledger.refused, rig.api.ledger.live()
        warned, access = (line for line in caplog.messages if "/admin" in line)
        assert warned.startswith(
            f"public #{row.id} from {row.peer}, GET /admin on #{connection.id}, refused: {spiffe('web')}: "
        )
        assert warned.endswith("(rule rule-7)") or "rule-7" in warned
        assert access.startswith(f"public #{connection.id} {spiffe('web')} from {row.peer}: GET api/admin ")
        assert f"refused as #{row.id}, rule rule-7" in access
        assert "secret" not in caplog.text
        writer.close()


@on_uvloop
async def test_what_is_no_request_is_refused_with_the_number_of_its_connection(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with show_app() as app, sidecar(app) as rig:
        reader, writer = await rig.client()
        writer.write(b"GET / HTTP/1.1\r\nHost: api\r\n folded: field\r\n\r\n")
        assert (await answer(reader))[0] == 400
        (row,) = rig.api.ledger.refused
        assert (row.kind, row.request, row.source) == ("http.400", "", spiffe("web"))
        assert (
            f"public #{row.id} from {row.peer}, what it sent on #{row.connection}, refused: " in caplog.text
        )
        await until(lambda: rig.api.ledger.closed, "its connection has ended")
        assert rig.api.ledger.closed[0].id == row.connection
        writer.close()


@on_uvloop
async def test_the_application_gets_the_path_that_was_decided_about() -> None:
    async with show_app() as app, sidecar(app) as rig:
        rig.rules.permissions["web"] = ONLY_V1
        reader, writer = await rig.client()
        writer.write(GET % b"/x/..//v1/%61?q=%2f")
        assert json.loads((await answer(reader))[1])["path"] == "/v1/a?q=%2f"
        writer.close()


@on_uvloop
async def test_a_plain_denial_is_403_and_the_connection_stays() -> None:
    async with show_app() as app, sidecar(app) as rig:
        rig.rules.denied.add("web")
        reader, writer = await rig.client()
        for _ in range(2):
            writer.write(GET % b"/")
            assert (await answer(reader))[0] == 403
        rig.rules.denied.clear()
        await rig.api.recheck()
        writer.write(GET % b"/")
        assert (await answer(reader))[0] == 200
        writer.close()


@on_uvloop
async def test_an_intention_that_only_audits_lets_through_and_counts() -> None:
    async with show_app() as app, sidecar(app) as rig:
        rig.rules.permissions["web"], rig.rules.audit = ONLY_V1, True
        reader, writer = await rig.client()
        writer.write(GET % b"/admin")
        assert (await answer(reader))[0] == 200
        assert rig.api.counters()["inbound.audited"] == 1
        writer.close()


@on_uvloop
async def test_a_changed_permission_ends_the_request_that_it_forbids_and_no_other() -> None:
    async with streaming_app() as app, sidecar(app) as rig:
        rig.rules.permissions["web"] = (Permission("allow", HttpMatch(path_prefix="/")),)
        clients = [await rig.client() for _ in range(2)]
        other = await rig.client("mail")
        for (reader, writer), path in zip([*clients, other], (b"/v1/a", b"/b", b"/b"), strict=True):
            writer.write(GET % path)
            await reader.readuntil(b"begun\r\n")
        rig.rules.permissions["web"] = ONLY_V1
        assert await rig.api.recheck() == 1
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(clients[1][0].read(), 10) == b""
        assert len(rig.api.ledger.live()) == 2
        (row,) = rig.api.ledger.refused
        assert (row.kind, row.request, row.rule) == ("cut", "GET /b", "rule-7")
        assert row.because.startswith(f"{spiffe('web')}: cut: ")
        assert row.connection not in {entry.id for entry in rig.api.ledger.live()}
        for reader, writer in (clients[0], other):
            assert not reader.at_eof()
            writer.close()


@on_uvloop
async def test_a_revoked_certificate_ends_the_connection() -> None:
    async with streaming_app() as app, sidecar(app) as rig:
        reader, writer = await rig.client()
        writer.write(GET % b"/")
        await reader.readuntil(b"begun\r\n")
        (entry,) = rig.api.ledger.live()
        assert rig.api.cut_serials([entry.serial]) == 1
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        await until(lambda: not rig.api.ledger.live(), "it is entered as ended")
        assert "is revoked" in rig.api.ledger.closed[0].close_cause
        writer.close()


@on_uvloop
async def test_when_nobody_can_be_asked_a_stranger_is_denied() -> None:
    async with show_app() as app, sidecar(app) as rig:
        rig.rules.fail = True
        reader, writer = await rig.client()
        writer.write(GET % b"/")
        assert (await answer(reader))[0] == 403
        writer.close()


@on_uvloop
async def test_a_stop_lets_a_request_end_and_closes_idle_connections() -> None:
    async with show_app() as app, sidecar(app) as rig:
        reader, writer = await rig.client()
        writer.write(GET % b"/")
        await answer(reader)
        await asyncio.wait_for(rig.api.stop(drain_timeout=20), 10)
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()


@on_uvloop
async def test_a_tcp_listener_denies_the_source_of_an_intention_with_permissions() -> None:
    async with show_app() as app, sidecar(app, protocol="tcp") as rig:
        rig.rules.permissions["web"] = ONLY_V1

        known = await rig.rules.decide_requests(make_contexts(CA.leaf("web")).identity)
        assert known.requests is not None

        async def decide(source: Identity) -> Decision:
            return known

        rig.rules.decide = decide  # type: ignore[method-assign]
        reader, writer = await rig.client()
        writer.write(GET % b"/v1/a")
        with contextlib.suppress(ConnectionResetError):
            assert await asyncio.wait_for(reader.read(), 10) == b""
        await until(lambda: rig.api.counters().get("refused.denied"), "it is refused")
        writer.close()


@on_uvloop
async def test_a_listener_that_begins_to_speak_http_does_so_for_later_connections() -> None:
    async with show_app() as app, sidecar(app, protocol="tcp") as rig:
        first = await rig.client()
        first[1].write(GET % b"/one")
        assert "x-request-id" not in (await answer(first[0]))[1]
        public = rig.api.config and rig.api.config.public
        assert public is not None
        bind = Endpoint("127.0.0.1", 0)
        rig.api.apply(ProxyConfig("api", PublicListener(bind, app, protocol="http")))
        second = await rig.client()
        second[1].write(GET % b"/two")
        assert "x-request-id" in (await answer(second[0]))[1]
        first[1].write(GET % b"/three")
        assert "x-request-id" not in (await answer(first[0]))[1]
        for _, writer in (first, second):
            writer.close()


@on_uvloop
async def test_clients_that_ask_are_offered_http_2_and_a_tcp_listener_offers_nothing() -> None:
    contexts = make_contexts(CA.leaf("web"))
    contexts.client.set_alpn_protocols(["h2", "http/1.1"])
    async with show_app() as app:
        for protocol, chosen in (("http", "h2"), ("tcp", None)):
            async with sidecar(app, protocol=protocol) as rig:
                port = rig.api.address().port
                _, writer = await asyncio.open_connection(
                    "127.0.0.1", port, ssl=contexts.client, server_hostname=""
                )
                assert writer.get_extra_info("ssl_object").selected_alpn_protocol() == chosen
                writer.close()
